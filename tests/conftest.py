from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.core.cache import caches
from django.urls import include, path, set_script_prefix
from django.utils import timezone, translation

from partstream import HybridProgressiveView, ProgressiveView
from partstream.backends.executors import pool
from partstream.backends.executors.inline import InlineExecutor
from partstream.backends.executors.threads import ThreadExecutor
from partstream.backends.loader import get_cache_store
from partstream.caching.single_flight import get_single_flight
from partstream.security import suspicion
from partstream.streams.registry import registry
from tests.support import (
    databases,
    hypothesis_profiles,
    marks,
    memcached,
    node,
    redis,
    redis_cluster,
)
from tests.support.concurrency import Held, HeldCoroutine, wait_until

hypothesis_profiles.load_default()

pytest.register_assert_rewrite(
    "tests.support.contracts.cache_store",
    "tests.support.contracts.cache_store_over_django",
    "tests.support.contracts.cursor_codec",
    "tests.support.contracts.rate_limit_store",
    "tests.support.contracts.rate_limit_store_over_django",
    "tests.support.contracts.redis_faults",
    "tests.support.contracts.executor",
    "tests.support.walk_client",
)

needs_jwt = pytest.mark.skipif(find_spec("jwt") is None, reason="the extra jwt is not installed")

CODECS = [
    pytest.param("partstream.backends.cursors.aead.AESSIVCursorCodec", id="aead"),
    pytest.param("partstream.backends.cursors.fernet.FernetCursorCodec", id="fernet"),
    pytest.param("partstream.backends.cursors.jwt.JWTCursorCodec", id="jwt", marks=needs_jwt),
    pytest.param("partstream.backends.cursors.signed.SignedCursorCodec", id="signed"),
]


# How pytest runs

#: Fixtures of tests that use the project's database.
DATABASE_FIXTURES = {
    *("db", "transactional_db", "django_db_reset_sequences"),
    # Those of projects in processes of their own.
    *("database", "postgresql_url", "project"),
}


def pytest_xdist_auto_num_workers(config):
    """Run in this process what is chosen by name or by file: workers would take longer to start."""
    chosen = config.option.keyword or config.option.capture == "no" or config.option.collectonly
    files = [path for path in config.args if not Path(path).is_dir()]
    # Half of the time the tests wait, so there are more workers than cores.
    return 0 if chosen or files else 3 * (os.cpu_count() or 2) // 2


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what uses the database, however it asks for it: `-m database` runs these alone.

    With CI set, whatever fails is run again, and named at the end.
    """
    for item in items:
        if os.environ.get("CI") and not item.get_closest_marker("flaky"):
            item.add_marker(marks.once_more)
        if item.get_closest_marker("django_db") or DATABASE_FIXTURES & set(item.fixturenames):
            item.add_marker("database")


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable():
    """Let reports of tests with lone surrogates travel between the processes of pytest-xdist."""
    return printable((yield))


def printable(data):
    """The same data, with each character that has no UTF-8 as an escape."""
    if isinstance(data, str):
        return data.encode("utf-8", "backslashreplace").decode()
    if isinstance(data, dict):
        return {printable(key): printable(value) for key, value in data.items()}
    if type(data) in (list, tuple):
        return type(data)(map(printable, data))
    return data


def pytest_terminal_summary(terminalreporter):
    """Say at the end which tests failed at first and were run again."""
    repeated = sorted({report.nodeid for report in terminalreporter.stats.get("rerun", [])})
    if not repeated or "PYTEST_XDIST_WORKER" in os.environ:  # Which reports to another process.
        return
    terminalreporter.section("tests that were run again", yellow=True)
    for nodeid in repeated:
        terminalreporter.line(nodeid)
    if path := os.environ.get("PARTSTREAM_TEST_REPEATED"):
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(f"{nodeid}\n" for nodeid in repeated)


# Fixtures


@pytest.fixture(autouse=True)
def own_language():
    """A language or time zone that a test's request leaves behind does not reach the next test."""
    yield
    translation.deactivate()
    timezone.deactivate()


@pytest.fixture(autouse=True)
def unsuspected_clients():
    """No client is suspected because of what an earlier test asked for."""
    suspicion.watch.reset()


@pytest.fixture(autouse=True)
def uncounted_streams():
    """No stream of an earlier test is counted, which may wait for the garbage collector."""
    registry.reset()


@pytest.fixture
def known_thread_settings():
    """Each setting of the thread has a value, for tests of what is left to the garbage collector.

    Where one has none, asgiref's ``Local`` raises inside a context manager, and on Python 3.10
    contextlib's frame of that refers to the exception, which refers to the frame: they wait for the
    garbage collector with all frames that called them.
    """
    set_script_prefix("/")  # As servers do.
    with ExitStack() as stack:
        if sys.version_info < (3, 11):
            stack.enter_context(translation.override("en-us"))
            stack.enter_context(timezone.override("UTC"))
        yield


class URLconf:
    """Stands where Django expects a module with ``urlpatterns``."""

    def __init__(self, urlpatterns):
        self.urlpatterns = urlpatterns


@pytest.fixture
def mount(settings):
    """Make these URL patterns the project's only ones."""

    def mount(*patterns):
        settings.ROOT_URLCONF = URLconf(list(patterns))

    return mount


@pytest.fixture
def serve(mount):
    """Serve one view, made of a base and attributes; its URL is returned."""

    def serve(base=ProgressiveView, **attributes):
        view = type("ServedView", (base,), {"__module__": __name__, **attributes})
        hybrid = issubclass(view, HybridProgressiveView)
        mount(path("served/", include(view.urls(name="served")) if hybrid else view.as_view()))
        return "/served/"

    return serve


class Calls(list):
    """Names of the loaders that were called, in order."""

    def loader(self, name, data=None):
        """A loader that notes its call and returns the data."""

        def load(request, **dependencies):
            self.append(name)
            return data

        return load


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture
def executors(monkeypatch):
    """Makes executors: ``executors(ThreadExecutor, max_workers=1)``; their threads end soon."""
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.5)
    made = []

    def make(kind=ThreadExecutor, **options):
        made.append(kind(**options))
        return made[-1]

    yield make
    for executor in made:
        wait_until(lambda executor=executor: not executor.abandoned)


@pytest.fixture
def threads(executors):
    return executors(ThreadExecutor)


@pytest.fixture(params=[InlineExecutor, ThreadExecutor], ids=["inline", "threads"])
def executor(request, executors):
    """An executor of each kind in turn."""
    return executors(request.param)


@pytest.fixture
def held(executors):
    """Makes loaders that are held until they are let go, at the latest when the test ends."""
    made = []

    def make(data=None, *, error=None, kind=Held):
        made.append(kind(data, error=error))
        return made[-1]

    yield make
    for loader in made:
        loader.release()


@pytest.fixture(params=[Held, HeldCoroutine], ids=["plain", "coroutine"])
def held_of_each_kind(request, held):
    """The same, plain and ``async def`` in turn."""
    return lambda data=None, *, error=None: held(data, error=error, kind=request.param)


@pytest.fixture(params=CODECS)
def codec(request, settings):
    """Each codec in turn, as the project's; the value is its path."""
    settings.DJANGO_PARTSTREAM = {"CURSOR_CODEC": request.param}
    return request.param


@pytest.fixture
def user(django_user_model):
    return django_user_model.objects.create_user("ada", password="ada")


@pytest.fixture
def staff(django_user_model):
    return django_user_model.objects.create_user("grace", password="grace", is_staff=True)


@pytest.fixture
def empty_cache():
    """A cache without what earlier tests have left in it, whose users had the same keys."""
    caches["default"].clear()
    yield
    flights = get_single_flight()
    try:
        # One that is left behind would keep everybody waiting who asks for the same.
        wait_until(lambda: not flights._flights)
    finally:
        flights.reset()


@pytest.fixture
def store(settings, empty_cache):
    """The project's store of fragments, which notes what it is asked."""
    settings.DJANGO_PARTSTREAM = {"CACHE_STORE": "tests.support.stores.NotingStore"}
    return get_cache_store()


@pytest.fixture(scope="session")
def redis_url():
    """The address of a Redis server that all tests share: use keys of your own, flush nothing."""
    url = os.environ.get("PARTSTREAM_TEST_REDIS_URL")
    if url:
        yield url
        return
    with redis.server(redis.demand_server()) as shared:
        yield shared.url


@pytest.fixture
def redis_server():
    """A Redis server that this test alone has, to stop, kill or fill."""
    with redis.server(redis.demand_server()) as own:
        yield own


@pytest.fixture(scope="session")
def shared_cluster():
    """A Redis Cluster of three nodes that all tests share: use keys of your own."""
    with redis_cluster.cluster(redis.demand_server()) as shared:
        yield shared


@pytest.fixture
def own_cluster():
    """A Redis Cluster that this test alone has, to stop, kill or reshape."""
    with redis_cluster.cluster(redis.demand_server()) as own:
        yield own


@pytest.fixture(scope="session")
def memcached_location():
    """The ``LOCATION`` of a memcached server that all tests share: use keys of your own."""
    with memcached.server(memcached.demand_server()) as location:
        yield location


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    """npm's packages of `tests/support/node`, and the browser client; see `node.Packages`."""
    return node.install(tmp_path_factory.mktemp("npm"))


@pytest.fixture(scope="session")
def postgresql_url():
    """The address of a PostgreSQL server that all tests share, as a superuser of it."""
    with databases.server() as url:
        yield url


@pytest.fixture
def database(postgresql_url):
    """A new database, for a project in a process of its own."""
    with databases.database(postgresql_url) as own:
        yield own
