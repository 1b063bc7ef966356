"""The blocks of a page, and what is said about them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$|^<!-- (first|not run):\s(.*?)-->$", re.M | re.S)


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block, or the commands of a comment.

    :ivar name: the file that it is to be written to, else None.
    :ivar exempt: why it is not run, else None.
    """

    language: str
    text: str
    line: int
    name: str | None
    exempt: str | None


def read_blocks(page: Path) -> list[Block]:
    """Give the blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found, exempt = [], None
    for match in _FENCE.finditer(text):
        language, body, mark, words = match.groups()
        if mark == "not run":
            exempt = " ".join(words.split())
            continue
        before = text[: match.start()].rstrip().rpartition("\n")[2]
        named = re.search(r"`([\w./-]+)`:$", before) if body else None
        name = named[1] if named else None
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(language or ("sh" if mark else ""), body or words, line, name, exempt))
        exempt = None
    return found
