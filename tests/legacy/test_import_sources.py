"""Sources of every form: files, servers, several tools in one tree, records without end."""

from __future__ import annotations

import copy
import datetime as dt
import json
import os
import zoneinfo
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store
from dynostore.errors import ConfigError, RemoteUnavailable, SourceNotFound
from dynostore.ids import derived_id
from dynostore.importer import import_from
from dynostore.importing.ledger import Log
from dynostore.importing.report import Entry
from dynostore.importing.verify import verify_sources
from dynostore.legacy import READERS, Finding, ReadOptions, SourceRecord
from dynostore.models import Conversation, Message, Record

NOW = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
TWO_HOURS = dt.timezone(dt.timedelta(hours=2))
URL = "talks://someone:s3cret%40word@host:1234/0?password=s3cret%40word"


def conversation(key: str) -> dict[str, Any]:
    return {"id": key, "created_at": NOW, "updated_at": NOW}


def message(key: str, parent: str) -> tuple[type[Record], dict[str, Any]]:
    text = {"role": "user", "content": f"says {key}", "created_at": NOW}
    key = derived_id("messages", "test", key)
    return Message, {"id": key, "conversation_id": parent, **text}


class TalkReader:
    """A reader of invented talks: what it finds is given to it.

    :ivar asked: the sources that it was asked to read.
    """

    kind = "talk"

    def __init__(self, *found: Any) -> None:
        self.found = found
        self.asked: list[str] = []

    def detect(self, source: str) -> bool:
        return source.startswith("talks://") or Path(source, "talks").exists()

    def read(self, source: str, options: ReadOptions) -> Iterator[SourceRecord | Finding]:
        self.asked.append(source)
        for found in self.found:
            # An import keeps what it is given.
            yield found(source) if callable(found) else copy.deepcopy(found)


def talk(key: str, *children: Any, source: str = "/x", **more: Any) -> SourceRecord:
    values = conversation(key)
    return SourceRecord(Conversation, key, values, list(children), key, source, "h", **more)


def later_messages(parent: str, *keys: str) -> SourceRecord:
    """Give messages as a record of their own, which refers to one that was given before."""
    (_, first), *rest = [message(key, parent) for key in keys]
    return SourceRecord(Message, first["id"], first, rest, f"{parent} {keys[0]}", "/x", "h", 0)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a function that makes a reader of some findings the one beside the real ones."""

    def use(*found: Any) -> TalkReader:
        reader = TalkReader(*found)
        monkeypatch.setattr("dynostore.importer.READERS", (*READERS, reader))
        return reader

    return use


def test_a_password_of_a_url_is_nowhere(store: Store, read: Any) -> None:
    def leaky(source: str) -> Any:
        record = talk("a", source=source)
        record.path, record.warnings = source, [f"read from {source}"]
        return record

    def broken(source: str) -> Any:
        return Finding(f"{source}/b", "invalid", f"{source}: s3cret@word is bad", is_record=True)

    reader = read(leaky, broken)
    report = import_from(URL, store)
    assert reader.asked == [URL]
    said = str(report.to_json()) + str([row.values() for row in store.imports.stream()])
    assert "s3cret" not in said
    assert "***" in said
    assert (report.records.created, report.records.invalid) == (1, 1)
    assert {row.status for row in store.imports.stream()} == {"created", "invalid"}


def test_a_password_of_a_url_is_in_no_error(target: Store, read: Any) -> None:
    def unreachable(source: str) -> Any:
        raise RemoteUnavailable(f"{source}: no answer", hint=f"ping {source}")

    read(unreachable)
    with pytest.raises(RemoteUnavailable) as caught:
        import_from(URL, target)
    assert "s3cret" not in f"{caught.value} {caught.value.hint}"
    with pytest.raises(SourceNotFound) as refused:
        import_from(URL.replace("talks", "redis+unknown"), target)
    assert "s3cret" not in f"{refused.value} {refused.value.hint}"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_as_one(target: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceNotFound, match="is a stream") as caught:
        import_from(tmp_path / "pipe", target)
    assert "dynostore import" in str(caught.value.hint)


@pytest.mark.parametrize("kind", ["auto", "dynoai"])
def test_a_url_that_no_reader_knows_is_not_taken_for_a_directory(target: Store, kind: str) -> None:
    with pytest.raises(SourceNotFound, match="no reader knows such an address") as caught:
        import_from("https://host/runs", target, kind=kind)
    assert "postgresql://" in str(caught.value.hint)


def test_the_data_of_two_tools_in_one_tree_is_all_taken_and_no_file_counted_twice(
    tree: Any, target: Store, read: Any
) -> None:
    tree.add_all()
    tree.write("talks/a.json", "{}")
    tree.write("talks/readme.txt", "")
    place = str(tree.root / "talks/a.json")
    strays = [
        path.relative_to(tree.root).as_posix()
        for path in tree.root.rglob("*")
        if path.is_file() and path.name != "a.json"
    ]
    read(talk("a", source=place), *(Finding(s, "skipped", "not a talk") for s in strays))
    report = import_from(tree.root, target)
    assert report.kind == "dynoai, talk"
    assert {kind: counts.created for kind, counts in report.kinds.items()} == {
        "dynoai": 5,
        "talk": 1,
    }
    assert report.files.found == tree.file_count() == sum(e.files for e in report.entries)
    assert [e.kind for e in report.entries if e.path == "talks/readme.txt"] == ["talk"]
    assert not [e for e in report.entries if e.path == "talks/a.json"]
    again = import_from(tree.root, target)
    assert (again.records.same, again.files.found) == (6, report.files.found)
    assert import_from(tree.root, target, kind="talk").kind == "talk"


def test_a_record_may_refer_to_one_that_was_given_before(store: Store, read: Any) -> None:
    read(talk("a", message("1", "a")), later_messages("a", "2", "3"))
    dry = import_from("talks://host", store, dry_run=True)
    report = import_from("talks://host", store)
    assert dry.records == report.records
    assert (report.records.created, len(report.differences)) == (2, 0)
    contents = {m.content for m in store.conversations.stream_messages("a")}
    assert contents == {"says 1", "says 2", "says 3"}
    assert import_from("talks://host", store).records.same == 2


def test_a_record_without_its_parent_costs_itself_only(store: Store, read: Any) -> None:
    read(later_messages("nobody", "1", "2"), talk("a", message("3", "a")))
    dry = import_from("talks://host", store, dry_run=True)
    report = import_from("talks://host", store)
    assert [e.outcome for e in report.entries] == ["invalid", "created"]
    assert [e.outcome for e in dry.entries] == ["invalid", "created"]
    assert "there is no 'nobody' in conversations" in str(report.entries[0].reason)
    assert "there is no 'nobody' in conversations" in str(dry.entries[0].reason)


def test_a_row_that_two_records_claim_stays_with_the_first_and_is_named(
    store: Store, read: Any
) -> None:
    read(talk("a", message("1", "a")), talk("b", message("1", "b"), message("2", "b")))
    for _ in range(2):
        report = import_from("talks://host", store)
        assert [bool(e.kept) for e in report.entries] == [False, True]
        assert "conversation_id" in str(report.entries[1].reason)
        assert report.exit_code == 3
    assert [m.content for m in store.conversations.stream_messages("a")] == ["says 1"]
    assert [m.content for m in store.conversations.stream_messages("b")] == ["says 2"]


def test_what_is_invalid_in_a_file_is_noted_there_until_it_is_good(
    target: Store, read: Any, tmp_path: Path
) -> None:
    source = tmp_path / "talks.json"
    source.write_text("[]")
    bad = [Finding(f"talks.json#{n}", "invalid", "bad", is_record=True, files=0) for n in (1, 2)]
    read(*bad)
    import_from(source, target, kind="talk")
    places = sorted(row.source_path for row in target.imports.stream(status="invalid"))
    assert places == [f"{source}#1", f"{source}#2"]
    read(talk("1", source=str(source)), bad[1])
    import_from(source, target, kind="talk")
    noted = [row.source_path for row in target.imports.stream(status="invalid")]
    assert noted == [f"{source}#2"]


@pytest.mark.parametrize("zone", [None, zoneinfo.ZoneInfo("Asia/Tokyo"), dt.UTC, TWO_HOURS])
def test_a_source_is_verified_in_the_zone_in_which_it_was_read(
    target: Store, tmp_path: Path, zone: dt.tzinfo | None
) -> None:
    state = {"session_id": "s", "timestamp": "2026-01-02T03:04:05", "state_data": {"_version": 1}}
    place = tmp_path / ".taskforce/states/s.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(state))
    report = import_from(tmp_path, target, options=ReadOptions(timezone=zone))
    assert report.records.created == 1
    assert [s.status for s in verify_sources(target).sources] == ["equal"]


@pytest.mark.parametrize("existing", ["merge", "skip", "update"])
def test_the_ways_mean_the_same_for_every_reader(target: Store, read: Any, existing: Any) -> None:
    read(talk("a", message("1", "a")))
    import_from("talks://host", target)
    target.conversations.update_conversation("a", title="mine")
    changed = talk("a", message("1", "a"), message("2", "a"))
    changed.values["title"], changed.content_hash = "theirs", "h2"
    read(changed, talk("b"))
    report = import_from("talks://host", target, existing=existing)
    assert target.conversations.get_conversation("b").id == "b"
    title = target.conversations.get_conversation("a").title
    messages = len([*target.conversations.stream_messages("a")])
    expected: dict[str, Any] = {
        "merge": ("mine", 2, 3),
        "skip": ("mine", 1, 0),
        "update": ("theirs", 2, 0),
    }
    assert (title, messages, report.exit_code) == expected[existing]


def test_a_log_longer_than_memory_reads_like_a_list() -> None:
    log: Log[Entry] = Log()
    entries = [Entry(f"p{number}", "same", kept=("a",)) for number in range(10_000)]
    log += entries
    assert log == entries
    assert (len(log), log[0], log[-1], log[5000]) == (
        10_000,
        entries[0],
        entries[-1],
        entries[5000],
    )
    assert log[4094:4099] == entries[4094:4099]
    assert log != entries[:-1]
    with pytest.raises(IndexError):
        log[10_000]


_ENDLESS = """
import datetime as dt, resource, sys
from dynostore import Store, importer
from dynostore.legacy import SourceRecord
from dynostore.models import Conversation

NOW = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
peaks_kib = []

class Endless:
    kind = "endless"
    def detect(self, source):
        return True
    def read(self, source, options):
        for number in range(int(sys.argv[2])):
            key = f"talk-{number:08}"
            values = {"id": key, "created_at": NOW, "updated_at": NOW}
            yield SourceRecord(Conversation, key, values, [], key, source, "h", 0, ["is invented"])

def note(done, total):
    peaks_kib.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

importer.READERS = (Endless(),)
with Store.open(sys.argv[1]) as store:
    report = importer.import_from("talks://host", store, progress=note)
print(report.records.created, len(report.warnings), peaks_kib[len(peaks_kib) // 3], peaks_kib[-1])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_records(
    tmp_path: Path, start_python: Callable[..., Any]
) -> None:
    records = 60_000
    out, err = start_python(_ENDLESS, tmp_path / "x.db", records).communicate()
    created, warnings, early_kib, late_kib = map(int, out.split())
    assert (created, warnings, err) == (records, records, "")
    assert late_kib - early_kib < 6 * 1024


def test_empty_text_is_not_the_current_directory(target: Store) -> None:
    with pytest.raises(ConfigError, match="empty"):
        import_from("", target)
