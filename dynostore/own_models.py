"""A user's own Peewee models as part of a store: which can replicate, and why others cannot."""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import peewee

from dynostore import models
from dynostore.errors import ConfigError, ModelRefused
from dynostore.field_kinds import kind_of

SUPPORTED = {
    "CharField, TextField": "text",
    "IntegerField, BigIntegerField, SmallIntegerField": "integer",
    "FloatField, DoubleField": "real",
    "BooleanField": "boolean",
    "dynostore.fields.UtcTimeField": "time",
    "DateTimeField": "datetime",
    "DateField": "date",
    "dynostore.fields.JsonField, JSONField": "json",
    "dynostore.fields.UuidField, UUIDField": "uuid",
    "BlobField": "bytes",
}
"""The fields that replicate, with the kind of what they hold."""

_LONGEST_NAME_BYTES = 63
_RESERVED_TABLES = ("dynostore_", "sync_", "sqlite_", "pg_")
# The server's bookkeeping, and what stands beside a table's columns in the sync's statements.
_RESERVED_PREFIXES = ("sync_", "dynostore_")
# What every table has without being asked.
_RESERVED_COLUMNS = {"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "_rowid_"}
_TEXT_KEY = (
    "id = UuidField(primary_key=True, default=new_id), of dynostore.fields and dynostore.ids"
)

Model = type[peewee.Model]


@dataclasses.dataclass(frozen=True)
class OwnModels:
    """A user's models, which were found fit to replicate.

    :ivar models: parents before children.
    :ivar migrations: the directory of the user's own steps; None: there are none.
    """

    models: tuple[Model, ...] = ()
    migrations: Path | None = None

    @classmethod
    def of(
        cls, given: Iterable[Any] = (), migrations: str | os.PathLike[str] | None = None
    ) -> OwnModels:
        """Look at models before they become part of a store; touches no database.

        :raises ModelRefused: one that cannot replicate, with the reason and what to write.
        :raises ConfigError: the directory of the steps is none.
        """
        found = tuple(given)
        _check(found)
        where = None if migrations is None else Path(migrations)
        if where is not None and not where.is_dir():
            raise ConfigError(f"{where}: is no directory", hint=f"mkdir -p {where}")
        if where is not None and not found:
            raise ConfigError(f"{where}: steps without models", hint="give models=[...] too")
        ordered = peewee.sort_models(found)  # type: ignore[attr-defined]  # not in the stubs
        return cls(tuple(ordered), where)


def load(place: str) -> list[Model]:
    """Give the models that ``MODULE`` or ``MODULE:NAME`` holds; the current directory counts too.

    Of a module these are its ``MODELS``; where it has none, all that it defines, but for those that
    others there derive from.

    :raises ConfigError: there is no such module, or it holds no models.
    """
    name, _, attribute = place.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(name)
    except ImportError as exc:
        raise ConfigError(
            f"{name}: cannot be imported: {exc}",
            hint="name a module that Python finds here, such as photos.models",
        ) from exc
    wanted = attribute or ("MODELS" if hasattr(module, "MODELS") else "")
    if wanted:
        found = getattr(module, wanted, None)
        found = [found] if peewee.is_model(found) else found  # type: ignore[attr-defined]
        if not isinstance(found, list | tuple) or not found:
            raise ConfigError(f"{name}: {wanted} is no list of models")
        return list(found)
    found = list(dict.fromkeys(m for m in vars(module).values() if _is_of(m, name)))
    leaves = [m for m in found if not any(issubclass(o, m) and o is not m for o in found)]
    if not leaves:
        raise ConfigError(f"{name}: defines no models", hint=f"MODELS = [...] in {name}")
    return leaves


def _is_of(value: Any, module: str) -> bool:
    return (
        isinstance(value, type) and issubclass(value, peewee.Model) and (value.__module__ == module)
    )


# -- what cannot replicate -------------------------------------------------------------------


def _check(found: Sequence[Any]) -> None:
    for model in found:
        if not (isinstance(model, type) and issubclass(model, peewee.Model)):
            raise ModelRefused(f"{model!r} is no Peewee model", hint="models=[Photo, Album]")
    _check_table_names(found)
    tables = {m._meta.table_name for m in (*found, *models.REPLICATED)}
    for model in found:
        _check_table(model)
        _check_key(model)
        for field in model._meta.sorted_fields:
            _check_field(model, field, tables)
        _check_uniqueness(model)
    _check_circles(found)


def _refuse(model: Model, reason: str, write: str) -> ModelRefused:
    name = model.__name__
    return ModelRefused(f"{name}: {reason}", hint=write, model=name, reason=reason)


def _check_table_names(found: Sequence[Model]) -> None:
    ours = {m._meta.table_name: "dynostore" for m in models.ALL}
    taken = {name.lower(): owner for name, owner in ours.items()}
    for model in found:
        name = model._meta.table_name
        owner = taken.get(name.lower())
        if owner is not None:
            raise _refuse(
                model,
                f"there is a table {name!r} of {owner} already, or one whose name differs only in "
                "case",
                f"class Meta: table_name = 'my_{name.lower()}'",
            )
        taken[name.lower()] = model.__name__
        if name.lower().startswith(_RESERVED_TABLES):
            raise _refuse(
                model,
                f"names that begin like {name!r} are dynostore's or the database's",
                f"class Meta: table_name = 'my_{name.lower()}'",
            )


def _check_name(model: Model, name: str, what: str) -> None:
    if len(name.encode()) > _LONGEST_NAME_BYTES:
        raise _refuse(
            model,
            f"the name of the {what} {name!r} has {len(name.encode())} bytes; Postgres takes "
            f"{_LONGEST_NAME_BYTES}",
            "table_name='...' in class Meta" if what == "table" else "column_name='...'",
        )
    if not name.isprintable() or set(name) & set("%\"'\\"):
        raise _refuse(
            model, f"the name of the {what} {name!r} cannot be quoted everywhere", "another name"
        )


def _check_table(model: Model) -> None:
    meta: Any = model._meta
    _check_name(model, meta.table_name, "table")
    if meta.schema:
        raise _refuse(model, f"is in the schema {meta.schema!r}", "no schema in class Meta")
    if getattr(meta, "extension_module", None):
        raise _refuse(model, "is a virtual table, of one database alone", "an ordinary model")
    for name, field in meta.manytomany.items():
        raise _refuse(
            model,
            f"{name} hides a table ({field.through_model._meta.table_name}) that is not replicated",
            "a model of its own with two foreign keys, instead of ManyToManyField",
        )
    names: dict[str, str] = {}
    for column in meta.columns:
        _check_name(model, column, "column")
        other = names.setdefault(column.lower(), column)
        if other != column:
            raise _refuse(
                model,
                f"the columns {other!r} and {column!r} differ only in case",
                "column_name='...' in one of them",
            )
        if column.lower() in _RESERVED_COLUMNS or column.lower().startswith(_RESERVED_PREFIXES):
            raise _refuse(model, f"the column {column!r} has a reserved name", "column_name='...'")


def _check_key(model: Model) -> None:
    key: Any = model._meta.primary_key
    if isinstance(key, peewee.CompositeKey):
        raise _refuse(
            model,
            "has a key of several columns; a row must have one name that is the same everywhere",
            "id = UuidField(primary_key=True), made by dynostore.ids.derived_id of the columns",
        )
    if not key:
        raise _refuse(model, "has no key", _TEXT_KEY)
    if isinstance(key, peewee.AutoField):
        raise _refuse(
            model,
            f"{key.name} is counted up by each file, so that two files give one key to two rows",
            _TEXT_KEY,
        )
    if kind_of(key) not in ("text", "uuid"):
        raise _refuse(model, f"the key {key.name} is no text", _TEXT_KEY)
    if key.null:
        raise _refuse(model, f"the key {key.name} may be empty", "no null=True in the key")


def _check_field(model: Model, field: Any, tables: set[str]) -> None:
    if isinstance(field, peewee.ForeignKeyField):
        _check_reference(model, field, tables)
    elif kind_of(field) is None:
        raise _refuse(
            model,
            f"{field.name} is a {type(field).__name__}, which the two databases do not hold alike",
            f"one of {'; '.join(SUPPORTED)}",
        )
    if field.collation:
        raise _refuse(
            model,
            f"{field.name} has the collation {field.collation}, of one database alone",
            f"no collation in {field.name}",
        )
    for constraint in field.constraints or ():
        _check_constraint(model, field.name, constraint)


def _check_reference(model: Model, field: Any, tables: set[str]) -> None:
    if isinstance(field, peewee.DeferredForeignKey) or field.deferred:
        raise _refuse(
            model,
            f"{field.name} is declared before the table that it refers to",
            "that model first, then ForeignKeyField(Model)",
        )
    parent = field.rel_model._meta.table_name
    if parent not in tables:
        raise _refuse(
            model,
            f"{field.name} refers to {parent!r}, which is no table that replicates",
            f"models=[..., {field.rel_model.__name__}]",
        )
    if not field.rel_field.primary_key:
        raise _refuse(
            model,
            f"{field.name} refers to {field.rel_field.name!r} of {parent}, which is not its key",
            f"ForeignKeyField({field.rel_model.__name__})",
        )


def _check_constraint(model: Model, where: str, constraint: Any) -> None:
    text = getattr(constraint, "sql", "")
    word = re.search(r"\b(UNIQUE|PRIMARY|REFERENCES|COLLATE|AUTOINCREMENT)\b", str(text), re.I)
    if word and word[0].upper() == "UNIQUE":
        raise _refuse_unique(model, where)
    if word:
        raise _refuse(model, f"{where} is declared {word[0]} by SQL", "Peewee's own fields for it")


def _refuse_unique(model: Model, where: str) -> ModelRefused:
    return _refuse(
        model,
        f"{where} is UNIQUE beside the key: two files may both write a value, and neither row could"
        " reach the other",
        "the value as the key, or a key that is made of it: dynostore.ids.derived_id",
    )


def _check_uniqueness(model: Model) -> None:
    meta: Any = model._meta
    for field in meta.sorted_fields:
        if field.unique and not field.primary_key:
            raise _refuse_unique(model, field.name)
    for index in meta.indexes or ():
        plain = isinstance(index, list | tuple)
        unique = index[1] if plain else getattr(index, "_unique", "UNIQUE" in _text(index))
        if unique:
            names = ", ".join(index[0]) if plain else getattr(index, "_name", "an index")
            raise _refuse_unique(model, f"({names})")
    for constraint in meta.constraints or ():
        _check_constraint(model, "the table", constraint)


def _text(index: Any) -> str:
    return str(getattr(index, "sql", index)).upper()


def _check_circles(found: Sequence[Model]) -> None:
    parents = {m: [f.rel_model for f in _references(m) if f.rel_model is not m] for m in found}
    for model in found:
        path = [model]
        waiting = [iter(parents[model])]
        while waiting:
            parent = next(waiting[-1], None)
            if parent is None:
                waiting.pop()
                path.pop()
            elif parent is model:
                names = " -> ".join(m.__name__ for m in (*path, model))
                raise _refuse(
                    model,
                    f"the foreign keys go in a circle, {names}: no table could be sent first",
                    "one of them as a plain column",
                )
            elif parent in parents and parent not in path:
                path.append(parent)
                waiting.append(iter(parents[parent]))


def _references(model: Model) -> Iterator[Any]:
    for field in model._meta.sorted_fields:
        if isinstance(field, peewee.ForeignKeyField):
            yield field
