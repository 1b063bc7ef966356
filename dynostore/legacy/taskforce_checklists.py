"""Check lists in Markdown, Taskforce's oldest form, as the JSON that later versions wrote.

``- [x] text (status: COMPLETED, tool: NAME, params: {...}, notes: {...})``, with ``params`` as
Python shows a dictionary. Nothing is evaluated: literals are parsed, and what is none stays text.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

from dynostore.canonical_json import is_storable_text
from dynostore.legacy.base import Unreadable
from dynostore.legacy.source_json import MAX_BYTES, parse

_BOX = re.compile(r"\s*[-*]\s+\[(.?)\]\s*(.*)")
_ITEM = re.compile(r"\s*[-*]\s+(.*)")
_DETAILS = "(status:"
_LONGEST_LITERAL = 64 * 1024
_MOST_TRIES = 20


def parse_checklist(data: bytes) -> dict[str, Any]:
    """Give a check list as the document of a todo list; lines that fit nowhere are ``lines``.

    :raises Unreadable: no text, or nothing in it looks like a check list.
    """
    if len(data) > MAX_BYTES:
        raise Unreadable(f"text of more than {MAX_BYTES // 2**20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise Unreadable(f"not UTF-8 at byte {exc.start}") from None
    if not text.strip():
        raise Unreadable("the file is empty")
    if not is_storable_text(text):
        raise Unreadable("NUL in the text")
    return _Checklist().read(text)


class _Checklist:
    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.questions: list[str] = []
        self.notes: list[str] = []
        self.meta: dict[str, str] = {}
        self.lines: list[str] = []

    def read(self, text: str) -> dict[str, Any]:
        section, has_tasks = "", False
        # Not splitlines(), for which a form feed in a step's text ends a line.
        for line in text.replace("\r\n", "\n").split("\n"):
            if line.startswith("#"):
                section = line.lstrip("#").strip().lower()
                has_tasks |= section.startswith("tasks")
                if line.startswith("# ") and section == "todo list":
                    continue
                if section.startswith(("meta", "tasks", "open questions", "notes")):
                    continue
                self.lines.append(line)
            elif section.startswith("notes"):
                self.notes.append(line)
            elif line.strip():
                self._add(section, line)
        if not has_tasks and not self.items:
            raise Unreadable("holds no tasks of a check list")
        return self._document()

    def _add(self, section: str, line: str) -> None:
        box, item = _BOX.fullmatch(line), _ITEM.fullmatch(line)
        if box is not None and not section.startswith(("meta", "open questions")):
            self.items.append(_step(box[1], box[2]))
        elif item is not None and section.startswith("open questions"):
            self.questions.append(item[1])
        elif item is not None and section.startswith("meta") and ":" in item[1]:
            name, _, value = item[1].partition(":")
            self.meta[name.strip()] = value.strip()
        else:
            self.lines.append(line)

    def _document(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "items": self.items,
            "open_questions": self.questions,
            "notes": "\n".join(self.notes).strip("\n"),
            "created_at": self.meta.pop("created", None),
            "updated_at": self.meta.pop("last-updated", None),
        }
        if self.meta:
            document["meta"] = self.meta
        if self.lines:
            document["lines"] = self.lines
        return document


def _step(box: str, rest: str) -> dict[str, Any]:
    is_done = box in ("x", "X")
    text, found, details = rest.partition(_DETAILS)
    details = details.rstrip()
    if not found or not details.endswith(")"):
        return {"description": rest, "status": "COMPLETED" if is_done else "PENDING"}
    word, comma, more = details[:-1].partition(",")
    step: dict[str, Any] = {"description": text.rstrip(), "status": word.strip()}
    if is_done != (step["status"].upper() in ("COMPLETED", "DONE", "COMPLETE")):
        step["box"] = box
    _read_details(step, comma + more)
    return step


def _read_details(step: dict[str, Any], text: str) -> None:
    """Read ``, tool: NAME, params: {...}, notes: {...}``, each of which may be absent."""
    before, notes = _split(text, ", notes: ", _value_of)
    before, params = _split(before, ", params: ", _value_of)
    if before.startswith(", tool: "):
        step["chosen_tool"] = before.removeprefix(", tool: ")
    elif before.strip():
        step["details"] = before
    if params is not None:
        step["tool_input"] = params[0]
    if notes is not None and notes[0] is not None:
        step["notes"] = notes[0]


def _split(text: str, mark: str, read: Any) -> tuple[str, tuple[Any] | None]:
    """Give what stands before a mark and the value behind it; a value may hold the mark too."""
    first = at = text.find(mark)
    if first < 0:
        return text, None
    for _ in range(_MOST_TRIES):
        # A mark inside of the value before it leaves halves that are no values.
        found, value = read(text[at + len(mark) :])
        if found:
            return text[:at], (value,)
        at = text.find(mark, at + 1)
        if at < 0:
            break
    return text[:first], (text[first + len(mark) :],)


def _value_of(text: str) -> tuple[bool, Any]:
    """Give whether a text is JSON or a Python literal, and its value as JSON can hold it."""
    try:
        return True, parse(text.encode())[0]
    except Unreadable:
        pass
    if len(text) > _LONGEST_LITERAL:
        return False, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python does not know
            value = ast.literal_eval(text)
        return True, parse(json.dumps(value).encode())[0]
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False, None  # Unreadable is a ValueError
