from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable

import pytest

from dynostore import Store, errors
from dynostore.exporter import export_to
from dynostore.fields import UuidField
from dynostore.importer import import_from
from dynostore.prune import prune

ALL = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, errors.DynostoreError)
]


def made(kind: type[errors.DynostoreError]) -> errors.DynostoreError:
    if issubclass(kind, errors.InvalidValue):
        return kind("status", "unknown", value=3)
    return kind("what happened", hint="what to do", expected=1)


@pytest.mark.parametrize("kind", ALL)
def test_every_error_is_said_carried_and_sent_between_processes(
    kind: type[errors.DynostoreError],
) -> None:
    error = made(kind)
    sent = pickle.loads(pickle.dumps(error))
    for found in (error, sent):
        assert type(found) is kind
        assert str(found) == found.message == error.message
        assert (found.hint, found.data) == (error.hint, error.data)
    assert vars(sent) == vars(error)


def test_codes_are_unique_and_exit_codes_those_of_the_table() -> None:
    codes = [kind.code for kind in ALL]
    assert len(set(codes)) == len(codes)
    assert {kind.exit_code for kind in ALL} == {1, 2, 4, 5, 6, 7, 75}


@pytest.mark.parametrize(
    ("kind", "builtin", "exit_code"),
    [
        (errors.ConfigError, ValueError, 2),
        (errors.MissingExtra, ImportError, 2),
        (errors.InvalidValue, ValueError, 2),
        (errors.RunNotFound, LookupError, 4),
        (errors.StoreNotFound, FileNotFoundError, 4),
        (errors.SourceNotFound, FileNotFoundError, 4),
        (errors.StoreLocked, TimeoutError, 5),
        (errors.SyncRunning, TimeoutError, 5),
        (errors.StoreUnwritable, OSError, 1),
        (errors.SchemaTooNew, errors.SchemaError, 6),
        (errors.NotOurs, errors.SchemaError, 6),
        (errors.IdentityMismatch, errors.DynostoreError, 6),
        (errors.StoreCorrupt, errors.DynostoreError, 7),
        (errors.IntegrityFailure, errors.DynostoreError, 7),
        (errors.RemoteUnavailable, ConnectionError, 75),
        (errors.AccessDenied, PermissionError, 1),
    ],
)
def test_an_error_is_also_what_a_caller_would_catch(
    kind: type[errors.DynostoreError], builtin: type[BaseException], exit_code: int
) -> None:
    assert issubclass(kind, builtin)
    assert kind.exit_code == exit_code


def test_an_invalid_value_names_its_field() -> None:
    error = errors.InvalidValue("status", "unknown value 'x'", value="x")
    assert str(error) == "status: unknown value 'x'"
    assert error.data == {"field": "status", "reason": "unknown value 'x'", "value": "x"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("it's", '"it\'s"'),
        ("é" * 80, repr("é" * 80)),
        ("é" * 81, repr("é" * 80) + "..."),
        (b"\0" * 100_000, repr(b"\0" * 80) + "..."),
        (["a", 1], "['a', 1]"),
        ([1] * 100_000, ("[" + "1, " * 40)[:80] + "..."),
        (10**3000, "1" + "0" * 79 + "..."),
        (10**5000, "<int with too many digits>"),
        (None, "None"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_quoted_in_short(value: object, text: str) -> None:
    assert errors.quoted(value) == text


LONG = "x" * 100_000


@pytest.mark.parametrize(
    "refused",
    [
        lambda store: store.runs.create(source="a", status=LONG),
        lambda store: store.runs.create(source="a", progress_percent=10**4000),
        lambda store: store.runs.create(**{"source": "a", LONG: 1}),
        lambda store: store.runs.add_file("a", f"/{LONG}"),
        lambda store: store.runs.list(status=LONG),
        lambda store: store.runs.list(after=LONG),
        lambda store: store.runs.list(limit=10**4000),
        lambda store: store.runs.get(LONG),
        lambda store: store.runs.resolve(LONG),
        lambda store: store.runs.delete(LONG),
        lambda store: store.tasks.get(LONG),
        lambda store: store.imports.get(LONG),
        lambda store: store.ideation.sessions.get(LONG),
        lambda store: store.sessions.get(LONG),
        lambda store: store.conversations.add_message(LONG, role="user", content="a"),
        lambda store: store.search("a", kinds=[LONG]),
        lambda store: store.search("a", marks=LONG),
        lambda store: export_to(store, "never", LONG),
        lambda store: import_from(".", store, kind=LONG),
        lambda store: prune(store, keep_last=1, families=[LONG]),
        lambda store: UuidField().check(LONG),
    ],
)
def test_no_message_repeats_all_of_a_long_value(
    store: Store, refused: Callable[[Store], object]
) -> None:
    with pytest.raises((errors.DynostoreError, ValueError)) as caught:
        refused(store)
    assert "x" * 79 in str(caught.value) or "0" * 79 in str(caught.value)
    assert len(str(caught.value)) < 500
