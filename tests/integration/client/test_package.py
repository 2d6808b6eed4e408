"""The browser client as an npm package: its types, its size, and its use in an empty project."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

import partstream
import shop
from tests.support.node import CLIENT, run

HERE = Path(__file__).parent
#: Bytes, minified and compressed.
LARGEST = 5 * 1024

USE = """
import * as client from "django-partstream";
const found = client.createParser().push('{"results": [], "cursor": null}\\n');
console.log(Object.keys(client).sort().join(), found.length);
"""
TYPED_USE = """
import { partstream } from "django-partstream";
for await (const part of partstream<{ orders: number[] }>("https://example.org/api/")) {
  part.data?.map((order) => order + 1);
  // @ts-expect-error: no part is called so
  part.name === "customers";
}
"""

pytestmark = pytest.mark.browser


def test_types__tell_what_is_known_and_refuse_misuse(packages, client_files):
    packages.run("tsc", directory=client_files)


def test_types__are_those_of_the_module_and_of_the_shops_pages(packages):
    """The static files lie side by side, as a server has them."""
    static = packages.copy(HERE / "static", "*")
    for folder in (CLIENT, Path(shop.__file__).parent / "static" / "shop"):
        shutil.copytree(folder, static / folder.name)
    # Where its declarations are not found in its stead.
    own = static / CLIENT.name
    shutil.copy(own / "partstream.js", own / "implementation.js")
    packages.run("tsc", directory=static)


def test_size__is_small(packages):
    options = ["--minify", "--format=esm"]
    minified = packages.run("esbuild", CLIENT / "partstream.js", *options)
    size = len(gzip.compress(minified.encode(), 9))
    print(f"{size:,} bytes")
    assert size <= LARGEST


def test_version__is_that_of_the_python_package():
    package = json.loads((CLIENT / "package.json").read_text(encoding="utf-8"))
    assert package["version"] == partstream.__version__


def test_package__is_used_by_an_empty_project(packages, tmp_path):
    run(["npm", "pack", CLIENT, "--silent"], tmp_path)
    [tarball] = tmp_path.glob("*.tgz")
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    offline = ["--offline", "--no-audit", "--no-fund", "--ignore-scripts"]
    run(["npm", "install", *offline, tarball], tmp_path)

    installed = tmp_path / "node_modules" / "django-partstream"
    files = {file.name for file in installed.iterdir()}
    assert files == {"package.json", "partstream.d.ts", "partstream.js"}

    (tmp_path / "use.js").write_text(USE, encoding="utf-8")
    names = "PartstreamError,createParser,createStore,partstream"
    assert run(["node", "use.js"], tmp_path).strip() == f"{names} 1"

    (tmp_path / "use.ts").write_text(TYPED_USE, encoding="utf-8")
    options = ["--strict", "--noEmit", "--target", "es2022"]
    for module in ("nodenext", "preserve"):
        packages.run("tsc", *options, "--module", module, "use.ts", directory=tmp_path)
