"""A user's own models: made on both sides, synced, verified, refused, extended and stepped on."""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
import sqlite3
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import peewee
import pytest

from dynostore import Store, errors
from dynostore.aio import AsyncStore
from dynostore.fields import JsonField, UtcTimeField, UuidField
from dynostore.models import Import, Record, Run
from dynostore.models.base import key_field
from dynostore.own_models import load
from dynostore.sync import list_conflicts, list_rejects, resolve_all, sync, sync_status
from dynostore.sync.exchange import Limits
from dynostore.sync.verify.run import verify

pytestmark = pytest.mark.once

T0 = dt.datetime(2026, 1, 1, 12, 0, tzinfo=dt.UTC)


class Base(peewee.Model):
    """Bound to a database of its own, as people's models are."""

    class Meta:
        database = peewee.SqliteDatabase("/nowhere/at-all.db")


class Album(Base):
    id = peewee.CharField(primary_key=True, max_length=64)
    title = peewee.CharField()
    within = peewee.ForeignKeyField("self", null=True, on_delete="SET NULL")


class Photo(Base):
    """Columns whose names the sync's own statements use too."""

    key = peewee.UUIDField(primary_key=True, default=uuid.uuid4)
    album = peewee.ForeignKeyField(Album, backref="photos", on_delete="CASCADE")
    run = peewee.ForeignKeyField(Run, null=True, backref="+")
    seq = peewee.TextField(null=True)
    n = peewee.IntegerField(default=-(2**62))
    tbl = peewee.SmallIntegerField(null=True)
    rev = peewee.BigIntegerField(null=True)
    what = peewee.FloatField(default=0.1)
    seen = peewee.DoubleField(null=True)
    outcome = peewee.BooleanField(default=True)
    fresh = peewee.DateTimeField(default=dt.datetime(2026, 1, 1, 12, 0))
    op = peewee.DateField(null=True)
    mark = UtcTimeField(default=lambda: T0)
    id = JsonField(null=True)
    node = peewee.BlobField(null=True)
    base = UuidField(null=True)
    order = peewee.TextField(default="")

    class Meta:
        table_name = "Select"
        indexes = ((("album", "fresh"), False),)


OWN = (Photo, Album)
SERVER_TYPES = {
    **dict.fromkeys(("key", "album_id", "run_id"), ("character varying", "C")),
    **dict.fromkeys(("seq", "order"), ("text", "C")),
    **dict.fromkeys(("n", "tbl", "rev"), ("bigint", None)),
    **dict.fromkeys(("what", "seen"), ("double precision", None)),
    "outcome": ("boolean", None),
    "fresh": ("timestamp without time zone", None),
    "op": ("date", None),
    "mark": ("timestamp with time zone", None),
    "id": ("jsonb", None),
    "node": ("bytea", None),
    "base": ("uuid", None),
}


class Node:
    """A file with own models, and the server that it syncs with."""

    def __init__(self, path: Path, url: str, models: Any = OWN, **options: Any) -> None:
        self.path, self.url = path, url
        self.store = Store.open(path, models=models, **options)

    def reopen(self, models: Any, **options: Any) -> Node:
        """Open the file as another version of the program does."""
        self.store.close()
        self.store = Store.open(self.path, models=models, **options)
        return self

    def sync(self, direction: Any = "both", **options: Any) -> Any:
        return sync(self.store, self.url, direction=direction, **options)

    def sql(self, statement: str, *values: Any) -> list[Any]:
        """Run a statement as any program would; foreign keys are off."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(statement, values).fetchall()

    def rows(self, model: Any) -> list[dict[str, Any]]:
        with self.store.bound():
            return list(model.select().order_by(model._meta.primary_key).dicts())

    def is_verified(self) -> bool:
        return not verify(self.store, self.url, deep=True, delay_s=0.01).total


@pytest.fixture
def make(empty_remote: Any, tmp_path: Path) -> Any:
    """Give a function that makes a node by name; the server is empty at first."""
    made: list[Node] = []

    def make(name: str, models: Any = OWN, **options: Any) -> Node:
        made.append(Node(tmp_path / f"{name}.db", empty_remote.url, models, **options))
        return made[-1]

    yield make
    for node in made:
        assert node.store.check() == []
        node.store.close()


def fill(node: Node) -> None:
    node.store.runs.create(run_id="r1")
    with node.store.transaction(), node.store.bound():
        Album.create(id="all", title="All")
        Album.create(id="a part", title="Part", within="all")
        for number in range(20):
            Photo.create(
                key=uuid.UUID(int=number + 1),
                album="a part",
                run="r1",
                seq=f"{number}\t\\",
                tbl=number,
                seen=1 / (number + 3),
                fresh=dt.datetime(2026, 1, 1, 12, 0, number, number % 2),
                op=dt.date(2026, 1, number + 1),
                id={"a": [number, None]},
                node=bytes([0, 255, number]),
                base=str(uuid.UUID(int=number)),
            )


def test_own_tables_go_to_the_server_and_to_another_file_with_every_value(
    make: Any, empty_remote: Any
) -> None:
    first, second = make("first"), make("second")
    fill(first)
    report = first.sync("push")
    types = empty_remote.sql(
        "SELECT column_name, data_type, collation_name FROM information_schema.columns"
        " WHERE table_name = 'Select' AND column_name NOT LIKE 'sync%%'"
    )
    assert {name: (kind, order) for name, kind, order in types} == SERVER_TYPES
    assert {t.name: t.sent for t in report.tables} == {"album": 2, "runs": 1, "Select": 20}
    second.sync("pull")
    for model in OWN:
        assert second.rows(model) == first.rows(model)
    assert second.is_verified()
    assert first.is_verified()
    with Store.open(first.url, models=OWN, warm=False) as server, server.bound():
        values: list[Any] = list(Photo.select().order_by(Photo.key).dicts())
        assert [v | {"node": bytes(v["node"])} for v in values] == first.rows(Photo)
    with second.store.bound():
        Photo.update(seq="theirs").where(Photo.key == uuid.UUID(int=3)).execute()
        Photo.delete().where(Photo.key == uuid.UUID(int=4)).execute()
        Album.update(title="Whole").where(Album.id == "all").execute()
    second.sync()
    first.sync()
    assert first.rows(Photo) == second.rows(Photo)
    assert len(first.rows(Photo)) == 19
    assert first.sync().up_to_date
    assert sync_status(first.store).exit_code == 0
    assert Photo._meta.database is Base._meta.database  # theirs again


class Word(Base):
    text = peewee.TextField(primary_key=True)


def test_a_table_of_keys_alone_is_verified_though_one_is_empty(make: Any) -> None:
    node = make("node", [Word])
    with node.store.bound():
        Word.create(text="")
    node.sync()
    assert node.is_verified()


def test_conflicts_and_rejects_of_own_tables_are_listed_and_settled(
    make: Any, empty_remote: Any
) -> None:
    first, second = make("first"), make("second")
    fill(first)
    first.sync()
    second.sync()
    for node, title in ((first, "mine"), (second, "theirs")):
        with node.store.bound():
            Album.update(title=title).where(Album.id == "all").execute()
    second.sync()
    assert first.sync().exit_code == 3
    [conflict] = list_conflicts(first.store).items
    assert (conflict.table, conflict.mine["title"], conflict.server["title"]) == (
        "album",
        "mine",
        "theirs",
    )
    assert resolve_all(first.store, keep="mine").resolved == 1
    first.sync()
    second.sync()
    assert {row["title"] for row in second.rows(Album)} == {"mine", "Part"}
    second.sql("UPDATE \"Select\" SET fresh = '2026-01-01 12:00:00+01:00', n = 5 WHERE tbl = 3")
    second.sql("UPDATE \"Select\" SET op = 'yesterday' WHERE tbl = 4")
    second.sql("UPDATE \"Select\" SET fresh = '2026-01-01 13:00:00.000000' WHERE tbl = 5")
    assert second.sync().exit_code == 3
    found = {(r.column, r.value, r.reason) for r in list_rejects(second.store).items}
    assert found == {
        (
            "fresh",
            "2026-01-01 12:00:00+01:00",
            "a time without an offset as YYYY-MM-DD HH:MM:SS or with .ffffff expected",
        ),
        ("op", "yesterday", "a date as YYYY-MM-DD expected"),
    }
    assert second.is_verified()
    first.sync()
    assert first.sql('SELECT fresh FROM "Select" WHERE tbl = 5') == [("2026-01-01 13:00:00",)]
    # And what no file can hold.
    empty_remote.sql("UPDATE \"Select\" SET fresh = 'infinity' WHERE tbl = 6")
    empty_remote.sql("UPDATE \"Select\" SET op = '0044-03-15 BC' WHERE tbl = 7")
    assert first.sync().exit_code == 3
    found = {(r.column, r.value, r.origin) for r in list_rejects(first.store).items}
    assert found == {("fresh", "infinity", "server"), ("op", "0044-03-15 BC", "server")}


def test_without_its_model_a_captured_table_waits_and_loses_nothing(
    make: Any, tmp_path: Path
) -> None:
    node, other = make("node"), make("other")
    fill(node)
    node.sync()
    other.sync()
    with node.store.bound():
        Photo.update(n=1).execute()
        Photo.delete().where(Photo.key == uuid.UUID(int=9)).execute()
    node.store.runs.create(run_id="r2")
    with Store.open(node.path) as without:
        report = sync(without, node.url, direction="both")
        assert report.left_out == {"Select": 20, "album": 0}
        assert report.exit_code == 1
        assert [t.name for t in report.tables] == ["runs"]
        looked = verify(without, node.url, delay_s=0.01)
        assert (looked.exit_code, looked.left_out) == (1, ["Select", "album"])
        with pytest.raises(errors.ModelsMissing, match="Select, album") as caught:
            sync(without, node.url, full=True)
        assert caught.value.hint == "dynostore --models MODULE sync"
        with pytest.raises(errors.ConfigError, match="no such table"):
            sync(without, node.url, tables=["album"])
    assert {t.name: t.sent for t in node.sync().tables} == {"Select": 20}
    other.sync()
    assert other.rows(Photo) == node.rows(Photo)


def test_a_deletion_never_takes_along_rows_of_tables_that_a_program_does_not_know(
    make: Any, tmp_path: Path
) -> None:
    node, plain = make("node"), make("plain", ())
    fill(node)
    node.sync()
    plain.sync()
    plain.store.runs.delete("r1")
    assert plain.sync().exit_code == 3  # the server has a photo of it
    [conflict] = list_conflicts(plain.store).items
    assert (conflict.table, conflict.key, conflict.mine) == ("runs", "r1", None)
    assert plain.store.runs.get("r1").id == "r1"
    # The same in a file whose own tables wait for their models.
    node.store.runs.create(run_id="r2")
    node.sync()
    plain.sync()
    with node.store.bound():
        Photo.update(run="r2").where(Photo.key == uuid.UUID(int=1)).execute()
    plain.store.runs.delete("r2")
    plain.sync()
    with Store.open(node.path) as without:
        sync(without, node.url, direction="both")
        assert without.runs.get("r2").id == "r2"
    node.sync()
    plain.sync()
    assert plain.store.runs.get("r2").id == "r2"
    assert node.is_verified()


@pytest.mark.parametrize("rows", [10_000, 3])
def test_rows_that_refer_to_each_other_in_a_circle_end_a_sync(make: Any, rows: int) -> None:
    node, other = make("node"), make("other")
    count = 5
    for number in range(count):
        node.sql(
            "INSERT INTO album (id, title, within_id) VALUES (?, '', ?)",
            f"a{number}",
            f"a{(number + 1) % count}",
        )
    node.sql("INSERT INTO album (id, title, within_id) VALUES ('self', '', 'self')")
    node.sql("INSERT INTO album (id, title, within_id) VALUES ('0', 'a child', 'a3')")
    report = node.sync(limits=Limits(rows=rows))
    if rows == 3:
        assert report.exit_code == 3
        reasons = {r.reason for r in list_rejects(node.store).items}
        assert reasons == {
            "waits for rows that wait for this one, and they do not fit into one batch"
        }
        assert {r.key for r in list_rejects(node.store).items} >= {"a0", "a1", "a2", "a3", "a4"}
        node.sql("UPDATE album SET title = 'again'")
        report = node.sync()
    assert report.exit_code == 0
    other.sync(limits=Limits(rows=2))
    assert other.rows(Album) == node.rows(Album)
    node.sql("DELETE FROM album WHERE id LIKE 'a%'")
    node.sql("DELETE FROM album WHERE id = '0'")
    node.sync()
    other.sync()
    assert [row["id"] for row in other.rows(Album)] == ["self"]
    assert other.is_verified()


@pytest.mark.parametrize("bad", ["album", "runs"])
def test_a_sync_ends_where_one_parent_cannot_come_and_the_other_one_moves(
    bad: str, make: Any
) -> None:
    node, other = make("node"), make("other")
    broken = {"album": "title = 'a' || char(0)", "runs": "metadata = '{'"}
    change = {"album": "title = 'changed'", "runs": "metadata = '{}'"}
    [good] = change.keys() - {bad}
    batches: list[str] = []

    def count(table: str, _: int) -> None:
        batches.append(table)
        assert len(batches) < 30, "it goes round and round"

    def waits() -> bool:
        return {r.table for r in list_rejects(node.store).items} == {bad, "Select"}

    node.store.runs.create(run_id="r1")
    with node.store.bound():
        Album.create(id="a1", title="new")
        Photo.create(key=uuid.UUID(int=1), album="a1", run="r1")
    node.sql(f"UPDATE {bad} SET {broken[bad]}")
    node.sync(progress=count)
    assert waits()
    assert node.sql("SELECT * FROM sync_log WHERE tbl <> ''") == []
    node.sql(f"UPDATE {good} SET {change[good]}")
    node.sql("""UPDATE "Select" SET "order" = 'changed'""")
    node.sync(progress=count)
    assert waits()
    other.sync()
    other.sql(f"DELETE FROM {good}")
    other.sync()
    node.sync(progress=count)
    assert node.sync(progress=count).exit_code == 0
    assert waits()
    node.sql(f"UPDATE {bad} SET {change[bad]}")
    for each in (node, other):
        each.sync()
    for model in (Album, Photo, Run):
        assert other.rows(model) == node.rows(model) != []
    assert node.is_verified()


def test_asynchronous_stores_and_threads_write_own_rows_without_binding(make: Any) -> None:
    node = make("node")
    fill(node)

    async def main() -> int:
        async with AsyncStore.open(node.path, models=OWN) as store:
            async with store.transaction():
                await store.run(
                    lambda verbs: Album.insert(id="later", title="").execute(verbs.database)
                )
            return await store.run(lambda verbs: Album.select().count(verbs.database))

    assert asyncio.run(main()) == 3

    def write(number: int) -> None:
        with node.store.transaction():
            Album.insert(id=f"t{number}", title="").execute(node.store.database)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(20)))
    assert len(node.rows(Album)) == 23
    node.sync()
    assert node.is_verified()


def test_nodes_that_meet_an_empty_server_at_once_make_the_tables_once(make: Any) -> None:
    nodes = [make(name) for name in ("one", "two", "three")]
    for number, node in enumerate(nodes):
        node.sql("INSERT INTO album (id, title) VALUES (?, '')", f"a{number}")
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(Node.sync, nodes))
    for node in nodes:
        node.sync()
    assert [row["id"] for row in nodes[0].rows(Album)] == ["a0", "a1", "a2"]
    assert all(node.is_verified() for node in nodes)


def test_a_restored_or_an_interrupted_sync_waits_for_the_models_of_all_tables(
    make: Any,
) -> None:
    node = make("node")
    fill(node)
    node.sync()
    node.sql("UPDATE sync_meta SET incarnation = 1")  # as after the server's restore
    with (
        Store.open(node.path) as without,
        pytest.raises(errors.ModelsMissing, match="every table must be compared"),
    ):
        sync(without, node.url)
    assert node.sync().exit_code == 0
    token = node.sql("SELECT token FROM sync_meta")[0][0]
    node.sql(
        "INSERT INTO sync_pending (token, tbl, op, first_key, last_key, marker, scope)"
        " VALUES (?, 'album', 'p', 'a', 'b', 0, '[\"album\"]')",
        token - 1,
    )
    with (
        Store.open(node.path) as without,
        pytest.raises(errors.ModelsMissing, match="interrupted"),
    ):
        sync(without, node.url)
    assert node.sync().exit_code == 0


def test_a_role_with_the_documented_grants_syncs_own_tables_and_says_what_it_may_not_make(
    make: Any, empty_remote: Any, postgres: Any
) -> None:
    owner, user = make("owner"), make("user")
    fill(owner)
    owner.sync()
    name = urlsplit(empty_remote.url).path.strip("/")
    role = f"user_of_{name}"
    user.url = postgres.url_of(name, user=role)
    documented = (Path(__file__).parents[2] / "docs" / "sync.md").read_text(encoding="utf-8")
    block = documented.partition("```sql\n")[2].partition("```")[0]
    grants = [line for line in block.splitlines() if "ON DATABASE" not in line]
    empty_remote.sql(f"CREATE ROLE {role} LOGIN")
    try:
        with pytest.raises(errors.AccessDenied):
            user.sync()
        empty_remote.sql("\n".join(grants).replace("TO lab", f"TO {role}"))
        user.sync()
        user.sql("UPDATE album SET title = 'by the user'")
        user.sql('DELETE FROM "Select"')
        assert user.sync().exit_code == 0
        assert user.is_verified()
        user.reopen([*OWN, Picture])
        put(user, Picture, id="p", title="")
        with pytest.raises(errors.AccessDenied):
            user.sync()
        assert user.sql("SELECT tbl FROM sync_log WHERE tbl IS NOT NULL") == [("picture",)]
    finally:
        empty_remote.sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


# -- what is refused -------------------------------------------------------------------------


def model_with(name: str = "Thing", /, *, meta: dict[str, Any] | None = None, **fields: Any) -> Any:
    fields = {"id": peewee.TextField(primary_key=True)} | fields
    inner = type("Meta", (), {"legacy_table_names": False, **(meta or {})})
    return type(name, (peewee.Model,), {**fields, "Meta": inner})


class Counted(peewee.Model):
    name = peewee.TextField()


class Outside(peewee.Model):
    id = peewee.TextField(primary_key=True)


def circle() -> list[Any]:
    one = model_with("One")
    two = model_with("Two", one=peewee.ForeignKeyField(one))
    one._meta.add_field("two", peewee.ForeignKeyField(two, null=True))
    return [one, two]


REFUSED: list[tuple[str, Callable[[], list[Any]]]] = [
    ("counted up by each file", lambda: [Counted]),
    (
        "key of several columns",
        lambda: [
            model_with(
                id=peewee.TextField(),
                other=peewee.TextField(),
                meta={"primary_key": peewee.CompositeKey("id", "other")},
            )
        ],
    ),
    ("has no key", lambda: [model_with(id=peewee.TextField(), meta={"primary_key": False})]),
    ("is no text", lambda: [model_with(id=peewee.IntegerField(primary_key=True))]),
    ("no table that replicates", lambda: [model_with(to=peewee.ForeignKeyField(Outside))]),
    ("no table that replicates", lambda: [model_with(to=peewee.ForeignKeyField(Import))]),
    ("UNIQUE beside the key", lambda: [model_with(name=peewee.TextField(unique=True))]),
    (
        "UNIQUE beside the key",
        lambda: [model_with(a=peewee.TextField(), meta={"indexes": ((("a",), True),)})],
    ),
    (
        "UNIQUE beside the key",
        lambda: [
            model_with(a=peewee.TextField(), meta={"constraints": [peewee.SQL("UNIQUE (a)")]})
        ],
    ),
    ("64 bytes", lambda: [model_with(meta={"table_name": "é" * 32})]),
    ("64 bytes", lambda: [model_with(a=peewee.TextField(column_name="x" * 64))]),
    ("differs only in case", lambda: [model_with("A"), model_with("B", meta={"table_name": "a"})]),
    (
        "differ only in case",
        lambda: [model_with(a=peewee.TextField(), b=peewee.TextField(column_name="A"))],
    ),
    ("of dynostore already", lambda: [model_with(meta={"table_name": "Runs"})]),
    ("dynostore's or the database's", lambda: [model_with(meta={"table_name": "sync_log"})]),
    ("a reserved name", lambda: [model_with(sync_rev=peewee.IntegerField())]),
    ("is a DecimalField", lambda: [model_with(a=peewee.DecimalField())]),
    ("is a TimeField", lambda: [model_with(a=peewee.TimeField())]),
    ("is a FixedCharField", lambda: [model_with(a=peewee.FixedCharField())]),
    ("collation NOCASE", lambda: [model_with(a=peewee.TextField(collation="NOCASE"))]),
    ("go in a circle", circle),
    ("no Peewee model", lambda: ["Photo"]),
]


@pytest.mark.parametrize(("reason", "models"), REFUSED, ids=[r for r, _ in REFUSED])
def test_what_cannot_replicate_is_refused_with_the_reason_and_nothing_is_made(
    tmp_path: Path, reason: str, models: Any
) -> None:
    with pytest.raises(errors.ModelRefused, match=reason) as caught:
        Store.open(tmp_path / "store.db", models=models())
    assert caught.value.hint
    assert caught.value.exit_code == 6
    assert list(tmp_path.iterdir()) == []


def test_a_module_gives_its_list_or_what_it_defines_but_for_bases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    source = """
import peewee
from dynostore.models import Run

class Base(peewee.Model):
    id = peewee.TextField(primary_key=True)

class A(Base): pass
class B(Base): pass
ONE = A
"""
    Path("own_models_all.py").write_text(source)
    Path("own_models_listed.py").write_text(source + "MODELS = [B]\n")
    Path("own_models_none.py").write_text("import peewee\n")

    def names(place: str) -> list[str]:
        return [model.__name__ for model in load(place)]

    assert names("own_models_all") == ["A", "B"]
    assert names("own_models_listed") == ["B"]
    assert names("own_models_listed:ONE") == ["A"]
    for place in ("own_models_none", "own_models_all:TWO", "own_models_absent"):
        with pytest.raises(errors.ConfigError, match=place.partition(":")[0]):
            load(place)


# -- changed models --------------------------------------------------------------------------


class Picture(Record):
    """Derived from dynostore's own base, and older than the next one."""

    id = peewee.TextField(primary_key=True)
    title = peewee.TextField()

    class Meta:
        table_name = "picture"


class RatedPicture(Record):
    """The same table, one nullable column later."""

    id = peewee.TextField(primary_key=True)
    title = peewee.TextField()
    rating = peewee.IntegerField(null=True, index=True)
    run = peewee.ForeignKeyField(Run, null=True, backref="+")

    class Meta:
        table_name = "picture"


class NamedPicture(Record):
    """The same table once more, changed in a way that needs a step."""

    id = peewee.TextField(primary_key=True)
    name = peewee.TextField()

    class Meta:
        table_name = "picture"


def put(node: Node, model: Any, **values: Any) -> None:
    with node.store.bound():
        model.insert(**values).on_conflict(
            conflict_target=[key_field(model)],
            update={k: v for k, v in values.items() if k != "id"},
        ).execute()


def test_a_column_that_may_be_empty_is_added_here_at_once_and_there_on_demand(make: Any) -> None:
    old, new = make("old", [Picture]), make("new", [Picture])
    put(old, Picture, id="p1", title="one")
    old.sync()
    new.sync()
    newer = new.reopen([RatedPicture])
    assert newer.rows(RatedPicture) == [{"id": "p1", "title": "one", "rating": None, "run": None}]
    put(newer, RatedPicture, id="p1", title="one", rating=5)
    with pytest.raises(errors.SchemaBehind, match=r"picture\.rating") as caught:
        newer.sync()
    assert "--upgrade-server" in str(caught.value.hint)
    newer.sync(upgrade_server=True)
    old.sync()
    # The older program goes on, in both directions, and does not touch what it does not know.
    put(old, Picture, id="p1", title="uno")
    put(old, Picture, id="p2", title="two")
    old.sync()
    newer.sync()
    put(newer, RatedPicture, id="p2", title="due", rating=3)
    newer.sync()
    old.sync()
    expected = [("p1", "uno", 5), ("p2", "due", 3)]
    assert [(r["id"], r["title"], r["rating"]) for r in newer.rows(RatedPicture)] == expected
    assert [(r["id"], r["title"]) for r in old.rows(Picture)] == [e[:2] for e in expected]
    assert newer.is_verified()
    assert old.is_verified()


def test_any_other_difference_says_which_step_to_write_and_the_step_is_taken_once(
    make: Any, tmp_path: Path, start_python: Any
) -> None:
    node, other = make("node", [Picture]), make("other", [Picture])
    put(node, Picture, id="p1", title="one")
    node.sync()
    other.sync()
    node.store.close()
    with pytest.raises(errors.ModelChanged) as caught:
        Store.open(node.path, models=[NamedPicture])
    assert caught.value.data["differences"] == [
        "picture.name is missing, and may not be empty",
        "picture.title is in the table and not in the model",
    ]
    assert "migrator.drop_column('picture', 'title')" in str(caught.value.hint)
    steps = tmp_path / "steps"
    steps.mkdir()
    (steps / "0001_initial.py").write_text(
        "def up(migrator, db):\n"
        "    migrator.migrate(migrator.rename_column('picture', 'title', 'name'))\n"
    )
    script = (
        "import sys, peewee; from dynostore import Store\n"
        "class P(peewee.Model):\n"
        "    id = peewee.TextField(primary_key=True); name = peewee.TextField()\n"
        "    class Meta: table_name = 'picture'\n"
        "Store.open(sys.argv[1], models=[P], migrations=sys.argv[2]).close()\n"
    )
    racing = [start_python(script, node.path, steps) for _ in range(4)]
    for process in racing:
        assert process.communicate(timeout=60)[1] == ""
        assert process.returncode == 0
    assert [p.name for p in tmp_path.glob("node.db.before-own-*.bak")] == [
        "node.db.before-own-0001.bak"
    ]
    named = node.reopen([NamedPicture], migrations=steps)
    assert named.rows(NamedPicture) == [{"id": "p1", "name": "one"}]
    with pytest.raises(errors.SchemaBehind, match="0001_initial"):
        named.sync()
    named.sync(upgrade_server=True)
    put(named, NamedPicture, id="p2", name="two")
    named.sync()
    # A new machine has nothing to step over.
    fresh = make("fresh", [NamedPicture], migrations=steps)
    fresh.sync()
    fresh.reopen([NamedPicture], migrations=steps)
    assert fresh.rows(NamedPicture) == named.rows(NamedPicture)
    assert fresh.is_verified()
    # Who is left behind is told so by the server, and loses nothing.
    other.reopen([Picture])
    with pytest.raises(errors.ModelChanged, match=r"picture\.name"):
        other.sync()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 9])
def test_killed_at_any_statement_a_file_is_as_before_or_as_the_models_say(
    make: Any, tmp_path: Path, killed_at: Any, telling_statements: Any, every: int
) -> None:
    old = make("old", [Picture])
    put(old, Picture, id="p1", title="one")
    old.sync()
    old.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    steps = tmp_path / "steps"
    steps.mkdir()
    (steps / "0001_rename.py").write_text(
        "def up(migrator, db):\n"
        "    migrator.migrate(migrator.rename_column('picture', 'title', 'name'))\n"
    )
    models = [NamedPicture, Album]

    def opened(path: Path) -> Store:
        return Store.open(path, models=models, migrations=steps)

    whole = tmp_path / "whole.db"
    shutil.copy(old.path, whole)
    numbers = telling_statements(whole, lambda: opened(whole).close())
    assert numbers[-1] > 100
    for number in [*numbers[:-1:every], numbers[-1]]:
        path = tmp_path / f"killed-{number}.db"
        shutil.copy(old.path, path)
        finished = not killed_at(number, lambda path=path: opened(path).close())
        with closing(sqlite3.connect(path)) as connection:
            columns = [row[1] for row in connection.execute("PRAGMA table_info(picture)")]
            made = bool(connection.execute("PRAGMA table_info(album)").fetchall())
        assert (columns, made) in ((["id", "title"], False), (["id", "name"], True))
        with opened(path) as store:
            assert [p.name for p in NamedPicture.select().execute(store.database)] == ["one"]
            assert store.check() == []
        assert finished == (number == numbers[-1])


def test_a_step_that_fails_leaves_the_file_as_it_was(make: Any, tmp_path: Path) -> None:
    node = make("node", [Picture])
    put(node, Picture, id="p1", title="one")
    before = node.sql("SELECT sql FROM sqlite_master ORDER BY name")
    steps = tmp_path / "steps"
    steps.mkdir()
    (steps / "0001_half.py").write_text(
        "def up(migrator, db):\n"
        "    migrator.migrate(migrator.rename_column('picture', 'title', 'name'))\n"
        "    raise ValueError('half-way')\n"
    )
    with pytest.raises(errors.MigrationFailed, match="half-way"):
        Store.open(node.path, models=[NamedPicture], migrations=steps)
    (steps / "0001_half.py").write_text("def up(migrator, db): pass\n")
    with pytest.raises(errors.ModelChanged):
        Store.open(node.path, models=[NamedPicture], migrations=steps)
    assert node.sql("SELECT sql FROM sqlite_master ORDER BY name") == before
    with pytest.raises(errors.SchemaBehind):
        Store.open(node.path, models=[RatedPicture], migrate=False)
    with pytest.raises(errors.SchemaBehind):
        Store.open(node.path, models=[RatedPicture], read_only=True)
