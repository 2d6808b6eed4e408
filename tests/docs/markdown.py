"""What the tests read in a page of the documentation: its fenced blocks, and its tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
README = TREE / "README.md"
SECURITY = TREE / "SECURITY.md"
DOCS = TREE / "docs"
PAGES = [README, SECURITY, *sorted(DOCS.glob("*.md"))]

_FENCE = re.compile(
    r"^(?:<!-- test: (?P<mark>.+?) -->\n)?"
    r"```(?P<language>[^\n]*)\n(?P<source>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
#: A first line that says which file a block is: a comment with a path, perhaps with a remark.
_PATH = re.compile(r"(?:#|//|<!--) (?P<path>[\w/.-]+\.(?:py|m?js|jsx|ts|html))(?=[:\n]| -->\n)")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its text, what its mark says."""

    where: str
    heading: str
    language: str
    source: str
    mark: str
    line: int

    @property
    def path(self) -> str | None:
        """The file that the block's first line names."""
        found = _PATH.match(self.source)
        return found["path"] if found else None

    @property
    def name(self) -> str:
        """Its file, or the heading above it."""
        return self.path or self.heading


def blocks(page):
    """Every fenced block of a page but MyST's directives, in order."""
    text = page.read_text(encoding="utf-8")
    found, heading, end = [], "", 0
    for fence in _FENCE.finditer(text):
        heading = [heading, *_HEADING.findall(text, end, fence.start())][-1]
        end = fence.end()
        if not fence["language"].startswith("{"):
            line = text.count("\n", 0, fence.start("source")) + 1
            where = f"{page.relative_to(TREE).as_posix()}:{line}"
            found.append(
                Block(where, heading, fence["language"], fence["source"], fence["mark"] or "", line)
            )
    return found


def sections(page):
    """Heading -> the text below it but its blocks, up to the next heading of any level."""
    # Without its blocks, where a comment looks like a heading.
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    pieces = _HEADING.split(text)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def rows(text):
    """The cells of every row of the tables in a text, their heads and rules left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rules = [index for index, row in enumerate(cells) if set("".join(row)) <= set("-: ")]
    heads = {index - 1 for index in rules}
    return [row for index, row in enumerate(cells) if index not in heads | set(rules)]
