"""Which of a directory's files is what to Taskforce, left-over temporary files included.

A temporary file belongs to the file that it was to become: ``ID.json.tmp``, ``todolist_ID.tmp``
and ``NAME.RANDOM.tmp`` of the three generations of the tool.
"""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Literal

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
    for name in sorted(listing.files, key=lambda name: (name.endswith(".tmp"), name)):
        if name.endswith(_PICKLES):
            found.pickles.append(name)
            continue
        target = _target_of(name)
        what = _what(listing.path, target, os.path.join(listing.path, name))
        if what is None:
            found.others.append(name)
        elif target in groups:
            groups[target].names.append(name)
        else:
            groups[target] = Group(target, what, [name])
    found.groups = [groups[target] for target in sorted(groups)]
    return found


def is_ours(listing: Listing) -> bool:
    """Tell whether a directory holds something of Taskforce."""
    found = sort_files(listing)
    name = os.path.basename(listing.path)
    return bool(found.groups) or bool(found.pickles and name in STATE_DIRECTORIES)


def _target_of(name: str) -> str:
    if not name.endswith(".tmp"):  # nearly always
        return name
    match = _TEMPORARY.fullmatch(name)
    if match is None:
        return name
    return str(match[1] or f"{match[2]}.json")


def _what(directory: str, target: str, path: str) -> What | None:
    parent = os.path.basename(directory)
    if parent in STATE_DIRECTORIES and target.endswith(".json"):  # nearly always
        return "state"
    if target == "skills.json":
        return "skills" if _has(path, b'"lesson"', b'"skills"') or _is_empty(path) else None
    if target == "messages.json" and os.path.basename(os.path.dirname(directory)) == (
        "conversations"
    ):
        return "messages"
    if target == "index.json" and parent == "conversations":
        return "index"
    if _TODO.fullmatch(target):
        return "checklist" if target.endswith(".md") else "todo"
    if not target.endswith(".json"):
        return None
    if target == "agent_state.json" or _has(path, b'"state_data"'):
        return "state"
    return "todo" if _has(path, b'"todolist_id"') and _has(path, b'"items"') else None


def _has(path: str, *words: bytes) -> bool:
    """Tell whether one of some words is in the first bytes of a file."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    return any(word in head for word in words)


def _is_empty(path: str) -> bool:
    try:
        return os.path.getsize(path) == 0
    except OSError:
        return False
