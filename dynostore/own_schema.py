"""The tables of a user's models in one database: made, extended, or found to need a step.

What Peewee makes of a field is left as it is in a file. On a server its columns are brought to the
types that the sync compares byte by byte: 64 bits, text in the order of code points.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peewee

from dynostore import errors
from dynostore.field_kinds import kind_of, length_of
from dynostore.migrator import Migrator, step_names
from dynostore.own_models import Model, OwnModels

if TYPE_CHECKING:
    from dynostore.migration_runner import StoreRunner

HISTORY_TABLE = "dynostore_own_migration"
"""Lists the user's own steps, apart from ours: both may be called ``0001_initial``."""

_SERVER_TYPES = {
    "integer": "bigint",
    "real": "double precision",
    "time": "timestamp with time zone",
    "datetime": "timestamp without time zone",
    "date": "date",
    "json": "jsonb",
    "uuid": "uuid",
    "boolean": "boolean",
    "bytes": "bytea",
}
_SERVER_COLUMNS = """
    SELECT c.relname, a.attname,
           format_type(a.atttypid, a.atttypmod)
           || CASE WHEN l.collname = 'C' THEN ' COLLATE "C"' ELSE '' END,
           a.attnotnull, a.atthasdef
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
    WHERE n.nspname = current_schema() AND c.relname = ANY(%s)
      AND a.attnum > 0 AND NOT a.attisdropped
      AND a.attname NOT IN ('sync_rev', 'sync_seq', 'sync_node')
"""
_UNIQUE_INDEXES = """
    SELECT i.name FROM pragma_index_list(?) i WHERE i."unique" AND i.origin <> 'pk'
"""


@dataclasses.dataclass(frozen=True)
class _Column:
    """A column as the database has it.

    :ivar filled: a row that does not name it gets a value, or NULL.
    """

    type: str
    null: bool
    filled: bool


@dataclasses.dataclass
class _Look:
    """What stands between the models and their tables.

    :ivar steps: the user's own that were not taken.
    :ivar unknown: those that were taken and that this program does not have.
    :ivar tables: of these models there is none.
    :ivar columns: fields that may be empty, and have no column.
    :ivar odd: (difference, the step's line that would settle it).
    :ivar blank: nothing was ever made for these models here.
    """

    steps: list[str]
    unknown: list[str]
    tables: list[Model] = dataclasses.field(default_factory=list)
    columns: list[Any] = dataclasses.field(default_factory=list)
    odd: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    blank: bool = False

    @property
    def changes(self) -> list[str]:
        """What would change a table that is there."""
        return [*self.steps, *(f"{f.model._meta.table_name}.{f.column_name}" for f in self.columns)]


class OwnSchema:
    """The tables of a user's models in one database.

    :param migrator: of the same database; dynostore's own tables are up to date.
    """

    def __init__(self, database: Any, own: OwnModels, migrator: Migrator) -> None:
        self._db = database
        self._own = own
        self._migrator = migrator

    def ensure(self, *, migrate: bool = True, upgrade: bool | None = None) -> list[str]:
        """Make the tables what the models say; give the names of what was done.

        Missing tables are made; there the user's own steps are noted as taken. Else these are run,
        and then columns are added for fields that may be empty. Safe from many processes.

        :param migrate: False: never write.
        :param upgrade: False: make tables, and change none that is there. By default a file is
            changed and a server is not: others use it.
        :raises SchemaBehind: something must be changed, and may not be here.
        :raises ModelChanged: the tables are otherwise; nothing was written.
        :raises MigrationFailed: one of the steps failed; the database is as it was.
        """
        if not self._own.models:
            return []
        if upgrade is None:
            upgrade = self._db.dialect == "sqlite"
        with self._db.reading():
            look = self._look()
        if not (look.tables or look.changes or look.odd):
            return []
        self._refuse(look, migrate=migrate and not self._db.read_only, upgrade=upgrade)
        with self._migrator.locked():
            look = self._look()  # somebody else may have been faster
            self._refuse(look, migrate=True, upgrade=upgrade)
            return self._change(look)

    def _refuse(self, look: _Look, *, migrate: bool, upgrade: bool) -> None:
        if look.odd and not look.steps:
            raise self._changed(look)
        pending = look.changes if look.changes and not (upgrade and migrate) else []
        if not migrate:
            pending += [model._meta.table_name for model in look.tables]
        if pending:
            on_server = self._db.dialect == "postgres"
            raise errors.SchemaBehind(
                f"{self._db.shown}: has yet to get, for models of your own: {', '.join(pending)}",
                hint="dynostore sync --upgrade-server, once every node can be upgraded too"
                if on_server
                else "open it with Store.open(..., models=[...])",
                pending=pending,
                own=True,
            )

    def _changed(self, look: _Look) -> errors.ModelChanged:
        differences = [difference for difference, _ in look.odd]
        message = f"{self._db.shown}: not as your models say: {'; '.join(differences)}"
        if look.unknown:
            hint = (
                f"install the version of your program that took the steps {', '.join(look.unknown)}"
            )
        else:
            where = self._own.migrations or Path("migrations")
            number = max([int(name[:4]) for name in _steps(self._own.migrations)], default=0) + 1
            lines = ", ".join(dict.fromkeys(line for _, line in look.odd))
            hint = (
                f"write {where / f'{number:04d}_change.py'} with def up(migrator, db): "
                f"migrator.migrate({lines}), and open the store with migrations={str(where)!r}"
            )
        return errors.ModelChanged(message, hint=hint, differences=differences)

    # -- looking ---------------------------------------------------------------------------------

    def _look(self) -> _Look:
        tables = [model._meta.table_name for model in self._own.models]
        there = self._columns([*tables, HISTORY_TABLE])
        taken = self._taken() if HISTORY_TABLE in there else set()
        known = _steps(self._own.migrations)
        look = _Look(
            [name for name in known if name not in taken],
            sorted(taken - set(known)) if self._own.migrations else [],
        )
        for model in self._own.models:
            table = model._meta.table_name
            if table not in there:
                look.tables.append(model)
            else:
                self._compare(look, model, there[table])
        look.blank = len(look.tables) == len(self._own.models) and not taken
        if look.blank:
            look.steps = []
        return look

    def _taken(self) -> set[str]:
        return {name for (name,) in self._db.execute_sql(f"SELECT name FROM {HISTORY_TABLE}")}

    def _columns(self, tables: Iterable[str]) -> dict[str, dict[str, _Column]]:
        """Give the columns of those tables that are there, by name."""
        found: dict[str, dict[str, _Column]] = {}
        if self._db.dialect == "postgres":  # one question: every sync asks it
            for table, name, kind, must, has_default in self._db.execute_sql(
                _SERVER_COLUMNS, (list(tables),)
            ):
                column = _Column(kind, not must, has_default or not must)
                found.setdefault(table, {})[name] = column
            return found
        for table in tables:
            for _, name, kind, must, default, key in self._db.execute_sql(
                f'PRAGMA table_info("{table}")'
            ):
                null = not (must or key)
                column = _Column(kind.upper(), null, null or default is not None)
                found.setdefault(table, {})[name] = column
        return found

    def _compare(self, look: _Look, model: Model, found: dict[str, _Column]) -> None:
        table = model._meta.table_name
        for name, field in model._meta.columns.items():
            column = found.get(name)
            if column is None and field.null:
                look.columns.append(field)
            elif column is None:
                look.odd.append(
                    (
                        f"{table}.{name} is missing, and may not be empty",
                        f"migrator.add_column({table!r}, {name!r}, "
                        f"{type(field).__name__}(default=...))",
                    )
                )
            else:
                self._compare_column(look, field, column)
        for name, column in found.items():
            if name not in model._meta.columns and not (
                # A newer program's: this one leaves it as it is.
                self._db.dialect == "postgres" and column.filled
            ):
                look.odd.append(
                    (
                        f"{table}.{name} is in the table and not in the model",
                        f"migrator.drop_column({table!r}, {name!r})",
                    )
                )
        if self._db.dialect == "sqlite":
            self._compare_constraints(look, model)

    def _compare_column(self, look: _Look, field: Any, column: _Column) -> None:
        table, name = field.model._meta.table_name, field.column_name
        expected = self._type_of(field)
        if column.type != expected:
            look.odd.append(
                (
                    f"{table}.{name} is {column.type}, and {expected} in the model",
                    f"migrator.alter_column_type({table!r}, {name!r}, {type(field).__name__}(...))",
                )
            )
        if column.null != bool(field.null):
            verb = "drop" if field.null else "add"
            look.odd.append(
                (
                    f"{table}.{name} may {'' if column.null else 'not '}be empty, and in the model "
                    f"it may{'' if field.null else ' not'}",
                    f"migrator.{verb}_not_null({table!r}, {name!r})",
                )
            )

    def _compare_constraints(self, look: _Look, model: Model) -> None:
        table = model._meta.table_name
        actual = {
            row[3]: (row[2], row[6])
            for row in self._db.execute_sql(f'PRAGMA foreign_key_list("{table}")')
        }
        added = {field.column_name for field in look.columns if field.model is model}
        for field in model._meta.sorted_fields:
            if not isinstance(field, peewee.ForeignKeyField) or field.column_name in added:
                continue
            expected = (field.rel_model._meta.table_name, (field.on_delete or "NO ACTION").upper())
            held = actual.pop(field.column_name, None)
            if held != expected:
                look.odd.append(_other_reference(table, field.column_name, held, expected))
        for name, held in actual.items():
            look.odd.append(_other_reference(table, name, held, None))
        for (index,) in self._db.execute_sql(_UNIQUE_INDEXES, (table,)):
            look.odd.append(
                (
                    f"{table} has the UNIQUE index {index} beside its key",
                    f"migrator.drop_index({table!r}, {index!r})",
                )
            )

    def _type_of(self, field: Any) -> str:
        """Give the type that a field's column must have, as the database prints it."""
        if self._db.dialect == "sqlite":
            return str(field.ddl_datatype(self._db.get_sql_context()).sql).upper()
        kind = str(kind_of(field))
        if kind != "text":
            return _SERVER_TYPES[kind]
        length = length_of(field)
        return ("text" if length is None else f"character varying({length})") + ' COLLATE "C"'

    # -- changing --------------------------------------------------------------------------------

    def _change(self, look: _Look) -> list[str]:
        """Carry out what a look has found, inside the lock, all of it or nothing."""
        from dynostore.migration_runner import StoreRunner

        steps = self._own.migrations
        runner = StoreRunner(self._db, steps or Path("no-steps"), history=HISTORY_TABLE)
        done: list[str] = []

        def act(runner: StoreRunner) -> None:
            now = look
            if look.blank and steps:
                runner.fake()
            elif look.steps:
                done.extend(runner.up())
                now = self._look()
            if now.odd:
                raise self._changed(now)
            done.extend(self._make(now.tables))
            done.extend(self._extend(runner, now.columns))

        numbers = [int(name[:4]) for name in look.steps]
        backup = f"own-{numbers[0]:04d}" if numbers else None
        self._migrator.run(runner, act, backup=backup)
        return done

    def _make(self, tables: Iterable[Model]) -> list[str]:
        made = []
        for model in tables:
            table = model._meta.table_name
            # Not bound: other threads may be using the models with another database.
            schema = peewee.SchemaManager(model, self._db)
            schema.create_table(safe=False)
            self._bring_to_types(model, model._meta.columns.values())
            schema.create_indexes(safe=True)
            made.append(table)
        return made

    def _extend(self, runner: StoreRunner, columns: Iterable[Any]) -> list[str]:
        added = []
        for field in columns:
            table = field.model._meta.table_name
            runner.migrator.migrate(runner.migrator.add_column(table, field.column_name, field))
            self._bring_to_types(field.model, [field])
            added.append(f"{table}.{field.column_name}")
        return added

    def _bring_to_types(self, model: Model, fields: Iterable[Any]) -> None:
        """Give columns that were just made, and are empty, the types that they must have."""
        if self._db.dialect == "sqlite":
            return
        table = model._meta.table_name
        found = self._columns([table])[table]
        for field in fields:
            name, expected = field.column_name, self._type_of(field)
            if found[name].type != expected:
                plain = expected.removesuffix(' COLLATE "C"')
                self._db.execute_sql(
                    f'ALTER TABLE "{table}" ALTER COLUMN "{name}" TYPE {expected}'
                    f' USING "{name}"::text::{plain}'
                )


def _steps(where: Path | None) -> list[str]:
    return [] if where is None else step_names(where)


def _other_reference(
    table: str, column: str, held: tuple[str, str] | None, expected: tuple[str, str] | None
) -> tuple[str, str]:
    shown = [
        f"refers to {r[0]} (ON DELETE {r[1]})" if r else "refers to nothing"
        for r in (held, expected)
    ]
    return (
        f"{table}.{column} {shown[0]}, and {shown[1]} in the model",
        f"migrator.drop_column({table!r}, {column!r})"
        if expected is None
        else f"migrator.alter_column_type({table!r}, {column!r}, ForeignKeyField(...))",
    )
