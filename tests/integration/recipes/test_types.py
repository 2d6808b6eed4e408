"""The example in TypeScript, under the strict compiler."""

from __future__ import annotations

import json

import pytest

from .documentation import block

pytestmark = pytest.mark.browser

OPTIONS = {
    "strict": True,
    "noEmit": True,
    "target": "es2022",
    "module": "esnext",
    "moduleResolution": "bundler",
    "lib": ["es2023", "dom"],
    "types": [],
}


@pytest.fixture
def errors(workspace):
    """What the compiler says of a module in TypeScript."""
    workspace.write("package.json", '{"type": "module"}')
    workspace.write("tsconfig.json", json.dumps({"compilerOptions": OPTIONS, "files": ["main.ts"]}))

    def errors(source):
        workspace.write("main.ts", source)
        try:
            return workspace.run("tsc")
        except AssertionError as failure:
            return str(failure)

    return errors


def test_example__has_no_error_of_types(errors):
    assert errors(block("Types")) == ""


HOOK_IS_USED = """
const { parts, retry } = usePartstream<{ orders: number[] }>("/api/dashboard/");
parts.orders?.length;
void retry("orders");
"""


def test_hook__knows_the_types_of_the_parts(errors):
    source = block("src/usePartstream.ts") + HOOK_IS_USED
    assert errors(source) == ""
    assert "error TS" in errors(source.replace('retry("orders")', 'retry("stock")'))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("row.left", "row.right"),
        ('part.name === "stock"', 'part.name === "shock"'),
        ('"warehouse_closed")', '"warehouse_open")'),
        ("part.error.problems", "part.error.solutions"),
        ("if (part.error)", "if (!part.error)"),
    ],
)
def test_example__has_one_after_a_mistake(errors, right, wrong):
    source = block("Types")
    assert right in source
    assert "error TS" in errors(source.replace(right, wrong))
