"""Finding Haia's conversations: its database of SQLite, and the transcripts that replaced it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from dynostore.errors import SourceNotFound
from dynostore.legacy.base import Finding, ReadOptions, SourceRecord
from dynostore.legacy.detection import is_below, knows_file
from dynostore.legacy.haia_tables import ConversationTables, is_haia
from dynostore.legacy.haia_transcripts import (
    TranscriptReader,
    is_named_like_one,
    may_be_transcript,
)
from dynostore.legacy.source_database import count_rows, holds_tables, read_database
from dynostore.legacy.source_heads import FileHead
from dynostore.legacy.source_sqlite import SIDECARS, stray_reason
from dynostore.legacy.source_tree import Listing, SourceTree
from dynostore.urls import mask


class HaiaReader:
    """Reads conversations from databases and transcripts; a :class:`~dynostore.legacy.base.Reader`.

    The database is ``haia.db``, known by its tables; transcripts are
    ``data/transcripts/<id>_<time>.json``, known by their content wherever they lie.
    """

    kind = "haia"
    wanted: tuple[str, ...] = ()

    def detect(self, source: str) -> bool:
        """Tell whether a database or a transcript is at or below a path."""
        if "://" in source:
            return False
        return is_below(source, self) if os.path.isdir(source) else knows_file(source, self)

    def knows(self, listing: Listing, name: str, head: FileHead) -> bool:
        """Tell whether a file is a transcript by its name or first bytes, or has the tables."""
        if not head.is_sqlite:
            return is_named_like_one(head.path) or may_be_transcript(head)
        return holds_tables(head.path, is_haia)

    def count(self, source: str) -> int | None:
        """Count the conversations of one database; None for anything else."""
        if os.path.isdir(source) or not FileHead(source).is_sqlite:
            return None
        return count_rows(source, is_haia, "conversations")

    def read(self, source: str, options: ReadOptions) -> Iterator[SourceRecord | Finding]:
        """Give every conversation, and every file that holds none, in the order of their paths."""
        if "://" in source:
            raise SourceNotFound(f"{mask(source)}: Haia kept its conversations in files")
        is_file = not os.path.isdir(source)
        tree = SourceTree(os.path.dirname(source) if is_file else source)
        transcripts = TranscriptReader()
        databases: set[str] = set()
        sidecars: list[str] = []
        for path in [os.path.realpath(source)] if is_file else tree.walk():
            if isinstance(path, Finding):
                yield path
                continue
            head = FileHead(path)
            if head.is_sqlite:
                databases.add(path)
                yield from read_database(
                    path,
                    tree.relative(path),
                    is_haia,
                    ConversationTables,
                    tool="Haia",
                    nouns="conversations",
                )
            elif is_named_like_one(path) or may_be_transcript(head):
                yield from transcripts.read(path, tree.relative(path))
            elif path.endswith(tuple(SIDECARS)):
                sidecars.append(path)  # which come before or after their database
            else:
                yield _stray(path, tree, databases)
        for path in sidecars:
            yield _stray(path, tree, databases)


def _stray(path: str, tree: SourceTree, databases: set[str]) -> Finding:
    may_be_lost, reason = stray_reason(path, databases, "not a file of Haia's conversations")
    return Finding(tree.relative(path), "invalid" if may_be_lost else "skipped", reason)
