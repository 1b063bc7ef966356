"""Every value that a store takes arrives on the server as it is, and is sent once."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynostore.fields import INT64_MAX, INT64_MIN
from dynostore.models.runs import STATUSES, Run, RunFile

repeatable = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
awkward = st.sampled_from(
    [
        "",
        "\\N",
        "\\.",
        "\\",
        "\t",
        "\n",
        "\r",
        "a\r\nb",
        "'",
        '"',
        "\\t",
        "%s",
        "{}",
        "é",
        "𝄞",
        "\x7f",
    ]
)


def texts(most: int = 40, least: int = 0) -> st.SearchStrategy[str]:
    return st.one_of(
        awkward.filter(lambda t: len(t) >= least),
        st.text(characters, min_size=least, max_size=most),
    )


times = st.datetimes(timezones=st.just(dt.UTC)) | st.sampled_from(
    [dt.datetime.min.replace(tzinfo=dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC)]
)
jsons = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts(10), inner, max_size=4),
    max_leaves=12,
)
percents = st.none() | st.integers(0, 100)
sizes = st.none() | st.integers(0, INT64_MAX) | st.just(INT64_MAX)
filenames = texts(least=1).map(lambda text: "f" + text.replace("/", "_"))


@st.composite
def runs_with_files(draw: Callable[..., Any]) -> list[Run | RunFile]:
    run = Run(
        id=draw(texts(64, 1)),
        status=draw(st.sampled_from(STATUSES)),
        source=draw(texts(64)),
        created_at=draw(times),
        updated_at=draw(times),
        jetstream_id=draw(st.none() | texts(255)),
        current_stage=draw(st.none() | texts(200)),
        progress_percent=draw(percents),
        results_summary=draw(jsons),
        error_info=draw(jsons),
        input_filename=draw(st.none() | texts()),
        config_snapshot=draw(jsons),
        metadata=draw(jsons),
    )
    files = [
        RunFile(
            id=uuid.uuid5(uuid.NAMESPACE_URL, f"{run.id}\n{name}"),
            run=run.id,
            filename=name,
            file_type=draw(st.none() | texts(32)),
            size_bytes=draw(sizes),
            sha256=draw(st.none() | st.just("0123456789abcdef" * 4)),
            storage_path=draw(st.none() | texts()),
            created_at=draw(times),
            metadata=draw(jsons),
        )
        for name in draw(st.lists(filenames, max_size=2, unique=True))
    ]
    return [run, *files]


@pytest.mark.slow
@repeatable
@given(families=st.lists(runs_with_files(), max_size=4))
def test_what_a_store_takes_arrives_word_for_word(families: Any, node: Any, check: Any) -> None:
    for family in families:
        assert node.store.runs.put_many(family) == []
    assert node.sync(rows=3).exit_code == 0
    check.all(node)
    here, there = node.state(), node.remote.state()
    assert node.sync().up_to_date
    assert (node.state(), node.remote.state()) == (here, there)


PLAIN_SQL = {
    "negative and greatest integers": ("size_bytes", INT64_MIN),
    "the greatest integer": ("size_bytes", INT64_MAX),
    "JSON with spaces and exponents": ("metadata", '{"b" :1e2, "a":[ 1, 2.50 ], "b":3}'),
    "JSON's own null": ("metadata", "null"),
    "JSON of a bare text": ("metadata", '"\\u00e9\\\\u0000"'),
    "an empty text": ("storage_path", ""),
    "what COPY takes for NULL": ("storage_path", "\\N"),
    "what ends COPY": ("storage_path", "\\."),
    "every control character but NUL": ("storage_path", "".join(map(chr, range(1, 32)))),
    "a text of a megabyte": ("storage_path", "x\\\t" * 350_000),
}


@pytest.mark.parametrize("name", PLAIN_SQL)
def test_what_plain_sql_writes_arrives_too(name: str, node: Any, check: Any) -> None:
    column, value = PLAIN_SQL[name]
    node.fill(["a"], files=3)
    node.sql(f"UPDATE run_files SET {column} = ? WHERE filename = 'output/1.csv'", (value,))
    assert node.sync().exit_code == 0
    check.all(node)


def test_an_update_to_null_and_back_arrives(node: Any, check: Any) -> None:
    node.fill(["a"], current_stage="x", metadata={"a": 1}, progress_percent=5)
    node.sync()
    node.store.runs.update("a", current_stage=None, metadata=None, progress_percent=None)
    node.sync()
    check.all(node)
    node.store.runs.update("a", current_stage="", metadata={}, progress_percent=0)
    node.sync()
    check.all(node)


def test_a_row_written_again_as_it_was_keeps_its_revision(node: Any, check: Any) -> None:
    node.fill(["a", "b"])
    node.sync()
    before = node.remote.stamps()
    node.sql("UPDATE runs SET source = source")
    report = node.sync()
    assert [(t.sent, t.adopted) for t in report.tables] == [(0, 2)]
    assert node.remote.stamps() == before
    check.all(node)


def test_a_row_that_came_and_went_between_two_syncs_leaves_nothing(node: Any, check: Any) -> None:
    node.fill(["a"])
    node.sync()
    node.fill(["b"])
    node.store.runs.delete("b")
    node.sync()
    check.all(node)
    assert node.remote.sql("SELECT * FROM dynostore_sync.tombstone") == []


def test_bytes_are_counted_too_when_a_batch_is_cut(node: Any, check: Any) -> None:
    from dynostore.sync.exchange import Limits

    node.fill(["a"])
    node.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
        " INSERT INTO runs (id, status, source, created_at, updated_at, current_stage)"
        " SELECT 'n' || i, status, source, created_at, updated_at, hex(zeroblob(500))"
        " FROM n, runs WHERE runs.id = 'a'"
    )
    node.sync(limits=Limits(rows=100_000, bytes=1_000_000))
    check.all(node)
    assert node.remote.count("dynostore_sync.node_history") >= 3
