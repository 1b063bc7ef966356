from __future__ import annotations

import inspect
import pickle

import pytest

from dynostore import errors

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
