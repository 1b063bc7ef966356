"""The contract of ``Imports``, on every database; it knows no backend."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from dynostore import errors
from dynostore.models import Import, Run
from dynostore.store import Store

T0 = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def made(number: int, **values: Any) -> Import:
    row: dict[str, Any] = {
        "id": f"{number:08x}-0000-5000-8000-000000000000",
        "kind": "dynoai",
        "source_path": f"/data/{number}",
        "content_hash": f"{number:064x}",
        "image": {"number": number},
        "status": "created",
        "imported_at": T0 + dt.timedelta(seconds=number // 3),
    }
    return Import(**row | values)


@pytest.fixture
def ten(store: Store) -> list[Import]:
    """Imports in the list's order."""
    rows = [made(n, status="skipped" if n % 2 else "created") for n in range(10)]
    assert store.imports.put_many(rows) == []
    return sorted(rows, key=lambda row: (row.imported_at, row.id), reverse=True)


def test_what_is_put_is_what_get_gives(store: Store) -> None:
    row = made(1, record_table="runs", record_key="r", reason="why")
    assert store.imports.put_many([row]) == []
    assert store.imports.get(row.id) == row
    for missing in (made(2).id, "no UUID"):
        with pytest.raises(errors.NotFound):
            store.imports.get(missing)


def test_lists_are_newest_first_and_pages_give_each_row_once(
    store: Store, ten: list[Import]
) -> None:
    page = store.imports.list(limit=3)
    found = page.items
    while page.next is not None:
        page = store.imports.list(limit=3, after=page.next)
        found = found + page.items
    assert found == ten == list(store.imports.stream())
    assert list(store.imports.list(offset=8)) == ten[8:]


def test_filters_and_counts_agree(store: Store, ten: list[Import]) -> None:
    skipped = [row for row in ten if row.status == "skipped"]
    assert list(store.imports.list(status="skipped")) == skipped
    assert store.imports.count(status="skipped") == len(skipped)
    assert store.imports.count(kind="dynoai") == 10
    assert store.imports.count(kind="other") == 0
    with pytest.raises(errors.InvalidValue, match=r"^status: "):
        store.imports.list(status="nonsense")


def test_a_unique_beginning_of_either_case_finds_the_id(store: Store) -> None:
    rows = [made(0xABCDEF01), made(0xABCDEF02), made(0x12345678)]
    store.imports.put_many(rows)
    assert store.imports.resolve("1") == rows[2].id
    assert store.imports.resolve("ABCDEF01") == rows[0].id
    assert store.imports.resolve(rows[1].id) == rows[1].id
    with pytest.raises(errors.AmbiguousId, match="abcdef01"):
        store.imports.resolve("abc")
    for prefix in ("ff", "%", "not a uuid"):
        with pytest.raises(errors.NotFound):
            store.imports.resolve(prefix)


def test_hashes_and_images_come_by_id_for_those_that_are_there(
    store: Store, ten: list[Import]
) -> None:
    wanted = [ten[0].id, ten[5].id, made(99).id]
    assert store.imports.seen(wanted) == {
        row.id: (row.content_hash, row.source_path, row.status) for row in (ten[0], ten[5])
    }
    assert store.imports.images(wanted) == {row.id: row.image for row in (ten[0], ten[5])}
    assert store.imports.seen([]) == {}


def test_more_ids_than_one_statement_takes_are_all_looked_up(
    store: Store, ten: list[Import], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynostore.repositories.imports._KEYS_PER_QUERY", 3)
    assert len(store.imports.seen([row.id for row in ten])) == 10
    assert len(store.imports.images([row.id for row in ten])) == 10


def test_bad_rows_and_other_families_are_refused(store: Store) -> None:
    (refused,) = store.imports.put_many([made(1), made(2, status="nonsense")])
    assert refused.reason.startswith("status: ")
    assert store.imports.count() == 1
    with pytest.raises(errors.InvalidValue, match="another family"):
        store.imports.put_many([Run()])
