"""What a person's SQL says before a database sees it: its parameters, and what is wrong with it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping

from dynostore import errors, models

# Strings, names, comments and casts are left alone; what is left of the colons are parameters.
_WORDS = re.compile(
    r"""(?xs)
    \b[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*`
    | --[^\n]* | /\*.*?\*/ | \$(?P<quote>\w*)\$.*?\$(?P=quote)\$ | ::
    | (?<![\w:]):(?P<name>[A-Za-z_]\w*)
    """
)
_NOTHING = re.compile(r"(?s)--[^\n]*|/\*.*?\*/|;")


def check_parameters(sql: str, given: Mapping[str, str]) -> None:
    """Compare a statement's parameters with those that have values.

    :raises InvalidQuery: one side has one that the other lacks, or there is no statement.
    """
    if not _NOTHING.sub("", sql).strip() or "\0" in sql:
        raise errors.InvalidQuery(
            "no statement is given", hint='dynostore query "SELECT count(*) FROM runs"'
        )
    wanted = {found["name"]: None for found in _WORDS.finditer(sql) if found["name"]}
    for name in wanted:
        if name not in given:
            raise errors.InvalidQuery(
                f"the parameter :{name} has no value", hint=f"add: -p {name} VALUE"
            )
    for name in given:
        if name not in wanted:
            known = ", ".join(f":{word}" for word in wanted) or "none"
            raise errors.InvalidQuery(
                f"the statement has no parameter :{name}", hint=f"it has {known}"
            )


def with_literals(sql: str, literal: Callable[[str], str]) -> str:
    """Give the statement with a literal in place of each parameter.

    :param literal: gives that of a name.
    """
    return _WORDS.sub(lambda found: literal(found["name"]) if found["name"] else found[0], sql)


def refusal() -> errors.InvalidQuery:
    """Give the error for what does not read, or is more than one statement."""
    return errors.InvalidQuery(
        "only one statement that reads is answered; nothing was written",
        hint='dynostore query "SELECT count(*) FROM runs"; commands such as runs change records',
    )


def mistake(message: str, missing: str | None) -> errors.InvalidQuery:
    """Give the error for a statement that a database does not understand.

    :param missing: the table or column that it looked for in vain.
    """
    if missing is None:
        return errors.InvalidQuery(message)
    tables = [model._meta.table_name for model in models.ALL]
    columns = [name for model in models.ALL for name in model._meta.columns]
    word = missing.rpartition(".")[2]
    near = difflib.get_close_matches(word, [*tables, *dict.fromkeys(columns)], n=1)
    hint = "dynostore info lists the tables"
    return errors.InvalidQuery(message, hint=f"did you mean {near[0]}? {hint}" if near else hint)
