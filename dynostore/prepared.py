"""Statements that run so often that their text must not be written anew each time.

Peewee takes longer to write a statement than SQLite to run it: three quarters of what it costs to
append a message. So the query is still Peewee's, with its quoting and its dialects, and its text is
kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import peewee

from dynostore.database import StoreDatabase


@dataclasses.dataclass(frozen=True)
class _Slot:
    name: str
    convert: Callable[[Any], Any]


def slot(field: Any) -> peewee.Value:
    """Stand in a query for a value of this field, which :meth:`Prepared.run` is given."""
    # converter=False: Peewee must leave the slot alone.
    return peewee.Value(_Slot(field.name, field.db_value), converter=False)


class Prepared:
    """One query on one database, with its text written at the first use.

    :param query: a query on unbound models; every value in it that changes is a :func:`slot`.
    """

    def __init__(self, database: StoreDatabase, query: Any) -> None:
        self._db = database
        self._query = query
        self._text: tuple[str, list[_Slot | Any]] | None = None

    def run(self, **values: Any) -> Any:
        """Execute it with these values, checked ones, by field name; give the driver's cursor."""
        if self._text is None:
            self._text = self._db.get_sql_context().sql(self._query).query()
        sql, parameters = self._text
        return self._db.execute_sql(
            sql,
            [p.convert(values[p.name]) if isinstance(p, _Slot) else p for p in parameters],
        )
