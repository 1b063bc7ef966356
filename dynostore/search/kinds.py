"""Which records can be searched: their text, what names them to people, and their time."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from dynostore import errors
from dynostore.errors import quoted
from dynostore.fields import JsonField
from dynostore.models import Conversation, IdeationRequirement, Memory, Message, Run, Task
from dynostore.models.base import Record, key_field

INDEXED_CHARACTERS = 100_000
"""How much is indexed of what a record is called, and of the rest. Postgres refuses a row with more
than 1 MiB of words in an index, up to four bytes for each character of a text, and nobody's write
may fail for the search's sake."""

_ESCAPES = (r"\\", r"\n", r"\r", r"\t", r"\"")
"""How JSON writes some characters: as it stands, the word after a line's end begins with n."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of record.

    :ivar name: as people give it to ``--in``.
    :ivar number: its place in the index, for ever: documents are numbered by it.
    :ivar headings: the columns whose words count twice; what a record is called.
    :ivar columns: the others that are searched.
    :ivar title: the column that names the record to people.
    :ivar parent: the column with the id of what the record is a part of.
    :ivar title_of: what the title is a column of where that is the parent.
    """

    name: str
    number: int
    model: type[Record]
    headings: tuple[str, ...]
    columns: tuple[str, ...]
    title: str
    parent: str | None = None
    title_of: type[Record] | None = None

    @property
    def table(self) -> str:
        """The table's name."""
        return str(self.model._meta.table_name)

    @property
    def key(self) -> str:
        """The name of the key's column."""
        return str(key_field(self.model).column_name)

    def text(self, columns: Sequence[str], row: str, json_as: str = "{}") -> str:
        """Give the SQL of some columns' text, for both databases.

        :param row: what the columns belong to: ``NEW``, or a table's alias.
        :param json_as: makes text of a JSON column.
        """
        if not columns:
            return "''"
        joined = " || ' ' || ".join(self._column(name, row, json_as) for name in columns)
        return f"substr({joined}, 1, {INDEXED_CHARACTERS})"

    def _column(self, name: str, row: str, json_as: str) -> str:
        sql = f'{row}."{name}"'
        if isinstance(self.model._meta.columns[name], JsonField):
            sql = json_as.format(sql)
            for escape in _ESCAPES:
                sql = f"replace({sql}, '{escape}', ' ')"
        # Cut here too: put together, they would be more than SQLite can hold in one value.
        return f"coalesce(substr({sql}, 1, {INDEXED_CHARACTERS}), '')"


KINDS = (
    Kind(
        "messages",
        1,
        Message,
        headings=(),
        columns=("content",),
        title="title",
        parent="conversation_id",
        title_of=Conversation,
    ),
    Kind("memories", 2, Memory, ("context",), ("lesson", "tool_name"), title="context"),
    Kind("tasks", 3, Task, ("request_text",), ("error_message",), title="request_text"),
    Kind(
        "requirements",
        4,
        IdeationRequirement,
        headings=("key",),
        columns=("description",),
        title="key",
        parent="session_id",
    ),
    Kind(
        "runs",
        5,
        Run,
        headings=("input_filename",),
        columns=("source", "current_stage", "error_info", "results_summary", "metadata"),
        title="input_filename",
    ),
)
"""All kinds, in the order in which they are indexed: the few before the many would wait longer."""


def kinds_of(names: str | Collection[str] | None) -> tuple[Kind, ...]:
    """Give the kinds of these names, or of the one; all of them for None.

    :raises InvalidValue: there is no such kind, or these are no names.
    """
    known = {kind.name: kind for kind in KINDS}
    if isinstance(names, str):
        names = (names,)
    if names is not None and not isinstance(names, Collection):
        raise errors.InvalidValue("kinds", f"names expected, not {type(names).__name__}")
    for name in names or ():
        if not isinstance(name, str) or name not in known:
            raise errors.InvalidValue("kinds", f"{quoted(name)} is none of {', '.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(names)) if names else KINDS
