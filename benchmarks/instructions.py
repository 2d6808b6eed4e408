"""Counts the instructions of cases, which no other work on the machine disturbs.

Callgrind runs the benchmark again in a process of its own, and counts only the calls in question,
after they have warmed up. Counts of one machine, Python and set of packages agree from run to run
to about 0.2 %. They need valgrind with its headers, and a C compiler: on Debian, ``apt install
valgrind gcc``.
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from timing import Case

#: Calls before those that are counted, and calls that are counted.
WARM_UP, COUNTED = 200, 50

_SOURCE = Path(__file__).with_suffix(".c")
_LABEL = re.compile(r"^desc: Trigger: Client Request: (.*)$", re.MULTILINE)
_TOTAL = re.compile(r"^totals: (\d+)$", re.MULTILINE)


class Missing(Exception):
    """This machine cannot count instructions; the message says what is missing."""


def count(script: str) -> dict[str, int]:
    """Instructions per call of each case that ``script --count LIBRARY`` passes to `run`.

    Raises:
        Missing: When valgrind, its headers or a C compiler are missing.
    """
    absent = [program for program in ("valgrind", "cc") if shutil.which(program) is None]
    if absent:
        raise Missing(" and ".join(absent))
    with tempfile.TemporaryDirectory() as folder:
        library, out = Path(folder, "instructions.so"), Path(folder, "out")
        compiler = ["cc", "-shared", "-fPIC", "-o", library, _SOURCE]
        if subprocess.run(compiler, check=False, capture_output=True).returncode:
            raise Missing("valgrind/callgrind.h, or a working cc")
        subprocess.run(
            [
                "valgrind",
                "--quiet",
                "--tool=callgrind",
                "--instr-atstart=no",
                f"--callgrind-out-file={out}",
                sys.executable,
                script,
                "--count",
                library,
            ],
            check=True,
            # The order of a set, and so the work of some calls, would differ from run to run.
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        found = {}
        # Callgrind numbers its files in the order of the cases.
        for path in sorted(Path(folder).glob("out.*"), key=lambda path: int(path.suffix[1:])):
            text = path.read_text()
            label, total = _LABEL.search(text), _TOTAL.search(text)
            if label is not None and total is not None:
                found[label[1]] = round(int(total[1]) / COUNTED)
        return found


def run(cases: dict[str, Case], library: str) -> None:
    """Run each case under callgrind, which counts its calls."""
    callgrind = ctypes.CDLL(library)
    for label, (prepare, call, within) in cases.items():
        with within():
            for one in prepare(WARM_UP):
                call(one)
            given = prepare(COUNTED)
            gc.collect()
            gc.disable()
            callgrind.begin()
            for one in given:
                call(one)
            callgrind.end(label.encode())
            gc.enable()
