"""Whether a database's tables are those of this program: migrations, columns, indexes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from dynostore import errors, models
from dynostore.doctor.findings import Finding, sql_of, telling
from dynostore.migrator import Migrator
from dynostore.own_models import OwnModels
from dynostore.own_schema import OwnSchema
from dynostore.sqlite_dependents import SEARCH_PREFIX

_OF_THE_SYNC = ("sync_rev", "sync_seq", "sync_node")


def look_at_schema(db: Any, own: OwnModels) -> list[Finding]:
    """Compare the migrations, then the tables with the models, in about 50 ms."""
    findings: list[Finding] = []
    with telling("schema", findings), db.reading():
        steps = Migrator(db).status()
        if unknown := [step.name for step in steps if not step.known]:
            findings.append(
                Finding(
                    "schema",
                    "error",
                    f"was upgraded by a newer dynostore: {', '.join(unknown)}",
                    "pip install --upgrade dynostore",
                )
            )
        elif pending := [step.name for step in steps if step.applied_at is None]:
            findings.append(_pending(db, pending, len(pending) == len(steps)))
        else:
            findings.append(Finding("schema", "ok", f"all {len(steps)} migrations are applied"))
            with telling("tables", findings):
                findings += _drift(db)
            with telling("tables", findings):
                findings += _own(db, own)
    return findings


def _pending(db: Any, pending: list[str], is_empty: bool) -> Finding:
    mend = f"dynostore --db {shlex.quote(db.shown)} {'init' if is_empty else 'db upgrade'}"
    if is_empty:
        return Finding("schema", "error", "has no tables yet", mend)
    # A file is upgraded by the next command that opens it; a server refuses programs until then.
    severity = "error" if db.dialect == "postgres" else "warning"
    return Finding("schema", severity, f"migrations are pending: {', '.join(pending)}", mend)  # type: ignore[arg-type]


def _drift(db: Any) -> Iterator[Finding]:
    """Give the differences between tables and models that playhouse sees: no types."""
    from playhouse.schema_diff import diff_models  # imported late: it costs more than the look

    difference = diff_models(db, list(models.ALL))
    lost = "dynostore db restore BACKUP: a migration that is noted as applied has made it once"
    for model in difference.create_tables:
        yield Finding("tables", "error", f"{model._meta.table_name}: there is no such table", lost)
    for field in difference.add_columns:
        name = f"{field.model._meta.table_name}.{field.column_name}"
        yield Finding("tables", "error", f"{name}: there is no such column", lost)
    strange = [
        f"{table}.{name}" for table, name in difference.drop_columns if name not in _OF_THE_SYNC
    ]
    for index in difference.add_indexes:
        shown = ", ".join(index.columns or [index.name])
        message = f"{index.table}: has no index on {shown}: lists are slow"
        yield Finding("tables", "warning", message, _creating(db, index))
    strange += [
        f"index {index.name}"
        for index in difference.drop_indexes
        if index.columns != ("sync_seq",) and not str(index.name).startswith(SEARCH_PREFIX)
    ]
    if strange:
        message = f"not made by dynostore: {', '.join(strange)}"
        yield Finding("tables", "note", f"{message}; an upgrade may drop it")
    if not difference or not (difference.create_tables or difference.add_columns):
        yield Finding("tables", "ok", "tables and columns are those of the models")


def _creating(db: Any, missing: Any) -> str:
    """Give the command that makes an index that a model has."""
    model = next(m for m in models.ALL if m._meta.table_name == missing.table)
    indexes: Any = model._meta.fields_to_index()  # Peewee's stubs do not know what it gives
    statement = next(
        sql_of(db.get_sql_context().sql(index))
        for index in indexes
        if tuple(field.column_name for field in index._expressions) == missing.columns
    )
    program = "sqlite3" if db.dialect == "sqlite" else "psql"
    option = "" if db.dialect == "sqlite" else "-c "
    return f"{program} {shlex.quote(db.shown)} {option}{shlex.quote(statement)}"


def _own(db: Any, own: OwnModels) -> Iterator[Finding]:
    if not own.models:
        return
    try:
        OwnSchema(db, own, Migrator(db)).ensure(migrate=False)
    except (errors.SchemaBehind, errors.ModelChanged) as exc:
        yield Finding("tables", "warning", exc.message, exc.hint)
    else:
        yield Finding("tables", "ok", "the tables of your own models are as these say")
