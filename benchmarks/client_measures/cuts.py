"""What loads lose, or get twice, while a proxy cuts their lines at random."""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

from report import Row

from .servers import scripted

LOADS = Path(__file__).parent / "cuts.mjs"


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Load view after view through the proxy, and count the parts."""
    with scripted() as address:
        done = subprocess.run(
            ["node", LOADS, address, str(arguments.seconds)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    told = json.loads(done.stdout)
    loads = f"{told['loads']:,} loads, {told['parts']:,} parts, {told['cuts']:,} cuts"
    return [
        (f"{arguments.seconds:.0f} s of cut lines: lost", "0", f"{told['lost']} ({loads})"),
        (f"{arguments.seconds:.0f} s of cut lines: repeated", "0", f"{told['repeated']}"),
    ]
