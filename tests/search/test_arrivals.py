"""What comes by a sync or an import, and is asked for by an asynchronous program, is found too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dynostore import errors
from dynostore.aio import AsyncStore
from dynostore.exporter import export_to
from dynostore.importer import import_from
from dynostore.search import is_ready
from dynostore.store import Store
from dynostore.sync import sync


def test_what_a_sync_brings_is_found_and_the_index_stays_where_it_is(
    tmp_path: Path, postgres_url: str
) -> None:
    with Store.open(tmp_path / "one.db") as one, Store.open(tmp_path / "two.db") as two:
        for store in (one, two):
            assert len(store.search("knock")) == 0
        talk = one.conversations.create_conversation("t")
        first = one.conversations.add_message(talk.id, "user", "the knock sensor")
        one.memories.add("knock", "look twice", memory_id="m")
        sync(one, postgres_url, direction="both")
        sync(two, postgres_url, direction="both")
        assert {hit.id for hit in two.search("knock")} == {first.id, "m"}
        two.memories.update("m", context="spark")
        two.conversations.delete_conversation(talk.id)
        sync(two, postgres_url, direction="both")
        sync(one, postgres_url, direction="both")
        assert [hit.id for hit in one.search("spark")] == ["m"]
        assert len(one.search("knock")) == 0
        assert one.check() == two.check() == []


def test_what_an_import_brings_is_found(tmp_path: Path) -> None:
    with Store.open(tmp_path / "one.db") as one, Store.open(tmp_path / "two.db") as two:
        one.runs.create(run_id="r", source="dyno", current_stage="knock analysis")
        one.memories.add("knock", "look twice", memory_id="m")
        one.search("knock")
        export_to(one, tmp_path / "one.jsonl")
        assert len(two.search("knock")) == 0
        import_from(str(tmp_path / "one.jsonl"), two)
        assert {hit.id for hit in two.search("knock")} == {"r", "m"}


def test_asynchronous_programs_search_inside_of_transactions_too(store_url: str) -> None:
    async def main() -> None:
        async with AsyncStore.open(store_url) as store:
            await store.memories.add("knock", "look twice", memory_id="m")
            with pytest.raises(errors.InvalidValue, match="marks: "):
                await store.search("knock", marks=("<",))  # type: ignore[arg-type]
            assert not await store._call(is_ready, store.database)
            hits = await store.search("loo* twice", kinds=["memories"], marks=("<", ">"))
            assert [hit.id for hit in hits] == ["m"]
            assert "<look> <twice>" in hits.items[0].snippet
            async with store.transaction():
                await store.tasks.create("Plot the knock")
                assert len(await store.search("knock")) == 2
            assert len(await store.search("nothing")) == 0

    try:
        asyncio.run(main())
    finally:
        with Store.open(store_url, warm=False) as store:
            store.drop_search()


def test_asynchronous_programs_make_the_index_inside_of_a_transaction(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncStore.open(tmp_path / "store.db") as store, store.transaction():
            await store.memories.add("knock", "look twice", memory_id="m")
            assert [hit.id for hit in await store.search("knock")] == ["m"]

    asyncio.run(main())
    with Store.open(tmp_path / "store.db") as store:
        assert len(store.search("knock")) == 1
        assert store.check() == []
