"""The index in a SQLite file: made by the first search, right whoever writes, and never lost."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dynostore import errors
from dynostore.exporter import export_to
from dynostore.inventory import take_inventory
from dynostore.migrator import Migrator, directory
from dynostore.models import ALL
from dynostore.search import sqlite_index
from dynostore.search.sqlite_schema import statements
from dynostore.sqlite_dependents import SEARCH_PREFIX
from dynostore.store import Store

TRACES = f"SELECT count(*) FROM sqlite_master WHERE name LIKE '{SEARCH_PREFIX}%'"
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """Give a store with thirty memories; at the end it is sound, and so is its index."""
    with Store.open(path) as opened:
        for number in range(30):
            opened.memories.add("common", f"word{number}", memory_id=f"m{number:02}")
        yield opened
        assert opened.check() == []
        if traces(path):
            plainly(
                path,
                f"INSERT INTO {SEARCH_PREFIX} ({SEARCH_PREFIX}, rank)"
                " VALUES ('integrity-check', 1)",
            )


def plainly(path: Path, *statements: str) -> None:
    """Write as any program does that knows nothing of dynostore."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def traces(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(TRACES).fetchone()[0])


def ids(store: Store, query: str, **options: Any) -> list[str]:
    return sorted(hit.id for hit in store.search(query, limit=100, **options))


def test_who_never_searches_has_no_trace_of_it_and_who_drops_the_index_none_more(
    path: Path, store: Store
) -> None:
    assert traces(path) == 0
    assert ids(store, "word7") == ["m07"]
    assert traces(path) > 0
    store.drop_search()
    assert traces(path) == 0
    assert ids(store, "word7") == ["m07"]


def test_any_program_that_writes_keeps_the_index_current(path: Path, store: Store) -> None:
    assert len(ids(store, "common")) == 30
    plainly(
        path,
        # REPLACE removes a row without its DELETE trigger.
        "INSERT OR REPLACE INTO memories SELECT memory_id, context, 'replaced', tool_name,"
        " confidence, created_at, metadata FROM memories WHERE memory_id = 'm01'",
        "UPDATE memories SET lesson = 'changed' WHERE memory_id = 'm02'",
        "UPDATE memories SET memory_id = 'renamed' WHERE memory_id = 'm03'",
        "UPDATE memories SET confidence = 5",
        "DELETE FROM memories WHERE memory_id = 'm04'",
        "UPDATE OR REPLACE memories SET memory_id = 'm06' WHERE memory_id = 'm05'",
        "INSERT INTO tasks (task_id, request_text, status, created_at)"
        " VALUES ('ABCDEF00ABCDEF00ABCDEF00ABCDEF00', 'another form', 'pending', '2026')",
        "VACUUM",
    )
    assert ids(store, "word1") == ids(store, "word2") == ids(store, "word4") == []
    assert ids(store, "word6") == []
    assert ids(store, "replaced") == ["m01"]
    assert ids(store, "changed") == ["m02"]
    assert ids(store, "another form") == ["ABCDEF00ABCDEF00ABCDEF00ABCDEF00"]
    assert ids(store, "word3") == ["renamed"]
    assert ids(store, "word5") == ["m06"]
    assert len(ids(store, "common")) == 28


def test_what_is_written_while_the_index_is_made_is_in_it(
    monkeypatch: pytest.MonkeyPatch, path: Path, store: Store
) -> None:
    monkeypatch.setattr(sqlite_index, "_BATCH_ROWS", 10)
    seen: list[tuple[str, int, int]] = []

    def write(kind: str, done: int, total: int) -> None:
        seen.append((kind, done, total))
        if done == 10:  # m00 to m09 are indexed
            plainly(
                path,
                "UPDATE memories SET lesson = 'behind' WHERE memory_id = 'm03'",
                "UPDATE memories SET lesson = 'ahead' WHERE memory_id = 'm22'",
                "DELETE FROM memories WHERE memory_id IN ('m04', 'm24')",
                "INSERT INTO memories SELECT 'm0x', context, 'between', NULL, 0, created_at, NULL"
                " FROM memories WHERE memory_id = 'm00'",
                "INSERT INTO memories SELECT 'm2x', context, 'beyond', NULL, 0, created_at, NULL"
                " FROM memories WHERE memory_id = 'm00'",
            )

    store.rebuild_search(write)
    assert seen[:2] == [("memories", 10, 30), ("memories", 20, 30)]
    words = ("behind", "ahead", "between", "beyond", "word4", "word24", "word3", "word29")
    found = [ids(store, word) for word in words]
    assert found == [["m03"], ["m22"], ["m0x"], ["m2x"], [], [], [], ["m29"]]
    assert len(ids(store, "common")) == 30


@pytest.fixture
def survives(
    killed_at: Callable[[int, Callable[[], object]], bool],
    monkeypatch: pytest.MonkeyPatch,
    store: Store,
    tmp_path: Path,
) -> Callable[[int], bool]:
    """Give a function that kills the first search at a statement, and searches again.

    It tells whether the search had not come to its end before.
    """
    monkeypatch.setattr(sqlite_index, "_BATCH_ROWS", 10)
    columns = "memory_id, context, lesson, confidence, created_at"

    def run(number: int) -> bool:
        copy = store.backup(tmp_path / "copy.db")

        def search() -> None:
            with Store.open(copy) as opened:
                opened.search("common")

        was_killed = killed_at(number, search)
        plainly(
            copy,
            "UPDATE memories SET lesson = 'changed' WHERE memory_id IN ('m02', 'm27')",
            f"INSERT INTO memories ({columns}) VALUES ('m0x', 'common', 'new', 0, '2026')",
        )
        with Store.open(copy) as opened:
            assert len(ids(opened, "common")) == 31, number
            assert ids(opened, "changed") == ["m02", "m27"], number
            assert ids(opened, "new") == ["m0x"], number
            assert opened.check() == [], number
        return was_killed

    return run


def test_one_that_is_killed_is_made_whole_by_the_next_search(
    survives: Callable[[int], bool],
) -> None:
    for number in (25, 45, 65, 85, 95, 105):
        assert survives(number)


@pytest.mark.slow
def test_one_that_is_killed_at_any_statement_is_made_whole_by_the_next_search(
    survives: Callable[[int], bool],
) -> None:
    killed = 0
    while survives(killed + 1):
        killed += 1
    assert killed > 100


BUILD = """
import sys
from dynostore.search import sqlite_index
from dynostore.search.sqlite_schema import statements
from dynostore.store import Store
sqlite_index._BATCH_ROWS = 5
with Store.open(sys.argv[1]) as store:
    print("open", flush=True)
    input()
    print(len(store.search("common", limit=100)))
"""


def test_two_processes_make_it_at_the_same_time(
    path: Path, store: Store, start_python: Start
) -> None:
    both = [start_python(BUILD, path) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in both:
        out, err = process.communicate(timeout=60)
        assert (out, err) == ("30\n", "")
    assert ids(store, "word7") == ["m07"]


@pytest.mark.parametrize("taken", ["trigger", "records", "words", "state"])
def test_one_that_is_not_as_it_should_be_is_made_anew(path: Path, store: Store, taken: str) -> None:
    store.search("common")
    if taken == "trigger":
        plainly(path, f"DROP TRIGGER {SEARCH_PREFIX}_memories_insert")
    elif taken == "records":
        plainly(
            path,
            "ALTER TABLE memories RENAME TO old",
            "CREATE TABLE memories AS SELECT * FROM old",
            "DROP TABLE old",
        )
    elif taken == "words":
        plainly(path, f"DROP TABLE {SEARCH_PREFIX}")
        plainly(path, f"DROP TRIGGER {SEARCH_PREFIX}_memories_insert")
    else:
        plainly(path, f"DROP TABLE {SEARCH_PREFIX}_state")
    columns = "memory_id, context, lesson, confidence, created_at"
    plainly(path, f"INSERT INTO memories ({columns}) VALUES ('new', 'common', 'later', 0, '2026')")
    assert ids(store, "later") == ["new"]
    assert len(ids(store, "common")) == 31


def test_an_upgrade_leaves_no_index_that_missed_what_it_wrote(
    path: Path, store: Store, tmp_path: Path
) -> None:
    assert ids(store, "word7") == ["m07"]
    steps = tmp_path / "steps"
    shutil.copytree(directory(), steps, ignore=shutil.ignore_patterns("__pycache__"))
    (steps / "9999_words.py").write_text(
        "CHANGES_ROWS = ()\n"
        "def up(migrator, db):\n"
        "    db.execute_sql(\"UPDATE memories SET lesson = 'anew' WHERE memory_id = 'm07'\")\n"
        "def down(migrator, db):\n"
        "    pass\n"
    )
    Migrator(store.database, steps).upgrade()
    assert ids(store, "word7") == []
    assert ids(store, "anew") == ["m07"]


def test_tables_that_go_and_come_back_with_the_schema_are_searched_again(store: Store) -> None:
    assert ids(store, "word7") == ["m07"]
    store.migrator.downgrade(3)  # conversations and ideation are gone, with their triggers
    store.migrator.upgrade()
    talk = store.conversations.create_conversation("t")
    message = store.conversations.add_message(talk.id, "user", "afterwards")
    assert ids(store, "afterwards") == [message.id]
    assert ids(store, "word7") == ["m07"]


def test_its_tables_are_no_records(path: Path, store: Store, tmp_path: Path) -> None:
    before = take_inventory(store.database).rows
    store.search("common")
    assert take_inventory(store.database).rows == before
    assert list(before) == [model._meta.table_name for model in ALL]
    assert store.check() == []
    copy = store.backup(tmp_path / "copy.db")
    with Store.open(copy) as opened:
        assert ids(opened, "word7") == ["m07"]
    export_to(store, tmp_path / "all.jsonl")
    assert SEARCH_PREFIX not in (tmp_path / "all.jsonl").read_text()


def test_what_may_not_be_written_is_searched_by_its_index_or_says_why_not(
    path: Path, store: Store
) -> None:
    with (
        Store.open(path, read_only=True) as reader,
        pytest.raises(errors.StoreUnwritable, match="has no search index yet") as caught,
    ):
        reader.search("word7")
    assert str(caught.value.hint).startswith("dynostore search --rebuild")
    store.search("word7")
    with Store.open(path, read_only=True) as reader:
        assert ids(reader, "word7") == ["m07"]


def test_a_damaged_index_says_what_to_do_and_records_are_safe(path: Path, store: Store) -> None:
    store.search("common")
    plainly(path, f"UPDATE {SEARCH_PREFIX}_data SET block = x'00ff00ff' WHERE id > 100")
    with pytest.raises(errors.StoreCorrupt) as caught:
        store.search("common")
    assert caught.value.hint == "dynostore search --rebuild"
    store.rebuild_search()
    assert len(ids(store, "common")) == 30


def test_another_version_of_peewee_makes_no_index_anew(
    monkeypatch: pytest.MonkeyPatch, path: Path, store: Store
) -> None:
    store.search("common")
    wanted = dict(statements())
    wanted[SEARCH_PREFIX] = wanted[SEARCH_PREFIX].replace(", ", ",")
    monkeypatch.setattr(sqlite_index, "statements", lambda: wanted)
    with Store.open(path, read_only=True) as reader:
        assert ids(reader, "word7") == ["m07"]


def test_other_forms_of_stores_say_where_a_search_is_possible(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with Store.open(f"dir:{tmp_path / 'runs'}") as old:
        for act in (lambda: old.search("x"), old.rebuild_search, old.drop_search):
            with pytest.raises(errors.NotHeld) as caught:
                act()
            assert str(caught.value.hint).startswith("dynostore import ")


def test_accents_do_not_matter_on_latin_letters_alone(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        for word in ("café", "Việt", "ø", "λόγος", "йод"):
            store.memories.add(word, "accents", memory_id=word)
        found = {word: len(store.search(word)) for word in ("cafe", "viet", "o", "λογος", "иод")}
    assert found == {"cafe": 1, "viet": 1, "o": 0, "λογος": 0, "иод": 0}
