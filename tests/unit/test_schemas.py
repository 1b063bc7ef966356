"""What the schemas accept is what the verbs accept, and what they give back can be given again."""

from __future__ import annotations

import datetime as dt
import inspect
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pydantic
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dynostore import errors, models, schemas
from dynostore.fields import INT64_MAX, INT64_MIN, JsonField, UtcTimeField, UuidField
from dynostore.models.base import Record, checked
from dynostore.models.runs import STATUSES
from dynostore.models.todos import PlanField
from dynostore.store import Store

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)
KEY = "0197c2a0-0000-7000-8000-000000000001"
GOOD = {"role": "user", "content": "x"}
repeatable = settings(max_examples=300)

RESPONSES: dict[type[Record], type[schemas.Response]] = {
    model: getattr(schemas, f"{model.__name__}Response") for model in models.ALL
}
ALL_SCHEMAS = [
    member
    for _, member in inspect.getmembers(schemas, inspect.isclass)
    if issubclass(member, schemas.Schema) and member not in (schemas.Schema, schemas.Response)
]
COLUMNS = [(model, column) for model in models.ALL for column in model._meta.columns]


def valid(model: type[Record]) -> dict[str, Any]:
    """Give a whole row that breaks no rule, by column name."""
    row: dict[str, Any] = {}
    for column, field in model._meta.columns.items():
        while hasattr(field, "rel_field"):
            field = field.rel_field
        if isinstance(field, UtcTimeField):
            row[column] = NOW
        elif isinstance(field, UuidField):
            row[column] = KEY
        elif isinstance(field, PlanField):
            row[column] = {"items": [{"description": "look"}]}
        elif isinstance(field, JsonField):
            row[column] = {"a": [1, 2.5, None, "ä"]}
        elif field.choices:
            row[column] = field.choices[0][0]
        else:
            row[column] = {"BIGINT": 7, "DOUBLE": 2.5, "BOOL": True}.get(field.field_type, "text")
        if column == "sha256":
            row[column] = "0" * 64
    return row


def more(model: type[Record]) -> dict[str, Any]:
    return {"message_count": 3} if model is models.Conversation else {}


# the same rules


characters = st.characters(exclude_categories=["Cs"])
times = st.datetimes(
    timezones=st.none() | st.just(dt.UTC) | st.just(dt.timezone(dt.timedelta(hours=5)))
)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(st.characters(), max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
numbers = st.sampled_from(
    [-1, 0, 1, 99, 100, 101, 10**13, 10**13 + 1, INT64_MAX, INT64_MAX + 1, INT64_MIN, INT64_MIN - 1]
)
lengths = st.sampled_from([0, 1, 16, 32, 33, 50, 51, 64, 65, 255, 256, 500, 501])
fields = [field for model in models.ALL for field in model._meta.sorted_fields]
choices = {choice for field in fields for choice, _ in field.choices or ()}
odd = (
    "output/VE.csv",
    "../x",
    "/x",
    "a//b",
    "0" * 64,
    "F" * 64,
    "nul\0",
    "\ud800",
    KEY,
    KEY.upper(),
)
words = st.sampled_from([*sorted(choices), *odd])
anything = (
    st.none()
    | st.booleans()
    | numbers
    | st.integers()
    | st.floats()
    | words
    | st.text(st.characters(), max_size=70)
    | lengths.map(lambda length: "x" * length)
    | st.binary(max_size=4)
    | times
    | st.uuids()
    | st.dates()
    | st.builds(object)
    | json_values
    | st.fixed_dictionaries({"items": st.lists(st.fixed_dictionaries({"description": words}))})
)


def verdict(check: Callable[[], Any]) -> tuple[bool, Any]:
    """Tell whether it was accepted, and as what."""
    try:
        return True, check()
    except (errors.InvalidValue, pydantic.ValidationError):
        return False, None


@repeatable
@given(place=st.sampled_from(COLUMNS), value=anything)
def test_a_schema_refuses_what_the_column_refuses_and_accepts_what_it_accepts(
    place: tuple[type[Record], str], value: Any
) -> None:
    model, column = place
    # In JSON a time is text, so a schema takes it; the verbs do not guess.
    field = model._meta.columns[column]
    assume(not (isinstance(field, UtcTimeField) and isinstance(value, str)))
    schema, row = RESPONSES[model], valid(model) | more(model)
    by_verb = verdict(lambda: checked(model, {column: value}).popitem()[1])
    by_schema = verdict(lambda: getattr(schema(**row | {column: value}), column))
    assert repr(by_schema) == repr(by_verb), (model, column, value)


@pytest.mark.parametrize("model", models.ALL, ids=lambda model: model.__name__)
def test_every_column_refuses_every_kind_of_wrong_value_in_both(model: type[Record]) -> None:
    wrong: list[Any] = [
        None,
        True,
        -1,
        2**63,
        1.5,
        float("nan"),
        "",
        "\0",
        "\ud800",
        "x" * 1000,
        b"x",
        dt.datetime(2026, 1, 1),
        {"x": float("nan")},
        {"x": "\0"},
        object(),
        uuid.uuid4(),
    ]
    refused = 0
    for column in model._meta.columns:
        for value in wrong:
            if isinstance(model._meta.columns[column], UtcTimeField) and isinstance(value, str):
                continue
            row = valid(model) | more(model) | {column: value}
            by_schema, _ = verdict(lambda row=row: RESPONSES[model](**row))  # type: ignore[misc]
            values = {column: value}
            by_verb, _ = verdict(lambda values=values: checked(model, values))  # type: ignore[misc]
            assert by_schema == by_verb, (column, value)
            refused += not by_verb
    assert refused > len(model._meta.columns)


@pytest.mark.parametrize(
    "text", ["2026-01-01", "2026-01-01T00:00:00", "0", "1767225600", "now", ""]
)
def test_a_time_in_json_is_iso_text_with_an_offset(text: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        schemas.MessageCreate(**GOOD | {"created_at": text})
    for good in ("2026-01-02T03:04:05.678901Z", "2026-01-02T04:04:05.678901+01:00"):
        message = schemas.MessageCreate(**GOOD | {"created_at": good})
        assert message.created_at == NOW
        assert message.created_at.utcoffset() == dt.timedelta(0)


# messages, which have rules of their own


def test_a_message_is_refused_as_the_verb_refuses_it() -> None:
    bad: list[dict[str, Any]] = [
        {"role": "nobody"},
        {"role": ""},
        {"role": None},
        {"content": ""},
        {"content": None},
        {"content": "\0"},
        {"content": "\ud800"},
        {"metadata": {"x": float("nan")}},
        {"created_at": 5},
        {"created_at": dt.datetime(2026, 1, 1)},
        {"conversation_id": "c"},
        {"nonsense": 1},
    ]
    with Store.open(":memory:") as store:
        store.conversations.create_conversation(conversation_id="c")
        store.conversations.add_message("c", **schemas.MessageCreate(**GOOD).given())
        for change in bad:
            with pytest.raises(pydantic.ValidationError):
                schemas.MessageCreate(**GOOD | change)
            with pytest.raises((errors.InvalidValue, TypeError)):
                store.conversations.add_message("c", **GOOD | change)
        assert store.conversations.get_message_count("c") == 1
    for missing in GOOD:
        with pytest.raises(pydantic.ValidationError, match=missing):
            schemas.MessageCreate(**{k: v for k, v in GOOD.items() if k != missing})


def test_an_empty_message_of_another_program_can_be_given_back() -> None:
    row = valid(models.Message) | {"content": ""}
    assert schemas.MessageResponse.model_validate(models.Message(**row)).content == ""


# there and back


@pytest.mark.parametrize("model", models.ALL, ids=lambda model: model.__name__)
def test_a_record_comes_back_from_json_as_it_was(model: type[Record]) -> None:
    for row in (valid(model), valid(model) | nothing(model)):
        record = model(**checked(model, row), **more(model))
        response = RESPONSES[model].model_validate(record)
        again = RESPONSES[model].model_validate_json(response.model_dump_json())
        assert again == response
        values = again.model_dump(exclude=set(more(model)))
        assert list(values) == list(model._meta.columns)
        assert model(**checked(model, values)) == record


def nothing(model: type[Record]) -> dict[str, Any]:
    return {column: None for column, field in model._meta.columns.items() if field.null}


Made = tuple[Callable[[Store, dict[str, Any]], Any], type[schemas.Schema], type[schemas.Response]]
CREATED: dict[str, Made] = {
    "run": (lambda s, v: s.runs.create(**v), schemas.RunCreate, schemas.RunResponse),
    "task": (lambda s, v: s.tasks.create(**v), schemas.TaskCreate, schemas.TaskResponse),
    "session": (
        lambda s, v: s.sessions.create(**v),
        schemas.AgentSessionCreate,
        schemas.AgentSessionResponse,
    ),
    "todo list": (
        lambda s, v: s.todos.create(**v),
        schemas.TodoListCreate,
        schemas.TodoListResponse,
    ),
    "memory": (lambda s, v: s.memories.add(**v), schemas.MemoryCreate, schemas.MemoryResponse),
    "conversation": (
        lambda s, v: s.conversations.create_conversation(**v),
        schemas.ConversationCreate,
        schemas.ConversationResponse,
    ),
    "ideation session": (
        lambda s, v: s.ideation.sessions.create(**v),
        schemas.IdeationSessionCreate,
        schemas.IdeationSessionResponse,
    ),
    "file": (
        lambda s, v: s.runs.add_file(s.runs.create().id, **v),
        schemas.RunFileCreate,
        schemas.RunFileResponse,
    ),
    "step": (
        lambda s, v: s.tasks.log_step(s.tasks.create("x").task_id, **v),
        schemas.ExecutionLogCreate,
        schemas.ExecutionLogResponse,
    ),
    "turn": (
        lambda s, v: s.history.append(s.sessions.create().session_id, **v),
        schemas.HistoryEntryCreate,
        schemas.HistoryEntryResponse,
    ),
    "message": (
        lambda s, v: s.conversations.add_message(s.conversations.create_conversation().id, **v),
        schemas.MessageCreate,
        schemas.MessageResponse,
    ),
    "ideation message": (
        lambda s, v: s.ideation.messages.create(s.ideation.sessions.create().id, **v),
        schemas.IdeationMessageCreate,
        schemas.IdeationMessageResponse,
    ),
    "requirement": (
        lambda s, v: s.ideation.requirements.create(s.ideation.sessions.create().id, **v),
        schemas.IdeationRequirementCreate,
        schemas.IdeationRequirementResponse,
    ),
    "maturity": (
        lambda s, v: s.ideation.maturity.save(s.ideation.sessions.create().id, **v),
        schemas.IdeationMaturitySave,
        schemas.IdeationMaturityResponse,
    ),
    "draft": (
        lambda s, v: s.ideation.drafts.save(s.ideation.sessions.create().id, **v),
        schemas.IdeationDraftSave,
        schemas.IdeationDraftResponse,
    ),
    "story": (
        lambda s, v: s.ideation.stories.save(s.ideation.sessions.create().id, [v])[0],  # type: ignore[list-item]
        schemas.IdeationStorySave,
        schemas.IdeationStoryResponse,
    ),
}


def example_of(schema: type[schemas.Schema], model: type[Record]) -> Iterator[dict[str, Any]]:
    """Give what can be said: only what must be, then everything."""
    row = valid(model)
    key = next(iter(row.values()))
    whole = {name: row.get(name, key) for name in schema.model_fields if name != "session_id"}
    yield {n: v for n, v in whole.items() if schema.model_fields[n].is_required()}
    yield whole


def ended(store: Store, values: dict[str, Any]) -> Any:
    task_id = store.tasks.create("Deploy").task_id
    store.tasks.approve(task_id)
    store.tasks.start(task_id)
    return store.tasks.complete(task_id, **values)


def reworded(store: Store, values: dict[str, Any]) -> Any:
    idea = store.ideation.sessions.create().id
    store.ideation.requirements.create(idea, "Opens in 1 s", key="REQ-001")
    return store.ideation.requirements.update(idea, "REQ-001", **values)


CHANGED: dict[type[schemas.Schema], Callable[[Store, dict[str, Any]], Any]] = {
    schemas.RunUpdate: lambda s, v: s.runs.update(s.runs.create().id, **v),
    schemas.TaskUpdate: lambda s, v: s.tasks.update(s.tasks.create("Deploy").task_id, **v),
    schemas.TaskComplete: ended,
    schemas.TaskFail: lambda s, v: s.tasks.fail(s.tasks.create("Deploy").task_id, **v),
    schemas.ExecutionLogFinish: lambda s, v: s.tasks.finish_step(
        s.tasks.log_step(s.tasks.create("Deploy").task_id, "infra", "act").log_id, **v
    ),
    schemas.AgentSessionUpdate: lambda s, v: s.sessions.update(s.sessions.create().session_id, **v),
    schemas.SessionStateCreate: lambda s, v: s.sessions.save_state("s", **v),
    schemas.TodoListUpdate: lambda s, v: s.todos.update(s.todos.create().todolist_id, **v),
    schemas.MemoryUpdate: lambda s, v: s.memories.update(s.memories.add("x", "y").memory_id, **v),
    schemas.ConversationUpdate: lambda s, v: s.conversations.update_conversation(
        s.conversations.create_conversation().id, **v
    ),
    schemas.IdeationSessionUpdate: lambda s, v: s.ideation.sessions.update(
        s.ideation.sessions.create().id, **v
    ),
    schemas.IdeationRequirementUpdate: reworded,
}
VERBS = {schema: make for make, schema, _ in CREATED.values()} | CHANGED
ROWS: dict[type[schemas.Schema], dict[str, Any]] = {
    schema: next(example_of(schema, next(m for m in RESPONSES if RESPONSES[m] is response)))
    for _, schema, response in CREATED.values()
} | {schemas.SessionStateCreate: {"state": {}}}


def test_each_schema_of_what_is_said_has_its_verb() -> None:
    assert set(VERBS) == {
        schema for schema in ALL_SCHEMAS if not issubclass(schema, schemas.Response)
    }


@pytest.mark.parametrize("schema", VERBS, ids=lambda schema: schema.__name__)
def test_a_schema_refuses_what_its_verb_refuses_and_accepts_what_it_accepts(
    schema: type[schemas.Schema],
) -> None:
    # Of the text that is a time, which a schema takes and a verb does not, there is none here.
    values: list[Any] = [None, True, False, -1, 0, 1, 7, 2**63, 1.0, 1.5, float("nan"), b"x"]
    values += ["", "\0", "\ud800", "x", "x" * 64, "x" * 65, "x" * 256, "../x", "0" * 64, KEY]
    values += ["draft", "user", "running", "failed", "completed", "pending", "must_have"]
    values += [[], {}, (1, 2), {"x": float("nan")}, {"x": "\0"}, {1: 2}, object()]
    values += [uuid.UUID(KEY), NOW, NOW.replace(tzinfo=None), NOW.date()]
    seen = set()
    with Store.open(":memory:") as store:
        for name in schema.model_fields:
            for value in values:
                row = ROWS.get(schema, {}) | {name: value}
                accepted, given = verdict(lambda row=row: schema(**row).given())  # type: ignore[misc]
                assert does(store, schema, row) == accepted, (name, value)
                assert not accepted or does(store, schema, given), (name, value)
                seen.add(accepted)
    assert seen == {True, False}


def does(store: Store, schema: type[schemas.Schema], row: dict[str, Any]) -> bool:
    """Tell whether the verb took the values; that it then found no such record is no matter."""
    try:
        VERBS[schema](store, row)
    except (errors.InvalidValue, TypeError):
        return False
    except (errors.AlreadyExists, errors.NotFound, errors.StaleWrite):
        return True
    return True


@pytest.mark.parametrize("name", CREATED)
def test_what_a_verb_made_of_a_schema_comes_back_through_json(name: str) -> None:
    make, schema, response = CREATED[name]
    model = next(model for model, found in RESPONSES.items() if found is response)
    for example in example_of(schema, model):
        text = schema(**example).model_dump_json(exclude_unset=True)
        given = schema.model_validate_json(text).given()
        assert set(given) == set(example)
        with Store.open(":memory:") as store:
            record = make(store, given)
            back = response.model_validate_json(
                response.model_validate(record).model_dump_json()
            ).model_dump()
        for key, value in schema(**example).given().items():
            if key in back:
                assert back[key] == value, key


def test_an_update_changes_what_was_said_and_clears_what_is_null() -> None:
    with Store.open(":memory:") as store:
        run = store.runs.create(current_stage="load", metadata={"a": 1})
        change = schemas.RunUpdate.model_validate_json('{"current_stage": null, "status": "error"}')
        assert change.given() == {"current_stage": None, "status": "error"}
        changed = store.runs.update(run.id, **change.given())
        assert (changed.current_stage, changed.status) == (None, "error")
        assert changed.metadata == {"a": 1}
        store.runs.update(run.id, **schemas.RunUpdate().given())
    for refused in ({"status": None}, {"id": "x"}, {"created_at": NOW.isoformat()}):
        with pytest.raises(pydantic.ValidationError):
            schemas.RunUpdate(**refused)


def test_a_state_says_things_of_its_session_too() -> None:
    text = '{"state": {"n": 1}, "expected_version": 0, "mission": "tune", "status": "done"}'
    with Store.open(":memory:") as store:
        state = schemas.SessionStateCreate.model_validate_json(text)
        assert store.sessions.save_state("s", **state.given()) == 1
        found = schemas.AgentSessionResponse.model_validate(store.sessions.get("s"))
        assert (found.mission, found.status) == ("tune", "done")
        newest = schemas.SessionStateResponse.model_validate(store.sessions.load_state("s"))
        assert (newest.version, newest.state) == (1, {"n": 1})
    for refused in ({"state": None}, {}, {"state": 1, "expected_version": -1}):
        with pytest.raises(pydantic.ValidationError):
            schemas.SessionStateCreate(**refused)


def test_a_task_ends_as_its_verbs_say() -> None:
    with Store.open(":memory:") as store:
        task = store.tasks.create("Deploy")
        step = store.tasks.log_step(task.task_id, "infra", "act")
        ended = schemas.ExecutionLogFinish.model_validate(
            {"status": "failed", "output_summary": "port in use"}
        )
        assert store.tasks.finish_step(step.log_id, **ended.given()).status == "failed"
        failed = schemas.TaskFail.model_validate({"error_message": "no port"})
        assert store.tasks.fail(task.task_id, **failed.given()).error_message == "no port"
        other = store.tasks.create("Deploy")
        store.tasks.approve(other.task_id)
        store.tasks.start(other.task_id)
        done = schemas.TaskComplete.model_validate({"actual_resources": {"duration_seconds": 5}})
        assert store.tasks.complete(other.task_id, **done.given()).status == "completed"
    with pytest.raises(pydantic.ValidationError):
        schemas.ExecutionLogFinish.model_validate({"status": "running"})


def test_a_page_is_given_back_with_its_cursor() -> None:
    with Store.open(":memory:") as store:
        for _ in range(3):
            store.runs.create()
        page = store.runs.list(limit=2)
        given = schemas.PageResponse[schemas.RunResponse].model_validate(page)
        assert [run.id for run in given.items] == [run.id for run in page]
        assert given.next == page.next is not None


# the classes


def test_every_record_has_a_response_and_every_schema_a_json_schema() -> None:
    assert len(ALL_SCHEMAS) > 40
    for schema in ALL_SCHEMAS:
        described = schema.model_json_schema()
        assert described["title"] == schema.__name__
        assert described["description"] == schema.__doc__
        assert json.loads(json.dumps(described)) == described
        assert set(described["properties"]) == set(schema.model_fields)


def test_json_schemas_have_the_lengths_bounds_and_closed_lists() -> None:
    run = schemas.RunResponse.model_json_schema()["properties"]
    assert (run["id"]["minLength"], run["id"]["maxLength"]) == (1, 64)
    assert run["status"]["enum"] == list(STATUSES)
    percent, null = run["progress_percent"]["anyOf"]
    assert (percent["minimum"], percent["maximum"], null["type"]) == (0, 100, "null")
    assert run["created_at"] == {"format": "date-time", "title": "Created At", "type": "string"}
    task = schemas.TaskResponse.model_json_schema()["properties"]
    assert (task["task_id"]["type"], task["task_id"]["format"]) == ("string", "uuid")
    update = schemas.RunUpdate.model_json_schema()
    assert "required" not in update
    assert "default" not in update["properties"]["status"]  # null would be refused


def test_a_response_leaves_out_what_it_does_not_know() -> None:
    row = valid(models.Memory) | {"of_a_newer_server": 1}
    assert not hasattr(schemas.MemoryResponse(**row), "of_a_newer_server")


def test_without_pydantic_the_extra_is_named() -> None:
    script = (
        "import sys; sys.modules['pydantic'] = None\n"
        "from dynostore.errors import MissingExtra\n"
        "try: import dynostore.schemas\n"
        "except MissingExtra as exc: print(exc.hint)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "pip install 'dynostore[pydantic]'\n"
