"""Every replicated table arrives row by row and value by value, without a line about it in sync."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dynostore import Store, fields
from dynostore.ids import derived_id
from dynostore.models import REPLICATED, Record, todos
from dynostore.models.base import key_field
from dynostore.models.runs import RunFilename, Sha256

pytestmark = pytest.mark.once

Made = dict[type[Record], list[Record]]

REPOSITORIES = (
    *("runs", "tasks", "sessions", "todos", "history", "memories", "conversations", "ideation"),
)
BY_NAME = {model.__name__: model for model in REPLICATED}
T0 = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def repeatable(examples: int) -> settings:
    return settings(
        max_examples=examples,
        # A hundred and fifty columns: what is left after an hour of shrinking is no smaller.
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


# values, by the models' own fields

characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
EDGES = (
    "",
    "\\N",
    "\\.",
    "\t",
    "a\r\nb",
    "'",
    '"',
    "%s",
    "{}",
    "é",
    "e\u0301",
    "𝄞",
    "\x7f",
    "\ufeff",
)
EDGE_REALS = (0.0, -0.0, 1e308, -1e308, 5e-324, 0.1, 1 / 3, 2.0**53 + 2, 1e16, -7.0)
EDGE_TIMES = (
    dt.datetime.min.replace(tzinfo=dt.UTC),
    dt.datetime.max.replace(tzinfo=dt.UTC),
    dt.datetime(1969, 12, 31, 23, 59, 59, 999999, dt.UTC),
    dt.datetime(2024, 2, 29, 12, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=45))),
)
DEEP = json.loads('{"inner":[' * 100 + '"the end"' + "]}" * 100)
EDGE_JSON: tuple[Any, ...] = (
    DEEP,
    {},
    [],
    "",
    0,
    False,
    -0.0,
    1e308,
    10**40,
    {"": None, "é\\u0000": ["\x1f"]},
)


def texts(most: int, least: int = 0) -> st.SearchStrategy[str]:
    long = ("x" * most, "𝄞" * most) if most <= 500 else ("long \\\t" * 20_000,)
    edges = [text for text in (*EDGES, *long) if least <= len(text) <= most]
    return st.sampled_from(edges) | st.text(characters, min_size=least, max_size=min(most, 20))


reals = st.sampled_from(EDGE_REALS) | st.floats(allow_nan=False, allow_infinity=False)
times = st.sampled_from(EDGE_TIMES) | st.datetimes(timezones=st.just(dt.UTC))
jsons = st.sampled_from(EDGE_JSON) | st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | reals | texts(20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(10), inner, max_size=3),
    max_leaves=6,
)
some_json = jsons.filter(lambda value: value is not None)
steps = st.fixed_dictionaries(
    {"description": texts(20), "status": st.sampled_from(todos.STEP_STATUSES)},
    optional={"execution_result": st.just({"ok": True}), "attempts": st.integers(0, 9), "x": jsons},
)
plans = st.fixed_dictionaries({"items": st.lists(steps, max_size=2), "notes": texts(20)})
filenames = texts(50, 1).map(lambda text: "f" + text.replace("/", "_"))


def words(field: Any) -> st.SearchStrategy[str]:
    if field.allowed:
        return st.sampled_from(field.allowed)
    return texts(getattr(field, "max_length", 200_000), 1 if field.primary_key else 0)


VALUES: dict[type, Callable[[Any], st.SearchStrategy[Any]]] = {
    RunFilename: lambda field: filenames,
    Sha256: lambda field: st.sampled_from(["0123456789abcdef" * 4, "f" * 64]),
    fields.TextField: words,
    fields.StringField: words,
    fields.WholeNumberField: lambda field: (
        st.sampled_from([field.low, field.high]) | st.integers(field.low, field.high)
    ),
    fields.RealField: lambda field: reals,
    fields.FlagField: lambda field: st.booleans(),
    fields.UtcTimeField: lambda field: times,
    todos.PlanField: lambda field: plans,
    fields.JsonField: lambda field: jsons if field.null else some_json,
    fields.UuidField: lambda field: st.uuids().map(str),
}
"""What a column may hold, but for NULL and references, by the type of its field."""


def of_type(table: dict[type, Any], field: Any) -> Any:
    return next(table[kind] for kind in type(field).__mro__ if kind in table)


def values_of(field: Any, made: Made) -> st.SearchStrategy[Any]:
    if isinstance(field, fields.ReferenceField):
        found = st.sampled_from([key_of(parent) for parent in made[field.rel_model]])
    else:
        found = of_type(VALUES, field)(field)
    return found | st.none() if field.null else found


def key_of(record: Record) -> str:
    return str(record.values()[key_field(type(record)).column_name])


def with_derived_key(model: type[Record], values: dict[str, Any]) -> Record:
    if model.NATURAL_KEY is not None:
        parent, name = model.NATURAL_KEY
        table = model._meta.table_name
        key = derived_id(table, str(values[parent]), str(values[name]))
        values = {**values, key_field(model).name: key}
    return model(**values)


@st.composite
def records(draw: Callable[..., Any], model: type[Record], made: Made) -> Record:
    """Give a whole record whose references fit what is made already."""
    return with_derived_key(
        model, {f.name: draw(values_of(f, made)) for f in model._meta.sorted_fields}
    )


@st.composite
def filled_stores(draw: Callable[..., Any]) -> Made:
    """Give records of every replicated table, one at least of each, parents before children."""
    made: Made = {}
    for model in REPLICATED:
        some = st.lists(records(model, made), min_size=1, max_size=2, unique_by=key_of)
        made[model] = draw(some)
    return made


# through the repositories


def put(store: Store, made: Iterable[Record]) -> None:
    """Write whole records through the repositories of their families."""
    waiting = list(made)
    for name in REPOSITORIES:
        repository = getattr(store, name)
        mine = [record for record in waiting if type(record) in repository.MODELS]
        assert repository.put_many(mine) == []
        waiting = [record for record in waiting if type(record) not in repository.MODELS]
    assert waiting == []


def flat(made: Made) -> list[Record]:
    return [record for found in made.values() for record in found]


def push_and_compare(node: Any, check: Any) -> None:
    """Send in small batches, compare with the server, and find nothing more to send."""
    report = node.sync(rows=7)
    assert (report.exit_code, [t.name for t in report.tables if t.rejected]) == (0, [])
    check.all(node)
    before = node.state(), node.remote.state()
    assert node.sync().up_to_date
    assert (node.state(), node.remote.state()) == before


def compare_filled(made: Made, node: Any, check: Any) -> None:
    put(node.store, flat(made))
    kept = check.records(node.store)
    for record in flat(made):
        assert (record._meta.table_name, key_of(record)) in kept
    push_and_compare(node, check)


@pytest.mark.slow
@repeatable(8)
@given(made=filled_stores())
def test_all_tables_filled_arrive_value_by_value(made: Made, node: Any, check: Any) -> None:
    compare_filled(made, node, check)


@pytest.mark.slow
@repeatable(30)
@given(made=filled_stores())
def test_very_many_filled_stores_arrive_value_by_value(made: Made, node: Any, check: Any) -> None:
    compare_filled(made, node, check)


# through the verbs


def use_every_verb(draw: Any, store: Store) -> None:
    """Make one thing of each family, children too, as programs do, and change some of them."""

    def some(model: str, **given: Any) -> dict[str, Any]:
        """Draw arguments; those of the value ``...`` by the column of the same name."""
        found = {
            name: getattr(BY_NAME[model], name) for name, value in given.items() if value is ...
        }
        return {**given, **{name: draw(values_of(field, {})) for name, field in found.items()}}

    begun = some("Run", source=..., created_at=..., jetstream_id=..., config_snapshot=...)
    run = store.runs.create(**begun)
    store.runs.add_file(run.id, **some("RunFile", filename=..., size_bytes=..., storage_path=...))
    store.runs.update(run.id, **some("Run", status=..., current_stage=..., results_summary=...))

    asked = some("Task", request_text=..., created_by=..., project_id=..., estimated_resources=...)
    task = store.tasks.create(**asked).task_id
    store.tasks.approve(task)
    store.tasks.start(task)
    step = store.tasks.log_step(task, **some("ExecutionLog", agent_type=..., action=...))
    outcome = some("ExecutionLog", output_summary=..., output_full=..., duration_ms=...)
    store.tasks.finish_step(step.log_id, **outcome)
    store.tasks.fail(task, **some("Task", error_message=..., actual_resources=..., metadata=...))

    session = draw(values_of(key_field(BY_NAME["AgentSession"]), {}))
    facts = some("AgentSession", user_id=..., mission=..., status=...)
    state = draw(some_json)
    version = store.sessions.save_state(session, state, **facts)
    assert store.sessions.save_state(session, draw(some_json), version) == version + 1
    plan = {"items": [{"description": draw(texts(20))}]}
    todo = store.todos.create(session_id=session, plan=plan, **some("TodoList", mission=...))
    store.todos.update_step(
        todo.todolist_id, 1, status="FAILED", execution_result={"x": draw(jsons)}
    )
    turn = some("HistoryEntry", step_id=..., thought=..., action=..., observation=...)
    store.history.append_many(session, [turn, {"step_id": 7}])
    store.memories.add(**some("Memory", context=..., lesson=..., tool_name=..., confidence=...))

    talk = store.conversations.create_conversation(**some("Conversation", title=..., metadata=...))
    message: Any = some("Message", role=..., content=..., created_at=..., metadata=...)
    message["content"] += "."
    store.conversations.add_messages(talk.id, [message, {"role": "tool", "content": "x"}])
    store.conversations.update_conversation(talk.id, **some("Conversation", title=...))

    ideation = store.ideation
    facts = some("IdeationSession", project_name=..., user_id=..., data_source=..., metadata=...)
    idea = ideation.sessions.create(**facts).id
    ideation.sessions.update(idea, expected_version=1, **some("IdeationSession", status=...))
    said = some("IdeationMessage", role=..., content=..., maturity_delta=..., metadata=...)
    ideation.messages.create(idea, **said)
    wish = some("IdeationRequirement", description=..., key=..., type=..., category_id=...)
    ideation.requirements.create(idea, **wish)
    for _ in range(2):
        grown = some("IdeationMaturity", score=..., level=..., can_submit=..., gaps=...)
        ideation.maturity.save(idea, **grown)
        ideation.drafts.save(idea, **some("IdeationDraft", title=..., sections=..., version=...))
        story: Any = some("IdeationStory", key=..., title=..., as_a=..., i_want=..., so_that=...)
        ideation.stories.save(idea, [story | {"acceptance_criteria": draw(jsons)}])


def compare_verbs(data: Any, node: Any, check: Any) -> None:
    use_every_verb(data.draw, node.store)
    push_and_compare(node, check)
    assert {table for table, _ in check.records(node.store)} == {
        model._meta.table_name for model in REPLICATED
    }


@pytest.mark.slow
@repeatable(4)
@given(data=st.data())
def test_what_all_verbs_write_arrives_value_by_value(data: Any, node: Any, check: Any) -> None:
    compare_verbs(data, node, check)


@pytest.mark.slow
@repeatable(15)
@given(data=st.data())
def test_what_all_verbs_write_arrives_very_many_times(data: Any, node: Any, check: Any) -> None:
    compare_verbs(data, node, check)


# table by table, of known records


def word(field: Any, number: int) -> str:
    if field.allowed:
        return str(field.allowed[number % len(field.allowed)])
    return f"{field.name} {number}"


SAMPLES: dict[type, Callable[[Any, int], Any]] = {
    fields.ReferenceField: lambda field, number: sample(key_field(field.rel_model), 0),
    Sha256: lambda field, number: f"{number:064x}",
    fields.TextField: word,
    fields.StringField: word,
    fields.WholeNumberField: lambda field, number: number + 1,
    fields.RealField: lambda field, number: number + 0.5,
    fields.FlagField: lambda field, number: bool(number % 2),
    fields.UtcTimeField: lambda field, number: T0 + dt.timedelta(days=number),
    todos.PlanField: lambda field, number: {"notes": f"{number}"},
    fields.JsonField: lambda field, number: {field.name: number},
    fields.UuidField: lambda field, number: str(uuid.UUID(int=number)),
}


def sample(field: Any, number: int) -> Any:
    """Give a value that differs from that of another number."""
    return of_type(SAMPLES, field)(field, number)


def whole(model: type[Record], number: int, values_from: int | None = None) -> Record:
    """Give a record with all columns filled: its key by one number, the rest by another."""
    rest = number if values_from is None else values_from
    fixed = {key_field(model).name, *(model.NATURAL_KEY or ())}
    return with_derived_key(
        model,
        {f.name: sample(f, number if f.name in fixed else rest) for f in model._meta.sorted_fields},
    )


def family() -> list[Record]:
    """Give one record of each table; they hang on each other."""
    return [whole(model, 0) for model in REPLICATED]


def figures(report: Any) -> dict[str, tuple[int, int, int]]:
    return {t.name: (t.sent, t.adopted, t.conflicts) for t in report.tables}


TABLES = [model._meta.table_name for model in REPLICATED]
ROOTS = {
    "runs": lambda store, key: store.runs.delete(key),
    "tasks": lambda store, key: store.tasks.delete(key),
    "sessions": lambda store, key: store.sessions.delete_state(key),
    "memories": lambda store, key: store.memories.delete(key),
    "conversations": lambda store, key: store.conversations.delete_conversation(key),
    "ideation_sessions": lambda store, key: store.ideation.sessions.delete(key),
}


def test_every_table_is_sent_and_then_nothing(node: Any, check: Any) -> None:
    put(node.store, family())
    report = node.sync()
    assert figures(report) == dict.fromkeys(TABLES, (1, 0, 0))
    check.all(node)
    assert node.sync().up_to_date


def test_every_column_that_changes_is_sent(node: Any, check: Any) -> None:
    put(node.store, family())
    node.sync()
    put(node.store, [whole(model, 0, values_from=1) for model in REPLICATED])
    for model in REPLICATED:
        before, changed = whole(model, 0).values(), whole(model, 0, values_from=1).values()
        same = {name for name, value in changed.items() if value == before[name]}
        assert same == fixed_columns(model), "the samples leave out a column"
    assert figures(node.sync()) == dict.fromkeys(TABLES, (1, 0, 0))
    check.all(node)


def fixed_columns(model: type[Record]) -> set[str]:
    """Give the columns that a row's identity and place are in."""
    names = {key_field(model).name, *(model.NATURAL_KEY or ())}
    return {
        column
        for column, field in model._meta.columns.items()
        if field.name in names or isinstance(field, fields.ReferenceField)
    }


def test_every_column_that_may_be_null_is_sent_as_null(node: Any, check: Any) -> None:
    put(node.store, family())
    node.sync()
    put(
        node.store,
        [varied(model, lambda field: None if field.null else ...) for model in REPLICATED],
    )
    assert figures(node.sync()) == dict.fromkeys(TABLES, (1, 0, 0))
    check.all(node)
    for model in REPLICATED:
        [row] = check.raw_rows(node, table_of(model))[1].values()
        assert {name for name, value in row.items() if value is None} == {
            name for name, field in model._meta.columns.items() if field.null
        }


def varied(model: type[Record], value_of: Callable[[Any], Any]) -> Record:
    """Give the family's record of this kind with other values; ``...`` keeps one."""
    values = {}
    for field in model._meta.sorted_fields:
        value = value_of(field)
        values[field.name] = sample(field, 0) if value is ... else value
    return with_derived_key(model, values)


@pytest.mark.parametrize("table", ROOTS)
def test_a_deletion_takes_all_that_hangs_on_it(
    table: str, node: Any, remote: Any, check: Any
) -> None:
    put(
        node.store,
        [*family(), *(whole(model, 1) for model in REPLICATED if table_of(model) in ROOTS)],
    )
    node.sync()
    before = {name: node.count(name) for name in TABLES}
    model = REPLICATED[TABLES.index(table)]
    ROOTS[table](node.store, key_of(whole(model, 0)))
    gone = {name: count - node.count(name) for name, count in before.items()}
    assert gone == {name: int(name in hanging_on(model)) for name in TABLES}
    report = node.sync()
    assert {t.name for t in report.tables} == hanging_on(model)
    check.all(node)
    found = remote.sql("SELECT tbl, key FROM dynostore_sync.tombstone ORDER BY 1")
    assert {name for name, _ in found} == hanging_on(model)
    put(node.store, family())
    assert node.sync().exit_code == 0
    check.equal(node)
    check.settled(node)


def table_of(model: type[Record]) -> str:
    return str(model._meta.table_name)


def hanging_on(model: type[Record]) -> set[str]:
    found = {table_of(model)}
    for other in REPLICATED:
        for field in other._meta.sorted_fields:
            if isinstance(field, fields.ReferenceField) and table_of(field.rel_model) in found:
                found.add(table_of(other))
    return found


def test_a_second_node_with_the_same_rows_adopts_all_of_them(
    make_node: Any, remote: Any, check: Any
) -> None:
    one, two = make_node("one"), make_node("two")
    for node in (one, two):
        put(node.store, family())
    one.sync()
    stamps = remote.stamps()
    assert figures(two.sync()) == dict.fromkeys(TABLES, (0, 1, 0))
    assert remote.stamps() == stamps
    for node in (one, two):
        check.all(node)
        assert node.sync().up_to_date


@pytest.fixture
def pair(make_node: Any) -> tuple[Any, Any]:
    """Give two files with one record of each table, the same ones, both in sync."""
    one, two = make_node("one"), make_node("two")
    for node in (one, two):
        put(node.store, family())
        assert node.sync().exit_code == 0
    return one, two


def test_of_two_changes_to_a_row_the_first_stays_and_the_second_is_kept(
    pair: Any, remote: Any, check: Any
) -> None:
    one, two = pair
    put(one.store, [whole(model, 0, values_from=1) for model in REPLICATED])
    put(two.store, [whole(model, 0, values_from=2) for model in REPLICATED])
    mine = {table: check.raw_rows(two, table)[0] for table in TABLES}
    assert figures(one.sync()) == dict.fromkeys(TABLES, (1, 0, 0))
    report = two.sync()
    assert (report.exit_code, figures(report)) == (3, dict.fromkeys(TABLES, (0, 0, 1)))
    check.equal(one)
    conflicts = {conflict["tbl"]: conflict for conflict in two.conflicts()}
    assert sorted(conflicts) == sorted(TABLES)
    for model in REPLICATED:
        conflict = conflicts[table_of(model)]
        lost = instants(model, mine[table_of(model)][conflict["key"]])
        assert instants(model, conflict["image"]) == lost
        archived = [
            (why, instants(model, image))
            for why, image in remote.archive(conflict["key"])
            if set(image) == set(lost)
        ]
        assert ("lost to a newer version", lost) in archived
    check.equal(two)
    assert two.sync().up_to_date


def instants(model: type[Record], row: dict[str, Any]) -> dict[str, Any]:
    """Give a row with its times and JSON parsed: their text on the server is another one."""

    def parsed(field: Any, value: Any) -> Any:
        if isinstance(field, fields.UtcTimeField) and value is not None:
            return dt.datetime.fromisoformat(value)
        if isinstance(field, fields.JsonField) and isinstance(value, str):
            return json.loads(value)
        return value

    return {name: parsed(model._meta.columns[name], value) for name, value in row.items()}


def test_columns_that_merge_take_the_greater_value_of_two_nodes(pair: Any, check: Any) -> None:
    merging = [model for model in REPLICATED if model.MERGES]
    for node, number in zip(pair, (9, 5), strict=True):
        put(node.store, [with_merging_columns(model, number) for model in merging])
        assert node.sync().exit_code == 0
        check.quiet(node)
    for model in merging:
        [row] = check.raw_rows(pair[1], table_of(model))[1].values()
        for name in model.MERGES:
            greatest = sample(getattr(model, name), 9)
            shown = fields.time_text(greatest) if isinstance(greatest, dt.datetime) else greatest
            assert row[name] == shown


def with_merging_columns(model: type[Record], number: int) -> Record:
    return varied(model, lambda field: sample(field, number) if field.name in model.MERGES else ...)
