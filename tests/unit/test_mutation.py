"""What `python -m tests.mutation` stands on; the run itself is `tox -e mutation`."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests import mutation

SOURCE = """\
@lru_cache(maxsize=2)
def f(x):
    return x

class C:
    @property
    def p(self):
        return 1

    @abstractmethod
    def q(self): ...
"""


def test_undecorated__has_caches_and_properties_as_assignments():
    undecorated = mutation.undecorated(SOURCE)
    assert "@lru_cache" not in undecorated
    assert "@property" not in undecorated
    assert "    return x\nf = lru_cache(maxsize=2)(f)\n" in undecorated
    assert "        return 1\n    p = property(p)\n" in undecorated
    assert "@abstractmethod" in undecorated


def survivors():
    return list(mutation.entries(mutation.KNOWN.read_text()))


def test_survivors__have_a_reason_each():
    for block in mutation.KNOWN.read_text().split("\n\n"):
        assert block.startswith("# "), block


def source_of(function):
    """The file of a function, found without importing what may need an extra."""
    module = function.rpartition(".")[0]
    while module:
        try:
            return find_spec(module).origin
        except ModuleNotFoundError:
            module = module.rpartition(".")[0]  # A class.
    raise AssertionError(function)


@pytest.mark.parametrize("entry", sorted(set(survivors())))
def test_survivors__are_of_lines_that_are_there(entry):
    function, *changes = entry.splitlines()
    with open(source_of(function)) as source:
        lines = [line.strip() for line in source]
    for change in changes:
        if change.startswith("- "):
            assert change[2:] in lines
