"""Haia's transcripts: both shapes, estimated times, and whatever a file may hold instead."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store
from dynostore.importer import import_from
from dynostore.legacy import Finding, ReadOptions, SourceRecord
from dynostore.legacy.haia import HaiaReader
from dynostore.models import Conversation, Message

REAL = Path(__file__).resolve().parents[3] / "shared" / "legacy-samples" / "haia"
KEY = "0af3c1d2-1111-4222-8333-444455556666"
NAME = "data/transcripts/0af3c1d2_20251208_100500.json"


def transcript(**changes: Any) -> dict[str, Any]:
    """Give a transcript as Haia wrote it; a change of ... leaves the key out."""
    document = {
        "conversation_id": KEY,
        "start_time": "2025-12-08T10:00:00+00:00",
        "end_time": "2025-12-08T10:05:00Z",
        "message_count": 2,
        "trigger_reason": "idle_and_both",
        "messages": [
            {"role": "user", "content": "Grüße", "timestamp": "2025-12-08T10:00:00+00:00"},
            {"role": "assistant", "content": "Hi", "timestamp": "2025-12-08T10:05:00+00:00"},
        ],
        "metadata": {"model": "m"},
    }
    return {k: v for k, v in (document | changes).items() if v is not ...}


def read(source: Any) -> tuple[list[SourceRecord], list[Finding]]:
    found = [*HaiaReader().read(str(source), ReadOptions())]
    records = [item for item in found if isinstance(item, SourceRecord)]
    return records, [item for item in found if isinstance(item, Finding)]


def test_a_transcript_keeps_all_that_it_says(tree: Any, target: Store) -> None:
    path = tree.write(NAME, transcript())
    assert HaiaReader().detect(str(path))
    assert HaiaReader().detect(str(tree.root))
    assert import_from(tree.root, target).records.created == 1
    talk = target.conversations.get_conversation(KEY)
    assert talk.created_at == dt.datetime(2025, 12, 8, 10, tzinfo=dt.UTC)
    assert talk.updated_at == dt.datetime(2025, 12, 8, 10, 5, tzinfo=dt.UTC)
    assert talk.metadata == {
        "trigger_reason": "idle_and_both",
        "metadata": {"model": "m"},
        "timestamp_estimated": True,
    }
    messages = target.conversations.get_all_messages(KEY)
    assert [(m.role, m.content) for m in messages] == [("user", "Grüße"), ("assistant", "Hi")]
    assert [m.metadata for m in messages] == [{"timestamp_estimated": True}] * 2
    assert import_from(path, target).records.same == 1


def test_the_second_shape_and_a_list_of_conversations_are_read_too(tree: Any) -> None:
    spoken = [{"content": "a", "speaker": "user", "timestamp": "2025-12-08T10:00:00Z", "mood": 1}]
    tree.write(
        "tests/fixtures/sample.json",
        [
            transcript(conversation_id="one", messages=spoken, message_count=1),
            transcript(conversation_id="two", messages="none"),
            7,
            transcript(conversation_id=17, messages=[], message_count=0),
        ],
    )
    records, findings = read(tree.root)
    assert (records[0].key, records[0].files) == ("one", 1)
    assert records[0].children[0][1]["metadata"] == {"timestamp_estimated": True, "mood": 1}
    assert records[1].key[14] == "5"
    assert records[1].values["metadata"]["legacy"] == {"conversation_id": 17}
    assert [(f.path, f.reason, f.is_record, f.files) for f in findings] == [
        ("tests/fixtures/sample.json#two", "messages: a list is expected", True, 0),
        ("tests/fixtures/sample.json#2", "an object is expected, not int", True, 0),
    ]


def test_no_message_of_a_new_conversation_is_looked_up(
    tree: Any, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    ask = target.imports.stored_keys

    def stored_keys(model: Any, field: Any, values: Any) -> Any:
        asked.append((model, field.name, [*values]))
        return ask(model, field, values)

    monkeypatch.setattr(target.imports, "stored_keys", stored_keys)
    tree.write(NAME, transcript())
    assert import_from(tree.root, target).records.created == 1
    assert asked == [(Conversation, "id", [KEY])]
    asked.clear()
    later = {"role": "user", "content": "x", "timestamp": "2025-12-08T10:06:00+00:00"}
    tree.write(NAME, transcript(messages=[*transcript()["messages"], later]))
    assert import_from(tree.root, target).records.updated == 1
    assert set(map(str, asked)) == {
        str((Conversation, "id", [KEY])),
        str((Message, "conversation", [KEY])),
    }
    assert len(target.conversations.get_all_messages(KEY)) == 3


def test_an_id_of_two_transcripts_is_the_key_of_the_first(tree: Any, target: Store) -> None:
    tree.write(NAME, transcript())
    tree.write(
        "data/transcripts/0af3c1d2_20251209_100500.json",
        transcript(start_time="2025-12-09T10:00:00"),
    )
    tree.write("data/transcripts/copy.json", transcript())
    records, findings = read(tree.root)
    assert (len({r.key for r in records}), records[0].key, findings) == (3, KEY, [])
    assert [r.values["metadata"].get("legacy") for r in records] == [
        None,
        {"conversation_id": KEY},
        {"conversation_id": KEY},
    ]
    assert import_from(tree.root, target).exit_code == 0
    assert import_from(tree.root, target).records.same == 3


def test_what_is_missing_is_told_and_taken_from_elsewhere(tree: Any, target: Store) -> None:
    spoken = [
        {"role": "user", "content": "a", "timestamp": "2025-12-08T10:00:07"},
        {"role": "user"},
        {"role": "alien", "content": "b"},
        "c",
        {"speaker": "Assistant", "role": "assistant", "content": ["d"], "timestamp": "late"},
    ]
    tree.write(NAME, transcript(start_time=..., end_time="", conversation_id=..., messages=spoken))
    report = import_from(tree.root, target)
    assert [(e.path.partition("#")[2], e.outcome) for e in report.entries] == [
        ("", "created"),
        ("messages/2", "invalid"),
        ("messages/3", "invalid"),
    ]
    (talk,) = target.conversations.list_conversations().items
    assert talk.created_at == talk.updated_at == dt.datetime(2025, 12, 8, 10, 0, 7, tzinfo=dt.UTC)
    assert talk.metadata["legacy"] == {"message_count": 2}
    messages = target.conversations.get_all_messages(talk.id)
    assert [m.content for m in messages] == ["a", "", '["d"]']
    assert messages[2].metadata["legacy"] == {
        "speaker": "Assistant",
        "content": ["d"],
        "timestamp": "late",
    }


@pytest.mark.parametrize(
    ("content", "outcome", "reason"),
    [
        (b"", "invalid", "the file is empty"),
        (b'{"conversation_id": "x", "mess', "invalid", "truncated JSON"),
        (b'{"messages": [{"role": "user", "content": "\\u0000"}]}', "invalid", "NUL"),
        (b"\xff\xfe\x00", "invalid", "not UTF-16"),
        (b"\x81\x81", "invalid", "not UTF-8"),
        (b'{"a": 1}', "invalid", "messages: a list is expected"),
        (b"[]", "skipped", "a list without a transcript"),
    ],
)
def test_a_broken_transcript_says_why(tree: Any, content: bytes, outcome: str, reason: str) -> None:
    tree.write(NAME, content)
    assert HaiaReader().detect(str(tree.root))
    records, (finding,) = read(tree.root)
    assert (records, finding.outcome, finding.files) == ([], outcome, 1)
    assert reason in finding.reason


def test_a_transcript_in_the_encoding_of_windows_is_read(tree: Any) -> None:
    text = json.dumps(transcript(), ensure_ascii=False)
    tree.write(NAME, text.encode("cp1252"))
    (record,), _ = read(tree.root)
    assert record.children[0][1]["content"] == "Grüße"
    assert record.warnings == ["not UTF-8; read as Windows-1252"]


def test_json_of_other_tools_is_not_claimed(tree: Any) -> None:
    tree.add_all()
    conversation = {"conversation_id": "x", "message_count": 1, "started_at": "2025-01-01"}
    tree.write("conversations/index.json", [conversation])
    tree.write("conversations/x/messages.json", [{"role": "user", "content": "hi"}])
    assert not HaiaReader().detect(str(tree.root))
    records, findings = read(tree.root)
    assert records == []
    assert {f.outcome for f in findings} == {"skipped"}
    assert sum(f.files for f in findings) == tree.file_count()


@pytest.mark.skipif(not REAL.is_dir(), reason="the real samples are not beside the checkout")
def test_every_file_of_the_real_samples_is_accounted_for(target: Store) -> None:
    report = import_from(REAL, target)
    assert (report.kind, report.exit_code) == ("haia", 0)
    assert (report.records.found, report.records.created) == (9, 9)
    assert (report.files.found, report.files.created) == (2, 2)
    talks = target.conversations.list_conversations().items
    counts = {t.id: target.conversations.get_message_count(t.id) for t in talks}
    assert sum(counts.values()) == 28 + 14
    adopted = [t for t in talks if t.metadata.get("recovered") == "adopted"]
    assert [counts[t.id] for t in adopted] == [2]
    assert counts["test_decision"] == 3
    assert import_from(REAL, target).records.same == 9
