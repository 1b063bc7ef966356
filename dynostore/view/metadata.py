"""What Datasette is told about the tables: titles, descriptions, facets, labels, order.

Columns are described by their fields. A new family, a user's own models and a table of somebody
else's are shown without being mentioned here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import peewee

from dynostore import models
from dynostore.field_kinds import kind_of
from dynostore.fields import JsonField, UtcTimeField, WholeNumberField
from dynostore.models.base import key_field

Model = type[peewee.Model]
Metadata = dict[str, Any]

_TABLES = {
    "runs": ("Runs", "Executions of an analysis: what became of each."),
    "run_files": ("Files of runs", "What the runs read and wrote."),
    "tasks": ("Tasks", "What agents were asked to do, from the request to its end."),
    "execution_logs": ("Steps of tasks", "What agents did for a task, step by step."),
    "sessions": ("Agent sessions", "Missions of agents, which outlive their processes."),
    "states": ("States of agent sessions", "Each state that a session was saved in, whole."),
    "todo_lists": ("Todo lists", "What an agent plans to do, and how far it has come."),
    "execution_history": ("History of agent sessions", "What an agent thought, did and saw."),
    "memories": ("Memories", "Lessons that agents keep for later sessions."),
    "conversations": ("Conversations", "Titled sequences of messages."),
    "messages": ("Messages", "Of conversations: by the system, a user, a model or a tool."),
    "ideation_sessions": ("Ideation sessions", "Product ideas on their way to a build."),
    "ideation_messages": ("Messages of ideation", "The talk that made an idea clear."),
    "ideation_requirements": ("Requirements", "What a product idea must fulfil."),
    "ideation_maturity": ("Maturity of ideas", "How far each ideation session has come."),
    "ideation_prd_drafts": ("Drafts of requirements", "Product requirements documents."),
    "ideation_user_stories": ("User stories", "Who wants what, and what for."),
    "imports": ("Imported records", "What was taken over from older tools, and from where."),
}
"""Titles and descriptions; a new family's table has its name until it is named here."""

_LABELS = {
    "tasks": "request_text",
    "sessions": "mission",
    "conversations": "title",
    "ideation_sessions": "project_name",
}
"""The column by which a row is called where another table refers to it."""

_FACETS = {
    "runs": ("source",),
    "run_files": ("file_type",),
    "sessions": ("status",),
    "memories": ("tool_name",),
    "imports": ("kind", "record_table"),
}
"""Columns of few values beside those whose values the model names."""

_UNITS = {
    "_ms": "milliseconds",
    "_bytes": "bytes",
    "_percent": "percent",
    "_seconds": "seconds",
    "_usd": "US dollars",
}
_BOOKKEEPING = ("dynostore_", "sync_")


def describe_tables(own: Iterable[Model], there: Iterable[str]) -> dict[str, Metadata]:
    """Give Datasette's metadata of every table, by name.

    :param own: the user's own models.
    :param there: the names of all tables of the file, whoever made them.
    """
    names = set(there)
    known = {m._meta.table_name: m for m in (*models.ALL, *own)}
    found = {name: _of_model(model) for name, model in known.items() if name in names}
    for name in sorted(names - set(known)):
        found[name] = {"hidden": True} if name.startswith(_BOOKKEEPING) else {}
    return found


def group_tables(described: Mapping[str, Metadata]) -> dict[str, list[str]]:
    """Give the names of the tables that people look for: ``records`` are ours, ``others`` not."""
    ours = {model._meta.table_name for model in models.ALL}
    shown = [name for name, about in described.items() if not about.get("hidden")]
    return {
        "records": [name for name in shown if name in ours],
        "others": [name for name in shown if name not in ours],
    }


def title_of(table: str) -> str:
    """Give what a table is called for people."""
    return _TABLES.get(table, (table,))[0]


def _of_model(model: Model) -> Metadata:
    name = model._meta.table_name
    columns = {column: _column(field) for column, field in model._meta.columns.items()}
    found: Metadata = {
        "title": title_of(name),
        "description": _TABLES.get(name, ("", "Of your own models."))[1],
        "columns": {column: text for column, text in columns.items() if text},
        "facets": [*_closed(model), *_FACETS.get(name, ())],
    }
    if name in _LABELS:
        found["label_column"] = _LABELS[name]
    if newest := _newest_first(model):
        found["sort_desc"] = newest
    return found


def _closed(model: Model) -> list[str]:
    """Give the columns that hold one of a few named values."""
    return [
        column for column, field in model._meta.columns.items() if getattr(field, "choices", None)
    ]


def _newest_first(model: Model) -> str | None:
    """Give the time that a page is sorted by: one with an index, so that the page comes at once."""
    indexed = {fields[0] for fields, _ in model._meta.indexes if len(fields) == 1}
    times = [f for f in model._meta.sorted_fields if isinstance(f, UtcTimeField)]
    for field in times:
        if field.name in indexed or field.index:
            return str(field.column_name)
    return None


def _column(field: Any) -> str:
    """Say in a few words what a column holds; nothing where its name says it all."""
    parts = []
    if field is key_field(field.model):
        parts.append("the key")
    if isinstance(field, peewee.ForeignKeyField):
        parts.append(f"refers to the table {title_of(field.rel_model._meta.table_name)}")
    if isinstance(field, UtcTimeField):
        parts.append("time, in UTC")
    elif isinstance(field, JsonField) or kind_of(field) == "json":
        parts.append("JSON")
    parts += [unit for suffix, unit in _UNITS.items() if field.column_name.endswith(suffix)]
    if isinstance(field, WholeNumberField) and (field.low, field.high) == (0, 100):
        parts.append("0 to 100")
    if field.choices:
        parts.append(f"one of {', '.join(str(value) for value, _ in field.choices)}")
    return "; ".join(parts)
