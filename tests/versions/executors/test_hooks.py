"""The hooks of executors: in which threads they are called, and what their errors do."""

from __future__ import annotations

import asyncio
import logging
import threading
from threading import get_ident

import pytest
from asgiref.sync import sync_to_async
from rest_framework import serializers

from partstream import HybridProgressiveView, PartError, cached_for, lazy, safe_call, with_timeout
from partstream.backends.executors.hooks import CallHooks
from partstream.backends.executors.inline import InlineExecutor
from partstream.backends.executors.threads import ThreadExecutor
from partstream.backends.loader import get_executor
from partstream.exceptions import HookFailed, Misuse
from partstream.resolution.boundary import Boundary
from partstream.testing import close_connections, collect
from tests.support.concurrency import PATIENCE, Held, result_of, wait_until
from tests.support.marks import timed
from tests.support.walk_client import at, get_json, merged

#: What a project keeps on a thread: the request that the thread works for.
state = threading.local()


def set_state(request):
    state.tenant = request.query_params["tenant"]
    EVENTS.append(("before", get_ident(), threading.current_thread().name))


def clear_state(request):
    del state.tenant
    EVENTS.append(("after", get_ident(), threading.current_thread().name))


def fail(request):
    raise LookupError("no tenant: hunter2")


def deny(request):
    raise PartError("not now", code="hook_says_no")


EVENTS = []
HOOKS = {"before_call": f"{__name__}.set_state", "after_call": f"{__name__}.clear_state"}


def tenant_of(request, **dependencies):
    return state.tenant


async def tenant_of_async(request, **dependencies):
    return await sync_to_async(tenant_of)(request)


def broken(request):
    raise ValueError("broken")


def tenant_as_fallback(request, error):
    return state.tenant


class LateSerializer(serializers.BaseSerializer):
    def to_representation(self, instance):
        return state.tenant


PARTS = {
    "timed": lazy(tenant_of, timeout=PATIENCE),
    "serializer": lazy(lambda request: {}, serializer_class=LateSerializer, timeout=PATIENCE),
    "iterator": lazy(lambda request: (state.tenant for _ in range(1)), timeout=PATIENCE),
    "fallback": lazy(safe_call(broken, fallback=tenant_as_fallback), timeout=PATIENCE),
    "cached": lazy(cached_for(60, shared=True)(tenant_of), timeout=PATIENCE),
    "coroutine": lazy(tenant_of_async, timeout=PATIENCE),
    "after": lazy(tenant_of, depends_on=["timed"], timeout=PATIENCE),
}


@pytest.fixture(autouse=True)
def events():
    """The calls of the hooks, in order; the test's thread has the state of a middleware."""
    EVENTS.clear()
    state.tenant = "red"
    yield EVENTS
    close_connections()
    del state.tenant


@pytest.fixture(params=[InlineExecutor, ThreadExecutor], ids=["inline", "threads"])
def hooked(request, settings, empty_cache):
    """The process's executor has hooks; of each kind in turn."""
    kind = request.param
    path = f"{kind.__module__}.{kind.__qualname__}"

    def hooked(**options):
        settings.DJANGO_PARTSTREAM = {
            "PART_EXECUTOR": {"BACKEND": path, "OPTIONS": {**HOOKS, **options}}
        }
        return get_executor()

    return hooked


def paired(events):
    """Whether each thread's hooks were called in turn, the second after each first."""
    return all(
        calls == ["before", "after"] * (len(calls) // 2)
        for thread in {thread for _, thread, _ in events}
        if (calls := [what for what, of, _ in events if of == thread])
    )


# Where they are called


@pytest.mark.parametrize("name", PARTS)
def test_hooks__are_called_around_a_part_in_a_thread_of_ours(client, serve, hooked, name, events):
    hooked()
    needed = [name] if name != "after" else ["timed", "after"]
    url = serve(HybridProgressiveView, parts=[(n, PARTS[n]) for n in needed], chunk_size=9)
    expected = ["red"] if name == "iterator" else "red"
    assert get_json(client, f"{url}?tenant=red")["results"][-1] == {name: expected}
    wait_until(lambda: not get_executor().pool._pending)
    assert events
    assert all(thread != get_ident() for _, thread, _ in events)
    assert paired(events)
    assert not any(label == "partstream-loop" for _, _, label in events)


def test_hooks__of_a_coroutine_are_called_in_its_own_thread_and_in_that_which_ends_it(
    client, serve, hooked, events
):
    hooked()
    url = serve(parts=[("coroutine", PARTS["coroutine"])])
    get_json(client, f"{url}?tenant=red")
    assert {label for _, _, label in events} == {"partstream-sync", "partstream-worker"}


def test_hooks__of_a_coroutine_that_needs_no_thread_start_none(client, serve, hooked, events):
    hooked()

    async def load(request):
        return 7

    url = serve(parts=[("coroutine", lazy(load, timeout=PATIENCE))])
    assert merged([get_json(client, f"{url}?tenant=red")]) == {"coroutine": 7}
    assert {label for _, _, label in events} == {"partstream-worker"}


def test_hooks__are_not_called_in_the_requests_own_thread(client, serve, settings, events):
    settings.DJANGO_PARTSTREAM = {
        "PART_EXECUTOR": {
            "BACKEND": "partstream.backends.executors.inline.InlineExecutor",
            "OPTIONS": HOOKS,
        }
    }
    parts = [("plain", lazy(tenant_of)), ("coroutine", lazy(tenant_of_async))]
    url = serve(parts=parts)
    assert merged([get_json(client, f"{url}?tenant=red")]) == {"plain": "red", "coroutine": "red"}
    assert events == []


def test_hooks__without_them_a_worker_has_no_state(client, serve, events):
    """That the tests above can fail."""
    url = serve(parts=[("timed", PARTS["timed"])])
    assert get_json(client, f"{url}?tenant=red")["errors"][0]["code"] == "part_failed"


def test_hooks__get_the_request_that_loaders_get(client, serve, hooked, monkeypatch):
    seen = []
    executor = hooked()
    monkeypatch.setattr(executor, "_before_call", seen.append)
    monkeypatch.setattr(executor, "_after_call", seen.append)
    url = serve(parts=[("timed", lazy(lambda request: seen.append(request), timeout=PATIENCE))])
    get_json(client, f"{url}?tenant=red")
    assert len(seen) == 3
    assert seen[0] is seen[1] is seen[2]


def test_hooks__are_called_around_a_fallback_in_the_requests_thread_only_where_they_have_to(
    client, serve, hooked, events, held
):
    """It has what the middleware set: no pooled connection was given back."""
    hooked()
    slow = held()
    loader = safe_call(with_timeout(slow, 0.05), fallback=tenant_as_fallback)
    url = serve(parts=[("slow", lazy(loader))])
    assert merged([get_json(client, f"{url}?tenant=red")]) == {"slow": "red"}
    slow.release()
    wait_until(lambda: not get_executor().abandoned)
    assert all(thread != get_ident() for _, thread, _ in events)


def test_hooks__are_called_around_a_timed_loader_that_python_calls(client, serve, hooked, events):
    hooked()

    def load(request):
        return with_timeout(tenant_of, PATIENCE)(request)

    url = serve(parts=[("direct", lazy(load))])
    assert merged([get_json(client, f"{url}?tenant=red")]) == {"direct": "red"}
    threads = 2 if get_executor().concurrent else 1
    assert len({thread for _, thread, _ in events}) == threads
    assert paired(events)


def test_hooks__of_the_views_own_executor_serve_what_its_methods_call(client, serve, events):
    class View(HybridProgressiveView):
        executor = ThreadExecutor(**HOOKS)
        parts = [("direct", lazy("load"))]

        def load(self, request):
            return self.timed(request)

        timed = with_timeout(lambda self, request: state.tenant, PATIENCE)

    url = serve(View)
    assert merged([get_json(client, f"{url}?tenant=red")]) == {"direct": "red"}
    assert {label for _, _, label in events} == {"partstream-worker"}


def test_hooks__of_many_tenants_at_once_never_mix(client, serve, hooked):
    hooked(max_workers=4)
    names = ["timed", "coroutine", "fallback", "serializer"]
    url = serve(HybridProgressiveView, parts=[(n, PARTS[n]) for n in names], chunk_size=9)
    for turn in range(40):
        tenant = ["red", "blue", "green"][turn % 3]
        assert merged([get_json(client, f"{url}?tenant={tenant}")]) == dict.fromkeys(names, tenant)


def test_hooks__are_called_around_what_a_coroutine_hands_to_other_threads(client, serve, hooked):
    hooked()

    async def load(request):
        return [
            await asyncio.to_thread(tenant_of, request),
            await sync_to_async(tenant_of, thread_sensitive=False)(request),
        ]

    url = serve(parts=[("coroutine", lazy(load, timeout=PATIENCE))])
    assert merged([get_json(client, f"{url}?tenant=red")]) == {"coroutine": ["red", "red"]}


@timed
def test_hooks__hold_for_the_cleanup_of_a_timed_loader_in_a_coroutine(client, serve, hooked):
    hooked()
    cleaned = []

    async def hang(request):
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(await tenant_of_async(request))

    async def load(request):
        await with_timeout(hang, PATIENCE)(request)

    url = serve(parts=[("coroutine", lazy(load, timeout=0.1))])
    assert get_json(client, f"{url}?tenant=red")["errors"][0]["code"] == "part_timeout"
    assert get_executor().loop.wait_until_idle(PATIENCE)
    assert cleaned == ["red"]


def test_task__that_its_coroutine_left_behind_runs_no_code_of_the_project(client, serve, hooked):
    hooked()
    left, errors = asyncio.Event(), []

    async def total(request):
        await left.wait()
        try:
            await tenant_of_async(request)
        except RuntimeError as error:
            errors.append(str(error))
        finally:
            done.set()

    async def load(request):
        tasks.append(asyncio.ensure_future(total(request)))
        return "early"

    tasks, done = [], threading.Event()
    url = serve(parts=[("coroutine", lazy(load, timeout=PATIENCE))])
    assert merged([get_json(client, f"{url}?tenant=red")]) == {"coroutine": "early"}
    tasks[0].get_loop().call_soon_threadsafe(left.set)
    assert done.wait(PATIENCE)
    assert errors == ["the coroutine loader of this task has ended"]


def test_hooks__of_the_views_executor_serve_functions_of_a_module(client, serve, events):
    def load(request):
        return with_timeout(tenant_of, PATIENCE)(request)

    executor = InlineExecutor(**HOOKS)
    url = serve(parts=[("direct", lazy(load))], executor=executor)
    assert merged([get_json(client, f"{url}?tenant=red")]) == {"direct": "red"}
    assert [what for what, _, _ in events] == ["before", "after"]


def test_hooks__go_by_the_thread_in_which_a_part_runs(client, serve, events, empty_cache):
    class RunsNow(ThreadExecutor):
        def submit(self, function, *, timeout=None):
            return function()

    class RunsElsewhere(InlineExecutor):
        def submit(self, function, *, timeout=None):
            return result_of(self.pool.submit(function, timeout))

    for kind, calls in ((RunsNow, []), (RunsElsewhere, ["before", "after"])):
        events.clear()
        # One that is cached goes through the executor's own hands, whichever it is.
        part = lazy(cached_for(60, key=lambda request, kind=kind: kind.__name__)(tenant_of))
        url = serve(parts=[("one", part)], executor=kind(**HOOKS))
        assert merged([get_json(client, f"{url}?tenant=red")]) == {"one": "red"}
        assert [what for what, _, _ in events] == calls
        assert state.tenant == "red"


def test_fallback__of_a_coroutine_that_python_awaits_runs_in_its_own_thread(client, serve, hooked):
    hooked()
    names = []

    async def fails(request):
        raise ValueError

    def fallback(request, error):
        names.append(threading.current_thread().name)
        return state.tenant

    async def load(request):
        return await safe_call(fails, fallback=fallback)(request)

    url = serve(parts=[("coroutine", lazy(load, timeout=PATIENCE))])
    assert merged([get_json(client, f"{url}?tenant=red")]) == {"coroutine": "red"}
    assert names == ["partstream-sync"]


# What they raise


@pytest.mark.parametrize("hook", [fail, deny])
@pytest.mark.parametrize("name", ["timed", "coroutine", "fallback"])
def test_before_call__that_raises_fails_the_part_and_is_logged(
    client, serve, hooked, name, caplog, hook
):
    hooked(before_call=f"{__name__}.{hook.__name__}", after_call=None)
    url = serve(parts=[(name, PARTS[name])])
    with caplog.at_level(logging.ERROR, "partstream"):
        answer = get_json(client, f"{url}?tenant=red")
    error = dict(answer["errors"][0])
    token = error.pop("retry_cursor")
    assert error == {
        "part": name,
        "code": "part_failed",
        "detail": "This part could not be loaded.",
        "retryable": True,
    }
    assert "hunter2" not in str(answer)
    [record] = [r for r in caplog.records if "before_call() failed" in r.getMessage()]
    assert record.exc_info[0] in {LookupError, PartError}
    hooked()
    assert merged([get_json(client, at(url, token, tenant="red"))]) == {name: "red"}


def test_before_call__that_raises_fails_a_coroutine_that_swallows_it(client, serve, hooked):
    hooked(before_call=f"{__name__}.fail", after_call=None)

    async def load(request):
        try:
            return await sync_to_async(tenant_of)(request)
        except HookFailed:
            return "public"

    url = serve(parts=[("coroutine", lazy(load, timeout=PATIENCE))])
    assert get_json(client, f"{url}?tenant=red")["errors"][0]["code"] == "part_failed"


def test_after_call__is_called_when_before_call_failed(client, serve, hooked, events):
    hooked(before_call=f"{__name__}.fail")
    url = serve(parts=[("timed", PARTS["timed"])])
    get_json(client, f"{url}?tenant=red")
    wait_until(lambda: get_executor().pool._pending == 0)
    # It raised, since there is nothing to take away; that was only logged.
    assert events == []


@pytest.mark.parametrize("name", ["timed", "coroutine"])
def test_after_call__that_raises_is_only_logged(client, serve, hooked, name, caplog):
    hooked(after_call=f"{__name__}.fail")
    url = serve(parts=[(name, PARTS[name])])
    with caplog.at_level(logging.ERROR, "partstream"):
        assert merged([get_json(client, f"{url}?tenant=red")]) == {name: "red"}
        close_connections()
    assert any("after_call() failed" in record.getMessage() for record in caplog.records)


@timed
def test_after_call__runs_after_an_abandoned_call(client, serve, hooked, events, held):
    hooked()
    slow = held()
    url = serve(parts=[("slow", lazy(slow, timeout=0.05))])
    assert get_json(client, f"{url}?tenant=red")["errors"][0]["code"] == "part_timeout"
    assert [what for what, _, _ in events] == ["before"]
    slow.release()
    wait_until(lambda: not get_executor().abandoned)
    assert [what for what, _, _ in events] == ["before", "after"]


# What they cost, and how they are named


def test_hooks__where_none_is_set_the_boundary_is_the_plain_one(client, serve, executor):
    seen = []

    class View(HybridProgressiveView):
        parts = [("one", lazy(lambda request: 1))]

        def get_resolver(self, request):
            seen.append(super().get_resolver(request))
            return seen[-1]

    View.executor = executor
    collect(client, serve(View))
    assert seen[0].hooks is None
    assert type(seen[0].boundary) is Boundary


def test_executor__has_hooks_where_a_subclass_writes_them(executors):
    class Own(ThreadExecutor):
        def before_call(self, request):
            seen.append(request)

    class OwnAfter(ThreadExecutor):
        def after_call(self, request):
            seen.append(request)

    seen = []
    assert not executors(ThreadExecutor).has_hooks
    for kind in (Own, OwnAfter):
        assert executors(kind).has_hooks
        CallHooks(executors(kind), "request").around(lambda: seen.append("call"))
    assert seen == ["request", "call", "call", "request"]
    assert executors(ThreadExecutor, before_call=fail).has_hooks
    assert executors(ThreadExecutor, after_call=fail).has_hooks


@pytest.mark.parametrize("option", ["before_call", "after_call"])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"{__name__}.nowhere", "cannot be imported"),
        ("nonsense", "cannot be imported"),
        ("tests.no_module.at_all", "cannot be imported"),
        (f"{__name__}.EVENTS", "is not a function"),
        (f"{__name__}.Held", "is not a function"),
        (f"{__name__}.tenant_of_async", "is a coroutine function"),
        (f"{__name__}.tenant_as_fallback", "cannot be called as"),
        (7, "is not a function"),
    ],
)
def test_executor__refuses_what_is_no_hook(option, path, message):
    with pytest.raises(Misuse, match=message) as caught:
        InlineExecutor(**{option: path})
    assert option in str(caught.value)


def test_executor__refuses_coroutine_methods():
    class Own(InlineExecutor):
        async def before_call(self, request):
            """Never called."""

    with pytest.raises(Misuse, match=r"Own\.before_call is a coroutine function"):
        Own()


def test_call_hooks__system_exit_is_not_swallowed(executors):
    class Leaves(ThreadExecutor):
        def before_call(self, request):
            raise SystemExit(3)

    executor = executors(Leaves)
    with pytest.raises(SystemExit):
        CallHooks(executor, None).around(Held())

    async def load():
        return await sync_to_async(tenant_of)(None)

    seen = []
    call = executor.submit_coroutine(
        load, lambda result, error: seen.append(error), hooks=CallHooks(executor, None)
    )
    result_of(call)
    assert isinstance(seen[0], SystemExit)
