"""What an exception means, and which one of a group decides."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import logging
import sys
from functools import reduce

import pytest
from django.core.exceptions import (
    BadRequest,
    ObjectDoesNotExist,
    PermissionDenied,
    SuspiciousOperation,
    ValidationError,
)
from django.http import Http404
from rest_framework import exceptions as drf

from partstream import PartError, lazy, safe_call
from partstream.exceptions import EndpointFailed, HookFailed, Misuse, NoCapacity, PartTimeout
from partstream.parts.failures import (
    decisive,
    failure_of,
    forget_tracebacks,
    is_refusal,
    meaning_of,
)
from partstream.parts.fragment import NotSerializable
from tests.support.walk_client import get_json

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup


class Conflict(drf.APIException):
    status_code = 409


class Gone(drf.APIException):
    status_code = 410


class Down(drf.APIException):
    status_code = 503


#: In the order in which they decide; those of one line decide alike.
RANKS = [
    [
        PermissionDenied("no"),
        drf.PermissionDenied(),
        drf.NotAuthenticated(),
        drf.AuthenticationFailed(),
        EndpointFailed(401),
        EndpointFailed(403),
    ],
    [Http404(), drf.NotFound(), Gone(), EndpointFailed(404), EndpointFailed(410)],
    [
        ValueError("a bug"),
        ValidationError("of a model"),
        ObjectDoesNotExist(),
        Down(),
        EndpointFailed(503),
        NotSerializable("no JSON"),
        HookFailed("no tenant"),
    ],
    [
        drf.ValidationError({"since": ["No date."]}),
        drf.ParseError(),
        Conflict(),
        BadRequest(),
        SuspiciousOperation(),
        EndpointFailed(418),
    ],
    [PartError("Gone.", code="gone", retryable=False)],
    [drf.Throttled(7), EndpointFailed(429, retry_after=6.2)],
    [drf.Throttled(3)],
    [PartError("Shut.", code="shut")],
    [PartTimeout("late")],
    [NoCapacity("full")],
    [asyncio.CancelledError(), concurrent.futures.CancelledError()],
]
CODES = [
    "part_forbidden",
    "part_not_found",
    "part_failed",
    "part_invalid",
    "gone",
    "part_throttled",
    "part_throttled",
    "shut",
    "part_timeout",
    "capacity",
]
UNCOVERED = {"part_forbidden", "part_not_found"}
REFUSALS = {*UNCOVERED, "part_invalid", "part_throttled"}
FINAL = {*UNCOVERED, "part_invalid", "gone"}


def group(*errors):
    return BaseExceptionGroup("several", list(errors))


def nested(error, depth):
    return reduce(lambda inner, _: group(inner), range(depth), error)


def of_class(error):
    own = [getattr(error, name, "") for name in ("code", "status", "wait")]
    return "-".join(map(str, [type(error).__module__, type(error).__name__, *own]))


@pytest.mark.parametrize("error", [*itertools.chain(*RANKS)], ids=of_class)
def test_decisive__of_one_that_is_no_group_is_itself(error):
    assert decisive(error) is error
    assert decisive(group(error)) is error


@pytest.mark.parametrize("first", range(len(RANKS)))
def test_decisive__of_a_group_follows_the_ranking(first):
    later = [*itertools.chain(*RANKS[first + 1 :])]
    for one in RANKS[first]:
        for other in later:
            assert decisive(group(one, other)) is decisive(group(other, one)) is one
            assert decisive(group(group(one), other)) is decisive(group(group(other), one)) is one
        # Among all of them, at each place.
        for place in range(len(later) + 1) if later else ():
            order = [*later[:place], one, *later[place:]]
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


def test_decisive__the_longest_wait_decides():
    errors = [drf.Throttled(3), EndpointFailed(429, None, 9), drf.Throttled(7), drf.Throttled()]
    for order in itertools.permutations(errors):
        assert decisive(group(*order)) is errors[1]


@pytest.mark.parametrize(("rank", "code"), [*enumerate(CODES)])
def test_is_refusal(rank, code):
    for error in RANKS[rank]:
        assert is_refusal(error) is (code in REFUSALS)
        assert is_refusal(group(group(error))) is (code in REFUSALS)


@pytest.mark.parametrize("other", [*RANKS[-1], b"bytes", None])
def test_is_refusal__nothing_else_is_one(other):
    assert not is_refusal(other)


# What the client sees


@pytest.mark.parametrize(("rank", "code"), [*enumerate(CODES)])
def test_failure_of__has_the_code_and_no_text_of_the_exception(rank, code):
    for error in RANKS[rank]:
        failure = failure_of(error)
        own = isinstance(error, NotSerializable)
        assert failure.code == ("not_serializable" if own else code)
        assert failure.retryable is (code not in FINAL and not own)
        assert failure.detail == (str(error.detail) if isinstance(error, PartError) else None)
        assert failure.problems is None


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (drf.Throttled(6.2), 7),
        (drf.Throttled(0), 0),
        (drf.Throttled(), None),
        (EndpointFailed(429, None, 9), 9),
        (EndpointFailed(503, None, 30), 30),
        (EndpointFailed(429, None, -1), None),
        (EndpointFailed(429, None, float("inf")), None),
        (EndpointFailed(429, None, float("nan")), None),
        (group(drf.Throttled(3), group(drf.Throttled(7))), 7),
        (ValueError(), None),
    ],
)
def test_failure_of__a_throttled_call_has_its_wait(error, wait):
    assert failure_of(error).retry_after == wait


@pytest.mark.parametrize(
    ("status", "data", "problems"),
    [
        (400, {"since": [drf.ErrorDetail("No date.", code="date")]}, {"since": ["No date."]}),
        (409, ["Already there."], ["Already there."]),
        (422, None, None),
        (400, {"since": object()}, None),
        (400, {"since": "\ud800"}, None),
        (403, {"detail": "You are no member."}, None),
        (404, {"detail": "No order 7."}, None),
        (500, {"detail": "a secret"}, None),
    ],
)
def test_failure_of__an_endpoints_own_words_about_bad_input(status, data, problems):
    assert failure_of(EndpointFailed(status, data)).problems == problems


@pytest.mark.parametrize("status", ["403", None, 403.5, 200, 700])
def test_meaning_of__an_odd_status_is_a_bug(status):
    error = drf.APIException()
    error.status_code = status
    assert failure_of(error).code == failure_of(EndpointFailed(status)).code == "part_failed"


@pytest.mark.parametrize("wait", ["7", [], object(), True])
def test_failure_of__an_odd_wait(wait):
    failure = failure_of(EndpointFailed(429, retry_after=wait))
    assert failure.retry_after == (1 if wait is True else None)


def test_failure_of__a_misuse_is_final():
    assert not failure_of(Misuse("Write something else.")).retryable


def test_meaning_of__a_hook_that_failed_is_never_covered():
    assert not meaning_of(group(HookFailed("no tenant"))).is_covered


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
    assert error["retryable"] is ("retry_cursor" in error) is (CODES[rank] not in FINAL)
    assert error["detail"] == {"gone": "Gone.", "shut": "Shut."}.get(CODES[rank], error["detail"])


@pytest.mark.parametrize("rank", range(len(CODES)))
def test_group__fallbacks_cover_all_but_denials(part_of, make, rank):
    seen = []

    def fallback(request, exception):
        seen.append(exception)
        return "covered"

    error = ExceptionGroup("in a task group", [group(*RANKS[rank])])
    found = part_of(safe_call(make(error), fallback))
    if CODES[rank] in UNCOVERED:
        assert (found["code"], seen) == (CODES[rank], [])
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
