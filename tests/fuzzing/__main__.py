"""See the package: ``python -m tests.fuzzing --help``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from random import Random, SystemRandom
from typing import TYPE_CHECKING

from .connections import Answer, Connection
from .servers import Server, ServerError, server

if TYPE_CHECKING:
    from .requests import Request
    from .tokens import Tokens

#: The module of a codec, and how the name of its class begins.
CODECS = {"aead": "AESSIV", "fernet": "Fernet", "jwt": "JWT", "signed": "Signed"}
CONNECTIONS = 4
#: One request with junk elsewhere to so many tokens.
TOKENS_TO_ONE = 4
#: The share of the tokens that a server with limits gets, on top.
LIMITED_SHARE = 0.1
#: So many tokens reach every answer that there is.
ENOUGH = 1000
#: Faults that are shown.
MOST_FAULTS = 5


@dataclass
class Run:
    """What became of one server's requests."""

    codec: str
    limited: bool
    tokens: int
    answered: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    kinds: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def note(self, request: Request, answer: Answer, fault: str | None) -> None:
        """Count an answer."""
        if fault is not None:
            self.faults.append(
                f"{request.kind}: {fault}\n  {request.data!r}\n  -> {answer.raw!r:.900}"
            )
        ours = b"x-request-id" in answer.headers
        self.answered["token" if request.token else "other" if ours else "refused"] += 1
        self.statuses[answer.status] += 1
        self.kinds.add(request.kind)


def fuzz(served: Server, run: Run, tokens: Tokens, seed: int) -> None:
    """Send all requests of a run, and look at their answers."""
    from .requests import Requests, fault

    random = Random(f"{seed} {run.codec} {run.limited}")
    requests = Requests(tokens, random, limited=run.limited)
    kinds = [True] * run.tokens + [False] * max(1, run.tokens // TOKENS_TO_ONE)
    random.shuffle(kinds)
    connections = [Connection(served.address) for _ in range(CONNECTIONS)]
    started = time.monotonic()
    try:
        for first in range(0, len(kinds), CONNECTIONS):
            under_way = []
            for connection, with_token in zip(connections, kinds[first:], strict=False):
                request = requests.with_token() if with_token else requests.other()
                connection.send(request.data)
                under_way.append((connection, request))
            for connection, request in under_way:
                try:
                    answer = connection.receive(bodiless=request.method == b"HEAD")
                except (OSError, ValueError) as error:
                    connection.close()
                    run.faults.append(f"{request.kind}: no answer: {error!r}\n  {request.data!r}")
                    continue
                run.note(request, answer, fault(request, answer))
                if b"x-request-id" not in answer.headers:
                    connection.close()  # What is left of it there would be the next request.
            if len(run.faults) >= MOST_FAULTS:
                break
    finally:
        for connection in connections:
            connection.close()
        run.seconds = time.monotonic() - started
    if not run.faults:
        run.faults += _shortcomings(run, len(kinds))


def _shortcomings(run: Run, asked: int) -> list[str]:
    """Why a run without a fault has tested less than it should."""
    found = []
    if run.answered["token"] < run.tokens or run.answered.total() < asked:
        found.append(f"Of {asked} requests {run.answered.total()} were answered.")
    # A server that refuses all that it is asked, or nothing, tells nothing of tokens.
    wanted = {200, 400} if run.tokens < ENOUGH else {200, 400, 409, 410}
    wanted |= {429} if run.limited and run.tokens >= ENOUGH else set()
    if missing := wanted - run.statuses.keys():
        found.append(f"No answer had the status {sorted(missing)}.")
    return found


def walked(served: Server) -> list[str]:
    """The tokens of a walk, and those that repeat a part."""
    connection = Connection(served.address)
    found: list[str] = []
    token = ""
    while token is not None:
        query = f"?cursor={token}" if token else ""
        connection.send(f"GET /fuzzed/{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        answer = connection.receive()
        if answer.status != 200:
            raise ServerError(f"The walk got {answer.raw!r}\n{served.log()}")
        envelope = json.loads(answer.body)
        token = envelope["cursor"]
        found += [error["retry_cursor"] for error in envelope.get("errors", [])]
        found += [token] if token is not None else []
    connection.close()
    return found


def tokens_of(served: Server, name: str) -> Tokens:
    """What spoils the tokens of a server."""
    from django.conf import settings

    from partstream.conf import get_settings
    from partstream.keys import get_key_ring

    from .tokens import Tokens, codec_parts

    codec_class, forger = codec_parts(name)
    others = [other for other in CODECS if other != name and (other != "jwt" or find_spec(other))]
    ring, secret = get_key_ring(), settings.SECRET_KEY.encode()
    return Tokens(
        walked(served),
        codec=codec_class(keys=ring),
        others=[codec_parts(other)[0](keys=ring) for other in others],
        forge=lambda items, issued: forger().forge(items, issued, secret),
        ttl=get_settings().DEFAULT_CURSOR_TTL,
    )


def table(runs: list[Run]) -> str:
    """The runs, a line each."""
    statuses = sorted({status for run in runs for status in run.statuses} | {500})
    heads = ["codec", "limits", "tokens", "other junk", "not for a view", "requests/s"]
    rows = [[*heads, *map(str, statuses)]]
    for run in runs:
        answered = run.answered
        rows.append(
            [run.codec, "on" if run.limited else "off"]
            + [f"{answered[kind]:,}" for kind in ("token", "other", "refused")]
            + [f"{answered.total() / (run.seconds or 1):,.0f}"]
            + [f"{run.statuses[status]:,}" for status in statuses]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def main(arguments: list[str] | None = None) -> int:
    """Fuzz each codec; 1 where an answer is wrong, or not all were given."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("--tokens", type=int, default=100_000, help="of each codec (100,000)")
    parser.add_argument("--codec", choices=CODECS, action="append", help="one of them (all)")
    parser.add_argument("--seed", type=int, help="of an earlier run, to repeat it")
    given = parser.parse_args(arguments)
    if given.tokens < 1:
        parser.error("--tokens: at least 1")
    seed = given.seed if given.seed is not None else SystemRandom().randrange(2**32)
    # An end by a signal must stop the server, too.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="fuzzing-") as name:
        directory = Path(name)
        for variable in [name for name in os.environ if name.startswith("PARTSTREAM_")]:
            del os.environ[variable]
        os.environ["PARTSTREAM_TEST_FUZZING"] = str(directory)
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.fuzzing.settings"

        import django
        from django.core.management import call_command

        import partstream

        django.setup()
        call_command("migrate", verbosity=0)
        print(f"partstream {partstream.__version__} of {partstream.__file__}, --seed {seed}")
        for codec in given.codec or CODECS:
            for limited in (False, True):
                count = max(1, int(given.tokens * LIMITED_SHARE)) if limited else given.tokens
                run = Run(codec, limited, count)
                runs.append(run)
                environment = {
                    "PARTSTREAM_CURSOR_CODEC": (
                        f"partstream.backends.cursors.{codec}.{CODECS[codec]}CursorCodec"
                    ),
                    "PARTSTREAM_TEST_LIMITS": "1" if limited else "0",
                }
                try:
                    with server(directory, **environment) as served:
                        tokens = tokens_of(served, codec)
                        fuzz(served, run, tokens, seed)
                        if run.faults:
                            run.faults.append(f"The server's log ends with:\n{served.log()}")
                except ServerError as error:
                    run.faults.append(str(error))
    print(table(runs))
    for run in runs:
        for fault in run.faults:
            limits = "with" if run.limited else "without"
            print(f"\n{run.codec}, {limits} limits: {fault}", file=sys.stderr)
    return 1 if any(run.faults for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
