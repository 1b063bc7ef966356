"""What the two databases say differently in a report: values out of JSON, the day of a time.

All of them give the same digits on both. A JSON value of another type than the wanted one, or
beyond the bound, is NULL: one odd record must not fail a report.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

_BOUND = "1e15"  # doubles hold every whole number up to there


@dataclasses.dataclass(frozen=True)
class JsonWord:
    """A value inside a JSON column, by the name that it has in a report's SQL.

    :ivar kind: ``text``, ``integer`` (rounded half away from zero) or ``millionths`` (the same
        of a million times the value: money, in whole numbers that add up exactly).
    """

    name: str
    column: str
    key: str
    kind: Literal["text", "integer", "millionths"] = "integer"


def _sqlite_json(word: JsonWord) -> str:
    place = f"({word.column}, '$.{word.key}')"
    if word.kind == "text":
        return f"CASE WHEN json_type{place} = 'text' THEN json_extract{place} END"
    times = " * 1000000" if word.kind == "millionths" else ""
    bound = "1e9" if times else _BOUND
    return (
        f"CASE WHEN json_type{place} IN ('integer', 'real')"
        f" AND json_extract{place} BETWEEN -{bound} AND {bound}"
        f" THEN CAST(ROUND(json_extract{place}{times}) AS BIGINT) END"
    )


def _postgres_json(word: JsonWord) -> str:
    inner, text = f"{word.column} -> '{word.key}'", f"{word.column} ->> '{word.key}'"
    if word.kind == "text":
        return f"CASE WHEN jsonb_typeof({inner}) = 'string' THEN ({text}) COLLATE \"C\" END"
    times = " * 1000000" if word.kind == "millionths" else ""
    bound = "1e9" if times else _BOUND
    number = f"CAST({text} AS DOUBLE PRECISION){times}"
    # As jsonb only numbers lie between two numbers. Rounded as SQLite does it: Postgres rounds a
    # double half to even, and a numeric from other digits.
    return (
        f"CASE WHEN {inner} BETWEEN '-{bound}' AND '{bound}'"
        f" THEN CAST(SIGN({number}) * TRUNC(ABS({number}) + 0.5) AS BIGINT) END"
    )


@dataclasses.dataclass(frozen=True)
class Dialect:
    """One database's words.

    :ivar json: gives the expression of a value inside a JSON column.
    :ivar words: further expressions by name: ``created_on`` is the UTC day of ``created_at``.
    """

    json: Callable[[JsonWord], str]
    words: Mapping[str, str]


DIALECTS: Mapping[str, Dialect] = {
    "sqlite": Dialect(_sqlite_json, {"created_on": "SUBSTR(created_at, 1, 10)"}),
    "postgres": Dialect(
        _postgres_json, {"created_on": "TO_CHAR(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"}
    ),
}


def worded(sql: str, dialect: str, json_words: Iterable[JsonWord], **expressions: str) -> str:
    """Put one database's words, values out of JSON and further expressions into a statement.

    :param dialect: a key of :data:`DIALECTS`.
    :param expressions: SQL text by the name that it has in braces.
    """
    words = DIALECTS[dialect]
    values = {word.name: words.json(word) for word in json_words}
    return sql.format(**words.words, **values, **expressions).strip()
