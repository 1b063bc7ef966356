"""Ideation's keys, in a running Redis and in dumps of one, as sessions with all that hangs on them.

The documents are invented, in the form that the old program's are measured to be in.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store, errors
from dynostore.cli import main
from dynostore.ids import derived_id
from dynostore.importer import import_from
from dynostore.legacy import Finding, ReadOptions, SourceRecord
from dynostore.legacy.ideation import IdeationReader
from dynostore.models import (
    IdeationDraft,
    IdeationMaturity,
    IdeationMessage,
    IdeationRequirement,
    IdeationStory,
)

SAMPLE = (
    Path(__file__).resolve().parents[3]
    / "shared/legacy-samples/ideation/generated/redis_dump_keys.json"
)
SID = "ideation-1769890000000-k3j9x2abc"
OTHER = "ideation-1769890000001-zzz9x2abc"
TIME = "2026-11-22T03:40:21.009242+00:00"
AT = dt.datetime(2026, 11, 22, 3, 40, 21, 9242, tzinfo=dt.UTC)


def document(defaults: dict[str, Any], changes: dict[str, Any]) -> str:
    """Give a document as the old program wrote it; a change of ... leaves the key out."""
    return json.dumps({k: v for k, v in (defaults | changes).items() if v is not ...})


def session(sid: str = SID, **changes: Any) -> str:
    return document(
        {
            "id": sid,
            "project_name": "Büro Planner",
            "user_id": "anonymous",
            "status": "draft",
            "data_source": "mock",
            "version": 1,
            "created_at": TIME,
            "updated_at": TIME,
        },
        changes,
    )


def message(number: int, sid: str = SID, **changes: Any) -> str:
    return document(
        {
            "id": f"msg-{sid[-4:]}{number:04x}",
            "session_id": sid,
            "role": ("user", "assistant")[number % 2],
            "content": f"m{number} ✅",
            "timestamp": f"2026-11-22T03:{number // 60 % 60:02}:{number % 60:02}.000001+00:00",
            "maturity_delta": 0,
            "metadata": None,
        },
        changes,
    )


def requirement(key: str = "REQ-001", sid: str = SID, **changes: Any) -> str:
    return document(
        {
            "id": key,
            "session_id": sid,
            "description": "Login",
            "type": "functional",
            "priority": "must_have",
            "category_id": None,
            "created_at": TIME,
        },
        changes,
    )


def maturity(sid: str = SID, **changes: Any) -> str:
    return document(
        {
            "session_id": sid,
            "score": 37.5,
            "level": "exploration",
            "categories": [{"id": "problem", "name": "P", "score": 60}],
            "can_submit": False,
            "gaps": ["users"],
            "updated_at": TIME,
        },
        changes,
    )


def draft(sid: str = SID, **changes: Any) -> str:
    return document(
        {
            "id": f"prd-{sid}",
            "session_id": sid,
            "title": "PRD",
            "version": "0.1.0",
            "sections": [{"id": "sec-001", "heading": "Intro", "content": "x", "order": 1}],
            "status": "draft",
            "created_at": TIME,
        },
        changes,
    )


def story(key: str = "US-001", sid: str = SID, **changes: Any) -> str:
    return document(
        {
            "id": key,
            "session_id": sid,
            "title": "t",
            "as_a": "user",
            "i_want": "x",
            "so_that": "y",
            "acceptance_criteria": ["a"],
            "linked_requirements": [],
            "priority": "should_have",
            "created_at": TIME,
        },
        changes,
    )


Keys = dict[str, Any]
"""By name: a string, a list, a hash as a dict, a set as a Python one."""


def whole(sid: str = SID, messages: int = 3) -> Keys:
    """Give all the keys of one session."""
    return {
        f"ideation:session:{sid}": session(sid),
        f"ideation:messages:{sid}": [message(n, sid) for n in range(messages)],
        f"ideation:requirements:{sid}": {"REQ-001": requirement(sid=sid)},
        f"ideation:maturity:{sid}": maturity(sid),
        f"ideation:prd:{sid}": draft(sid),
        f"ideation:stories:{sid}": [story(sid=sid)],
        "ideation:user_sessions:anonymous": {sid},
    }


def join(*parts: Keys) -> Keys:
    """Give the keys of several sessions together."""
    keys: Keys = {}
    for part in parts:
        for name, value in part.items():
            keys[name] = keys[name] | value if isinstance(keys.get(name), set) else value
    return keys


def fill(client: Any, keys: Keys) -> None:
    """Put keys into a server."""
    for name, value in keys.items():
        if isinstance(value, str | bytes):
            client.set(name, value)
        elif isinstance(value, list):
            client.rpush(name, *value)
        elif isinstance(value, dict):
            client.hset(name, mapping=value)
        else:
            client.sadd(name, *value)


KINDS: dict[Any, str] = {str: "string", list: "list", dict: "hash", set: "set"}


def container(keys: Keys) -> dict[str, Any]:
    """Give a dump with the type and time to live of each key."""
    return {
        name: {
            "type": KINDS[type(value)],
            "ttl": -1,
            "value": sorted(value) if isinstance(value, set) else value,
        }
        for name, value in keys.items()
    }


def read(source: Any) -> tuple[list[SourceRecord], list[Finding]]:
    found = [*IdeationReader().read(str(source), ReadOptions())]
    records = [item for item in found if isinstance(item, SourceRecord)]
    return records, [item for item in found if isinstance(item, Finding)]


def rows(record: SourceRecord, model: Any) -> list[dict[str, Any]]:
    return [values for table, values in record.children if table is model]


def reasons(findings: list[Finding]) -> dict[str, str]:
    """Give what is invalid, by its path, and why."""
    return {f.path: f.reason for f in findings if f.outcome == "invalid"}


@pytest.fixture(params=["server", "dump"])
def put(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Keys], str]]:
    """Give ``put(keys)``, which makes a source of keys and gives its address."""
    if request.param == "dump":

        def write(keys: Keys) -> str:
            path = tmp_path / "dump.json"
            path.write_text(json.dumps(container(keys), ensure_ascii=False))
            return str(path)

        yield write
        return
    url = request.getfixturevalue("redis_url")
    server = request.getfixturevalue("redis_server")
    with contextlib.closing(server.client()) as client:

        def store(keys: Keys) -> str:
            client.flushdb()
            fill(client, keys)
            return str(url)

        yield store


def test_a_session_is_one_record_with_all_that_hangs_on_it(put: Callable[[Keys], str]) -> None:
    source = put(whole(messages=105))
    assert IdeationReader().detect(source)
    (record,), findings = read(source)
    assert [(f.path, f.outcome) for f in findings] == [("ideation:user_sessions:*", "skipped")]
    assert (record.key, record.path, record.place) == (SID, f"ideation:session:{SID}", source)
    assert record.values == {
        "id": SID,
        "project_name": "Büro Planner",
        "user_id": "anonymous",
        "status": "draft",
        "data_source": "mock",
        "version": 1,
        "created_at": AT,
        "updated_at": AT,
        "metadata": None,
    }
    messages = rows(record, IdeationMessage)
    assert [m["content"] for m in messages] == [f"m{n} ✅" for n in range(105)]
    assert messages[1] == {
        "id": "msg-2abc0001",
        "session_id": SID,
        "role": "assistant",
        "content": "m1 ✅",
        "timestamp": dt.datetime(2026, 11, 22, 3, 0, 1, 1, tzinfo=dt.UTC),
        "maturity_delta": 0.0,
        "metadata": None,
    }
    (found,) = rows(record, IdeationMaturity)
    assert (found["score"], found["gaps"], found["can_submit"]) == (37.5, ["users"], False)
    (found,) = rows(record, IdeationRequirement)
    assert (found["key"], found["id"]) == (
        "REQ-001",
        derived_id("ideation_requirements", SID, "REQ-001"),
    )
    (found,) = rows(record, IdeationDraft)
    assert (found["key"], found["version"]) == (f"prd-{SID}", "0.1.0")
    (found,) = rows(record, IdeationStory)
    assert (found["key"], found["linked_requirements"]) == ("US-001", [])
    assert record.warnings == []


def test_a_server_and_its_dump_give_the_same_records(
    redis_server: Any, redis_url: str, tmp_path: Path
) -> None:
    keys = join(whole(), whole(OTHER))
    with contextlib.closing(redis_server.client()) as client:
        fill(client, keys)
    (tmp_path / "dump.json").write_text(json.dumps(container(keys)))
    served, dumped = read(redis_url)[0], read(tmp_path / "dump.json")[0]
    for one, other in zip(served, dumped, strict=True):
        assert (one.key, one.values, one.children) == (other.key, other.values, other.children)
        assert one.content_hash == other.content_hash
    assert [record.files for record in served] == [0, 0]
    assert [record.files for record in dumped] == [1, 0]


def test_equal_keys_in_two_sessions_do_not_meet(put: Callable[[Keys], str]) -> None:
    records, _ = read(put(join(whole(), whole(OTHER))))
    requirements = [rows(record, IdeationRequirement)[0] for record in records]
    assert [r["key"] for r in requirements] == ["REQ-001", "REQ-001"]
    assert len({r["id"] for r in requirements}) == 2


def test_keys_without_a_column_are_metadata(put: Callable[[Keys], str]) -> None:
    keys = whole(messages=0) | {
        f"ideation:session:{SID}": session(team=["a"], metadata={"own": 1}),
        f"ideation:messages:{SID}": [
            message(0, tokens=7),
            message(1, tokens=8, metadata={"a": 1}),
            message(2, tokens=9, metadata=[1]),
            message(3, metadata=[2]),
        ],
        f"ideation:maturity:{SID}": maturity(model="m"),
    }
    (record,), _ = read(put(keys))
    assert record.values["metadata"] == {"own": 1, "team": ["a"]}
    assert [m["metadata"] for m in rows(record, IdeationMessage)] == [
        {"tokens": 7},
        {"a": 1, "tokens": 8},
        {"metadata": [1], "tokens": 9},
        [2],
    ]
    assert rows(record, IdeationMaturity)[0]["metadata"] == {"model": "m"}


def test_one_bad_document_costs_itself_alone(put: Callable[[Keys], str]) -> None:
    bad = [
        message(1, role="tool"),
        '{"id": "msg-1", "conte',
        message(3, content=None),
        message(4, timestamp="yesterday"),
        message(5, maturity_delta="much"),
        "[]",
        '{"content": "\\u0000"}',
    ]
    keys = whole() | {
        f"ideation:messages:{SID}": [message(0), *bad, message(8, maturity_delta=-2.5)],
        f"ideation:requirements:{SID}": {
            "REQ-001": requirement(),
            "REQ-002": requirement("REQ-002", priority="nice"),
        },
        f"ideation:maturity:{SID}": maturity(score=float("nan")),
        f"ideation:stories:{SID}": [story(), "null"],
    }
    (record,), findings = read(put(keys))
    assert [m["content"] for m in rows(record, IdeationMessage)] == ["m0 ✅", "m8 ✅"]
    assert rows(record, IdeationMessage)[1]["maturity_delta"] == -2.5
    assert len(rows(record, IdeationRequirement)) == len(rows(record, IdeationStory)) == 1
    found = reasons(findings)
    assert [path.partition(":")[2] for path in found] == [
        *(f"messages:{SID}[{n}]" for n in range(1, 8)),
        f"requirements:{SID}[REQ-002]",
        f"maturity:{SID}",
        f"stories:{SID}[1]",
    ]
    assert [reason.partition(":")[0] for reason in found.values()] == [
        "role",
        "truncated JSON",
        "content",
        "timestamp",
        "maturity_delta",
        "an object is expected at the top, not list",
        "content",
        "priority",
        "score",
        "an object is expected at the top, not NoneType",
    ]
    assert all(f.is_record and f.files == 0 for f in findings if f.outcome == "invalid")


def test_documents_are_not_cut_in_other_places_than_they_are(put: Callable[[Keys], str]) -> None:
    plain = message(0)
    odd = [plain + "," + message(1), '{"c": [{}', '{"d": 1}]}', message(2)]
    (record,), findings = read(put(whole() | {f"ideation:messages:{SID}": [plain, *odd]}))
    assert [m["content"] for m in rows(record, IdeationMessage)] == ["m0 ✅", "m2 ✅"]
    assert [path.rpartition("[")[2] for path in reasons(findings)] == ["1]", "2]", "3]"]


def test_what_hangs_on_no_session_is_reported(put: Callable[[Keys], str]) -> None:
    keys = whole(messages=4)
    del keys[f"ideation:session:{SID}"]
    keys["ideation:messages:gone"] = [message(0, "gone")]
    records, findings = read(put(keys))
    assert records == []
    found = reasons(findings)
    assert found[f"ideation:messages:{SID}"] == "4 of a session that is not there"
    assert found[f"ideation:requirements:{SID}"] == "1 of a session that is not there"
    assert len(found) == 6
    (users,) = [f for f in findings if f.outcome == "skipped"]
    assert users.reason == f"of its 1 sessions 1 are not there: {SID}"


def test_a_session_that_cannot_be_read_is_reported_with_what_hangs_on_it(
    put: Callable[[Keys], str],
) -> None:
    keys = join(whole(messages=4), whole(OTHER))
    keys[f"ideation:session:{SID}"] = session()[:60]
    records, findings = read(put(keys))
    assert [record.key for record in records] == [OTHER]
    ((path, reason),) = reasons(findings).items()
    assert path == f"ideation:session:{SID}"
    assert reason.startswith("truncated JSON")
    assert reason.endswith("8 documents hang on it")


def test_a_session_written_by_half_is_taken_with_warnings(put: Callable[[Keys], str]) -> None:
    keys = {
        f"ideation:session:{SID}": json.dumps({"project_name": "Half"}),
        "ideation:session:s2": json.dumps({"status": "In-Build", "version": "3"}),
        "ideation:messages:s2": [message(2, "s2"), message(5, "s2")],
        "ideation:session:s3": "{}",
        "ideation:user_sessions:kim": {SID},
    }
    (first, second), findings = read(put(keys))
    assert reasons(findings) == {"ideation:session:s3": "created_at: is missing"}
    assert first.values["user_id"] == "kim"
    assert first.values["created_at"] == dt.datetime(2026, 1, 31, 20, 6, 40, tzinfo=dt.UTC)
    assert first.values["created_at"] == first.values["updated_at"]
    assert (first.values["status"], first.values["version"]) == ("draft", 1)
    assert len(first.warnings) == 6
    assert (second.values["status"], second.values["version"]) == ("in_build", 3)
    assert second.values["metadata"] == {"status": "In-Build"}
    assert second.values["created_at"] == rows(second, IdeationMessage)[0]["timestamp"]
    assert second.values["updated_at"] == rows(second, IdeationMessage)[1]["timestamp"]
    assert any("written by half" in warning for warning in second.warnings)


def test_every_form_of_a_time_is_read(put: Callable[[Keys], str]) -> None:
    forms: list[Any] = [
        "2026-11-22T03:40:21+00:00",
        "2026-11-22T03:40:21.000Z",
        "2026-11-22T05:40:21.000000+02:00",
        "2026-11-22T03:40:21",
        "2026-11-22 03:40:21.000000",
        1795318821,
        1795318821000,
        1795318821.0,
        None,
    ]
    keys = whole() | {
        f"ideation:messages:{SID}": [message(n, timestamp=form) for n, form in enumerate(forms)]
    }
    (record,), _ = read(put(keys))
    found = {m["timestamp"] for m in rows(record, IdeationMessage)}
    assert found == {dt.datetime(2026, 11, 22, 3, 40, 21, tzinfo=dt.UTC)}
    assert record.warnings == [
        "messages: timestamp: has no offset; taken as UTC (2 times)",
        "messages: timestamp: is a number; read as the time since 1970 (3 times)",
        "messages: timestamp: is missing; the nearest known time is taken",
    ]


def test_ids_that_are_numbers_or_stand_twice_are_derived(put: Callable[[Keys], str]) -> None:
    keys = {
        "ideation:session:17": session("17"),
        "ideation:messages:17": [
            message(0, "17", id=5),
            message(1, "17", id="6"),
            message(2, "17", id="same"),
            message(3, "17", id="same"),
            message(3, "17", id="same"),
            message(4, "17", id="i" * 70),
            message(5, "17", id=...),
        ],
        "ideation:stories:17": [story(sid="17"), story(sid="17"), story(7, sid="17", id=7)],  # type: ignore[arg-type]
    }
    source = put(keys)
    (record,), findings = read(source)
    assert reasons(findings) == {}
    assert record.values["metadata"] == {"id": "17"}
    assert record.key == record.values["id"] != "17"
    messages = rows(record, IdeationMessage)
    assert {m["session_id"] for m in messages} == {record.key}
    assert len({m["id"] for m in messages}) == 7
    assert messages[2]["id"] == "same"
    assert [m["metadata"] for m in messages] == [
        {"id": 5},
        {"id": "6"},
        None,
        {"id": "same"},
        {"id": "same"},
        {"id": "i" * 70},
        None,
    ]
    assert [s["key"] for s in rows(record, IdeationStory)] == ["US-001", "US-001-2", "7"]
    again = read(source)[0][0]
    assert [m["id"] for m in rows(again, IdeationMessage)] == [m["id"] for m in messages]


def test_messages_that_lie_in_another_order_than_their_times_keep_their_positions(
    put: Callable[[Keys], str],
) -> None:
    keys = whole() | {f"ideation:messages:{SID}": [message(n) for n in (0, 2, 1, 3)]}
    (record,), _ = read(put(keys))
    found = [m["metadata"] for m in rows(record, IdeationMessage)]
    assert found == [None, {"position": 1}, {"position": 2}, None]
    assert [w for w in record.warnings if "order" in w]


def test_a_key_of_another_type_is_reported(put: Callable[[Keys], str]) -> None:
    keys = whole() | {
        f"ideation:messages:{SID}": "a text",
        f"ideation:prd:{SID}": ["a list"],
        f"ideation:requirements:{SID}": {"REQ-001"},
        f"ideation:session:{OTHER}": {"id": OTHER},
        "ideation:user_sessions:kim": "a text",
    }
    (record,), findings = read(put(keys))
    assert record.key == SID
    assert len(record.children) == 2
    assert reasons(findings) == {
        "ideation:user_sessions:kim": "is a string and not a set",
        f"ideation:messages:{SID}": "is a string and not a list",
        f"ideation:requirements:{SID}": "is a set and not a hash",
        f"ideation:prd:{SID}": "is a list and not a string",
        f"ideation:session:{OTHER}": "is a hash and not a string",
    }


def test_keys_of_other_programs_are_left_alone_and_counted(put: Callable[[Keys], str]) -> None:
    strangers: Keys = {"celery": ["x"], "ideation": "y", "session:1": "z"}
    records, findings = read(put(whole() | strangers | {"ideation:lock:x": "1"}))
    assert len(records) == 1
    assert reasons(findings) == {}
    skipped = {f.path: f.reason for f in findings}
    assert sum(int(r.split()[0]) for r in skipped.values() if "other programs" in r) in (3, 4)


def test_a_document_that_belongs_elsewhere_stays_where_it_was_found(
    put: Callable[[Keys], str],
) -> None:
    keys = whole() | {
        f"ideation:session:{SID}": session("another"),
        f"ideation:messages:{SID}": [message(0, session_id="another")],
    }
    (record,), _ = read(put(keys))
    assert (record.key, record.values["metadata"]) == (SID, {"id": "another"})
    (found,) = rows(record, IdeationMessage)
    assert (found["session_id"], found["metadata"]) == (SID, {"session_id": "another"})
    assert len(record.warnings) == 2


def test_a_talk_without_end_is_read_in_pieces(
    put: Callable[[Keys], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = put(whole(messages=2500))
    for module in ("ideation", "ideation_server", "ideation_dump"):
        monkeypatch.setattr(f"dynostore.legacy.{module}.MESSAGES_AT_ONCE", 1000)
    records, _ = read(source)
    assert len(rows(records[0], IdeationMessage)) == 1000
    later = [record for record in records if record.model is IdeationMessage]
    assert [r.values["content"] for r in later] == [f"m{n} ✅" for n in range(1000, 2500)]
    assert later[0].path == f"ideation:messages:{SID}[1000]"
    assert {r.values["session_id"] for r in later} == {SID}


# dumps


DUMPS: dict[str, Callable[[Keys], str]] = {
    "container": lambda keys: json.dumps(container(keys), indent=1),
    "plain": lambda keys: json.dumps({n: e["value"] for n, e in container(keys).items()}),
    "databases": lambda keys: json.dumps(
        [{"x": "y"}, {n: e["value"] for n, e in container(keys).items()}]
    ),
    "lines": lambda keys: "\n".join(
        json.dumps({"db": 0, "key": n, **e, "size": 9}) for n, e in container(keys).items()
    ),
    "entries": lambda keys: json.dumps(
        [{"key": n, **e} for n, e in container(keys).items()], indent=2
    ),
    "parsed": lambda keys: json.dumps(
        {
            n: {
                **e,
                "value": json.loads(e["value"])
                if e["type"] == "string"
                else [json.loads(item) for item in e["value"]]
                if e["type"] == "list"
                else e["value"],
            }
            for n, e in container(keys).items()
        }
    ),
}


@pytest.mark.parametrize("form", DUMPS)
@pytest.mark.parametrize("block_bytes", [7, 1 << 20])
def test_dumps_of_other_tools_say_the_same(
    form: str, block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynostore.legacy.ideation_pairs._BLOCK_BYTES", block_bytes)
    keys = join(whole(), whole(OTHER), {"größe": '"x"'})
    wanted, _ = read(_written(tmp_path / "a.json", json.dumps(container(keys))))
    source = _written(tmp_path / "b.json", DUMPS[form](keys))
    assert IdeationReader().detect(str(source))
    found, findings = read(source)
    assert [(r.values, r.children) for r in found] == [(r.values, r.children) for r in wanted]
    assert reasons(findings) == {}


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_dump_that_was_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    text = json.dumps(container(join(whole(), whole(OTHER))))
    for end in range(0, len(text), 97):
        source = tmp_path / "dump.json"
        source.write_text(text[:end])
        records, findings = read(source)
        assert reasons(findings), end
        assert sum(r.files for r in records) + sum(f.files for f in findings) == 1, end


def test_a_directory_is_searched_for_dumps(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    _written(tmp_path / "old" / "dump.json", json.dumps(container(whole())))
    _written(tmp_path / "notes.json", "{}")
    assert IdeationReader().detect(str(tmp_path))
    (record,), findings = read(tmp_path)
    assert record.path == f"old/dump.json#ideation:session:{SID}"
    assert record.place == str(tmp_path / "old" / "dump.json")
    assert ("notes.json", "skipped", 1) in [(f.path, f.outcome, f.files) for f in findings]
    assert not IdeationReader().detect(str(tmp_path / "notes.json"))


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the real samples are not beside the checkout")
def test_everything_in_the_real_sample_is_taken() -> None:
    records, findings = read(SAMPLE)
    assert [len(rows(record, IdeationMessage)) for record in records] == [105, 3]
    assert [len(record.children) for record in records] == [110, 4]
    assert [f.path for f in findings] == ["ideation:user_sessions:*"]
    assert [record.warnings for record in records] == [[], []]


# into a store


def test_an_import_takes_all_messages_once(
    redis_server: Any, redis_url: str, target: Store
) -> None:
    with contextlib.closing(redis_server.client()) as client:
        fill(client, join(whole(messages=1500), whole(OTHER)))
        report = import_from(redis_url, target)
        assert (report.records.created, report.exit_code, len(report.differences)) == (2, 0, 0)
        found = target.ideation.messages.list(SID, limit=2000)
        assert [m.content for m in found] == [f"m{n} ✅" for n in range(1500)]
        first = target.ideation.maturity.get(SID)
        assert first is not None
        assert first.score == 37.5
        told: list[tuple[int, int | None]] = []
        again = import_from(redis_url, target, progress=lambda *done: told.append(done))
        assert again.records.same == told[-1][0] == told[-1][1] == 2
        fill(client, {f"ideation:messages:{OTHER}": [message(3, OTHER)]})
        report = import_from(redis_url, target)
        assert (report.records.updated, report.records.same) == (1, 1)
        assert len(target.ideation.messages.list(OTHER)) == 4
        client.set(f"ideation:session:{OTHER}", "{")
        assert import_from(redis_url, target).exit_code == 3


def test_messages_of_two_sessions_with_the_same_id_are_both_taken(
    put: Callable[[Keys], str], target: Store
) -> None:
    source = put(
        {f"ideation:session:{sid}": session(sid) for sid in ("a", "b", "c")}
        | {
            f"ideation:messages:{sid}": [
                message(n, sid, id=f"msg-{n}", content=f"{sid}{n}", metadata={"of": sid})
                for n in range(3)
            ]
            for sid in ("a", "b", "c")
        }
    )
    for _ in range(2):
        report = import_from(source, target)
        assert (report.exit_code, len(report.differences)) == (0, 0)
        for sid in ("a", "b", "c"):
            found = list(target.ideation.messages.list(sid))
            assert [m.content for m in found] == [f"{sid}{n}" for n in range(3)]
            first_come = sid == "a"
            assert [m.id for m in found] == [f"msg-{n}" for n in range(3)] or not first_come
            assert first_come or [m.metadata["id"] for m in found] == ["msg-0", "msg-1", "msg-2"]
            assert {m.metadata["of"] for m in found} == {sid}
    assert report.records.same == 3


def test_a_password_appears_nowhere(
    start_redis: Callable[..., Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server = start_redis("--requirepass", "hush-hush-word")
    url = server.url(login=":hush-hush-word@")
    with contextlib.closing(server.client(login=":hush-hush-word@")) as client:
        fill(client, whole() | {f"ideation:messages:{SID}": ["{"]})
    file, report = tmp_path / "store.db", tmp_path / "report.json"
    Store.open(file).close()
    arguments = ["--db", str(file), "import", url, "--report", str(report)]
    assert main(arguments) == 3
    server.stop()
    assert main(arguments) == 75
    everything = report.read_text() + "".join(capfd.readouterr())
    assert "***" in everything
    assert "hush-hush-word" not in everything
    assert b"hush-hush-word" not in file.read_bytes()


# servers


def test_a_server_is_only_read(redis_server: Any, redis_url: str) -> None:
    with contextlib.closing(redis_server.client()) as client:
        fill(client, join(whole(messages=1500), whole(OTHER)))
        before = {key: client.dump(key) for key in client.scan_iter()}
        client.config_resetstat()
        read(redis_url)
        asked = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
        assert {key: client.dump(key) for key in client.scan_iter()} == before
    reading = {"scan", "sscan", "get", "lrange", "hgetall", "type", "dbsize"}
    assert asked <= reading | {"ping", "info", "select", "client", "config|resetstat", "config"}
    assert "keys" not in asked


def test_a_server_that_wants_a_password_or_is_down_is_said_so_without_the_password(
    start_redis: Callable[..., Any],
) -> None:
    server = start_redis("--requirepass", "s3cret/word")
    with contextlib.closing(server.client(login=":s3cret%2Fword@")) as client:
        fill(client, whole())
    assert len(read(server.url(login=":s3cret%2Fword@"))[0]) == 1
    for login in ("", ":wr0ngword@", "kim:wr0ngword@"):
        with pytest.raises(errors.AccessDenied) as caught:
            read(server.url(login=login))
        assert "wr0ngword" not in f"{caught.value}{caught.value.hint}"
    with pytest.raises(errors.ConfigError, match="number"):
        read(server.url(login=":s3cret%2Fword@") + "x")
    with pytest.raises(errors.ConfigError, match="out of range"):
        read(server.url(99, login=":s3cret%2Fword@"))
    server.stop()
    with pytest.raises(errors.RemoteUnavailable) as down:
        read(server.url(login=":s3cret%2Fword@"))
    assert down.value.exit_code == 75
    assert "s3cret" not in f"{down.value}"


def test_a_user_who_may_only_read_is_enough(redis_server: Any, redis_url: str) -> None:
    with contextlib.closing(redis_server.client()) as client:
        fill(client, whole())
        client.execute_command(
            "ACL", "SETUSER", "reader", "on", ">pass-word", "~ideation:*", "+@read", "+ping"
        )
        (record,), _ = read(redis_server.url(login="reader:pass-word@"))
        client.execute_command("ACL", "DELUSER", "reader")
    assert len(record.children) == 7


def test_a_node_of_a_cluster_is_refused(start_redis: Callable[..., Any]) -> None:
    with pytest.raises(errors.ConfigError, match="cluster"):
        read(start_redis("--cluster-enabled", "yes").url())


def test_keys_that_go_away_meanwhile_are_reported_as_gone(
    redis_server: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynostore.legacy.ideation._SESSIONS_AT_ONCE", 1)
    found = []
    with contextlib.closing(redis_server.client()) as client:
        fill(client, join(whole(), whole(OTHER)))
        for item in IdeationReader().read(redis_url, ReadOptions()):
            found.append(item)
            client.delete(f"ideation:session:{OTHER}", f"ideation:messages:{OTHER}")
    (record,) = [item for item in found if isinstance(item, SourceRecord)]
    assert record.key == SID
    gone = {f.path: f.reason for f in found if isinstance(f, Finding) and OTHER in f.path}
    assert len(gone) == 6
    assert all("went away" in reason for reason in gone.values())
    assert {f.outcome for f in found if isinstance(f, Finding)} == {"skipped"}


def test_names_that_are_no_text_are_reported(redis_server: Any, redis_url: str) -> None:
    with contextlib.closing(redis_server.client()) as client:
        client.set(b"ideation:session:\xff", session())
        client.set(b"ideation:session:", session())
        client.set(b"ideation:session:a\0b", session())
        client.set(b"ideation:\xff", "x")
    records, findings = read(redis_url)
    assert records == []
    assert [*reasons(findings)] == [
        "ideation:session:",
        "ideation:session:a\\x00b",
        "ideation:session:\\xff",
    ]
