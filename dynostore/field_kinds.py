"""What kind of values a field holds, by a name that means the same on both databases."""

from __future__ import annotations

from typing import Any

import peewee

from dynostore.fields import UuidField

_KINDS = {
    "TEXT": "text",
    "VARCHAR": "text",
    "BIGINT": "integer",
    "INT": "integer",
    "SMALLINT": "integer",
    "DOUBLE": "real",
    "FLOAT": "real",
    "UTCTIME": "time",
    "DATETIME": "datetime",
    "DATE": "date",
    "JSON": "json",
    "UUID": "uuid",
    "BOOL": "boolean",
    "BLOB": "bytes",
}


def stored_field(field: Any) -> Any:
    """Give the field whose values a column holds: of a foreign key, the key that it refers to."""
    while isinstance(field, peewee.ForeignKeyField):
        field = field.rel_field
    return field


def kind_of(field: Any) -> str | None:
    """Give what both databases make of a field's values; None: nothing that is the same on both.

    :return: text, integer, real, time (an instant), datetime (without a zone), date, json, uuid,
        boolean or bytes. Peewee's own UUIDField is text: it writes 32 digits without dashes, and
        reads nothing else.
    """
    plain = stored_field(field)
    if type(plain).field_type == "UUID" and not isinstance(plain, UuidField):
        return "text"
    return _KINDS.get(plain.field_type)


def length_of(field: Any) -> int | None:
    """Give how many characters a text column takes; None where there is no limit."""
    plain = stored_field(field)
    if isinstance(plain, peewee.UUIDField):
        return 32
    return getattr(plain, "max_length", None)
