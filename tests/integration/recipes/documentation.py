"""The blocks of the documentation that a browser, node or a compiler runs."""

from __future__ import annotations

from tests.docs.markdown import DOCS, blocks

CLIENT = DOCS / "client.md"


def block(name, page=CLIENT, language=None):
    """The text of the block with this file name, or below this heading."""
    found = [
        each
        for each in blocks(page)
        if each.name == name and each.language in (language or each.language)
    ]
    assert len(found) == 1, f"{page.name} has {len(found)} blocks of {name}"
    return found[0].source
