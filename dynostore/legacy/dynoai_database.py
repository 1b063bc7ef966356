"""DynoAI's database: nothing filled it from the directories; its runs may be nowhere else."""

from __future__ import annotations

from dynostore.legacy.base import Finding, Unreadable
from dynostore.legacy.source_sqlite import is_sqlite, opened_sqlite
from dynostore.legacy.source_tables import OURS, has_columns


def speak_of_database(path: str, shown: str, otherwise: str) -> Finding:
    """Say of a database file whether there are runs in it, which are in no directory perhaps.

    :param path: absolute.
    :param shown: the path for people.
    :param otherwise: the reason for skipping one without runs, and one of somebody else's.
    """
    runs = 0
    if is_sqlite(path):
        try:
            with opened_sqlite(path) as source:
                if OURS not in source.tables and has_columns(
                    source.tables, "runs", "id", "status", "jetstream_id"
                ):
                    runs = source.count(source.tables["runs"])
        except Unreadable:
            pass  # whoever knows it for its own says so
    if not runs:
        return Finding(shown, "skipped", otherwise)
    reason = f"{runs} runs in a database, which is not read; only directories are taken over"
    return Finding(shown, "invalid", reason)
