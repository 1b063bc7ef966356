"""What docs/deleting.md says of each place is so: the bytes are looked for."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store
from dynostore.backup import backup_file
from dynostore.cli import main
from dynostore.sync import sync

SECRET = "my number is 555-0199"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give a store that holds a secret in a conversation, among much else."""
    path = tmp_path / "store.db"
    with Store.open(path) as store:
        for name in ("talk_1", "talk_2"):
            store.conversations.create_conversation(conversation_id=name, title=None)
        said: Any = [{"role": "user", "content": f"{number}" * 40} for number in range(40)]
        store.conversations.add_messages("talk_2", said)
        store.conversations.add_message("talk_1", "user", SECRET)
    return path


def holds(path: Path) -> bool:
    """Tell whether the secret's bytes are in a file, wherever."""
    return path.exists() and SECRET.encode() in path.read_bytes()


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def delete(path: Path) -> None:
    """Delete the talk as a SQLite does that was not built to write over what it deletes."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("DELETE FROM messages WHERE conversation_id = 'talk_1'")
        connection.execute("DELETE FROM conversations WHERE id = 'talk_1'")


def test_free_pages_and_the_log_keep_what_was_deleted_until_a_vacuum(file: Path) -> None:
    assert holds(file)
    delete(file)
    assert holds(file), "the page says that a plain SQLite leaves it there"
    with Store.open(file) as store:
        store.conversations.create_conversation(conversation_id="talk_1", title=SECRET)
        store.conversations.delete_conversation("talk_1")
        assert holds(beside(file, "-wal"))
        assert main(["-q", "--db", str(file), "db", "vacuum"]) == 0
        assert not holds(file)
        assert not holds(beside(file, "-wal"))
    assert not beside(file, "-wal").exists()


def test_single_words_stay_in_the_searchs_index_until_it_is_dropped(file: Path) -> None:
    with Store.open(file) as store:
        store.conversations.add_message("talk_1", "user", "meet me at the Quincunx, 8 pm")
        assert len(store.search("quincunx")) == 1
        store.conversations.delete_conversation("talk_1")
        assert len(store.search("quincunx")) == 0
    at = ["-q", "--db", str(file)]
    assert main([*at, "db", "vacuum"]) == 0
    assert b"me at the Quincunx" not in file.read_bytes()
    assert b"quincunx" in file.read_bytes()
    assert main([*at, "search", "--drop"]) == 0
    assert main([*at, "db", "vacuum"]) == 0
    assert b"quincunx" not in file.read_bytes()


def test_backups_and_what_a_restore_replaced_keep_it(file: Path) -> None:
    backup = beside(file, ".copy")
    backup_file(file, backup)
    assert main(["-q", "--db", str(file), "db", "restore", str(backup), "--yes"]) == 0
    delete(file)
    assert main(["-q", "--db", str(file), "db", "vacuum"]) == 0
    (replaced,) = file.parent.glob("store.db.replaced-*Z")
    assert [holds(path) for path in (file, backup, replaced)] == [False, True, True]


@pytest.fixture
def database(postgres: Any) -> Iterator[str]:
    """Give the name of an empty database."""
    name = postgres.create()
    yield name
    postgres.drop(name)


def on_disk(postgres: Any, database: str, table: str) -> bool:
    """Tell whether the secret is in the file of a server's table."""
    if postgres.directory is None:
        pytest.skip("the files of the server of DYNOSTORE_TEST_POSTGRES are elsewhere")
    postgres.execute("CHECKPOINT", database)
    ((path,),) = postgres.execute(f"SELECT pg_relation_filepath('{table}')", database)
    return holds(postgres.directory / path)


def test_the_server_keeps_it_in_the_archive_until_a_purge_and_in_dead_rows_until_a_vacuum(
    file: Path, postgres: Any, database: str
) -> None:
    url = postgres.url_of(database)
    archived = f"SELECT count(*) FROM dynostore_sync.archive WHERE image LIKE '%{SECRET}%'"
    buried = "SELECT count(*) FROM dynostore_sync.tombstone"
    with Store.open(file) as store, Store.open(beside(file, ".other")) as other:
        sync(store, url)
        sync(other, url, direction="pull")
        store.conversations.delete_conversation("talk_1")
        sync(store, url)
        assert postgres.execute("SELECT count(*) FROM messages", database) == [(40,)]
        assert postgres.execute(archived, database) == [(1,)]
        assert postgres.execute(buried, database) == [(2,)]
        assert other.conversations.get_message_count("talk_1") == 1
        sync(other, url, direction="pull")
        assert [talk.id for talk in other.conversations.list_conversations()] == ["talk_2"]
    words = ["sync", "purge", "--to", url, "--older-than", "0s", "--yes"]
    assert main(["-q", "--db", str(file), *words]) == 0
    assert postgres.execute(archived, database) == [(0,)]
    assert postgres.execute(buried, database) == [(0,)]
    tables = ("messages", "dynostore_sync.archive")
    assert [on_disk(postgres, database, table) for table in tables] == [True, True]
    for table in tables:
        postgres.execute(f"VACUUM FULL {table}", database)
    assert [on_disk(postgres, database, table) for table in tables] == [False, False]
    logs = (postgres.directory / "pg_wal").iterdir()
    assert any(holds(path) for path in logs if path.is_file())


def test_a_lost_conflict_is_in_the_file_until_it_is_resolved(file: Path, postgres_url: str) -> None:
    with Store.open(file) as store, Store.open(beside(file, ".other")) as other:
        sync(store, postgres_url)
        sync(other, postgres_url, direction="pull")
        other.conversations.update_conversation("talk_2", title="theirs")
        sync(other, postgres_url)
        store.conversations.update_conversation("talk_2", title=SECRET)
        sync(store, postgres_url, direction="both")
        kept = "SELECT count(*) FROM sync_conflict WHERE image LIKE ?"
        assert store.database.execute_sql(kept, (f"%{SECRET}%",)).fetchone() == (1,)
        words = ["sync", "conflicts", "resolve", "--all", "--keep", "server"]
        assert main(["-q", "--db", str(file), *words]) == 0
        assert store.database.execute_sql(kept, (f"%{SECRET}%",)).fetchone() == (0,)


def test_a_runs_files_and_what_was_imported_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "old" / "run_a"
    source.mkdir(parents=True)
    state = source / "run_state.json"
    state.write_text(
        '{"run_id": "run_a", "status": "complete", "error_info": {"is": "secret"},'
        ' "created_at": "2025-12-05T11:52:20.515Z", "updated_at": "2025-12-05T11:52:20.515Z"}'
    )
    at = ["-q", "--db", str(tmp_path / "store.db")]
    assert main([*at, "import", str(source.parent)]) == 0
    assert main([*at, "runs", "rm", "run_a", "--yes"]) == 0
    assert state.exists()
    with Store.open(tmp_path / "store.db") as store:
        (note,) = store.imports.stream()
        assert "secret" in str(note.image)
        store.imports.forget([note.id])
        assert list(store.imports.stream()) == []
    assert main([*at, "import", str(source.parent)]) == 0
    assert main([*at, "runs", "show", "run_a"]) == 0
