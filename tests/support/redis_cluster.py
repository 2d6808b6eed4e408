"""A Redis Cluster for the tests: three nodes on loopback ports, since one alone never redirects.

Only the server's binary is needed (`tests.support.redis` finds it): this module assigns the slots.
"""

from __future__ import annotations

import random
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from . import redis
from .concurrency import wait_until

SLOTS = 16384
NODES = 3
#: A node talks to the others by a port that is so much higher.
BUS = 10_000
ATTEMPTS = 20


class Node(redis.Server):
    """One of the nodes, behind a port and a Unix socket."""

    def __init__(self, binary: str, directory: str) -> None:
        self.port = free_port()
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--protected-mode", "no"]
        options += ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]
        options += ["--cluster-require-full-coverage", "no"]
        super().__init__(binary, directory, *options)

    def ask(self, *command):
        """The server's reply to a command."""
        from redis import Redis

        with Redis(unix_socket_path=self.socket) as client:
            return client.execute_command(*command)


class Cluster:
    """Three nodes, each with a third of the slots.

    Attributes:
        url: That of the first node.
    """

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.url = f"redis://127.0.0.1:{nodes[0].port}"

    def form(self) -> None:
        """Make a cluster of the nodes, and return when each knows who has which slots."""
        for number, node in enumerate(self.nodes):
            slots = range(SLOTS * number // NODES, SLOTS * (number + 1) // NODES)
            node.ask("CLUSTER", "ADDSLOTS", *slots)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number:
                node.ask("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        wait_until(lambda: all(self.is_known_to(node) for node in self.nodes))

    def is_known_to(self, node: Node) -> bool:
        """Whether this node has heard of all slots, and takes commands."""
        slots = sum(last - first + 1 for first, last, *_ in node.ask("CLUSTER", "SLOTS"))
        return slots == SLOTS and b"cluster_state:ok" in node.ask("CLUSTER", "INFO")

    def node_of(self, name: str) -> Node:
        """The node that has a key."""
        from redis.crc import key_slot

        slot = key_slot(name.encode())
        return next(
            node for number, node in enumerate(self.nodes, 1) if slot < SLOTS * number // NODES
        )


def free_port() -> int:
    """A port that is free, as is the one that is 10,000 higher."""
    for _ in range(1000):
        port = random.SystemRandom().randrange(20_000, 30_000)
        with suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + BUS))
            return port
    raise redis.ServerError("There is no free port.")


@contextmanager
def cluster(binary: str) -> Iterator[Cluster]:
    """A cluster of one's own, running."""
    with ExitStack() as stack:
        nodes = []
        for _ in range(NODES):
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="redis-"))
            nodes.append(started(binary, directory))
            stack.callback(nodes[-1].stop)
        own = Cluster(nodes)
        own.form()
        yield own


def started(binary: str, directory: str) -> Node:
    """A node that runs; somebody else may take its port just before it does."""
    for attempt in range(ATTEMPTS):
        node = Node(binary, directory)
        try:
            node.start()
        except redis.ServerError:
            node.stop()
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return node
    raise redis.ServerError("unreachable")
