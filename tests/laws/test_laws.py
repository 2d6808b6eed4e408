"""The laws, over views that Hypothesis makes: whatever is declared, each of them holds."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from base64 import urlsafe_b64decode
from collections import Counter
from dataclasses import dataclass, replace
from threading import Event
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import DisallowedHost, PermissionDenied
from django.http import Http404
from django.test import RequestFactory, override_settings
from django.utils import timezone, translation
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import Throttled, ValidationError
from rest_framework.permissions import BasePermission
from rest_framework.test import force_authenticate

from partstream import HybridProgressiveView, PartError, lazy, safe_call
from partstream.backends.loader import get_cursor_codec
from tests.support.hypothesis_profiles import examples

CANARY = "canary-" + "hunter2"
#: Behaviours of a loader -> the code of the error that a client gets, None for data.
BEHAVIOURS = {
    "data": None,
    "fallback": None,
    "function_fallback": None,
    "raise": "part_failed",
    "recurse": "part_failed",
    "part_error": "closed",
    "final_part_error": "closed",
    "denied": "part_forbidden",
    "denied_despite_fallback": "part_forbidden",
    "missing": "part_not_found",
    "invalid": "part_invalid",
    "throttled": "part_throttled",
    "junk": "not_serializable",
    "nan": "not_serializable",
    "failing_fallback": "part_failed",
    "cancelled": "part_failed",
    "failing_generator": "part_failed",
    "surroundings": None,
    "address": None,
}
#: Language and time zone of every request here.
SURROUNDINGS = ("en-us", "America/Chicago")
RETRYABLE = {"part_failed", "closed", "dependency_failed", "part_throttled"}
#: What a loader sees of its request, in each delivery.
ADDRESS = ["/made/", []]

json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(0.5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


@dataclass(frozen=True)
class Spec:
    """One part of a view that Hypothesis makes."""

    name: str
    kind: str  # "immediate", "plain", "coroutine", "method"
    behaviour: str
    data: Any
    depends_on: tuple[str, ...]
    permitted: str | None  # None: no permission; else a name in PERMISSIONS
    slow: bool = False  # Whether it takes longer than a time budget.
    executor: str | None = None  # A name in EXECUTORS; None: that of the view.


class Granted(BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        return True


class Refused(BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        return False


class Broken(BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        raise RuntimeError(CANARY)


PERMISSIONS: dict[str | None, list[Any]] = {
    None: [],
    "granted": [Granted],
    "refused": [Granted, Refused],
    "broken": [Broken],
}


#: Where a part may run. A budget needs one of them for the view, too.
EXECUTORS: dict[str, Any] = {
    "inline": "partstream.backends.executors.inline.InlineExecutor",
    "threads": "partstream.backends.executors.threads.ThreadExecutor",
    "one at a time": {
        "BACKEND": "partstream.backends.executors.threads.ThreadExecutor",
        "OPTIONS": {"max_per_request": 1},
    },
}


@st.composite
def specs(draw: Any, least: int = 1, slow: bool = False, placed: bool = False) -> list[Spec]:
    names = draw(
        st.lists(
            st.sampled_from([f"piece_{letter}" for letter in "abcdefghij"]),
            min_size=least,
            max_size=8,
            unique=True,
        )
    )
    # A part depends only on what comes before it in an order of its own: no circles.
    ranked = draw(st.permutations(names))
    drawn = []
    for name in names:
        before = ranked[: ranked.index(name)]
        kind = draw(st.sampled_from(["immediate", "plain", "coroutine", "method"]))
        lazy_kind = kind != "immediate"
        drawn.append(
            Spec(
                name,
                kind,
                draw(st.sampled_from(sorted(BEHAVIOURS))) if lazy_kind else "data",
                draw(json_data),
                tuple(draw(st.lists(st.sampled_from(before), max_size=2, unique=True)))
                if lazy_kind and before
                else (),
                draw(st.sampled_from([None, None, *PERMISSIONS])) if lazy_kind else None,
                draw(st.booleans()) if slow else False,
                draw(st.sampled_from([None, *EXECUTORS])) if placed and lazy_kind else None,
            )
        )
    return drawn


def behave(spec: Spec, request: Any, dependencies: dict[str, Any]) -> Any:
    for data in dependencies.values():
        if isinstance(data, (list, dict)):
            data.clear()  # A loader that spoils what it was handed spoils it for nobody else.
    if spec.behaviour == "data":
        # It is not its sibling that says in which language, and where.
        assert (translation.get_language(), str(timezone.get_current_timezone())) == SURROUNDINGS
        return spec.data
    if spec.behaviour == "surroundings":
        translation.activate("de")
        timezone.activate("Asia/Tokyo")
        return spec.data
    if spec.behaviour == "cancelled":
        raise asyncio.CancelledError(CANARY)
    if spec.behaviour == "failing_generator":
        return (1 / number for number in (1, 0))
    if spec.behaviour == "part_error":
        raise PartError("Closed.", code="closed")
    if spec.behaviour == "final_part_error":
        raise PartError("Closed.", code="closed", retryable=False)
    if spec.behaviour in {"denied", "denied_despite_fallback"}:
        raise PermissionDenied(CANARY)
    if spec.behaviour == "missing":
        raise Http404(CANARY)
    if spec.behaviour == "invalid":
        raise ValidationError({"field": [CANARY]})
    if spec.behaviour == "throttled":
        raise Throttled(7, CANARY)
    if spec.behaviour == "address":
        return [request.get_full_path(), sorted(request.query_params)]
    if spec.behaviour == "junk":
        return {"value": object()}
    if spec.behaviour == "nan":
        return float("nan")
    if spec.behaviour == "recurse":
        return behave(spec, request, dependencies)
    raise ValueError(CANARY)


def loader_of(spec: Spec, calls: list[str]) -> Any:
    def plain(request: Any, **dependencies: Any) -> Any:
        calls.append(spec.name)
        if spec.slow:
            NEVER.wait(PAUSE)
        return behave(spec, request, dependencies)

    async def coroutine(request: Any, **dependencies: Any) -> Any:
        calls.append(spec.name)
        if spec.slow:
            await asyncio.sleep(PAUSE)
        return behave(spec, request, dependencies)

    loader: Any = coroutine if spec.kind == "coroutine" else plain
    if spec.behaviour in {"fallback", "denied_despite_fallback"}:
        loader = safe_call(loader, spec.data)
    elif spec.behaviour == "function_fallback":
        loader = safe_call(loader, lambda request, error: spec.data)
    elif spec.behaviour == "failing_fallback":
        loader = safe_call(loader, lambda request, error: 1 / 0)
    return loader


def view_of(drawn: list[Spec], size: int = 2, **attributes: Any) -> Any:
    """A view class of these parts; ``calls`` is what its loaders noted."""
    calls: list[str] = []
    methods: dict[str, Any] = {}
    pairs: list[tuple[str, Any]] = []
    for spec in drawn:
        if spec.kind == "immediate":
            pairs.append((spec.name, spec.data))
            continue
        loader = loader_of(spec, calls)
        if spec.kind == "method":
            methods[f"get_{spec.name}"] = staticmethod(loader) if callable(loader) else loader
            loader = f"get_{spec.name}"
        pairs.append(
            (
                spec.name,
                lazy(
                    loader,
                    depends_on=spec.depends_on,
                    permission_classes=PERMISSIONS[spec.permitted],
                    executor=None if spec.executor is None else EXECUTORS[spec.executor],
                ),
            )
        )
    return type(
        "Made",
        (HybridProgressiveView,),
        {
            "parts": pairs,
            "chunk_size": size,
            "max_keys_per_request": 100,
            "authentication_classes": [],
            "calls": calls,
            **methods,
            **attributes,
        },
    )


def get(view: Any, delivery: str = "walk", query: str = "", path: str = "/made/") -> Any:
    request = RequestFactory().get(path + query)
    return view.as_view(delivery=delivery)(request)


def read(response: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Results and errors of one answer, by name."""
    assert response.status_code == 200, response.content
    envelope = json.loads(response.content)
    results = {name: data for result in envelope["results"] for name, data in result.items()}
    return results, {error["part"]: error for error in envelope.get("errors", [])}


def walk(view: Any, query: str = "") -> list[Any]:
    """The answers of a whole walk."""
    answers = [get(view, query=query)]
    while json.loads(answers[-1].content)["cursor"] is not None:
        assert len(answers) < 50
        answers.append(get(view, query=f"?cursor={json.loads(answers[-1].content)['cursor']}"))
    return answers


def expected(drawn: list[Spec]) -> dict[str, tuple[str, Any]]:
    """What each part comes to, by a reading of the contract that shares no line with the code."""
    by_name = {spec.name: spec for spec in drawn}

    def visible(name: str) -> bool:
        spec = by_name[name]
        return spec.permitted in {None, "granted"} and all(map(visible, spec.depends_on))

    def outcome(name: str) -> tuple[str, Any]:
        spec = by_name[name]
        if any(outcome(other)[0] == "error" for other in spec.depends_on):
            return "error", "dependency_failed"
        code = BEHAVIOURS[spec.behaviour]
        if spec.behaviour == "address":
            return "data", ADDRESS
        return ("data", spec.data) if code is None else ("error", code)

    return {name: outcome(name) for name in by_name if visible(name)}


def summary(answers: list[Any]) -> dict[str, tuple[str, Any]]:
    found: dict[str, tuple[str, Any]] = {}
    for answer in answers:
        results, errors = read(answer)
        assert not set(found) & (set(results) | set(errors)), "a part came twice"
        found |= {name: ("data", data) for name, data in results.items()}
        found |= {name: ("error", error["code"]) for name, error in errors.items()}
    return found


@pytest.fixture(autouse=True, scope="module")
def unlogged() -> Any:
    """The laws are not about the log, and tracebacks of recursions take their time."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


laws = examples(60)
few = examples(40)

#: Seconds that a slow loader takes. A budget is spent sooner, or as soon; nothing is made of it.
PAUSE = 0.004
NEVER = Event()
THREADS = {"executor": "partstream.backends.executors.threads.ThreadExecutor"}
BUDGET = {**THREADS, "time_budget": PAUSE / 2}


@laws
@given(specs(), st.integers(1, 9))
def test_law_1__walk_and_keys_are_one_answer(drawn: list[Spec], size: int) -> None:
    hold_law_1(drawn, view_of(drawn, size))


@few
@given(specs(), st.integers(1, 9))
def test_law_1__in_threads(drawn: list[Spec], size: int) -> None:
    hold_law_1(drawn, view_of(drawn, size, **THREADS))


@few
@given(specs(placed=True), st.integers(1, 9))
def test_law_1__with_executors_of_parts(drawn: list[Spec], size: int) -> None:
    hold_law_1(drawn, view_of(drawn, size))


@few
@given(specs(slow=True, placed=True), st.integers(2, 9))
def test_law_1__with_executors_of_parts_and_a_time_budget(drawn: list[Spec], size: int) -> None:
    hold_law_1(drawn, view_of(drawn, size, **BUDGET))


@few
@given(specs(slow=True), st.integers(2, 9))
def test_law_1__with_a_time_budget(drawn: list[Spec], size: int) -> None:
    hold_law_1(drawn, view_of(drawn, size, **BUDGET))


def hold_law_1(drawn: list[Spec], view: Any) -> None:
    answers = walk(view)
    wanted = expected(drawn)
    assert summary(answers) == wanted
    # In declared order, and the positions add up.
    metas = [json.loads(answer.content)["meta"] for answer in answers]
    assert [meta["total_parts"] for meta in metas] == [len(wanted)] * len(metas)
    assert metas[-1]["current_part"] == len(wanted)
    assert [meta["has_more"] for meta in metas] == [True] * (len(metas) - 1) + [False]
    if wanted:
        assert summary([get(view, "parts", "?keys=" + ",".join(wanted))]) == wanted
        assert summary([get(view, "parts", f"?keys={name}") for name in wanted]) == wanted
    manifest = json.loads(get(view, "manifest").render().content)
    assert list(manifest["parts"]) == [spec.name for spec in drawn if spec.name in wanted]


@laws
@given(specs(), st.integers(1, 4), st.data())
def test_law_2__each_part_comes_exactly_once(drawn: list[Spec], size: int, data: Any) -> None:
    hold_law_2(view_of(drawn, size), data)


@few
@given(specs(), st.integers(1, 4), st.data())
def test_law_2__in_threads(drawn: list[Spec], size: int, data: Any) -> None:
    hold_law_2(view_of(drawn, size, **THREADS), data)


@few
@given(specs(placed=True), st.integers(1, 4), st.data())
def test_law_2__with_executors_of_parts(drawn: list[Spec], size: int, data: Any) -> None:
    hold_law_2(view_of(drawn, size), data)


def hold_law_2(view: Any, data: Any) -> None:
    answers = walk(view)
    names = [set().union(*map(set, read(answer))) for answer in answers]
    cursors = [json.loads(answer.content)["cursor"] for answer in answers[:-1]]
    # Repeated, and in any order: the same names behind each cursor.
    indices = st.lists(st.sampled_from(range(len(cursors))), max_size=6) if cursors else st.just([])
    for index in data.draw(indices):
        again = get(view, query=f"?cursor={cursors[index]}")
        assert set().union(*map(set, read(again))) == names[index + 1]
    hold_retries(view, answers)


def hold_retries(view: Any, answers: list[Any]) -> None:
    for answer in answers:
        for name, error in read(answer)[1].items():
            assert error["retryable"] is ("retry_cursor" in error)
            if "retry_cursor" in error:
                retried = get(view, query=f"?cursor={error['retry_cursor']}")
                results, errors = read(retried)
                assert (list(results) + list(errors), results) == ([name], {})
                meta = json.loads(retried.content)["meta"]
                assert meta["current_part"] == meta["total_parts"]
                assert json.loads(retried.content)["cursor"] is None


@few
@given(specs(slow=True), st.integers(2, 5), st.lists(st.integers(0, 7), max_size=3))
def test_law_2__with_a_time_budget_each_branch_ends_well(
    drawn: list[Spec], size: int, numbers: list[int]
) -> None:
    hold_law_2_with_a_time_budget(drawn, size, numbers)


@few
@given(specs(slow=True, placed=True), st.integers(2, 5), st.lists(st.integers(0, 7), max_size=3))
def test_law_2__with_executors_of_parts_and_a_time_budget_each_branch_ends_well(
    drawn: list[Spec], size: int, numbers: list[int]
) -> None:
    hold_law_2_with_a_time_budget(drawn, size, numbers)


def hold_law_2_with_a_time_budget(drawn: list[Spec], size: int, numbers: list[int]) -> None:
    view = view_of(drawn, size, **BUDGET)
    answers = walk(view)
    assert summary(answers) == expected(drawn)
    # What moved was joined: no loader ran twice on the way. Failures and fallbacks are not kept
    # for a dependent that comes later.
    again = {
        spec.name
        for spec in drawn
        if BEHAVIOURS[spec.behaviour] is not None or "fallback" in spec.behaviour
    }
    runs = Counter(view.calls)
    assert {name for name, count in runs.items() if count > 1} <= again
    assert [json.loads(answer.content)["meta"]["current_part"] for answer in answers] == [
        len(summary(answers[: count + 1])) for count in range(len(answers))
    ]
    # A repeated cursor may bring other names. What is behind it comes to the same.
    for number in numbers if len(answers) > 1 else ():
        index = number % (len(answers) - 1)
        cursor = json.loads(answers[index].content)["cursor"]
        branch = [get(view, query=f"?cursor={cursor}")]
        while json.loads(branch[-1].content)["cursor"] is not None:
            cursor = json.loads(branch[-1].content)["cursor"]
            branch.append(get(view, query=f"?cursor={cursor}"))
        assert summary(answers[: index + 1] + branch) == expected(drawn)
    hold_retries(view, answers)


@laws
@given(specs(least=2), st.integers(1, 4), st.data())
def test_law_3__what_one_part_does_changes_no_sibling(
    drawn: list[Spec], size: int, data: Any
) -> None:
    hold_law_3(drawn, size, data)


@few
@given(specs(least=2), st.integers(1, 4), st.data())
def test_law_3__in_threads(drawn: list[Spec], size: int, data: Any) -> None:
    hold_law_3(drawn, size, data, **THREADS)


@few
@given(specs(least=2, placed=True), st.integers(1, 4), st.data())
def test_law_3__with_executors_of_parts(drawn: list[Spec], size: int, data: Any) -> None:
    hold_law_3(drawn, size, data)


@few
@given(specs(least=2, slow=True, placed=True), st.integers(2, 5), st.data())
def test_law_3__with_executors_of_parts_and_a_time_budget(
    drawn: list[Spec], size: int, data: Any
) -> None:
    hold_law_3(drawn, size, data, **BUDGET)


@few
@given(specs(least=2, slow=True), st.integers(2, 5), st.data())
def test_law_3__with_a_time_budget(drawn: list[Spec], size: int, data: Any) -> None:
    hold_law_3(drawn, size, data, **BUDGET)


def hold_law_3(drawn: list[Spec], size: int, data: Any, **attributes: Any) -> None:
    lazy_parts = [spec for spec in drawn if spec.kind != "immediate"]
    if not lazy_parts:
        return
    changed = data.draw(st.sampled_from(lazy_parts))
    behaviour = data.draw(st.sampled_from(sorted(BEHAVIOURS)))
    other = [replace(spec, behaviour=behaviour) if spec is changed else spec for spec in drawn]
    touched = {changed.name}
    for _ in drawn:
        touched |= {spec.name for spec in drawn if touched & set(spec.depends_on)}
    before = summary(walk(view_of(drawn, size, **attributes)))
    after = summary(walk(view_of(other, size, **attributes)))
    assert before.keys() == after.keys()
    for name in before.keys() - touched:
        assert before[name] == after[name]
    assert (translation.get_language(), str(timezone.get_current_timezone())) == SURROUNDINGS


@laws
@given(
    specs(),
    st.integers(1, 4),
    st.sampled_from(["fernet.Fernet", "aead.AESSIV", "signed.Signed", "jwt.JWT"]),
)
def test_law_4__no_internal_reaches_the_client(drawn: list[Spec], size: int, codec: str) -> None:
    if codec.startswith("jwt"):
        pytest.importorskip("jwt", reason="PyJWT is an extra")
    path = f"partstream.backends.cursors.{codec}CursorCodec"
    with override_settings(DJANGO_PARTSTREAM={"CURSOR_CODEC": path}):
        view = view_of(drawn, size)
        hidden = {spec.name for spec in drawn} - expected(drawn).keys()
        answers = walk(view)
        answers += [get(view, "manifest").render(), get(view, "parts", "?keys=nothing")]
        answers += [get(view, "parts", f"?keys={name}") for name in hidden]
        for answer in answers:
            answer.render()
            seen = answer.content + repr(sorted(answer.headers.items())).encode()
            # What a signed token holds can be read by anyone.
            for piece in re.findall(rb"[A-Za-z0-9_-]{20,}", seen):
                seen += (
                    b" " + urlsafe_b64decode(piece + b"=" * (-len(piece) % 4))
                    if (len(piece) % 4 != 1)
                    else b""
                )
            for internal in [CANARY, "Traceback", "ValueError", "RecursionError", "object at"]:
                assert internal.encode() not in seen
            for name in hidden:
                assert name.encode() not in seen
        assert not hidden & set(view.calls), "the loader of a hidden part was called"


@laws
@given(
    specs(least=3),
    st.sampled_from(["path", "query", "view", "user", "host", "secret"]),
    st.booleans(),
)
def test_law_5__a_token_works_where_it_was_issued_and_nowhere_else(
    drawn: list[Spec], difference: str, as_user: bool
) -> None:
    drawn = [replace(spec, permitted=None) for spec in drawn]
    view = view_of(drawn, 1)
    alice, bob = User(pk=1, username="alice"), User(pk=2, username="bob")

    def ask(view: Any, path: str, query: str, user: User | None, host: str) -> Any:
        request = RequestFactory().get(path + query, headers={"host": host})
        if user is not None:
            force_authenticate(request, user=user)
        return view.as_view()(request)

    user = alice if as_user else None
    here: dict[str, Any] = {
        "view": view,
        "path": "/made/",
        "query": "?year=1",
        "user": user,
        "host": "testserver",
    }
    cursor = json.loads(ask(**here).content)["cursor"]
    assert ask(**{**here, "query": f"?year=1&cursor={cursor}"}).status_code == 200
    # The order of the application's own parameters among the protocol's does not matter.
    assert ask(**{**here, "query": f"?cursor={cursor}&format=json&year=1"}).status_code == 200
    there = {**here, "query": f"?year=1&cursor={cursor}"}
    if difference == "path":
        there["path"] = "/other/"
    elif difference == "query":
        there["query"] = f"?year=2&cursor={cursor}"
    elif difference == "view":
        there["view"] = type("Other", (view,), {})
    elif difference == "user":
        there["user"] = bob
    elif difference == "host":
        there["host"] = "other.example"
    if difference == "secret":
        with override_settings(SECRET_KEY="another secret, as long as a secret has to be"):
            answer = ask(**there)
    else:
        answer = ask(**there)
    view.calls.clear()
    assert answer.status_code == 400
    answer.render()
    assert json.loads(answer.content)["code"] == "cursor_invalid"
    assert view.calls == []


@examples(300)
@given(
    st.one_of(
        st.text(max_size=60),
        st.text(alphabet="gA-_.~ab01", max_size=200),
        st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")),
    ),
    st.sampled_from(["cursor", "keys", "format", "debug", "other"]),
    st.sampled_from(["walk", "parts", "manifest"]),
    st.sampled_from([None, "*/*", "application/json", "text/html;q=x", "\u2028", "a/b, */*"]),
)
def test_law_6__no_bad_input_gives_a_500(
    text: str, parameter: str, delivery: str, accept: str | None
) -> None:
    view = view_of([Spec("piece_a", "plain", "data", 1, (), None)])
    headers = {"accept": accept} if accept else {}
    request = RequestFactory().get("/made/", {parameter: text}, headers=headers)
    answer = view.as_view(delivery=delivery)(request)
    assert answer.status_code in {200, 400, 404, 406}
    raw = RequestFactory().get("/made/", headers=headers)
    raw.META["QUERY_STRING"] = f"{parameter}={text}".encode().decode("latin-1")
    assert view.as_view(delivery=delivery)(raw).status_code in {200, 400, 404, 406}


# What a server hands on of a header: any byte, as latin-1; and what is nearly an address.
header_texts = st.one_of(
    st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")),
    st.text(alphabet="0123456789abcdef.:[]%/, \tunix", max_size=60),
    st.lists(st.ip_addresses().map(str), max_size=4).map(", ".join),
)


@examples(200)
@given(
    st.dictionaries(
        st.sampled_from(
            ["REMOTE_ADDR"]
            + [f"HTTP_{name}" for name in ("X_FORWARDED_FOR", "X_REQUEST_ID", "HOST", "ACCEPT")]
            + [f"HTTP_{name}" for name in ("USER_AGENT", "ACCEPT_LANGUAGE", "X_FORWARDED_HOST")]
        ),
        header_texts,
        min_size=1,
        max_size=3,
    ),
    st.sampled_from(["walk", "parts", "manifest"]),
    st.sampled_from([[], ["unix"], ["10.0.0.0/8", "::1"], ["unix", "0.0.0.0/0", "::/0"]]),
    st.booleans(),
)
def test_law_6__no_bad_header_gives_a_500(
    headers: dict[str, str], delivery: str, trusted: list[str], blocked: bool
) -> None:
    view = view_of([Spec("piece_a", "plain", "data", 1, (), None)])
    changed = {
        "ENABLE_RATE_LIMITING": True,
        "RATE_LIMIT_STORE": "partstream.backends.rate_limits.memory.MemoryRateLimitStore",
        "TRUSTED_PROXIES": trusted,
        "IP_BLOCKLIST": ["0.0.0.0/1", "::/4"] if blocked else [],
    }
    with override_settings(DJANGO_PARTSTREAM=changed, USE_X_FORWARDED_HOST=blocked):
        request = RequestFactory().get("/made/?keys=piece_a", **headers)
        try:
            answer = view.as_view(delivery=delivery)(request).render()
        except DisallowedHost:  # Django's 400.
            assert {"HTTP_HOST", "HTTP_X_FORWARDED_HOST"} & set(headers)
            return
    assert answer.status_code in {200, 400, 403, 406}
    assert {"detail", "code"} <= json.loads(answer.content).keys() or answer.status_code == 200
    identifier = answer.headers["X-Request-ID"]
    assert re.fullmatch(r"[A-Za-z0-9._~-]{1,64}", identifier)
    assert identifier == headers.get("HTTP_X_REQUEST_ID") or len(identifier) == 32


@examples(300)
@given(st.data())
def test_law_6__a_spoilt_token_is_refused(data: Any) -> None:
    view = view_of(
        [Spec(name, "plain", "data", 1, (), None) for name in ("piece_a", "piece_b", "piece_c")], 1
    )
    token = json.loads(get(view).content)["cursor"]
    spoilt = list(token)
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(spoilt)))
        action = data.draw(st.sampled_from(["insert", "delete", "replace"]))
        character = data.draw(st.sampled_from("ABgz019-_.~=+/ \x00é"))
        if action == "insert" or index == len(spoilt):
            spoilt.insert(index, character)
        elif action == "delete":
            del spoilt[index]
        else:
            spoilt[index] = character
    if "".join(spoilt) == token:
        return
    request = RequestFactory().get("/made/", {"cursor": "".join(spoilt)})
    answer = view.as_view()(request)
    assert answer.status_code == 400
    assert view.calls == ["piece_a"], "a loader ran for a request that was refused"


@examples(100)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=25),
        lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=10,
    )
)
def test_law_6__a_well_made_token_of_any_payload_is_refused(payload: Any) -> None:
    view = view_of([Spec("piece_a", "plain", "data", 1, (), None)])
    try:
        token = get_cursor_codec().encode(payload, 60)
    except (ValueError, UnicodeEncodeError):
        return  # Not JSON, so no token.
    request = RequestFactory().get("/made/", {"cursor": token})
    assert view.as_view()(request).status_code == 400
