"""The hints of all check messages, read from the source: each is made of whole sentences."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import partstream
from partstream import checks

#: Stands for what is known only when a message is made.
OPEN = "X"
IDENTIFIER = re.compile(r"partstream\.[EW]\d{3}")
#: A capital letter or a name in code, then words, then a full stop or a question mark.
SENTENCES = re.compile(r"(?:[A-Z\"].*?[.?](?=\s+[A-Z]|$)\s*)+", re.DOTALL)
#: Their message says what to write.
WITHOUT_HINT = {"partstream.E003", "partstream.E004", "partstream.E005"}


def texts(node, scope):
    """What an expression can be, as texts; a name is looked up in its function and its module."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return ["".join(texts(piece, scope)[0] for piece in node.values)]
    if isinstance(node, ast.IfExp):
        return texts(node.body, scope) + texts(node.orelse, scope)
    if isinstance(node, ast.Name):
        return [text for value in scope.get(node.id, []) for text in texts(value, scope)] or [OPEN]
    return [OPEN]


def constants(node):
    return isinstance(node, ast.Constant) and IDENTIFIER.fullmatch(str(node.value))


def found_hints():
    """(id, hint) of each message that the package makes; a hint is None where it has none."""
    for file in Path(partstream.__file__).parent.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        scope = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                scope.setdefault(node.targets[0].id, []).append(node.value)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                given = {keyword.arg: keyword.value for keyword in node.keywords}
                numbers = [piece for piece in ast.walk(given.get("id", node)) if constants(piece)]
                if "id" in given and numbers:
                    hints = texts(given["hint"], scope) if "hint" in given else [None]
                    yield from ((number.value, hint) for number in numbers for hint in hints)
            elif isinstance(node, ast.Tuple) and len(node.elts) == 4 and constants(node.elts[3]):
                yield from ((node.elts[3].value, hint) for hint in texts(node.elts[2], scope))


def test_hints__of_all_messages_are_found():
    listed = set(IDENTIFIER.findall(checks.__doc__))
    found = {identifier for identifier, _ in found_hints()}
    # The two functions of the settings are checked together, by a function that is given the id.
    assert listed - found == {"partstream.E011", "partstream.E013"}
    assert {identifier for identifier, hint in found_hints() if hint is None} == WITHOUT_HINT


def test_hints__are_sentences():
    wrong = [
        (identifier, hint)
        for identifier, hint in found_hints()
        if hint not in (None, OPEN) and not SENTENCES.fullmatch(hint)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "hint", ["lower it.", "Lower it", "Lower it, or raise X;", "Lower it. or raise", ""]
)
def test_hints__that_are_no_sentences_are_found(hint):
    assert not SENTENCES.fullmatch(hint)
