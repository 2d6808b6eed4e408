"""How large the client is for a browser that loads it."""

from __future__ import annotations

import argparse
import gzip
import tempfile
from pathlib import Path

from report import Row

from tests.support.node import CLIENT, install


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Bytes of the module, minified by esbuild and compressed by gzip."""
    with tempfile.TemporaryDirectory() as directory:
        packages = install(Path(directory))
        module = packages.run("esbuild", "--minify", "--format=esm", CLIENT / "partstream.js")
    size = len(gzip.compress(module.encode(), 9))
    return [("client module, minified and gzipped", "<= 5,120 bytes", f"{size:,} bytes")]
