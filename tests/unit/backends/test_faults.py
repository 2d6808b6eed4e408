"""How exceptions are classified as faults. The tests with real servers are with the stores."""

from __future__ import annotations

import errno
import json
import pickle
import socket
import ssl
from importlib import import_module

import pytest
from django.core.cache.backends.base import InvalidCacheKey
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DataError, InternalError, OperationalError, ProgrammingError
from django.db.transaction import TransactionManagementError

from partstream.backends.faults import CallFault, Fault, ServiceFault, fault_of

SERVICE = [
    ConnectionRefusedError(),
    ConnectionResetError(),
    BrokenPipeError(),
    TimeoutError(),
    socket.gaierror(),
    ssl.SSLCertVerificationError(1, "it is a ValueError, too"),
    OSError(errno.ENOSPC, "the disk is full"),
    OperationalError("the connection already closed"),
    ProgrammingError("no such table"),
    ServiceFault("it says so"),
    RuntimeError("nobody knows"),
    EOFError(),
]
CALL = [
    TypeError("Object of type bytes is not JSON serializable"),
    ValueError("embedded null byte"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    json.JSONDecodeError("Expecting value", "", 0),
    pickle.PicklingError(),
    AttributeError("Can't pickle local object"),
    RecursionError(),
    MemoryError(),
    OverflowError(),
    InvalidCacheKey("too long"),
    OSError(errno.ENAMETOOLONG, "File name too long"),
    SynchronousOnlyOperation(),
    DataError("value too long"),
    TransactionManagementError("An error occurred in the current transaction."),
    InternalError("current transaction is aborted, commands ignored until end of transaction"),
    CallFault("it says so"),
]


def named(error):
    return f"{type(error).__name__}-{error}"[:60]


@pytest.mark.parametrize("error", SERVICE, ids=named)
def test_fault__is_the_servers_or_unknown(error):
    assert fault_of(error) in {Fault.SERVICE, Fault.UNKNOWN}


@pytest.mark.parametrize("error", CALL, ids=named)
def test_fault__is_that_of_the_call(error):
    assert fault_of(error) is Fault.CALL


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EMFILE, "Too many open files"), RuntimeError("can't start new thread")],
    ids=named,
)
def test_fault__is_that_of_a_process_that_has_nothing_left(error):
    assert fault_of(error) is Fault.STARVED


def test_fault__is_judged_by_its_cause():
    wrapped = KeyError("the wrapper of a library")
    wrapped.__cause__ = ConnectionRefusedError()
    assert fault_of(wrapped) is Fault.SERVICE
    unknown = RuntimeError("nobody knows")
    unknown.__cause__ = TypeError("not JSON serializable")
    assert fault_of(unknown) is Fault.CALL


def test_fault__of_causes_in_a_circle_is_known():
    one, other = RuntimeError("one"), RuntimeError("other")
    one.__cause__, other.__cause__ = other, one
    assert fault_of(one) is Fault.UNKNOWN


def raised(module, name, *arguments):
    return getattr(pytest.importorskip(module), name)(*arguments)


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        (
            "ConnectionError",
            "Error 111 connecting to localhost:6379.",
            "SERVICE",
        ),
        ("ConnectionError", "max number of clients reached", "SERVICE"),
        ("ConnectionError", "Connection closed by server.", "SERVICE"),
        ("TimeoutError", "Timeout reading from socket", "SERVICE"),
        ("AuthenticationError", "invalid username-password pair or user is disabled.", "SERVICE"),
        ("BusyLoadingError", "Redis is loading the dataset in memory", "SERVICE"),
        ("OutOfMemoryError", "command not allowed when used memory > 'maxmemory'.", "SERVICE"),
        ("ReadOnlyError", "You can't write against a read only replica.", "SERVICE"),
        ("NoPermissionError", "this user has no permissions to run the 'set' command", "SERVICE"),
        ("ClusterDownError", "Hash slot not served", "SERVICE"),
        ("ResponseError", "MISCONF Redis is configured to save RDB snapshots", "SERVICE"),
        ("ResponseError", "NOREPLICAS Not enough good replicas to write.", "SERVICE"),
        (
            "ResponseError",
            "Error running script (f_1): @user_script: 4: -OOM no",
            "SERVICE",
        ),
        ("InvalidResponse", "Protocol Error: b'x'", "SERVICE"),
        ("RedisClusterException", "Redis Cluster cannot be connected.", "SERVICE"),
        ("ConnectionError", "Too many connections", "NO_ROOM"),
        ("MaxConnectionsError", "Too many connections", "NO_ROOM"),
        ("ConnectionError", "No connection available.", "STARVED"),
        ("ResponseError", "WRONGTYPE Operation against a key holding another kind", "CALL"),
        ("ResponseError", "value is not an integer or out of range", "CALL"),
        ("ResponseError", "Command # 1 (SET OOM MISCONF) of pipeline caused error: syntax", "CALL"),
        ("DataError", "Invalid input of type: 'list'.", "CALL"),
        ("MovedError", "12182 127.0.0.1:6380", "CALL"),
        ("ClusterCrossSlotError", "Keys in request don't hash to the same slot", "CALL"),
        ("RedisClusterException", "MGET - all keys must map to the same key slot", "CALL"),
    ],
)
def test_fault__of_redis(name, text, fault):
    pytest.importorskip("redis")
    error = getattr(import_module("redis.exceptions"), name)(text)
    assert fault_of(error) is Fault[fault]


def test_fault__that_django_redis_wraps_is_that_of_redis():
    exceptions = pytest.importorskip("django_redis.exceptions")
    redis = pytest.importorskip("redis.exceptions")
    for cause, fault in (
        (redis.ConnectionError("refused"), Fault.SERVICE),
        (redis.MaxConnectionsError("Too many connections"), Fault.NO_ROOM),
        (redis.ResponseError("WRONGTYPE no"), Fault.CALL),
    ):
        error = exceptions.ConnectionInterrupted(connection=None)
        error.__cause__ = cause
        assert fault_of(error) is fault
    assert fault_of(exceptions.CompressorError()) is Fault.CALL


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("MemcacheServerError", b"object too large for cache", "CALL"),
        ("MemcacheServerError", b"out of memory storing object", "SERVICE"),
        ("MemcacheIllegalInputError", "Key is too long", "CALL"),
        ("MemcacheClientError", b"bad data chunk", "CALL"),
        ("MemcacheUnexpectedCloseError", "", "SERVICE"),
        ("MemcacheUnknownError", "", "SERVICE"),
        ("MemcacheError", "All servers seem to be down right now", "SERVICE"),
    ],
)
def test_fault__of_memcached(name, text, fault):
    assert fault_of(raised("pymemcache.exceptions", name, text)) is Fault[fault]


def test_fault__of_a_pool_of_pymemcache_that_is_empty_is_no_room():
    pool = pytest.importorskip("pymemcache.pool").ObjectPool(type("Client", (), {}), max_size=1)
    pool.get()
    with pytest.raises(RuntimeError) as caught:
        pool.get()
    assert fault_of(caught.value) is Fault.NO_ROOM


@pytest.mark.parametrize(("name", "fault"), [("TooBig", Fault.CALL), ("ServerDown", Fault.SERVICE)])
def test_fault__of_pylibmc(name, fault):
    # It needs a library in C, so that here is a class of that name.
    error = type(name, (Exception,), {"__module__": "pylibmc"})()
    assert fault_of(error) is fault
