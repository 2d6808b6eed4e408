"""Mutation testing: `python -m tests.mutation`.

mutmut (see ``[tool.mutmut]`` in pyproject.toml) changes the codecs, the binding, the limits and
the addresses in one place at a time, and runs the tests that come by there. A change that no test
notices has survived. Those that were looked at, and are harmless, stand in
tests/mutation_survivors.txt with the reason; any other one is a failure, and so is a run in which
nothing was changed.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TREE = Path(__file__).resolve().parent.parent
KNOWN = Path(__file__).with_name("mutation_survivors.txt")
COPIED = ("partstream", "testproject", "tests")
#: What pytest ends with when a test failed, or could not even be collected; -24 and 36: it took
#: far too long, as what loops for ever does.
KILLED = {1, 3}
TOO_LONG = {-24, 24, 36, 152}
SAID = {0: "survived", 5: "no test", 33: "no test"}
#: Of this file, only the functions about identity and limits: the others are about HTTP, and the
#: selected tests do not check those.
GUARD = "partstream.mixins.guard.xǁGuardMixinǁ"
GUARDED = ("client_limits", "_limit", "identify", "ask_identity", "identity_of")
#: Fixtures of tests that need one.
DATABASE = {"db", "transactional_db"}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Let what needs no database come first, and most mutants die before there is one."""
    items.sort(key=lambda item: not DATABASE.isdisjoint(item.fixturenames))


class MutationError(Exception):
    """There is no result."""


def undecorated(source: str) -> str:
    """The source with caches and properties as assignments: mutmut passes by what is decorated."""
    lines = source.splitlines()
    functions = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
        and len(node.decorator_list) == 1
        and ast.unparse(node.decorator_list[0]).startswith(("lru_cache(", "property"))
    ]
    for node in sorted(functions, key=lambda node: node.lineno, reverse=True):
        decorator = ast.unparse(node.decorator_list[0])
        assigned = f"{' ' * node.col_offset}{node.name} = {decorator}({node.name})"
        lines.insert(node.end_lineno or 0, assigned)
        del lines[node.decorator_list[0].lineno - 1]
    return "\n".join(lines) + "\n"


def stage(directory: Path) -> None:
    """A copy of what mutmut needs; it writes beside what it reads."""
    for name in COPIED:
        ignored = shutil.ignore_patterns("__pycache__", "*.sqlite3")
        shutil.copytree(TREE / name, directory / name, ignore=ignored, dirs_exist_ok=True)
    shutil.copy(TREE / "pyproject.toml", directory)
    for path in (directory / "partstream").rglob("*.py"):
        path.write_text(undecorated(path.read_text()))


def mutmut(directory: Path, *arguments: str, capture: bool = False) -> str:
    """Run mutmut there; what it says, if that is wanted."""
    environment = {
        name: text
        for name, text in os.environ.items()
        # The tree must not be found before the copy.
        if name != "PYTHONPATH" and not name.startswith("PARTSTREAM_")
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "mutmut", *arguments],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if capture else None,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate()
    finally:
        if process.poll() is None:
            # With all that it has started; they are a group of their own.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        raise MutationError(f"mutmut {' '.join(arguments)} ended with {process.returncode}.")
    return said or ""


def results(directory: Path) -> dict[str, int]:
    """Each mutant that was tried, and what its tests ended with."""
    found: dict[str, int] = {}
    for path in sorted((directory / "mutants").rglob("*.py.meta")):
        codes = json.loads(path.read_text())["exit_code_by_key"]
        found |= {name: code for name, code in codes.items() if code is not None}
    return found


def described(directory: Path, name: str) -> str:
    """A mutant as the list of survivors has it: its function, the lines before, the lines after."""
    diff = mutmut(directory, "show", name, capture=True).splitlines()
    changed = [
        f"{line[0]} {line[1:].strip()}"
        for line in diff
        if line[:1] in ("-", "+") and line[:3] not in ("---", "+++")
    ]
    function = (
        name.rpartition("__mutmut_")[0].replace("xǁ", "").replace("ǁ", ".").replace(".x_", ".")
    )
    return "\n".join([function, *changed])


def entries(text: str) -> Iterator[str]:
    """The survivors of a list: blocks between empty lines, without what is said about them."""
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        if lines:
            yield "\n".join(lines)


def names_of_all() -> list[str]:
    """Patterns for everything that is mutated by default."""
    import tomllib  # Not there in Python 3.10, which only tests this module.

    options = tomllib.loads((TREE / "pyproject.toml").read_text())["tool"]["mutmut"]
    modules = [path.removesuffix(".py").replace("/", ".") for path in options["only_mutate"]]
    whole = [module for module in modules if not GUARD.startswith(module)]
    names = [f"{module.removesuffix('.*')}.*" for module in whole]
    return names + [f"{GUARD}{function}__*" for function in GUARDED]


def main(arguments: list[str] | None = None) -> int:
    """Run it; 1 where a mutant survived that is not in the list, or nothing was tried."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("names", nargs="*", help='such as "partstream.walks.cursor.*" (all)')
    parser.add_argument("--processes", default=str(os.cpu_count() or 2))
    parser.add_argument("--directory", type=Path, help="to work in, to keep, and to go on in")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    with tempfile.TemporaryDirectory(prefix="mutation-") as temporary:
        directory = given.directory or Path(temporary)
        stage(directory)
        try:
            names = given.names or names_of_all()
            mutmut(directory, "run", "--max-children", given.processes, *names)
            codes = results(directory)
            survivors = {
                name: described(directory, name)
                for name, code in codes.items()
                if code not in KILLED | TOO_LONG
            }
        except MutationError as error:
            print(error, file=sys.stderr)
            return 1
    known = Counter(entries(KNOWN.read_text()))
    new = [
        f"# {SAID.get(codes[name], codes[name])}\n{text}"
        for name, text in survivors.items()
        if text not in known
    ]
    gone = sorted(set(known) - set(survivors.values())) if not given.names else []
    print("\n\n".join(sorted(survivors.values())))
    killed = sum(code in KILLED for code in codes.values())
    late = sum(code in TOO_LONG for code in codes.values())
    print(
        f"\n{len(codes)} mutants: {killed} killed, {late} took too long, "
        f"{len(survivors) - len(new)} survived and are known, {len(new)} are new."
    )
    if gone:
        print("\nKnown, and killed or no more there:\n\n" + "\n\n".join(gone))
    if new:
        print("\nNew survivors. Write a test, or the reason why they are harmless:\n")
        print("\n\n".join(new))
    if not codes:
        print("No mutant ran.", file=sys.stderr)
    return 1 if new or gone or not codes else 0


if __name__ == "__main__":
    sys.exit(main())
