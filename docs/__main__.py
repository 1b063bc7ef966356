"""``python -m docs``: write the pages that are drawn from the code; ``--check`` only compares them.

Not part of the package: it is run in a checkout, like ``python -m bench``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from docs.commands import commands_page
from docs.schema import schema_page

_HERE = Path(__file__).parent
_NOTICE = "<!-- Written by python -m docs from the code: change the code, and run that. -->\n\n"


def main(words: list[str]) -> int:
    """Write the pages, or name those that are out of date; give the exit code."""
    pages = {"commands.md": commands_page(), "schema.md": schema_page()}
    stale = [name for name, text in pages.items() if _current(name) != _NOTICE + text]
    for name in stale:
        if words == ["--check"]:
            print(f"docs/{name} is out of date: python -m docs")
        else:
            (_HERE / name).write_text(_NOTICE + pages[name], encoding="utf-8")
            print(f"docs/{name}")
    return int(bool(stale) and words == ["--check"])


def _current(name: str) -> str:
    path = _HERE / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
