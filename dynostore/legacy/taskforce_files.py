"""Which of a directory's files is what to Taskforce, left-over temporary files included.

A temporary file belongs to the file that it was to become: ``ID.json.tmp``, ``todolist_ID.tmp``
and ``NAME.RANDOM.tmp`` of the three generations of the tool.
"""

from __future__ import annotations

import dataclasses
import operator
import os
import re
from typing import Literal

from dynostore.legacy.source_heads import FileHead
from dynostore.legacy.source_tree import Listing

What = Literal["state", "todo", "checklist", "index", "messages", "skills"]

WANTED = (".tmp", ".pkl", ".pickle")
"""Endings of names that other readers pass over."""

_PICKLES = (".pkl", ".pickle")
STATE_DIRECTORIES = ("states", "agent_states")
_TEMPORARY = re.compile(
    r"\.?(.+?\.(?:json|md))(?:\.[^.]+)?\.tmp|(.+?)(?:\.[A-Za-z0-9_]{6,12})?\.tmp"
)
_TODO = re.compile(r"todolist_.+\.(json|md)")
_HEAD_BYTES = 4096


@dataclasses.dataclass(slots=True)
class Group:
    """A file with the temporary files that were to become it.

    :ivar name: its name, whether it is there or not.
    :ivar names: those that are there, it first.
    """

    name: str
    what: What
    names: list[str]

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return self.name.rpartition(".")[0]


@dataclasses.dataclass(slots=True)
class Sorted:
    """The files of one directory.

    :ivar pickles: states of the tool's first version.
    :ivar others: files that are not Taskforce's.
    """

    groups: list[Group]
    pickles: list[str]
    others: list[str]


def sort_files(listing: Listing) -> Sorted:
    """Tell what each file of a directory is, by names, and by first bytes where they do not say."""
    found = Sorted([], [], [])
    groups: dict[str, Group] = {}
    parent = os.path.basename(listing.path)
    for name in sorted(listing.files, key=operator.methodcaller("endswith", ".tmp")):
        if name.endswith(_PICKLES):
            found.pickles.append(name)
            continue
        target = _target_of(name)
        what = _what(target, parent, FileHead(f"{listing.path}{os.sep}{name}"))
        if what is None:
            found.others.append(name)
        elif target in groups:
            groups[target].names.append(name)
        else:
            groups[target] = Group(target, what, [name])
    found.groups = [groups[target] for target in sorted(groups)]
    return found


def is_ours(head: FileHead) -> bool:
    """Tell whether a file is something of Taskforce."""
    directory, name = os.path.split(head.path)
    parent = os.path.basename(directory)
    if name.endswith(_PICKLES):
        return parent in STATE_DIRECTORIES
    return _what(_target_of(name), parent, head) is not None


def _target_of(name: str) -> str:
    if not name.endswith(".tmp"):  # nearly always
        return name
    match = _TEMPORARY.fullmatch(name)
    if match is None:
        return name
    return str(match[1] or f"{match[2]}.json")


def _what(target: str, parent: str, head: FileHead) -> What | None:
    if parent in STATE_DIRECTORIES and target.endswith(".json"):  # nearly always
        return "state"
    if target == "skills.json":
        is_full = _has(head, b'"lesson"', b'"skills"')
        return "skills" if is_full or _is_empty(head.path) else None
    if target == "messages.json" and head.path.split(os.sep)[-3:-2] == ["conversations"]:
        return "messages"
    if target == "index.json" and parent == "conversations":
        return "index"
    if _TODO.fullmatch(target):
        return "checklist" if target.endswith(".md") else "todo"
    if not target.endswith(".json"):
        return None
    if target == "agent_state.json" or _has(head, b'"state_data"'):
        return "state"
    return "todo" if _has(head, b'"todolist_id"') and _has(head, b'"items"') else None


def _has(head: FileHead, *words: bytes) -> bool:
    """Tell whether one of some words is in the first bytes of a file."""
    first = head.data[:_HEAD_BYTES]
    return any(word in first for word in words)


def _is_empty(path: str) -> bool:
    try:
        return os.path.getsize(path) == 0
    except OSError:
        return False
