"""Ideation's Redis as a store: the old program reads what we write, and we what it writes.

``OldProgram`` does what the old one is measured to do: it needs all keys of a document but those
with a default, passes over others, and writes its own as they are written here.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store, errors
from dynostore.cli import main
from dynostore.importer import import_from
from dynostore.models import IdeationMessage, IdeationSession

T0 = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
TIME = "2026-11-22T03:40:21.009242+00:00"

NEEDED = {
    "session": "id project_name user_id status data_source version created_at updated_at",
    "message": "id session_id content role timestamp",
    "requirement": "id session_id description type priority created_at",
    "maturity": "session_id score level categories updated_at",
    "prd": "id session_id title version sections created_at",
    "story": "id session_id title as_a i_want so_that created_at",
}


class OldProgram:
    """Reads and writes the keys of one session."""

    def __init__(self, client: Any, sid: str) -> None:
        self.client, self.sid = client, sid

    def _load(self, noun: str, text: bytes) -> dict[str, Any]:
        text.decode("ascii")
        document = json.loads(text)
        found = {name: document[name] for name in NEEDED[noun].split()}
        for name, value in found.items():
            if name.endswith("_at") or name == "timestamp":
                assert dt.datetime.fromisoformat(value).tzinfo is not None
        for name in ("categories", "sections"):
            assert isinstance(found.get(name, []), list)
        for name in ("acceptance_criteria", "linked_requirements", "gaps"):
            assert isinstance(document.get(name, []), list)
        return found

    def session(self) -> dict[str, Any]:
        return self._load("session", self.client.get(f"ideation:session:{self.sid}"))

    def messages(self) -> list[dict[str, Any]]:
        texts = self.client.lrange(f"ideation:messages:{self.sid}", 0, -1)
        return [self._load("message", text) for text in texts]

    def requirements(self) -> dict[str, dict[str, Any]]:
        found = self.client.hgetall(f"ideation:requirements:{self.sid}")
        return {name.decode(): self._load("requirement", text) for name, text in found.items()}

    def one(self, noun: str) -> dict[str, Any]:
        return self._load(noun, self.client.get(f"ideation:{noun}:{self.sid}"))

    def stories(self) -> list[dict[str, Any]]:
        texts = self.client.lrange(f"ideation:stories:{self.sid}", 0, -1)
        return [self._load("story", text) for text in texts]

    def say(self, number: int, **more: Any) -> None:
        document = {
            "id": f"msg-{number:08x}",
            "session_id": self.sid,
            "role": "user",
            "content": f"old {number}",
            "timestamp": f"2026-11-22T03:40:{number:02}+00:00",
            "maturity_delta": 0,
            "metadata": None,
        }
        self.client.rpush(f"ideation:messages:{self.sid}", json.dumps(document | more))


@pytest.fixture
def client(redis_server: Any) -> Iterator[Any]:
    with contextlib.closing(redis_server.client()) as found:
        yield found


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    with Store.open(redis_url) as opened:
        yield opened


@pytest.fixture
def old(client: Any) -> OldProgram:
    """Give the old program, with a session that it made."""
    client.set(
        "ideation:session:s1",
        json.dumps(
            {
                "id": "s1",
                "project_name": "Büro",
                "user_id": "kim",
                "status": "draft",
                "data_source": "mock",
                "version": 1,
                "created_at": TIME,
                "updated_at": TIME,
                "theme": {"dark": True},
            }
        ),
    )
    client.sadd("ideation:user_sessions:kim", "s1")
    return OldProgram(client, "s1")


def test_the_old_program_reads_what_is_written_here(store: Store, client: Any) -> None:
    ideation = store.ideation
    sid = str(ideation.sessions.create(project_name="Grüße", user_id="kim", metadata=[1]).id)
    old = OldProgram(client, sid)
    ideation.messages.create(sid, "user", "hi ✅", maturity_delta=12.5)
    ideation.messages.create(sid, "assistant", "yes", metadata={"a": 1})
    ideation.requirements.create(sid, "x", key="REQ-001", metadata={"a": 1})
    ideation.maturity.save(sid, 37.5, "exploration")
    ideation.drafts.save(sid, "one", key="prd-1")
    ideation.drafts.save(sid, "two", key="prd-2", sections=[{"id": "sec-001"}])
    words: Any = {"key": "US-001", "title": "t", "as_a": "a", "i_want": "b", "so_that": "c"}
    ideation.stories.save(sid, [words, words | {"key": "US-002"}])
    assert old.session()["project_name"] == "Grüße"
    assert [m["content"] for m in old.messages()] == ["hi ✅", "yes"]
    assert old.requirements()["REQ-001"]["priority"] == "should_have"
    assert old.one("maturity")["score"] == 37.5
    assert old.one("prd")["title"] == "two"
    assert [s["id"] for s in old.stories()] == ["US-001", "US-002"]
    assert client.smembers("ideation:user_sessions:kim") == {sid.encode()}
    ideation.sessions.update(sid, user_id="lee")
    assert client.smembers("ideation:user_sessions:lee") == {sid.encode()}
    assert not client.exists("ideation:user_sessions:kim")
    assert store.check() == []
    ideation.sessions.delete(sid)
    assert client.dbsize() == 0


def test_what_the_old_program_writes_is_seen_and_its_own_words_stay(
    store: Store, old: OldProgram, client: Any
) -> None:
    old.say(2, tokens=7)
    old.say(1)
    found = store.ideation.messages.list("s1")
    assert [m.content for m in found] == ["old 1", "old 2"]
    assert found.items[1].metadata == {"tokens": 7}
    added = store.ideation.messages.create("s1", "user", "new")
    assert [m["content"] for m in old.messages()] == ["old 2", "old 1", "new"]
    assert b'"tokens": 7' in client.lindex("ideation:messages:s1", 0)
    assert store.ideation.sessions.get("s1").metadata == {"theme": {"dark": True}}
    changed = store.ideation.sessions.update("s1", status="approved")
    assert json.loads(client.get("ideation:session:s1"))["theme"] == {"dark": True}
    both = {"theme": {"dark": True}, "mine": 1}
    store.ideation.sessions.update("s1", metadata=both)
    said = json.loads(client.get("ideation:session:s1"))
    assert (said["theme"], said["metadata"]) == ({"dark": True}, {"mine": 1})
    assert store.ideation.sessions.get("s1").metadata == both
    store.ideation.sessions.update("s1", metadata=None)
    assert "theme" not in json.loads(client.get("ideation:session:s1"))
    assert changed.version == 2
    store.ideation.put_many(
        [IdeationMessage(**added.values() | {"session": "s1", "content": "newer"})]
    )
    assert [m["content"] for m in old.messages()] == ["old 2", "old 1", "newer"]


def test_a_verb_is_done_again_when_the_old_program_writes_in_between(
    store: Store, old: OldProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror: Any = store.database
    said: list[int] = []
    put = mirror.put

    def interfere(model: Any, rows: Any) -> None:
        put(model, rows)
        if model is IdeationMessage and len(said) < 3:
            said.append(1)
            old.say(len(said))

    monkeypatch.setattr(mirror, "put", interfere)
    store.ideation.messages.create("s1", "user", "new")
    assert [m["content"] for m in old.messages()] == ["old 1", "old 2", "old 3", "new"]


def test_a_transaction_in_which_others_wrote_ends_stale_and_writes_nothing(
    store: Store, old: OldProgram, client: Any
) -> None:
    def both_write() -> None:
        with store.transaction():
            store.ideation.sessions.update("s1", status="approved")
            store.ideation.messages.create("s1", "user", "new")
            old.say(1)

    before = client.get("ideation:session:s1")
    with pytest.raises(errors.StaleWrite, match="nothing was written"):
        both_write()
    assert client.get("ideation:session:s1") == before
    assert [m["content"] for m in old.messages()] == ["old 1"]


def test_a_savepoint_undoes_its_own_part_alone(store: Store, old: OldProgram) -> None:
    old.say(1)
    with store.transaction():
        store.ideation.sessions.update("s1", status="approved")
        with contextlib.suppress(RuntimeError), store.transaction():
            store.ideation.messages.create("s1", "user", "undone")
            raise RuntimeError
        assert len(store.ideation.messages.list("s1")) == 1
        store.ideation.messages.create("s1", "user", "done")
        assert store.ideation.sessions.get("s1").status == "approved"
    assert [m["content"] for m in old.messages()] == ["old 1", "done"]
    assert old.session()["status"] == "approved"


def test_several_stores_write_to_one_session_and_lose_nothing(redis_url: str) -> None:
    failures: list[BaseException] = []
    with Store.open(redis_url) as first, Store.open(redis_url) as second:
        sid = str(first.ideation.sessions.create().id)

        def write(store: Store) -> None:
            try:
                for number in range(8):
                    store.ideation.messages.create(sid, "user", str(number))
                    store.ideation.sessions.update(sid, status="in_build")
            except BaseException as exc:
                failures.append(exc)

        threads = [threading.Thread(target=write, args=(store,)) for store in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(first.ideation.messages.list(sid)) == 16
        assert second.ideation.sessions.get(sid).version == 17


def test_all_that_a_verb_changes_is_written_in_one_multi(
    store: Store, old: OldProgram, client: Any
) -> None:
    old.say(1)
    client.config_resetstat()
    store.ideation.sessions.delete("s1")
    asked = client.info("commandstats")
    assert asked["cmdstat_exec"]["calls"] == 2  # one reads, one writes
    assert asked["cmdstat_del"]["calls"] == asked["cmdstat_srem"]["calls"] == 1
    assert "cmdstat_keys" not in asked
    assert client.dbsize() == 0


def test_a_document_that_cannot_be_read_is_named_and_never_replaced(
    store: Store, old: OldProgram, client: Any
) -> None:
    old.say(1)
    client.rpush("ideation:messages:s1", "{")
    client.set("ideation:session:s2", '{"id"')
    client.set("ideation:maturity:s1", "[]")
    before = {key: client.dump(key) for key in client.scan_iter()}
    verbs: dict[str, Callable[[], object]] = {
        "ideation:messages:s1": lambda: store.ideation.messages.list("s1"),
        "ideation:messages:s1[1]": lambda: store.ideation.messages.create("s1", "user", "x"),
        "ideation:session:s2": lambda: store.ideation.sessions.get("s2"),
        "ideation:session:s2:": lambda: store.ideation.sessions.list(),
        "ideation:maturity:s1": lambda: store.ideation.maturity.save("s1", 1, "concept"),
    }
    for path, verb in verbs.items():
        with pytest.raises(errors.IntegrityFailure, match=path.rstrip(":").partition("[")[0]):
            verb()
    assert store.ideation.sessions.get("s1").id == "s1"
    assert {key: client.dump(key) for key in client.scan_iter()} == before
    problems = "\n".join(store.check())
    for path in ("ideation:messages:s1[1]", "ideation:session:s2", "ideation:maturity:s1"):
        assert path in problems
    client.delete("ideation:session:s1")
    assert "ideation:messages:s1: 2 of a session that is not there" in store.check()


def test_a_session_that_was_written_by_half_is_said_so(store: Store, client: Any) -> None:
    made = store.ideation.sessions.create(session_id="s", user_id="kim")
    client.sadd("ideation:user_sessions:kim", "gone")
    client.srem("ideation:user_sessions:kim", "s")
    assert len(store.check()) == 2
    store.ideation.sessions.update(made.id, status="closed")  # mends it
    assert len(store.check()) == 1


def test_what_redis_cannot_hold_is_not_held(redis_url: str, tmp_path: Path) -> None:
    with Store.open(redis_url) as store:
        for verb in (lambda: store.runs.list(), lambda: store.tasks.list()):
            with pytest.raises(errors.NotHeld, match="ideation"):
                verb()
        with pytest.raises(errors.ConfigError):
            store.backup(tmp_path / "x")
        with store.bound(), pytest.raises(errors.NotHeld, match="verbs"):
            store.ideation.sessions.create()
    with Store.open(redis_url, read_only=True) as store:
        assert list(store.ideation.sessions.list()) == []
        with pytest.raises(errors.StoreUnwritable):
            store.ideation.sessions.create()
    with pytest.raises(errors.StoreClosed):
        store.ideation.sessions.list()


def test_a_server_that_takes_no_writes_is_said_so_without_what_was_written(
    store: Store, client: Any
) -> None:
    made = store.ideation.sessions.create(project_name="hush-hush")
    client.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(errors.StoreUnwritable, match="NOREPLICAS") as caught:
            store.ideation.sessions.update(made.id, status="closed")
        assert store.ideation.sessions.get(made.id) == made
    finally:
        client.config_set("min-replicas-to-write", 0)
    assert "hush" not in str(caught.value)
    assert "{" not in str(caught.value)


def test_all_of_it_imports_into_a_database_and_comes_out_equal(
    store: Store, redis_url: str, tmp_path: Path
) -> None:
    ideation = store.ideation
    sid = str(ideation.sessions.create(metadata={"a": 1}, user_id="kim").id)
    ideation.messages.create(sid, "user", "hi", maturity_delta=-2.5, metadata=[None])
    ideation.requirements.create(sid, "x", metadata={"a": 1})
    ideation.maturity.save(sid, 80, "complete", metadata="m")
    for number in range(3):
        ideation.drafts.save(sid, str(number), metadata={"n": number})
    words: Any = {"key": "US-001", "title": "t", "as_a": "a", "i_want": "b", "so_that": "c"}
    ideation.stories.save(sid, [words | {"metadata": 5}])
    with Store.open(tmp_path / "store.db") as target:
        report = import_from(redis_url, target)
        assert (report.exit_code, len(report.warnings)) == (0, 0)
        for one, other in zip(_all_of(store, sid), _all_of(target, sid), strict=True):
            assert one == other


def _all_of(store: Store, sid: str) -> list[Any]:
    ideation = store.ideation
    return [
        ideation.sessions.get(sid),
        *ideation.messages.list(sid),
        *ideation.requirements.list(sid),
        ideation.maturity.get(sid),
        *ideation.drafts.list(sid),
        *ideation.stories.list(sid),
    ]


def test_the_command_line_works_on_it(
    store: Store, start_redis: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start_redis("--requirepass", "hush-hush-word")
    url = server.url(login=":hush-hush-word@")
    create = ["--db", url, "--json", "ideation", "create", "--project-name", "Tuner"]
    assert main(create) == 0
    sid = json.loads(capsys.readouterr().out)["item"]["id"]
    assert main(["--db", url, "ideation", "messages", "add", sid[:20], "hi"]) == 0
    assert main(["--db", url, "--json", "ideation", "list"]) == 0
    shown = capsys.readouterr().out
    assert "Tuner" in shown
    assert main(["--db", url, "info"]) == 0
    facts = capsys.readouterr().out
    assert "Redis" in facts
    assert "redis://:***@" in facts
    assert main(["--db", url, "runs", "list"]) == 2
    assert main(["--db", url, "db", "check"]) in (0, 2)
    server.stop()
    assert main(["--db", url, "ideation", "list"]) == 75
    said = "".join(capsys.readouterr())
    assert "hush-hush-word" not in shown + facts + said


def test_ids_with_signs_of_patterns_stand_for_themselves(store: Store) -> None:
    for sid in ("a*", "a?c", "a[bc]", "abc", "a\\b", "é:1"):
        store.ideation.sessions.create(session_id=sid)
        assert store.ideation.sessions.resolve(sid) == sid
    with pytest.raises(errors.AmbiguousId):
        store.ideation.sessions.resolve("a")
    assert store.ideation.sessions.resolve("a[") == "a[bc]"
    assert store.ideation.sessions.count() == 6


def test_a_message_of_another_session_may_have_the_same_id(store: Store) -> None:
    store.ideation.put_many(
        [
            IdeationSession(
                id=sid,
                project_name="p",
                user_id="u",
                status="draft",
                data_source="mock",
                version=1,
                created_at=T0,
                updated_at=T0,
            )
            for sid in ("a", "b")
        ]
    )
    for sid in ("a", "b"):
        store.ideation.messages.create(sid, "user", sid, message_id="same")
    assert [m.content for sid in ("a", "b") for m in store.ideation.messages.list(sid)] == [
        "a",
        "b",
    ]
