"""Haia's database: every message is kept, also those that the old program lost track of."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store
from dynostore.errors import SourceNotFound
from dynostore.importer import import_from
from dynostore.legacy import Finding, ReadOptions, SourceRecord
from dynostore.legacy.haia import HaiaReader


def read(source: Any) -> tuple[list[SourceRecord], list[Finding]]:
    found = [*HaiaReader().read(str(source), ReadOptions())]
    records = [item for item in found if isinstance(item, SourceRecord)]
    return records, [item for item in found if isinstance(item, Finding)]


def talks_of(store: Store) -> list[Any]:
    return [*store.conversations.list_conversations(limit=1000).items]


def contents(store: Store, key: str) -> list[str]:
    return [message.content for message in store.conversations.stream_messages(key)]


def test_a_conversation_has_its_messages_in_their_order(haia: Any, target: Store) -> None:
    haia.add("conversations", haia.talk(7))
    haia.add("messages", *(haia.message(n, 7) for n in (1, 2, 3)))
    report = import_from(haia.path, target)
    assert (report.exit_code, report.records.created, report.files.created) == (0, 1, 1)
    (talk,) = talks_of(target)
    assert talk.id[14] == "5"
    assert talk.created_at == dt.datetime(2026, 1, 20, 10, 0, tzinfo=dt.UTC)
    assert talk.updated_at == dt.datetime(2026, 1, 20, 10, 5, tzinfo=dt.UTC)
    assert talk.metadata == {"legacy_id": 7}
    messages = [*target.conversations.stream_messages(talk.id)]
    assert [m.metadata for m in messages] == [{"legacy_id": n} for n in (1, 2, 3)]
    assert [m.role for m in messages] == ["user", "assistant", "user"]
    assert messages[0].created_at == dt.datetime(2026, 1, 20, 10, 1, 1, 1, dt.UTC)
    assert messages[0].content == "Frage 1: naïve café ✅"
    again = import_from(haia.path.parent, target)
    assert (again.records.same, again.records.found) == (1, 1)


def test_a_moved_file_meets_its_records_and_two_files_do_not_meet(
    haia: Any, target: Store, tmp_path: Path
) -> None:
    haia.add("conversations", haia.talk(1))
    haia.add("messages", haia.message(1, 1))
    import_from(haia.path, target)
    haia.path.rename(tmp_path / "moved.db")
    assert import_from(tmp_path / "moved.db", target).records.to_json() == {
        "found": 1,
        "created": 0,
        "updated": 0,
        "same": 1,
        "skipped": 0,
        "invalid": 0,
    }
    other = type(haia)(tmp_path / "other" / "haia.db", _schema_of(tmp_path / "moved.db"))
    other.add("conversations", haia.talk(1, created_at="2026-01-20 10:00:00.000001"))
    other.add("messages", haia.message(1, 1, created_at="2026-01-20 10:03:00.000000"))
    assert import_from(other.path, target).records.created == 1
    assert [len(contents(target, t.id)) for t in talks_of(target)] == [1, 1]


def _schema_of(path: Path) -> str:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(path)) as connection:
        return ";".join(s for (s,) in connection.execute("SELECT sql FROM sqlite_master"))


def test_adopted_and_orphaned_messages_are_kept_apart_and_flagged(haia: Any, target: Store) -> None:
    haia.add("conversations", haia.talk(1), haia.talk(3, created_at="2026-01-21 00:00:00.000000"))
    haia.add("messages", haia.message(1, 1), haia.message(2, 3), haia.message(3, 3))
    haia.add("messages", haia.message(4, 3, created_at="2026-01-21 00:00:01"), haia.message(5, 9))
    report = import_from(haia.path, target)
    assert (report.records.created, report.exit_code) == (4, 0)
    talks = {str(t.metadata): t for t in talks_of(target)}
    numbers = {
        k: [m.metadata["legacy_id"] for m in target.conversations.stream_messages(t.id)]
        for k, t in talks.items()
    }
    assert numbers == {
        "{'legacy_id': 1}": [1],
        "{'legacy_id': 3}": [4],
        "{'legacy_id': 3, 'recovered': 'adopted'}": [2, 3],
        "{'legacy_id': 9, 'recovered': 'orphaned'}": [5],
    }
    adopted = talks["{'legacy_id': 3, 'recovered': 'adopted'}"]
    (first, _) = target.conversations.stream_messages(adopted.id)
    assert first.metadata == {"legacy_id": 2, "recovered": "adopted"}
    assert (adopted.created_at, adopted.updated_at.second) == (first.created_at, 3)
    assert sorted(w.path for w in report.warnings) == [
        "haia.db#conversations/3 (adopted)",
        "haia.db#conversations/9 (orphaned)",
    ]


def test_a_number_that_was_written_as_text_loses_no_message(haia: Any, target: Store) -> None:
    schema = _schema_of(haia.path).replace("conversation_id INTEGER NOT NULL", "conversation_id")
    assert schema != _schema_of(haia.path)
    other = type(haia)(haia.path.with_name("other.db"), schema)
    other.add("conversations", haia.talk(1))
    other.add("messages", haia.message(1, 1), haia.message(2, "1"), haia.message(3, None))
    report = import_from(other.path, target)
    assert (report.records.created, report.exit_code) == (3, 0)
    assert sorted(str(t.metadata) for t in talks_of(target) for _ in contents(target, t.id)) == [
        "{'legacy_id': '1', 'recovered': 'orphaned'}",
        "{'legacy_id': 1}",
        "{'legacy_id': None, 'recovered': 'orphaned'}",
    ]


def test_orphans_that_are_adopted_later_stay_where_they_are(haia: Any, target: Store) -> None:
    haia.add("messages", haia.message(1, 3), haia.message(2, 3))
    import_from(haia.path, target)
    (before,) = talks_of(target)
    haia.add("conversations", haia.talk(3, created_at="2026-02-01 00:00:00"))
    report = import_from(haia.path, target)
    assert (report.records.created, report.records.updated, report.records.invalid) == (1, 1, 0)
    assert len(contents(target, before.id)) == 2
    assert import_from(haia.path, target).records.same == 2


def test_messages_of_the_same_time_keep_their_order(haia: Any, target: Store) -> None:
    haia.add("conversations", haia.talk(1))
    same = "2026-01-20 10:01:00"
    haia.add("messages", *(haia.message(n, 1, created_at=same) for n in range(40)))
    assert import_from(haia.path, target).exit_code == 0
    (talk,) = talks_of(target)
    messages = [*target.conversations.stream_messages(talk.id)]
    assert [m.metadata["legacy_id"] for m in messages] == [*range(40)]
    moved = [m for m in messages if m.created_at != messages[0].created_at]
    assert moved
    assert {m.metadata["said_at"] for m in moved} == {"2026-01-20T10:01:00.000000+00:00"}


def test_a_long_conversation_is_read_in_pieces_and_whole(haia: Any, target: Store) -> None:
    haia.add("conversations", haia.talk(1))
    times = [f"2026-01-20 10:{n // 60:02}:{n % 60:02}.000000" for n in range(2600)]
    haia.add("messages", *(haia.message(n, 1, created_at=times[n]) for n in range(2600)))
    records, findings = read(haia.path)
    assert ([len(r.children) for r in records], findings) == ([1000, 999, 599], [])
    assert [r.files for r in records] == [1, 0, 0]
    assert import_from(haia.path, target).exit_code == 0
    (talk,) = talks_of(target)
    assert target.conversations.get_message_count(talk.id) == 2600
    haia.add("messages", haia.message(9999, 1, created_at="2026-01-20 11:00:00"))
    report = import_from(haia.path, target)
    assert (report.records.same, report.records.updated) == (2, 1)
    assert target.conversations.get_message_count(talk.id) == 2601


def test_what_cannot_be_a_message_costs_itself_alone(haia: Any, target: Store) -> None:
    haia.add(
        "conversations",
        haia.talk(1, created_at="once"),
        haia.talk(2, created_at=5, updated_at="2026-01-22 00:00:00"),
        haia.talk(3, created_at="", updated_at=""),
    )
    haia.add(
        "messages",
        haia.message(1, 1, role="alien"),
        haia.message(2, 1, role="Human", created_at="later"),
        haia.message(3, 1, content=b"\x00\xff"),
        haia.message(4, 1, content=42),
        haia.message(5, 3, created_at="?"),
        haia.message(6, "none", content="lone \x00"),
    )
    report = import_from(haia.path, target)
    assert (report.records.created, report.records.invalid) == (3, 3)
    said = {e.path.partition("#")[2]: e.reason for e in report.entries if e.outcome == "invalid"}
    assert said == {
        "messages/1": "role: unknown value 'alien'; one of system, user, assistant, tool, human, "
        "ai, bot, model, agent, developer, function",
        "conversations/3": "created_at: is missing, and there is no other time",
        "messages/5": "its conversation could not be taken over",
    }
    first = next(t for t in talks_of(target) if t.metadata["legacy_id"] == 1)
    assert first.created_at == dt.datetime(2026, 1, 20, 10, 1, 1, 1, dt.UTC)
    assert first.metadata["legacy"] == {"created_at": "once"}
    kept = {m.metadata["legacy_id"]: m for m in target.conversations.stream_messages(first.id)}
    assert (kept[2].role, kept[2].metadata["legacy"]) == (
        "user",
        {"role": "Human", "created_at": "later"},
    )
    assert kept[3].metadata["legacy"] == {"content": {"base64": "AP8="}}
    assert (kept[4].content, kept[4].metadata) == ("42", {"legacy_id": 4})


def test_tables_that_are_not_haias_are_spoken_of(haia: Any) -> None:
    haia.run("""
        CREATE TABLE alembic_version (version_num); INSERT INTO alembic_version VALUES ('190dd');
        CREATE TABLE notes (a); INSERT INTO notes VALUES (1), (2);
        CREATE TABLE empty (a);
        ALTER TABLE messages ADD COLUMN tokens INTEGER;
    """)
    haia.add("conversations", haia.talk(1))
    haia.add("messages", haia.message(1, 1, tokens=5))
    (record,), findings = read(haia.path)
    assert record.children[0][1]["metadata"] == {"legacy_id": 1, "tokens": 5}
    assert {(f.path, f.outcome, f.files) for f in findings} == {
        ("haia.db#alembic_version", "skipped", 0),
        ("haia.db#notes", "invalid", 0),
    }


def test_what_is_not_haias_is_not_claimed(haia: Any, chiffon: Any, tmp_path: Path) -> None:
    detect = HaiaReader().detect
    with Store.open(tmp_path / "store.db") as store:
        store.conversations.create_conversation()
    assert not detect(str(tmp_path / "store.db"))
    assert not detect(str(chiffon.path))
    assert not detect("postgresql://localhost/haia")
    assert detect(str(haia.path))
    assert detect(str(haia.path.parent))
    with pytest.raises(SourceNotFound):
        next(iter(HaiaReader().read("postgresql://localhost/haia", ReadOptions())))


def test_rows_without_numbers_of_their_own_are_told_apart(haia: Any, tmp_path: Path) -> None:
    loose = type(haia)(
        tmp_path / "loose" / "x.db",
        "CREATE TABLE conversations (id, created_at, updated_at);"
        "CREATE TABLE messages (id, conversation_id, role, content, created_at);",
    )
    loose.add("conversations", haia.talk(1), haia.talk(1))
    loose.add("messages", haia.message(1, 1), haia.message(1, 1), haia.message(1, 1, created_at=""))
    loose.add("messages", haia.message(2, None))
    records, findings = read(loose.path)
    assert [len(r.children) for r in records] == [2, 1]
    assert sorted(f.reason for f in findings) == [
        "another conversation has the same number",
        "another message has the same number and time",
    ]
