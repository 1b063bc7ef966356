"""What a report is: a name, its parameters, one SQL text and the columns of the answer."""

from __future__ import annotations

import dataclasses
from typing import Literal

from dynostore.reports.dialects import JsonWord

Kind = Literal["text", "uuid", "integer", "real", "time"]


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of an answer; every value may be None."""

    name: str
    kind: Kind = "text"


@dataclasses.dataclass(frozen=True)
class Parameter:
    """Something that the asker chooses.

    :ivar default: None: it must be given.
    """

    name: Literal["days", "task_id"]
    default: int | None = None


@dataclasses.dataclass(frozen=True)
class Report:
    """A question, and how it is answered.

    :ivar title: what it gives, in one line.
    :ivar sql: for both databases. Names in braces become literals (``since``, ``day_ago``,
        ``week_ago``, ``task_id``), the dialect's words, or the expression of one of ``words``.
    :ivar columns: in the order of the select list.
    """

    name: str
    title: str
    sql: str
    columns: tuple[Column, ...]
    parameters: tuple[Parameter, ...] = ()
    words: tuple[JsonWord, ...] = ()
