"""Runs a page: its Python as modules, its settings as settings, its curl through a test client.

How a block is read:

- ``python``: run in the page's namespace. Where its first line names a file, it is that file of a
  project, and imported; ``settings.py`` is put in force (``...`` in a list stands for what is
  there), ``urls.py`` is mounted, the tests of ``test_*.py`` are run. Below settings that are
  marked ``limited`` the limits hold, which the tests' environment switches off.
- ``pycon``: a doctest in the page's namespace.
- ``console``: each ``$ curl`` is asked of the mounted views; what follows it, or a ``json`` block
  behind, has to be the answer. Other commands are those of `Page.command`, and no others. In what
  they print, a line ``...`` stands for any lines, and seconds for any seconds. Where the block is
  marked ``limited``, the limits hold.
- In a stream of NDJSON a line ``...`` stands for any records. Where the block is marked ``any
  order``, all records but the first may come in another one, or put together.

In answers, ``TOKEN`` and ``SOME_TOKEN`` stand for any token; in URLs and headers, for the one last
seen there.
"""

from __future__ import annotations

import base64
import contextlib
import doctest
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import types
import unittest
from contextlib import ExitStack
from importlib.util import find_spec
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.checks import run_checks
from django.test import Client, RequestFactory, override_settings

from .markdown import TREE, blocks

TOKEN = re.compile(r"(?:[A-Z]+_)?TOKEN")
_PREFIX = "tests.docs.page"
#: Mark -> the module without which a block is left out.
NEEDS = {
    "needs jwt": "jwt",
    "needs django-tenants": "django_tenants",
    "needs opentelemetry": "opentelemetry",
    "needs prometheus_client": "prometheus_client",
    "needs django-health-check": "health_check",
    "needs django-cors-headers": "corsheaders",
    "needs adrf": "adrf",
}
#: How long something took, in what a command prints.
_SECONDS = re.compile(r" +\d+\.\d+(?= s\b)|(?<=\"seconds\":) \d+\.\d+")


class PageError(AssertionError):
    """The page says what is not so."""


class Page:
    """One page in the making. Close it to leave settings and modules as they were."""

    def __init__(self, path, directory):
        self.blocks = blocks(path)
        self.directory = directory
        self.module = types.ModuleType(f"{_PREFIX}.{path.stem}")
        self.names = self.module.__dict__
        self.tokens = {}
        self.answer, self.asked = None, ""
        self.stack = ExitStack()
        self.modules = set(sys.modules)
        sys.modules[self.module.__name__] = self.module
        sys.path.insert(0, str(directory))

    def close(self):
        self.stack.close()
        sys.path.remove(str(self.directory))
        for name in set(sys.modules) - self.modules:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if name == self.module.__name__ or file.startswith(str(self.directory)):
                del sys.modules[name]

    def run(self, languages=("python", "pycon", "console", "json")):
        """Run the blocks of these languages, in order."""
        for block in self.blocks:
            if block.language not in languages or block.mark.startswith("demo"):
                continue
            if block.mark in NEEDS and find_spec(NEEDS[block.mark]) is None:
                continue
            try:
                getattr(self, block.language)(block)
            except Exception as error:
                raise PageError(f"{block.where}: {type(error).__name__}: {error}") from error
            if block.language == "console" and self.answer is not None:
                self.asked = block.where
        self.look_for_unread_answer()

    # Python

    def python(self, block):
        if block.path is None:
            code = compile(block.source, block.where, "exec", dont_inherit=True)
            exec(code, self.names)
            if "urlpatterns" in self.names:
                self.override(ROOT_URLCONF=self.module.__name__)
                self.clear_urls()
            return
        file = self.directory / block.path
        if file.exists() and file.name != "settings.py":
            raise PageError("this file is on the page already")
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.write_text(block.source, encoding="utf-8")
        if file.name == "settings.py":
            self.settings(block)
            return
        importlib.invalidate_caches()
        name = block.path.removesuffix(".py").replace("/", ".")
        module = importlib.import_module(name)
        self.names.update(
            {key: value for key, value in vars(module).items() if not key.startswith("_")}
        )
        if file.name == "urls.py":
            self.override(ROOT_URLCONF=name)
        if file.name.startswith("test_"):
            self.test_module(module)

    def settings(self, block):
        # As at the end of a project's settings: its lists are there to be added to.
        found = {"INSTALLED_APPS": [], "MIDDLEWARE": [...]}
        exec(compile(block.source, block.where, "exec", dont_inherit=True), found)
        found["INSTALLED_APPS"].insert(0, ...)
        values = {}
        for name, value in found.items():
            if name.isupper():
                if isinstance(value, list) and ... in value:
                    standing = getattr(django_settings, name)
                    place, value = value.index(...), [i for i in value if i not in (..., *standing)]
                    value[place:place] = standing
                values[name] = value
        # Some Djangos would put it in force for all the tests to come; it has a process of its own.
        values.pop("LOGGING", None)
        if block.mark == "limited":
            values["DJANGO_PARTSTREAM"] = {"ENABLE_RATE_LIMITING": True} | values[
                "DJANGO_PARTSTREAM"
            ]
        self.override(**values)
        problems = [each for each in run_checks() if each.id.startswith("partstream.")]
        if problems:
            raise PageError(f"manage.py check says: {problems}")

    def override(self, **values):
        self.stack.enter_context(override_settings(**values))

    @staticmethod
    def clear_urls():
        from django.urls import clear_url_caches

        clear_url_caches()

    def test_module(self, module):
        ran = 0
        for name, value in list(vars(module).items()):
            if isinstance(value, type) and issubclass(value, unittest.TestCase):
                if value.__module__ != module.__name__:
                    continue
                result = unittest.TestResult()
                suite = unittest.defaultTestLoader.loadTestsFromTestCase(value)
                suite.run(result)
                ran += result.testsRun
                for _, text in result.failures + result.errors:
                    raise PageError(text)
            elif name.startswith("test_"):
                ran += 1
                with ExitStack() as stack:
                    fixtures = {
                        "client": Client(),
                        "rf": RequestFactory(),
                        "settings": Fixed(stack),
                    }
                    wanted = value.__code__.co_varnames[: value.__code__.co_argcount]
                    value(**{fixture: fixtures[fixture] for fixture in wanted})
        if not ran:
            raise PageError("the module has no test")

    def pycon(self, block):
        test = doctest.DocTestParser().get_doctest(
            block.source, self.names, block.where, block.where, block.line
        )
        said = []
        runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
        runner.run(test, out=said.append, clear_globs=False)
        self.names.update(test.globs)
        if runner.failures or not runner.tries:
            raise PageError("".join(said) or "the block has no example")

    # Commands

    def console(self, block):
        for line, output in commands(block.source):
            self.look_for_unread_answer()
            marks = {"limited": block.mark == "limited", "any_order": block.mark == "any order"}
            if not self.command(line, output, **marks):
                raise PageError(f"nobody looks whether this is so: $ {line}")

    def command(self, line, output, *, limited=False, any_order=False):
        """Whether the command is one that is known; what it should print is compared."""
        words = shlex.split(line)
        environment = {"PARTSTREAM_TEST_LIMITED": "1"} if limited else {}
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            environment[name] = value
        program, *arguments = words
        if program == "curl":
            self.answer = self.curl(arguments)
            if output:
                self.compare(output, "-i" in arguments, any_order=any_order)
        elif program == "make":
            return all(f"\n{target}:" in _text("Makefile") for target in arguments)
        elif program == "pip":
            return arguments[0] == "install" and arguments[1] in (
                "django-partstream",
                f"git+{repository()}",
            )
        elif program == "python":
            if arguments[0] == "manage.py":
                arguments[:1] = ["-m", "django"]
            said = start(arguments, self.directory, **environment)
            if output and not same_output(output.strip(), said.strip()):
                raise PageError(f"it says:\n{said}")
        else:
            return False
        return True

    def curl(self, arguments):
        options, url = curl_options(arguments)
        url = TOKEN.sub(lambda found: self.tokens[found[0]], url)
        split = urlsplit(url)
        if split.netloc != "localhost:8000":
            raise PageError(f"who is {split.netloc}?")
        headers = {"Accept": "*/*", "Host": split.netloc}
        if "-H" in options:
            name, _, value = options["-H"].partition(": ")
            headers[name] = TOKEN.sub(lambda found: self.tokens[found[0]], value)
        if "-u" in options:
            encoded = base64.b64encode(options["-u"].encode()).decode()
            headers["Authorization"] = f"Basic {encoded}"
        data = "&".join(options.get("-d", ()))
        method = options.get("-X", "POST" if data else "GET")
        return self.ask(method, f"{split.path}?{split.query}".rstrip("?"), headers, data)

    def ask(self, method, path, headers, data):
        """The answer to one request."""
        form = "application/x-www-form-urlencoded" if data else "application/octet-stream"
        environ = {f"HTTP_{name.upper().replace('-', '_')}": headers[name] for name in headers}
        return Client().generic(method, path, data, form, **environ)

    def look_for_unread_answer(self):
        if self.answer is not None:
            raise PageError(f"{self.asked}: the page does not show the answer")

    def json(self, block):
        self.compare(block.source, with_headers=False)

    def compare(self, output, with_headers, *, any_order=False):
        if self.answer is None:
            raise PageError("there was no question to this answer")
        answer, self.answer = self.answer, None
        if with_headers:
            head, _, output = output.partition("\n\n")
            status, *headers = head.splitlines()
            if status != f"HTTP/1.1 {answer.status_code} {answer.reason_phrase}":
                raise PageError(f"the status is {answer.status_code} {answer.reason_phrase}")
            for header in headers:
                name, _, value = header.partition(": ")
                if not same_text(value, answer.headers.get(name, ""), {}):
                    raise PageError(f"{name} is {answer.headers.get(name)!r}")
        elif answer.status_code >= 300 and '"code"' not in output:
            raise PageError(f"the status is {answer.status_code}")
        if answer.status_code == 204:
            if output:
                raise PageError("there is no content")
        elif answer.headers["Content-Type"] in STREAMS:
            with contextlib.closing(answer):
                said = b"".join(answer).decode()
            if any_order:
                match_in_any_order(json_texts(output), json_texts(said), self.tokens)
            else:
                STREAMS[answer.headers["Content-Type"]](output.strip(), said.strip(), self.tokens)
        else:
            match(json.loads(output), answer.json(), self.tokens)


class Fixed:
    """pytest-django's ``settings`` for the tests on a page: an assignment is an override."""

    def __init__(self, stack):
        self.__dict__["stack"] = stack

    def __setattr__(self, name, value):
        self.stack.enter_context(override_settings(**{name: value}))


def _text(name):
    return "\n" + (TREE / name).read_text(encoding="utf-8")


def repository():
    """The URL of the repository, as the package tells it."""
    return re.search(r'^Source = "(.+)"$', _text("pyproject.toml"), re.MULTILINE)[1]


def commands(source):
    """(command, what it prints) of a console block."""
    found = []
    for line in source.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found:
            found[-1][1].append(line)
        else:
            raise PageError("a console block begins with a command")
    return [(line, "\n".join(output).strip("\n")) for line, output in found]


def curl_options(arguments):
    """(options, URL) of a curl command; an option that is not known here is an error."""
    options, urls = {}, []
    given = iter(arguments)
    for word in given:
        if word in ("-u", "-X", "-H", "--output", "--write-out"):
            options[word] = next(given)
        elif word == "-d":
            options.setdefault(word, []).append(next(given))
        elif word in ("-i", "-N", "--silent"):
            options[word] = True
        elif word.startswith("-"):
            raise PageError(f"curl {word}: teach the tests what this means")
        else:
            urls.append(word)
    [url] = urls
    return options, url


def start(arguments, directory, path=(), **environment):
    """What a new Python says in a directory, on both channels; it imports from where we do."""
    inherited = {key: text for key, text in os.environ.items() if not key.startswith("PARTSTREAM")}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={
            **inherited,
            "PYTHONPATH": os.pathsep.join(filter(None, [*path, *sys.path])),
            "DJANGO_SETTINGS_MODULE": "tests.docs.settings",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return done.stdout


def same_output(expected, actual):
    """Whether a command prints what the page says."""
    expected, actual = (_SECONDS.sub(" 0.0", text) for text in (expected, actual))
    pieces = [re.escape(piece) for piece in re.split(r"^\.\.\.$", expected, flags=re.MULTILINE)]
    return re.fullmatch(".*".join(pieces), actual, re.DOTALL) is not None


def match_records(expected, actual, tokens):
    """Compare the records of a stream of NDJSON; a line ``...`` stands for any records.

    Parts that end together share a record, but not inside a transaction, as the tests are: a record
    that is shown may have come as several.
    """
    said = json_texts(actual)
    head, *tails = (json_texts(piece) for piece in re.split(r"(?m)^\.\.\.$", expected))
    for shown in head:
        match(shown, next_record(said, number_of_parts(shown)), tokens)
    for tail in tails:  # There may be one.
        match(tail, said[-len(tail) :], tokens)
    if said and not tails:
        raise PageError(f"the stream goes on: {said}")


def match_in_any_order(expected, said, tokens):
    """Compare the records of a stream whose parts may end in another order than the page shows."""
    match(expected[0], said[0], tokens)
    match(expected[-1]["meta"], said[-1]["meta"], tokens)
    for records in (expected, said):
        cursors = [record["cursor"] for record in records]
        if cursors[-1] is not None or None in cursors[:-1]:
            raise PageError(f"the cursors are {cursors}")
    results, others = (
        sorted((result for record in records for result in record["results"]), key=str)
        for records in (expected, said)
    )
    match(results, others, tokens)


def number_of_parts(record):
    return len(record["results"]) + len(record.get("errors", ()))


def next_record(said, number):
    """Take a record of so many parts, put together of those that have come."""
    if not said:
        raise PageError("the stream has ended")
    record = said.pop(0)
    while said and number_of_parts(record) < number:
        more = said.pop(0)
        errors = [*record.get("errors", ()), *more.get("errors", ())]
        record = {**more, "results": record["results"] + more["results"]}
        if errors:
            record["errors"] = errors
    return record


def json_texts(text):
    """JSON texts that stand one after the other."""
    found = []
    while text := text.strip():
        data, end = json.JSONDecoder().raw_decode(text)
        found.append(data)
        text = text[end:]
    return found


def match_events(expected, actual, tokens):
    """Compare server-sent events, to the letter."""
    if not same_text(expected, actual, tokens):
        raise PageError(f"the stream is\n{actual}")


STREAMS = {"application/x-ndjson": match_records, "text/event-stream": match_events}


def same_text(expected, actual, tokens):
    """Whether a text is what the page says, placeholders filled; they are kept in ``tokens``."""
    pattern, names = "", []
    for literal, name in zip(TOKEN.split(expected), [*TOKEN.findall(expected), None], strict=True):
        pattern += re.escape(literal)
        if name is not None:
            pattern += r"([A-Za-z0-9._~-]{100,})"
            names.append(name)
    found = re.fullmatch(pattern, actual)
    if found:
        tokens.update(zip(names, found.groups(), strict=True))
    return found is not None


def match(expected, actual, tokens, path="$"):
    """Compare an answer with what the page says of it.

    Raises:
        PageError: It names the first place that differs.
    """
    if isinstance(expected, dict) and isinstance(actual, dict):
        if list(expected) != list(actual):
            raise PageError(f"{path} has the keys {list(actual)}")
        for key in expected:
            match(expected[key], actual[key], tokens, f"{path}.{key}")
    elif isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            raise PageError(f"{path} is {actual}")
        for index, pair in enumerate(zip(expected, actual, strict=True)):
            match(*pair, tokens, f"{path}[{index}]")
    elif isinstance(expected, str) and isinstance(actual, str):
        if not same_text(expected, actual, tokens):
            raise PageError(f"{path} is {actual!r}")
    elif type(expected) is not type(actual) or expected != actual:
        raise PageError(f"{path} is {actual!r}")
