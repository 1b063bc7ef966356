"""Searching messages for a word that few of them have, and what the index costs who writes.

The floor is FTS5 by hand: the same texts in a table of their own, the same question with its
snippets, nothing kept current and no record looked up. Both files are asked in turn.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from dynostore import Store
from dynostore.fields import utc_now
from dynostore.ids import new_id
from dynostore.models import Message

HITS = 20
WORD = "knock"
_VOCABULARY, _PARTS = 50_000, 20_000
_LOT = 50_000
_FLOOR = (
    "SELECT rowid, rank, snippet(floor, -1, '[', ']', '…', 24) FROM floor"
    " WHERE floor MATCH ? ORDER BY rank LIMIT ?"
)


def run(arguments: list[str]) -> dict[str, Any]:
    """Measure the search, its index and what that costs; times are medians."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        directory = Path(name)
        with (
            Store.open(directory / "dynostore.db") as store,
            sqlite3.connect(directory / "floor.db", isolation_level=None) as floor,
        ):
            result = _measured(store, floor, options)
            size_bytes = store.database.path.stat().st_size
        floor.close()
        return {**result, "file_with_index_mib": size_bytes / 2**20}


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench search", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000, help="(1,000,000)")
    parser.add_argument("--matches", type=int, default=1_000, help="with the word (1,000)")
    parser.add_argument("--rounds", type=int, default=31, help="searches of each (31)")
    parser.add_argument("--written", type=int, default=5_000, help="messages a measured write")
    parser.add_argument("--directory", help="where the files are made (the system's)")
    return parser.parse_args(arguments)


def _measured(store: Store, floor: sqlite3.Connection, options: argparse.Namespace) -> Any:
    talk = store.conversations.create_conversation("bench").id
    texts = _Texts()
    floor.execute("PRAGMA journal_mode = WAL")
    floor.execute(
        "CREATE VIRTUAL TABLE floor USING fts5 (content, tokenize='unicode61 remove_diacritics 2')"
    )
    floor_build_s = 0.0
    for lot in _lots(texts.of(options.messages, options.matches)):
        _put(store, talk, lot)
        floor_build_s += _seconds(functools.partial(_insert, floor, lot))
    plain_s = _seconds(lambda: _put(store, talk, texts.of(options.written, 0)))
    build_s = _seconds(store.rebuild_search)
    indexed_s = _seconds(lambda: _put(store, talk, texts.of(options.written, 0)))
    times: dict[str, list[float]] = {"ours": [], "floor": []}
    for _ in range(options.rounds):
        times["ours"].append(_seconds(lambda: store.search(WORD, limit=HITS)))
        times["floor"].append(
            _seconds(lambda: floor.execute(_FLOOR, (WORD, HITS)).fetchall()),
        )
    search_ms, floor_ms = (statistics.median(each) * 1000 for each in times.values())
    return {
        "messages": options.messages,
        "matches": options.matches,
        "search_ms": search_ms,
        "floor_search_ms": floor_ms,
        "ratio_floor_search": floor_ms / search_ms,
        "build_s": build_s,
        "floor_build_s": floor_build_s,
        "ratio_floor_build": floor_build_s / build_s,
        "messages_written_per_s": options.written / plain_s,
        "messages_written_per_s_with_index": options.written / indexed_s,
        "target": "search_ms under 50 with 1,000,000 messages and 1,000 matches",
    }


class _Texts:
    """Makes messages of forty words, of which a few are frequent and most are rare."""

    def __init__(self) -> None:
        self._random = random.Random(1)
        words = [f"w{number:x}" for number in range(_VOCABULARY)]
        weights = [1 / (rank + 10) for rank in range(_VOCABULARY)]
        picked = self._random.choices(words, weights, k=_PARTS * 10)
        self._parts = [" ".join(picked[i : i + 10]) for i in range(0, len(picked), 10)]

    def of(self, count: int, matches: int) -> Iterator[str]:
        """Give so many texts, so many of which have the word, with equal gaps between them."""
        gap = count // matches if matches else count + 1
        for number in range(count):
            text = " ".join(self._random.choices(self._parts, k=4))
            yield f"{text} {WORD}" if number % gap == 0 and number // gap < matches else text


def _lots(texts: Iterator[str]) -> Iterator[list[str]]:
    while lot := list(itertools.islice(texts, _LOT)):
        yield lot


def _put(store: Store, talk: str, texts: Iterable[str]) -> None:
    now = utc_now()
    refused = store.conversations.put_many(
        Message(id=new_id(), conversation=talk, role="user", content=text, created_at=now)
        for text in texts
    )
    assert not refused


def _insert(floor: sqlite3.Connection, texts: Iterable[str]) -> None:
    floor.execute("BEGIN")
    floor.executemany("INSERT INTO floor (content) VALUES (?)", ((text,) for text in texts))
    floor.execute("COMMIT")


def _seconds(act: Callable[[], object]) -> float:
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin
