"""Haia's database as conversations: with the messages that the old program lost track of.

It deleted conversations and left their messages, and gave the next conversation the same number,
which so adopted them. Messages that are older than their conversation, and those of none, are kept
in a recovered conversation, which says so.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

from dynostore.legacy.base import Finding, Row, SourceRecord, Unreadable
from dynostore.legacy.cells import CellReader, as_json, printable_key, shown_value
from dynostore.legacy.haia_messages import MessageOrder, derived_key, message_row, role_of
from dynostore.legacy.source_sqlite import SqliteTables
from dynostore.legacy.source_tables import OURS, Cells, Table, has_columns
from dynostore.models import Conversation, Message

_READER_VERSION = "haia 1\n"  # a reader that reads more must see the same rows as changed
_MESSAGES_PER_RECORD = 1000
_OTHER_TABLES = {"alembic_version": "the version of the schema, which is no record"}


def is_haia(tables: dict[str, Table]) -> bool:
    """Tell Haia's tables from those of a store of ours, which have the same names."""
    return (
        OURS not in tables
        and has_columns(tables, "conversations", "id", "created_at", "updated_at")
        and has_columns(tables, "messages", "id", "conversation_id", "role", "content")
    )


@dataclasses.dataclass(slots=True)
class _Talk:
    """A conversation whose messages are being read.

    :ivar values: its columns.
    :ivar path: where it was found.
    :ivar source: what its own row says, for the content hash.
    :ivar marks: what each of its messages is to say of itself.
    """

    values: dict[str, Any]
    path: str
    source: Any
    warnings: list[str]
    marks: dict[str, Any]
    order: MessageOrder = dataclasses.field(default_factory=MessageOrder)


class ConversationTables:
    """Reads the conversations of one database."""

    def __init__(self, source: SqliteTables, path: str, place: str) -> None:
        """Prepare to read.

        :param path: the file's, for people; what stands before ``#`` in the paths of records.
        :param place: its absolute path.
        """
        self._source = source
        self._path = path
        self._place = place
        self._conversations = source.tables["conversations"]
        self._messages = source.tables["messages"]
        self._repeated_messages: set[str] = set()
        self._numbers: set[Any] = set()
        self._keys: set[str] = set()

    def read(self) -> Iterator[SourceRecord | Finding]:
        """Give each conversation, the recovered ones after all others.

        A long one is several records: its first messages with it, the others after it.
        """
        if self._messages.number != "id":
            self._repeated_messages = self._source.repeated(self._messages, "id")
        lost: list[Any] = []
        try:
            for cells in self._source.scan(self._conversations):
                yield from self._conversation(cells, lost)
            for number in self._source.values_without_parent(
                self._messages, "conversation_id", self._conversations, "id"
            ):
                yield from self._recovered(number, None)
            for number, before in lost:
                yield from self._recovered(number, before)
        except Unreadable as exc:
            reason = f"not all rows could be read: {exc}"
            yield Finding(self._path, "invalid", reason, files=0)
        yield from self._other_tables()

    def _conversation(self, row: Cells, lost: list[Any]) -> Iterator[SourceRecord | Finding]:
        number = row["id"]
        path = self._path_of("conversations", number)
        if self._conversations.number != "id":
            if number in self._numbers:
                yield self._invalid(path, "another conversation has the same number")
                return
            self._numbers.add(number)
        cells = CellReader(row)
        cells.raw("id")
        created = cells.time("created_at")
        updated = cells.time("updated_at")
        if created is None:
            created = (self._times(number)[0] if number is not None else None) or updated
            if created is None:
                yield from self._without_time(path, number, is_own=True)
                return
            cells.warn("created_at: is missing; the earliest other time is taken")
        if updated is None:
            cells.warn("updated_at: is missing; that of the last message is taken")
            updated = max(created, self._times(number)[1] or created)
        values = {
            "id": derived_key("conversations", number, created),
            "title": cells.text("title"),
            "created_at": created,
            "updated_at": updated,
            "metadata": {"legacy_id": as_json(number), **cells.rest(), **_aside(cells)},
        }
        talk = _Talk(values, path, row, cells.warnings, {})
        yield from self._talk(talk, self._own(number, created, lost))

    def _own(self, number: Any, created: dt.datetime, lost: list[Any]) -> Iterator[Cells]:
        """Give the messages that are not older than their conversation, and note if others are."""
        adopted = False
        # Those without a number are not of a conversation without one: they are recovered.
        for row in self._rows_of(number) if number is not None else ():
            if _is_older(row, created):
                adopted = True
            else:
                yield row
        if adopted:
            lost.append((number, created))

    def _without_time(self, path: str, number: Any, *, is_own: bool) -> Iterator[Finding]:
        if is_own:
            yield self._invalid(path, "created_at: is missing, and there is no other time")
        for row in self._rows_of(number) if number is not None or not is_own else ():
            shown = self._path_of("messages", row["id"])
            yield self._invalid(shown, "its conversation could not be taken over")

    def _recovered(
        self, number: Any, before: dt.datetime | None
    ) -> Iterator[SourceRecord | Finding]:
        """Give the conversation of messages that lost theirs.

        :param before: the time of the conversation that adopted them; None where there is none.
        """
        first, last = self._times(number, before)
        path = self._path_of("conversations", number)
        if first is None or last is None:
            yield from self._without_time(path, number, is_own=False)
            return
        how = "orphaned" if before is None else "adopted"
        values = {
            # Not of the number alone: a living conversation has, or will have, the same one.
            "id": derived_key("conversations", {"recovered": as_json(number)}, first),
            "title": None,
            "created_at": first,
            "updated_at": last,
            "metadata": {"legacy_id": as_json(number), "recovered": how},
        }
        reason = (
            f"its conversation {shown_value(number)} is gone; its messages are kept here"
            if before is None
            else f"messages older than conversation {shown_value(number)}, which adopted them from "
            "one that is gone; kept here"
        )
        talk = _Talk(values, f"{path} ({how})", how, [reason], {"recovered": how})
        rows = (m for m in self._rows_of(number) if before is None or _is_older(m, before))
        yield from self._talk(talk, rows)

    def _rows_of(self, number: Any) -> Iterator[Cells]:
        return self._source.belonging(self._messages, "conversation_id", number)

    def _times(
        self, number: Any, before: dt.datetime | None = None
    ) -> tuple[dt.datetime | None, dt.datetime | None]:
        """Give the times of the first and the last message."""
        first = last = None
        for row in self._rows_of(number):
            moment = _time_of(row)
            if moment is not None and (before is None or moment < before):
                first = moment if first is None else min(first, moment)
                last = moment if last is None else max(last, moment)
        return first, last

    def _talk(self, talk: _Talk, rows: Iterable[Cells]) -> Iterator[SourceRecord | Finding]:
        """Give a conversation with its first messages, then records of the others."""
        model: Any = Conversation
        rest = iter(rows)
        while True:
            page = list(itertools.islice(rest, _MESSAGES_PER_RECORD))
            if not page and model is not Conversation:
                return
            children: list[Row] = []
            findings: list[Finding] = []
            for row in page:
                child = self._message(row, talk)
                if isinstance(child, Finding):
                    findings.append(child)
                else:
                    children.append((Message, child))
            text = json.dumps([talk.source, page], default=as_json, sort_keys=True)
            if model is Conversation:
                yield self._record(model, talk.values, children, talk, text)
            elif children:
                yield self._record(Message, children[0][1], children[1:], talk, text)
            yield from findings
            model = Message
            if len(page) < _MESSAGES_PER_RECORD:
                return

    def _record(
        self, model: Any, values: dict[str, Any], children: list[Row], talk: _Talk, text: str
    ) -> SourceRecord:
        path = talk.path
        if model is Message:
            path = f"{path}/messages/{(values['metadata'] or {}).get('legacy_id')}"
        warnings, talk.warnings = talk.warnings, []
        return SourceRecord(
            model=model,
            key=values["id"],
            values=values,
            children=children,
            path=path,
            place=self._place,
            content_hash=hashlib.sha256((_READER_VERSION + text).encode()).hexdigest(),
            files=0,
            warnings=warnings,
            weight_bytes=2 * len(text),
        )

    def _message(self, row: Cells, talk: _Talk) -> dict[str, Any] | Finding:
        number = row["id"]
        cells = CellReader(row, f"messages/{shown_value(number)} ")
        cells.raw("id")
        cells.raw("conversation_id")
        try:
            role = role_of(cells, "role")
        except Unreadable as exc:
            return self._invalid(self._path_of("messages", number), str(exc))
        content = cells.text("content")
        if content is None:
            cells.warn("content: is missing; left empty")
        said = cells.time("created_at")
        if said is None:
            cells.warn("created_at: is missing; that of the conversation is taken")
        key = derived_key("messages", number, said or "")
        if str(number) in self._repeated_messages:
            if key in self._keys:
                reason = "another message has the same number and time"
                return self._invalid(self._path_of("messages", number), reason)
            self._keys.add(key)
        talk.warnings += cells.warnings
        metadata = {"legacy_id": as_json(number), **talk.marks, **cells.rest(), **_aside(cells)}
        conversation = talk.values["id"]
        moment = said or talk.values["created_at"]
        return message_row(key, conversation, role, content or "", moment, metadata, talk.order)

    def _other_tables(self) -> Iterator[Finding]:
        for name, table in self._source.tables.items():
            rows = self._source.count(table)
            if table in (self._conversations, self._messages) or not rows:
                continue
            path = f"{self._path}#{printable_key(name)}"
            known = _OTHER_TABLES.get(name)
            reason = f"{rows} rows: {known}" if known else f"{rows} rows of a table not known"
            yield Finding(path, "skipped" if known else "invalid", reason, files=0)

    def _path_of(self, table: str, raw: Any) -> str:
        return f"{self._path}#{table}/{shown_value(raw)}"

    def _invalid(self, path: str, reason: str) -> Finding:
        return Finding(path, "invalid", reason, is_record=True, files=0)


def _time_of(row: Cells) -> dt.datetime | None:
    return CellReader({"created_at": row.get("created_at")}).time("created_at")


def _is_older(row: Cells, created: dt.datetime) -> bool:
    moment = _time_of(row)
    return moment is not None and moment < created


def _aside(cells: CellReader) -> dict[str, Any]:
    return {"legacy": cells.aside} if cells.aside else {}
