"""The documentation and the code name the same things."""

from __future__ import annotations

import re
from dataclasses import fields
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from secrets import token_hex

import pytest
from django.core.cache import caches
from django.core.checks import run_checks
from rest_framework.views import APIView

import partstream
from partstream import (
    checks,
    conf,
    exceptions,
    mixins,
    request_ids,
    setting_kinds,
    signals,
    throttling,
    views,
)
from partstream.backends.executors.base import Executor
from partstream.backends.executors.inline import InlineExecutor
from partstream.backends.executors.threads import ThreadExecutor
from partstream.backends.loader import get_cache_store, get_rate_limit_store
from partstream.backends.rate_limits import memory
from partstream.backends.rate_limits.django_cache import DjangoCacheRateLimitStore
from partstream.renderers import STREAM_RENDERERS
from partstream.security import audit, client_ip, suspicion, validation
from partstream.walks import cursor
from partstream.walks.cursor import Cursor
from partstream.wire import errors, schemas
from tests.support.redis import needs_redis

from .markdown import DOCS, PAGES, README, TREE, blocks, rows, sections

SETTINGS = DOCS / "settings.md"
WIRE_FORMAT = DOCS / "wire-format.md"
VIEWS = DOCS / "views-and-mixins.md"
RESOLUTION = DOCS / "resolution.md"
CACHING = DOCS / "caching.md"
RATE_LIMITS = DOCS / "rate-limits.md"
PRODUCTION = DOCS / "production.md"
STREAMING = DOCS / "streaming.md"
SECURITY_PAGE = DOCS / "security.md"
OTHER_LIBRARIES = DOCS / "other-libraries.md"
ALL = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)

#: What examples say to a cache of the project, in ``CACHES``.
OF_A_CACHE = {"KEY_PREFIX", "MAX_ENTRIES", "SOCKET_CONNECT_TIMEOUT", "SOCKET_TIMEOUT"}
#: What they say to REST framework, in ``REST_FRAMEWORK``.
OF_REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS"}

#: What every view has; the rest of the mixins is the developer's to choose.
BASES = [mixins.GuardMixin, mixins.PartsMixin]
CLASSES = list(
    dict.fromkeys([*BASES, *(getattr(mixins, name) for name in dir(mixins) if "Mixin" in name)])
)
MIXINS = [found for found in CLASSES if found not in BASES]
#: How the names of hooks begin: a method that a view overrides, and others ask.
HOOKS = ("get_", "counts_as_")


def in_code(text):
    """What a text says between backticks."""
    return set(re.findall(r"`([^`\n]+)`", text))


def own(kind, ours):
    """Public names that a class of ours defines and DRF's view does not, if they are such."""
    return {
        name
        for name, value in vars(kind).items()
        if not name.startswith("_") and not hasattr(APIView, name) and ours(name, value)
    }


# Settings


@pytest.mark.parametrize("field", fields(conf.Settings), ids=lambda field: field.name)
def test_setting__is_documented_with_default_and_variable(field):
    text = sections(SETTINGS)[field.name]
    facts = " ".join(text.strip().split("\n\n")[0].split())
    variable = next((key for key, name in conf.VARIABLES.items() if name == field.name), None)
    default = list(field.default) if isinstance(field.default, tuple) else field.default
    assert f"default `{conf_text(default)}`" in facts
    assert (f"environment `{variable}`" if variable else "no environment variable") in facts
    kind = field.metadata["kind"]
    assert facts.startswith(KINDS[type(kind)](kind))
    if isinstance(kind, setting_kinds.Number):
        assert (", or `None`" in facts) == kind.optional
        if kind.most != setting_kinds.LONGEST_TTL:
            assert f"({kind.most:,} at most)" in facts or kind.most == 1 << 30
    if isinstance(kind, setting_kinds.Flag):
        assert "(`true` or `false`)" in facts


def conf_text(value):
    """A value as settings are written."""
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _words(kind):
    *others, last = (f'`"{word}"`' for word in kind.words)
    return f"{', '.join(others)} or {last}" if others else f"or {last}"


#: Kind of a setting -> how its facts begin.
KINDS = {
    setting_kinds.Number: lambda kind: f"`{kind.kind.__name__}`, {kind.least} or more",
    setting_kinds.Flag: lambda kind: "`bool`",
    setting_kinds.Word: _words,
    setting_kinds.BackendPath: lambda kind: 'dotted path, or `{"BACKEND": path, "OPTIONS": {…}}`',
    setting_kinds.FunctionPath: lambda kind: "dotted path, or `None`",
    setting_kinds.Secrets: lambda kind: "list of `str`, or `None`",
    setting_kinds.NetworkList: lambda kind: ", ".join(
        ["list of networks", *([_words(kind)] if kind.words else [])]
    ),
}


def test_settings__that_do_not_exist_are_not_documented():
    names = {field.name for field in fields(conf.Settings)}
    documented = {name for name in sections(SETTINGS) if name.isupper()}
    assert documented == names
    shown = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)+)":', ALL))
    assert shown <= names | OF_A_CACHE | OF_REST_FRAMEWORK
    assert set(re.findall(r"PARTSTREAM_\w+", ALL)) <= {*conf.VARIABLES, "PARTSTREAM_TEST"}


def test_checks__are_documented_with_what_they_say():
    listed = dict(re.findall(r"^(partstream\.[EW]\d{3}) +(.+)$", checks.__doc__, re.MULTILINE))
    used = set()
    # In the whole package: backends have checks of their own.
    for path in Path(partstream.__file__).parent.rglob("*.py"):
        used.update(re.findall(r'"(partstream\.[EW]\d{3})"', path.read_text(encoding="utf-8")))
    assert used == set(listed)
    documented = {row[0].strip("`"): row[1] for row in rows(sections(SETTINGS)["System checks"])}
    assert set(documented) == used
    for check, text in listed.items():
        wanted = plain(text).rstrip(".")
        assert plain(documented[check]).startswith(wanted), check


def plain(text):
    return text.replace("`", "")


# Backends


def test_executor_options__are_documented_with_their_defaults():
    table = {
        row[0].strip("`"): row[1].strip("`") for row in rows(RESOLUTION.read_text(encoding="utf-8"))
    }
    options = signature(Executor).parameters
    assert {name: table.get(name) for name in options} == {
        name: str(option.default) for name, option in options.items()
    }
    assert signature(InlineExecutor).parameters == options
    own = dict(signature(ThreadExecutor).parameters)
    del own["options"]
    assert {name: table.get(name) for name in own} == {
        name: str(option.default) for name, option in own.items()
    }


@pytest.mark.parametrize("family", ["caches", "executors", "rate_limits"])
def test_backends__are_in_the_reference(family):
    reference = (DOCS / "api.md").read_text(encoding="utf-8")
    for path in (Path(partstream.__file__).parent / "backends" / family).glob("*.py"):
        for name in re.findall(r"^class (\w+(?:Executor|Store))\b", path.read_text("utf-8"), re.M):
            assert f":: partstream.backends.{family}.{path.stem}.{name}\n" in reference
            assert any(name in words for words in in_code(ALL)), name


def test_rate_limit_stores__options_are_documented_with_their_defaults(settings):
    tables = {
        heading: {row[0].strip("`"): row[1].strip("`") for row in rows(text)}
        for heading, text in sections(RATE_LIMITS).items()
    }
    stores = {
        "In one process": memory.MemoryRateLimitStore,
        "Over a Django cache": DjangoCacheRateLimitStore,
    }
    if find_spec("django_redis"):
        from partstream.backends.rate_limits.redis import RedisRateLimitStore

        stores["In Redis"] = RedisRateLimitStore
    for heading, store in stores.items():
        assert tables[heading] == {
            name: repr(option.default)
            for name, option in signature(store).parameters.items()
            if name != "clock"  # for tests
        }
    text = sections(RATE_LIMITS)["In one process"]
    assert f"share {memory.SHARED_LOGS:,} places" in " ".join(text.split())


def test_windows__are_documented_with_their_seconds():
    table = rows(sections(RATE_LIMITS)["Rate limits"])
    settings = conf.Settings()
    limits = {throttling.RATE: settings.RATE_LIMIT, throttling.BURST: settings.BURST_LIMIT}
    assert {row[0].strip("`"): row[1].rpartition(", ")[2] for row in table} == {
        name: f"{limit} in {seconds} seconds" for (name, seconds), limit in limits.items()
    }


@pytest.fixture(params=[CACHING, RATE_LIMITS, PRODUCTION], ids=lambda page: page.stem)
def shown_redis_settings(request):
    """The settings that a page shows for Redis, not in force yet."""
    return _redis_settings(request.param)


@pytest.fixture
def redis_settings():
    """The same, of the page on caching."""
    return _redis_settings(CACHING)


def _redis_settings(page):
    [block] = [block for block in blocks(page) if "django_redis.cache" in block.source]
    shown = {}
    exec(compile(block.source, block.where, "exec"), shown)
    return shown["CACHES"], shown["DJANGO_PARTSTREAM"]


@needs_redis
def test_redis_settings__are_accepted(settings, shown_redis_settings):
    settings.CACHES, configured = shown_redis_settings
    settings.DJANGO_PARTSTREAM = configured
    for name, get_store in (
        ("CACHE_STORE", get_cache_store),
        ("RATE_LIMIT_STORE", get_rate_limit_store),
    ):
        if name in configured:
            # With the limits that the tests' environment switches off.
            settings.DJANGO_PARTSTREAM = {
                "ENABLE_RATE_LIMITING": name == "RATE_LIMIT_STORE",
                **configured,
            }
            path = configured[name]["BACKEND"]
            assert type(get_store()).__name__ == path.rpartition(".")[2]
    assert [each for each in run_checks() if each.id.startswith("partstream.")] == []


@needs_redis
def test_production__settings_pass_the_checks_of_a_deployment(settings):
    settings.CACHES, configured = _redis_settings(PRODUCTION)
    # With the limits that the tests' environment switches off.
    settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": True, **configured}
    found = run_checks(include_deployment_checks=True)
    assert [each for each in found if each.id.startswith("partstream.")] == []


def test_production__lists_every_check_of_a_deployment():
    checks_of_a_deployment = {
        row[0] for row in rows(sections(SETTINGS)["System checks"]) if "check --deploy" in row[1]
    }
    listed = set().union(*(row[0].split(", ") for row in rows(sections(PRODUCTION)["Checks"])))
    assert checks_of_a_deployment
    assert checks_of_a_deployment <= listed


def test_production__lists_every_logger():
    """A logger's name is a literal: it is public, and moves with no module."""
    package = Path(partstream.__file__).parent
    named = {"partstream.audit"}
    for path in package.rglob("*.py"):
        for argument in re.findall(r"get_?[lL]ogger\(([^)]*)\)", path.read_text(encoding="utf-8")):
            if path.name not in {"logs.py", "audit.py"}:
                assert re.fullmatch(r'"partstream\.[a-z]+"', argument), path
                named.add(argument.strip('"'))
    listed = {row[0].strip("`") for row in rows(sections(PRODUCTION)["Logs"]) if row[0]}
    assert listed == named


@needs_redis
def test_redis__is_cleared_of_our_entries_alone(settings, redis_settings, redis_url):
    configured, settings.DJANGO_PARTSTREAM = redis_settings
    # A prefix of its own: the server may be somebody's.
    own = {**configured["partstream"], "LOCATION": redis_url, "KEY_PREFIX": token_hex(8)}
    settings.CACHES = {**configured, "partstream": own}
    [pattern] = re.findall(r'delete_pattern\("(.+?)"\)', CACHING.read_text(encoding="utf-8"))
    store, cache = get_cache_store(), caches["partstream"]
    store.set_many({"partstream.part.0": b"1", "partstream.walk.0.orders": b"2"}, 60)
    cache.set("application", 3, 60)
    assert cache.delete_pattern(pattern) == 2
    assert store.get("partstream.part.0") is None
    assert cache.get("application") == 3
    cache.delete("application")


# The wire


def test_part_errors__are_documented_with_their_texts():
    table = {row[0].strip("`"): row for row in rows(sections(WIRE_FORMAT)["Errors of parts"])}
    del table["any other"]
    assert {code: row[1] for code, row in table.items()} == dict(errors.PART_ERRORS)


def test_request_errors__are_documented_with_their_status():
    table = rows(sections(WIRE_FORMAT)["Errors of requests"])
    documented = {(int(row[0]), code) for row in table for code in in_code(row[1])}
    ours = {(status, code) for status, code, _ in errors.REQUEST_ERRORS.values()}
    assert ours <= documented
    assert documented - ours == {
        (401, "not_authenticated"),
        (401, "authentication_failed"),
        (403, "permission_denied"),
        (404, "not_found"),
        (405, "method_not_allowed"),
        (406, "not_acceptable"),
        (429, "throttled"),
    }
    assert all(row[2] and row[3] for row in table)


def test_envelope__fields_are_documented():
    documented = [row[0].strip("`") for row in rows(sections(WIRE_FORMAT)["The envelope"])]
    envelope, meta = schemas.EnvelopeSerializer(), schemas.EnvelopeMetaSerializer()
    assert documented == [
        *(name for name in envelope.fields if name != "meta"),
        *(f"meta.{name}" for name in meta.fields),
    ]


def test_streams__are_documented():
    table = rows(sections(WIRE_FORMAT)["Streams"])
    assert {(row[0].strip("`"), row[1].strip("`")) for row in table} == {
        (renderer.media_type, renderer.format) for renderer in STREAM_RENDERERS
    }
    text = WIRE_FORMAT.read_text(encoding="utf-8")
    assert all(f'"{word}"' in text for word in errors.STREAM_FAILED)
    assert all(f'"{name}"' in text for name in schemas.RecordSerializer().fields)


def test_streams__end_within_the_grace_that_the_pages_give_a_server():
    settings = conf.Settings()
    for page in (STREAMING, DOCS / "deployment.md"):
        text = page.read_text(encoding="utf-8")
        graces = re.findall(r"graceful_timeout = (\d+)|graceful-shutdown (\d+)", text)
        assert len(graces) == 2, page
        assert all(int(one or other) > settings.STREAM_MAX_SECONDS for one, other in graces)
    text = STREAMING.read_text(encoding="utf-8")
    threads, streams = (
        int(re.search(pattern, text)[1]) for pattern in (r"threads = (\d+)", r"_STREAMS=(\d+)")
    )
    assert streams < threads
    assert f"`STREAM_MAX_SECONDS` ({settings.STREAM_MAX_SECONDS:.0f})" in text


def test_cursor__fields_are_documented():
    table = rows(sections(DOCS / "cursors-and-codecs.md")["What is in a cursor"])
    assert [row[0] for row in table] == ["version", *Cursor.__annotations__]


def test_limits__are_documented():
    assert f"at most {cursor.MAX_PARTS:,} parts" in VIEWS.read_text(encoding="utf-8")
    limit = f"more than {validation.MAX_QUERY_LENGTH:,} characters"
    assert limit in WIRE_FORMAT.read_text(encoding="utf-8")


# Names


def test_public_names__are_documented_and_in_the_reference():
    reference = (DOCS / "api.md").read_text(encoding="utf-8")
    for name in partstream.__all__:
        home = getattr(partstream, name).__module__
        assert f":: {home}.{name}\n" in reference
        assert any(name in words.split("(")[0] for words in in_code(ALL)), name


def test_exceptions__are_in_the_reference():
    assert f".. automodule:: {exceptions.__name__}\n" in (DOCS / "api.md").read_text("utf-8")


def test_mixins__are_documented_and_in_the_reference():
    reference = (DOCS / "api.md").read_text(encoding="utf-8")
    documented = {
        row[0].strip("`"): in_code(row[1]) for row in rows(sections(VIEWS)["Views of your own"])
    }
    assert set(documented) == {mixin.__name__ for mixin in MIXINS}
    for mixin in MIXINS:
        assert f":: partstream.mixins.{mixin.__name__}\n" in reference
        verbs = own(mixin, lambda name, value: callable(value) and not name.startswith(HOOKS))
        assert {words.split("(")[0] for words in documented[mixin.__name__]} == verbs


def test_hooks__and_attributes_are_documented_and_no_others():
    hooks = set().union(
        *(own(kind, lambda name, value: name.startswith(HOOKS)) for kind in CLASSES),
        *(
            own(view, lambda name, value: name.startswith(HOOKS))
            for view in (views.ProgressiveView, views.HybridProgressiveView)
        ),
    )
    attributes = set().union(
        *(own(kind, lambda name, value: not hasattr(value, "__get__")) for kind in CLASSES)
    )
    table = rows(sections(VIEWS)["Hooks"])
    assert {row[1].strip("`").split("(")[0] for row in table} == hooks
    assert {row[0].strip("`") for row in table if row[0]} == attributes
    assert {row[2].strip("`") for row in table if row[2]} < {
        field.name for field in fields(conf.Settings)
    }


# The guard


def test_signals__are_documented_with_their_arguments_and_events():
    table = rows(sections(SECURITY_PAGE)["Signals"])
    ours = {
        name: value for name, value in vars(signals).items() if isinstance(value, signals.Signal)
    }
    documented = {row[0].strip("`"): row[1:] for row in table}
    arguments = re.findall(r"^``(\w+)``$", signals.__doc__, re.MULTILINE)
    assert set(documented) == {*ours, *arguments}
    for name, signal in ours.items():
        assert in_code(documented[name][1]) == {audit.EVENTS[signal]}
    reference = (DOCS / "api.md").read_text(encoding="utf-8")
    assert ".. automodule:: partstream.signals\n" in reference
    assert all(f":: partstream.signals.{name}\n" in reference for name in ours)


def test_audit_fields__are_documented_in_their_order():
    table = rows(sections(SECURITY_PAGE)["The audit trail"])
    assert [row[0].strip("`") for row in table] == list(audit.FIELDS)
    text = SECURITY_PAGE.read_text(encoding="utf-8")
    assert f"{audit.MAX_PER_MINUTE} lines a minute" in text
    assert f"{audit.MAX_LINE:,} bytes" in text


def test_suspicion__is_documented_with_its_reasons_and_bounds():
    table = rows(sections(SECURITY_PAGE)["Suspicious clients"])
    assert [row[0].strip("`") for row in table] == [name for _, name in suspicion.REASONS]
    text = " ".join(SECURITY_PAGE.read_text(encoding="utf-8").split())
    assert f"{suspicion.THRESHOLD} times within {suspicion.SECONDS} seconds" in text
    assert f"{suspicion.MAX_CLIENTS:,} clients with two or more" in text
    assert f"{suspicion.THRESHOLD} refused requests within a minute" in (
        Path(signals.__file__).read_text(encoding="utf-8")
    )


def test_headers__that_are_sent_are_documented(client, settings):
    documented = set().union(*(in_code(row[0]) for row in rows(sections(WIRE_FORMAT)["Headers"])))
    source = "".join(
        path.read_text(encoding="utf-8") for path in Path(partstream.__file__).parent.rglob("*.py")
    )
    sent = set(re.findall(r'"((?:RateLimit|Retry-After|Link|X-)[\w-]*)"', source))
    assert {request_ids.HEADER, "RateLimit", "RateLimit-Policy", "Retry-After"} <= sent
    assert sent <= documented


def test_promises__name_tests_that_are_there():
    table = rows(sections(SECURITY_PAGE)["What is promised, and how it is tested"])
    assert len(table) > 10
    for promise, tests in table:
        assert in_code(tests), promise
        for path in in_code(tests):
            assert (TREE / "tests" / path).exists(), path
    faults = rows(sections(OTHER_LIBRARIES)["Faults that have a test"])
    assert len(faults) > 10
    for _, _, test in faults:
        path, _, name = test.strip("`").partition("::")
        assert f"def {name}(" in (TREE / "tests" / path).read_text(encoding="utf-8"), name


def test_addresses__limits_are_documented():
    text = " ".join(SECURITY_PAGE.read_text(encoding="utf-8").split())
    assert f"at most {client_ip.MAX_HOPS} hops" in text


# The rest of the tree


def test_compatibility__is_what_the_tests_run_on():
    tested = {}
    tox = (TREE / "tox.ini").read_text(encoding="utf-8")
    for line in re.findall(r"^ +(py\d+-django\d+-drf\d+)$", tox, re.MULTILINE):
        python, django, drf = (f"{number[0]}.{number[1:]}" for number in re.findall(r"\d+", line))
        pythons, drfs = tested.setdefault(django, (set(), set()))
        pythons.add(python)
        drfs.add(drf)
    table = rows(sections(README)["Compatibility"])
    assert {
        django: (set(pythons.split(", ")), set(drfs.split(", "))) for django, pythons, drfs in table
    } == tested


def test_links__lead_somewhere():
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if target.startswith("https://"):
                continue
            file, _, anchor = target.partition("#")
            page = (path.parent / file).resolve() if file else path
            assert page.exists(), f"{path.name}: {target}"
            if anchor:
                assert anchor in _anchors(page), f"{path.name}: {target}"


def _anchors(page):
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"^\((\w+)\)=$", text, re.MULTILINE))


def test_images__are_in_the_tree():
    for path in PAGES:
        for image in re.findall(r"!\[[^]]*\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / image).is_file(), f"{path.name}: {image}"
