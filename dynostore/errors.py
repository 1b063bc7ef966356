"""The exception tree: one root, each class with data, a hint that can be run and an exit code.

Every class also inherits the built-in that a caller would catch. Driver errors become these in one
place, :func:`dynostore.driver_errors.translated`. To add one: pick its exit code from the table in
``docs/cli.md`` and give it a ``code`` that never changes, since scripts read it from ``--json``.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Self

_QUOTED_CHARACTERS = 80


def quoted(value: Any) -> str:
    """Give a value as a message quotes what was given: as Python writes it, and short.

    What is cut off is told by ``...`` behind it.
    """
    if isinstance(value, str | bytes):  # cut first: there may be megabytes of it
        text = repr(value[:_QUOTED_CHARACTERS])
        return text if len(value) <= _QUOTED_CHARACTERS else f"{text}..."
    try:
        return shortened(repr(value))
    except ValueError:  # Python writes integers of up to 4,300 digits
        return f"<{type(value).__name__} with too many digits>"


def shortened(text: str) -> str:
    """Give the beginning of a text, with ``...`` where that is not all."""
    return text if len(text) <= _QUOTED_CHARACTERS else f"{text[:_QUOTED_CHARACTERS]}..."


class DynostoreError(Exception):
    """The root: catch this to catch all that dynostore raises on purpose.

    :ivar code: stable short name, printed by ``--json``.
    :ivar exit_code: what the command line exits with.
    :ivar hint: what to do next, a command where there is one; None when nothing can be said.
    :ivar data: what the error is about, by name.
    """

    code = "error"
    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.data = data

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> Any:
        # Exception's own forgets the keywords; a worker process must be able to send any error.
        return partial(type(self), hint=self.hint, **self.data), (self.message,), self.__dict__


class ConfigError(DynostoreError, ValueError):
    """A URL, profile or setting that cannot be used."""

    code = "config"
    exit_code = 2


class MissingExtra(DynostoreError, ImportError):
    """A feature needs an optional dependency that is not installed."""

    code = "missing_extra"
    exit_code = 2


class InvalidQuery(DynostoreError, ValueError):
    """SQL that is not answered: it has a mistake, or does not only read."""

    code = "invalid_query"
    exit_code = 2


class NotHeld(DynostoreError, NotImplementedError):
    """A store in an older tool's form has no place for this."""

    code = "not_held"
    exit_code = 2


class InvalidValue(DynostoreError, ValueError):
    """A value breaks a rule of its column.

    :ivar field: the column's name.
    :ivar reason: what is wrong with the value, without the column's name.
    """

    code = "invalid_value"
    exit_code = 2

    def __init__(self, field: str, reason: str, **data: Any) -> None:
        super().__init__(f"{shortened(field)}: {reason}", field=field, reason=reason, **data)
        self.field = field
        self.reason = reason

    def __reduce__(self) -> Any:
        return partial(type(self), **self.data), (), self.__dict__


class EmptyContent(InvalidValue):
    """A message without content."""

    code = "empty_content"


class InvalidRole(InvalidValue):
    """A message by nobody who takes part in conversations."""

    code = "invalid_role"


class NotFound(DynostoreError, LookupError):
    """No such record.

    :cvar noun: what a record of this kind is called.
    :cvar found_by: the command that lists them.
    """

    code = "not_found"
    exit_code = 4
    noun = "record"
    found_by: str | None = None

    @classmethod
    def of(cls, key: Any) -> Self:
        """Give the error for an id that no record of this kind has."""
        return cls(f"there is no {cls.noun} {quoted(key)}", hint=cls.found_by, id=key)


class RunNotFound(NotFound):
    """No run with this id."""

    code = "run_not_found"
    noun = "run"
    found_by = "dynostore runs list"


class RunFileNotFound(NotFound):
    """The run has no file of this name."""

    code = "run_file_not_found"


class TaskNotFound(NotFound):
    """No task with this id."""

    code = "task_not_found"
    noun = "task"
    found_by = "dynostore tasks list"


class TaskStepNotFound(NotFound):
    """No step of a task with this id."""

    code = "task_step_not_found"
    noun = "step of a task"
    found_by = "dynostore tasks steps TASK_ID"


class SessionNotFound(NotFound):
    """No agent session with this id."""

    code = "session_not_found"
    noun = "session"
    found_by = "dynostore sessions list"


class StateNotFound(NotFound):
    """The session was never saved at this version, or that was pruned."""

    code = "state_not_found"
    noun = "state"


class TodoListNotFound(NotFound):
    """No todo list with this id."""

    code = "todo_list_not_found"
    noun = "todo list"
    found_by = "dynostore sessions todos list"


class StepNotFound(NotFound):
    """The todo list has no step at this position."""

    code = "step_not_found"
    noun = "step"


class MemoryNotFound(NotFound):
    """No memory with this id."""

    code = "memory_not_found"
    noun = "memory"
    found_by = "dynostore memories list"


class ConversationNotFound(NotFound):
    """No conversation with this id."""

    code = "conversation_not_found"
    noun = "conversation"
    found_by = "dynostore conversations list"


class IdeationSessionNotFound(NotFound):
    """No ideation session with this id."""

    code = "ideation_session_not_found"
    noun = "ideation session"
    found_by = "dynostore ideation list"


class RequirementNotFound(NotFound):
    """The ideation session has no requirement with this key."""

    code = "requirement_not_found"
    noun = "requirement"
    found_by = "dynostore ideation requirements list SESSION_ID"


class ConflictNotFound(NotFound):
    """No open conflict with this number."""

    code = "conflict_not_found"
    noun = "open conflict"
    found_by = "dynostore sync conflicts"


class RejectNotFound(NotFound):
    """No row with this key was set aside."""

    code = "reject_not_found"
    noun = "reject"
    found_by = "dynostore sync rejects"


class StoreNotFound(NotFound, FileNotFoundError):
    """There is no store at this place yet."""

    code = "store_not_found"


class SourceNotFound(NotFound, FileNotFoundError):
    """There is nothing to import at this place."""

    code = "source_not_found"


class AmbiguousId(DynostoreError, LookupError):
    """The beginning of an id fits several records."""

    code = "ambiguous_id"
    exit_code = 2


class AlreadyExists(DynostoreError, ValueError):
    """The key is taken."""

    code = "already_exists"


class StaleWrite(DynostoreError):
    """Another writer was faster: the record is not at the expected version.

    :ivar data: ``expected`` and ``actual`` versions.
    """

    code = "stale_write"


class WrongTransition(DynostoreError, ValueError):
    """The record's status does not lead to the wanted one.

    :ivar data: the statuses ``current`` and ``wanted``.
    """

    code = "wrong_transition"


class StoreClosed(DynostoreError, ValueError):
    """The store was closed; open it again."""

    code = "store_closed"


class WrongProcess(DynostoreError, RuntimeError):
    """A forked child left a transaction of its parent's, or has no part in its file any more."""

    code = "wrong_process"


class StoreLocked(DynostoreError, TimeoutError):
    """Another process held the lock for longer than the timeout."""

    code = "locked"
    exit_code = 5


class SyncRunning(StoreLocked):
    """Another sync of this file is running."""

    code = "sync_running"


class StoreUnwritable(DynostoreError, OSError):
    """The file or its directory cannot be written: permission, read-only medium, no space."""

    code = "unwritable"


class StoreCorrupt(DynostoreError):
    """The file is damaged, or is no SQLite database."""

    code = "corrupt"
    exit_code = 7


class SchemaError(DynostoreError):
    """The tables are not what this program can work with."""

    code = "schema"
    exit_code = 6


class SchemaTooNew(SchemaError):
    """The file or server was upgraded by a newer dynostore."""

    code = "schema_too_new"


class SchemaBehind(SchemaError):
    """The database must be upgraded before this program may write to it."""

    code = "schema_behind"


class NotOurs(SchemaError):
    """The database belongs to another program."""

    code = "not_ours"


class SchemaMismatch(SchemaError):
    """The two sides of a sync are at different migrations."""

    code = "schema_mismatch"


class MigrationFailed(SchemaError):
    """A migration step failed; the database is as it was before."""

    code = "migration_failed"


class ModelRefused(SchemaError, ValueError):
    """A model of the user's that cannot replicate.

    :ivar data: ``model``, its name, and ``reason``.
    """

    code = "model_refused"


class ModelChanged(SchemaError):
    """The table of a user's model is not what the model says, and no step leads there.

    :ivar data: ``differences``, one text each.
    """

    code = "model_changed"


class ModelsMissing(DynostoreError):
    """The file captures tables whose models were not given, and this cannot be done without them.

    :ivar data: ``tables``, their names.
    """

    code = "models_missing"


class IdentityMismatch(DynostoreError):
    """The server is not the one that this file was synced with."""

    code = "identity"
    exit_code = 6


class IntegrityFailure(DynostoreError):
    """What is stored contradicts itself or what was written."""

    code = "integrity"
    exit_code = 7


class ConstraintFailed(DynostoreError, ValueError):
    """The database refused a row: a missing parent, a NULL, a CHECK."""

    code = "constraint"


class RemoteUnavailable(DynostoreError, ConnectionError):
    """The server cannot be reached, or gave up in the middle; try again later."""

    code = "unavailable"
    exit_code = 75


class AccessDenied(DynostoreError, PermissionError):
    """The server refused the credentials or a right."""

    code = "access_denied"
