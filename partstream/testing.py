"""Helpers for your project's tests: they request every part of a view as a client would."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, ClassVar, Literal, TypeVar
from urllib.parse import unquote_plus, urlsplit, urlunsplit

from django.urls import get_script_prefix

from .backends.executors import loop, pool
from .backends.executors.calls import Call
from .backends.executors.inline import InlineExecutor
from .backends.loader import substituted
from .parentheses import in_parentheses
from .security.exemptions import is_exempt

T = TypeVar("T")

#: More requests than any walk needs.
_MOST_REQUESTS = 5000
_NEXT = re.compile(r'<(\?[^>]*)>; rel="next"')


class CollectedParts(dict[str, Any]):
    """Name of a part -> its data, in the order of delivery.

    Attributes:
        errors: Name of a part -> its error, as in the response.
        requests: The number of requests made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.errors: dict[str, dict[str, Any]] = {}
        self.requests = 0


def collect(
    client: Any,
    url: str,
    *,
    mode: Literal["walk", "keys"] = "walk",
    allow_errors: bool = False,
    **extra: Any,
) -> CollectedParts:
    """Collect every part of a view as a client does. Works inside a test's transaction.

    partstream's own rate limits neither count nor refuse its requests; throttles of the project do.

    Args:
        client: Django's test client, or DRF's.
        url: The walk's URL, with your application's own query if it has one.
        mode: ``"walk"`` follows cursors to the end; ``"keys"`` reads the manifest and requests
            each part alone, so the view must be mounted with ``urls()``, or by a router.
        allow_errors: Whether parts may fail; if so, look at ``errors`` of the result.
        extra: Passed to each ``client.get()``, for example ``headers={...}``.

    Raises:
        AssertionError: When a response is not 200 or not that of a partstream view, a part failed
            although ``allow_errors`` is not set, or a part came twice.

    Example:
        ``assert collect(self.client, "/api/dashboard/")["orders"] == []``
    """
    parts = CollectedParts()
    split = urlsplit(url)
    if mode == "walk":
        query: str | None = split.query and f"?{split.query}"
        while query is not None:
            response = _get(client, split.path + query, parts, allow_errors, extra)
            cursor = response.json()["cursor"]
            link = _NEXT.fullmatch(response.headers.get("Link", ""))
            if link and link[1].rpartition("=")[2] != cursor:
                raise AssertionError(f"{url}: the cursor and the Link header disagree.")
            query = link[1] if link else _next_query(response, split.query, cursor)
    elif mode == "keys":
        manifest_path, parts_path = split.path + "manifest/", split.path + "parts/"
        if not split.path.endswith("/"):
            # Routes without trailing slashes, or with a format suffix: only their links say how.
            walk = _body_of(_got(client, url, parts, extra), url, "results", "cursor", "meta")
            manifest_path = _local(walk["meta"].get("manifest_url"), url)
        manifest = _got(client, manifest_path, parts, extra)
        manifest = _body_of(manifest, manifest_path, "parts")
        if not split.path.endswith("/"):
            parts_path = _local(manifest["links"].get("parts"), url)
        for name in manifest["parts"]:
            query = "&".join(filter(None, (split.query, f"keys={name}")))
            target = urlunsplit(("", "", parts_path, query, ""))
            _get(client, target, parts, allow_errors, extra)
    else:
        raise ValueError(f"mode={mode!r}: write 'walk' or 'keys'.")
    return parts


def _next_query(response: Any, query: str, cursor: str | None) -> str | None:
    """The query for the next chunk, where there is no ``Link``; None at the end."""
    if cursor is None:
        return None
    view = getattr(response, "renderer_context", {}).get("view")
    get_parameter = getattr(view, "get_cursor_query_param", None)
    parameter = "cursor" if get_parameter is None else get_parameter()
    others = [
        pair
        for pair in query.split("&")
        if pair and unquote_plus(pair.partition("=")[0]) != parameter
    ]
    return "?" + "&".join([*others, f"{parameter}={cursor}"])


def _get(
    client: Any, url: str, parts: CollectedParts, allow_errors: bool, extra: dict[str, Any]
) -> Any:
    """Send one request, and add the parts it returns."""
    response = _got(client, url, parts, extra)
    envelope = _body_of(response, url, "results", "cursor")
    delivered = [item for result in envelope["results"] for item in result.items()]
    errors = {error["part"]: error for error in envelope.get("errors", [])}
    for name in [name for name, _ in delivered] + list(errors):
        if name in parts or name in parts.errors:
            raise AssertionError(f"{url}: part {name!r} came twice.")
    parts.update(delivered)
    parts.errors.update(errors)
    if errors and not allow_errors:
        raise AssertionError(f"{url}: parts failed: {errors}")
    return response


def _got(client: Any, url: str, parts: CollectedParts, extra: dict[str, Any]) -> Any:
    """The response to one request, which has to be a good one."""
    parts.requests += 1
    if parts.requests > _MOST_REQUESTS:
        raise AssertionError(f"{url}: the walk does not end.")
    token = is_exempt.set(True)
    try:
        response = client.get(url, **extra)
    finally:
        is_exempt.reset(token)
    if response.status_code != 200:
        raise AssertionError(f"{url} answered {response.status_code}: {response.content[:500]!r}")
    return response


def _body_of(response: Any, url: str, *fields: str) -> Any:
    """The body of an answer of partstream's, which has these fields."""
    body = response.json() if "json" in response.headers.get("Content-Type", "") else None
    if not isinstance(body, dict) or not body.keys() >= set(fields):
        raise AssertionError(
            f"{url} is not a partstream view. It answered {response.content[:500]!r}"
        )
    return body


def _local(link: str | None, url: str) -> str:
    """A path of an answer as the test client takes it: without the prefix of the script."""
    if link is None:
        raise AssertionError(f"{url}: its answer has no link to follow. Mount it with urls().")
    return "/" + link.removeprefix(get_script_prefix())


class _CallerExecutor(InlineExecutor):
    """Runs everything in the caller's thread, and ignores timeouts."""

    watches_time: ClassVar[bool] = False

    def submit(self, function: Callable[[], T], *, timeout: float | None = None) -> T | Call:
        """See `Executor.submit`."""
        return function()

    def submit_to_worker(
        self, function: Callable[[], Any], *, timeout: float | None = None
    ) -> Call:
        """See `Executor.submit_to_worker`; the call has ended when this returns."""
        call = Call(function)
        call.begin(_ignore)
        call.run()
        return call


def _ignore(call: Call) -> None:
    """What is done when a call is abandoned that cannot be."""


@in_parentheses("@inline(), or with inline():")
@contextmanager
def inline() -> Iterator[None]:
    """Run every loader in the caller's thread, whatever views, parts and settings say.

    Other threads cannot see a test's transaction, so a view that uses the ``ThreadExecutor``, or a
    loader with a timeout, would not find the rows of a ``TestCase``. Within this block, or in a
    function decorated with it, all parts run in the test's own thread. Timeouts and time budgets
    have no effect.

    Example::

        @partstream.testing.inline()
        def test_dashboard(self):
            assert collect(self.client, "/api/dashboard/")["orders"] == []
    """
    with substituted(_CallerExecutor()):
        yield


def close_connections(timeout: float = 10) -> None:
    """Close the database connections of all threads that ran parts. Call it when a test ends.

    With ``CONN_MAX_AGE`` set, a thread keeps its connection for a second after its last part, and
    PostgreSQL refuses to drop a database that still has connections. This function waits for the
    parts that still run, and ends the threads; the next part starts new ones.

    Args:
        timeout: Seconds to wait for parts that still run.

    Raises:
        AssertionError: When a part does not end in time.

    Example::

        class DashboardTests(TransactionTestCase):
            def setUp(self):
                self.addCleanup(partstream.testing.close_connections)
    """
    ends = monotonic() + timeout
    are_idle = loop.wait_until_all_idle(timeout)
    if not pool.close_all(max(0.0, ends - monotonic())) or not are_idle:
        raise AssertionError(
            f"A part still runs {timeout:g} s after its test, and holds its thread's database "
            "connections. Make its loader end, or give it a timeout."
        )
