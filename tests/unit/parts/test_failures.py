"""What an exception means, and which one of a group decides."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import logging
import sys
from functools import reduce

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions as drf

from partstream import PartError, lazy, safe_call
from partstream.exceptions import NoCapacity, PartTimeout
from partstream.parts.failures import decisive, forget_tracebacks, is_denial
from tests.support.walk_client import get_json

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

#: In the order in which they decide; those of one line decide alike.
RANKS = [
    [PermissionDenied("no"), drf.PermissionDenied(), drf.NotAuthenticated()],
    [Http404(), drf.NotFound()],
    [ValueError("a bug"), drf.Throttled(7), drf.AuthenticationFailed()],
    [PartError("Gone.", code="gone", retryable=False)],
    [PartError("Shut.", code="shut")],
    [PartTimeout("late")],
    [NoCapacity("full")],
    [asyncio.CancelledError(), concurrent.futures.CancelledError()],
]
CODES = ["part_forbidden"] * 2 + ["part_failed", "gone", "shut", "part_timeout", "capacity"]


def group(*errors):
    return BaseExceptionGroup("several", list(errors))


def nested(error, depth):
    return reduce(lambda inner, _: group(inner), range(depth), error)


def of_class(error):
    return f"{type(error).__module__}.{type(error).__name__}{getattr(error, 'code', '')}"


@pytest.mark.parametrize("error", [*itertools.chain(*RANKS)], ids=of_class)
def test_decisive__of_one_that_is_no_group_is_itself(error):
    assert decisive(error) is error
    assert decisive(group(error)) is error


@pytest.mark.parametrize("first", range(len(RANKS)))
def test_decisive__of_a_group_follows_the_ranking(first):
    for one in RANKS[first]:
        for others in RANKS[first + 1 :]:
            for order in itertools.permutations([one, *others]):
                assert decisive(group(*order)) is one
                assert decisive(group(group(*order[1:]), order[0])) is one


def test_decisive__of_two_of_one_kind_is_the_first():
    errors = [ValueError(number) for number in range(4)]
    assert decisive(group(group(errors[2], group(errors[1])), errors[0])) is errors[2]


def test_decisive__looks_into_groups_however_deep():
    denial = PermissionDenied("no")
    deep = group(ValueError(), nested(group(KeyError(), denial), 20_000))
    assert decisive(deep) is denial


def test_decisive__looks_into_a_group_once():
    error = reduce(lambda inner, _: group(inner, inner), range(60), ValueError())
    assert isinstance(decisive(error), ValueError)


def test_decisive__does_not_look_at_causes():
    error = ValueError()
    error.__cause__ = group(PermissionDenied())
    assert decisive(error) is error


@pytest.mark.parametrize("denial", [*itertools.chain(*RANKS[:2])], ids=of_class)
def test_is_denial(denial):
    assert is_denial(denial)
    assert is_denial(group(ValueError(), group(denial)))


@pytest.mark.parametrize("other", [*itertools.chain(*RANKS[2:]), b"bytes", None], ids=of_class)
def test_is_denial__nothing_else_is_one(other):
    assert not is_denial(other)
    if isinstance(other, BaseException):
        assert not is_denial(group(other))


# In parts


def plain(error):
    def load(request):
        raise error

    return load


def coroutine(error):
    async def load(request):
        await asyncio.sleep(0)
        raise error

    return load


@pytest.fixture(params=[plain, coroutine], ids=lambda make: make.__name__)
def make(request):
    """A loader of each kind in turn, that raises."""
    return request.param


@pytest.fixture
def part_of(serve, client, executor):
    """Returns the data of a part, or its error."""

    def part_of(load):
        envelope = get_json(client, serve(parts=[("part", lazy(load))], executor=executor))
        (error,) = envelope.get("errors", [None])
        return envelope["results"][0]["part"] if error is None else error

    return part_of


@pytest.mark.parametrize("rank", range(len(CODES)))
def test_group__fails_the_part_with_the_code_of_the_one_that_decides(part_of, make, rank):
    error = part_of(make(ExceptionGroup("in a task group", [group(*RANKS[rank])])))
    assert error["code"] == CODES[rank]
    assert error["retryable"] is ("retry_cursor" in error) is (rank not in (0, 1, 3))
    assert error["detail"] == {"gone": "Gone.", "shut": "Shut."}.get(CODES[rank], error["detail"])


@pytest.mark.parametrize("rank", range(len(CODES)))
def test_group__fallbacks_cover_all_but_denials(part_of, make, rank):
    seen = []

    def fallback(request, exception):
        seen.append(exception)
        return "covered"

    error = ExceptionGroup("in a task group", [group(*RANKS[rank])])
    found = part_of(safe_call(make(error), fallback))
    if rank < 2:
        assert (found["code"], seen) == ("part_forbidden", [])
    else:
        assert (found, seen) == ("covered", [error])


def test_group__the_log_of_a_bug_has_all_of_it(part_of, make, caplog):
    error = ExceptionGroup("in a task group", [PartError("Shut."), ValueError("a bug")])
    assert part_of(make(error))["code"] == "part_failed"
    (record,) = [record for record in caplog.records if record.name.startswith("partstream")]
    assert record.levelno == logging.ERROR
    assert record.exc_info[1] is error
    assert "Shut." in caplog.text
    assert "a bug" in caplog.text


def test_group__under_debug_the_one_that_decides_is_shown(part_of, make, settings):
    settings.DEBUG = True
    error = ExceptionGroup("in a task group", [PartError("Shut."), ValueError("a bug")])
    assert part_of(make(error))["exception"] == "ValueError: a bug"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio has no TaskGroup")
def test_group__of_a_task_group(part_of):
    async def deny():
        raise PermissionDenied

    async def wait():
        await asyncio.Event().wait()

    async def load(request):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(wait())
            tasks.create_task(deny())

    assert part_of(safe_call(load, fallback="covered"))["code"] == "part_forbidden"


@pytest.mark.parametrize("covered", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("timeout", [None, 60])
def test_group__with_a_cancelled_call_ends_at_the_boundary(
    client, serve, covered, is_async, timeout
):
    error = group(PermissionDenied("no"), asyncio.CancelledError())

    def load(request):
        raise error

    async def load_async(request):
        raise error

    loader = load_async if is_async else load
    loader = safe_call(loader, fallback=7) if covered else loader
    url = serve(parts=[("one", lazy(loader, timeout=timeout)), ("two", 2)], chunk_size=2)
    answer = get_json(client, url)
    assert [error["code"] for error in answer["errors"]] == ["part_forbidden"]
    assert answer["results"] == [{"two": 2}]


@pytest.mark.parametrize("raised", [SystemExit(3), group(ValueError(), SystemExit(3))])
def test_group__with_what_is_for_the_process_goes_on_to_it(client, serve, raised):
    def load(request):
        raise raised

    with pytest.raises(type(raised)):
        client.get(serve(parts=[("one", lazy(load))]))


def raised(error, cause=None):
    """The error with a traceback, raised from a cause or while another one was handled."""
    try:
        try:
            raise LookupError("context")
        except LookupError:
            raise error from cause
    except Exception as caught:  # noqa: BLE001 - any of the test's
        return caught


def test_forget_tracebacks__of_the_whole_chain_and_of_groups():
    cause, member = raised(KeyError("cause")), raised(ValueError("member"))
    error = raised(ExceptionGroup("group", [member]), cause)
    everything = [error, error.__context__, cause, cause.__context__, member, member.__context__]
    assert all(each.__traceback__ is not None for each in everything)
    forget_tracebacks(error)
    assert [each.__traceback__ for each in everything] == [None] * 6
    assert error.__cause__ is cause


def test_forget_tracebacks__of_a_circle_ends():
    first, second = raised(ValueError("first")), raised(ValueError("second"))
    first.__context__, second.__context__ = second, first
    forget_tracebacks(first)
    assert [first.__traceback__, second.__traceback__] == [None, None]
