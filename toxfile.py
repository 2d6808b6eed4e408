"""Lets tox find every Python that pyenv has installed, not only the active one.

pyenv's shims (`python3.12` on the path) answer only for the versions named in `PYENV_VERSION`.
A shim exports that variable itself, so the installed versions are added behind what it says.
Without pyenv this does nothing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tox.plugin import impl

if TYPE_CHECKING:
    from tox.config.sets import ConfigSet
    from tox.session.state import State


@impl
def tox_add_core_config(core_conf: ConfigSet, state: State) -> None:
    """Widen `PYENV_VERSION` before the interpreters are looked for."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    installed = sorted(
        (path.name for path in root.glob("versions/*") if re.fullmatch(r"3\.\d+\.\d+", path.name)),
        key=lambda name: tuple(map(int, name.split("."))),
        reverse=True,
    )
    if installed:
        active = [name for name in os.environ.get("PYENV_VERSION", "").split(":") if name]
        os.environ["PYENV_VERSION"] = ":".join(dict.fromkeys([*active, *installed]))
