"""The little of Markdown that the tests of the documents need: fenced blocks, links, headings, tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])

_FENCE = re.compile(r'^```(\w*)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line of its fence, and the file it is a copy of, if its title names one."""

    page: Path
    line: int
    language: str
    text: str
    title: str = ""

    @property
    def id(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, *languages: str) -> list[Block]:
    """The page's blocks of these languages, or all, in order."""
    text = page.read_text()
    found = (Block(page, text.count("\n", 0, m.start()) + 1, m[1], m[3], m[2] or "") for m in _FENCE.finditer(text))
    return [block for block in found if not languages or block.language in languages]


def links(page: Path) -> list[str]:
    """Where the page's links lead; those in code are none."""
    return _LINK.findall(_FENCE.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """The names of the page's headings, as a link gives them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def rows(page: Path, header: str) -> Iterator[list[str]]:
    """The cells of each row of the table whose first line begins so."""
    lines = page.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(header))
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]
