"""Checks a wheel and an sdist: `python -m tests.distributions DIRECTORY`.

They hold what they should and nothing else, and the wheel, installed alone in a new environment
without any extra, is an app that Django takes.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path
from zipfile import ZipFile

TREE = Path(__file__).resolve().parent.parent
SDIST_NEEDS = {
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "tests/settings.py",
    "tox.ini",
    "toxfile.py",
}

# Run by the new environment's Python, far from this tree.
USE = """
import sys
import partstream
assert "rest_framework" not in sys.modules, "importing partstream imports REST framework"
import django
from django.conf import settings
from django.core.management import call_command
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "partstream"],
    SECRET_KEY="a key of this check, long enough to be a key that is not refused",
    DJANGO_PARTSTREAM={
        "RATE_LIMIT_STORE": "partstream.backends.rate_limits.memory.MemoryRateLimitStore",
    },
)
django.setup()
for name in partstream.__all__:
    getattr(partstream, name)
call_command("check", fail_level="WARNING")
print(partstream.__version__, partstream.__file__)
"""


class DistributionError(Exception):
    """A distribution is not what it should be."""


def package_files() -> set[str]:
    """The files of the package in this tree, as paths in the wheel."""
    return {
        path.relative_to(TREE).as_posix()
        for path in (TREE / "partstream").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def check_wheel(path: Path) -> None:
    """The wheel holds the package as it is in the tree, its metadata, and nothing else."""
    with ZipFile(path) as wheel:
        names = set(wheel.namelist())
    metadata = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    expected = package_files()
    if names - metadata != expected:
        missing, foreign = expected - names, names - metadata - expected
        raise DistributionError(
            f"{path.name}: missing {sorted(missing)}, foreign {sorted(foreign)}"
        )
    if "partstream/py.typed" not in names:
        raise DistributionError(f"{path.name}: partstream/py.typed is missing")
    if not any(name.endswith("/licenses/LICENSE") for name in metadata):
        raise DistributionError(f"{path.name}: LICENSE is missing")


def check_sdist(path: Path) -> None:
    """The sdist holds the package, its tests, and what is needed to build and test it."""
    with tarfile.open(path) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    needed = {
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "tox.ini",
        "toxfile.py",
        "tests/settings.py",
    }
    missing = (needed | package_files()) - names
    if missing:
        raise DistributionError(f"{path.name}: missing {sorted(missing)}")


def check_use(path: Path) -> None:
    """The wheel alone, installed in a new environment, works."""
    with tempfile.TemporaryDirectory() as directory:
        venv.create(directory, with_pip=True)
        python = f"{directory}/bin/python"
        pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", path.resolve()], cwd=directory, check=True)
        subprocess.run([python, "-I", "-W", "error", "-c", USE], cwd=directory, check=True)


def main(directory: Path) -> None:
    """Check the one wheel and the one sdist in the directory."""
    [wheel] = directory.glob("*.whl")
    [sdist] = directory.glob("*.tar.gz")
    check_wheel(wheel)
    check_sdist(sdist)
    check_use(wheel)
    print(f"{wheel.name} and {sdist.name} are as they should be.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
