"""Haia's transcripts as conversations: one to a file, or several in a list, as its fixtures are.

A message says who spoke as ``role``, or as ``speaker`` in the second shape. Its time is no clock's:
the old program spread the messages evenly over the conversation; so each of them says.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterator
from typing import Any

from dynostore.canonical_json import json_text
from dynostore.ids import derived_id
from dynostore.legacy.base import Finding, Row, SourceRecord, Unreadable
from dynostore.legacy.cells import CellReader, shown_value
from dynostore.legacy.checksums import FileFacts, read_file
from dynostore.legacy.haia_messages import (
    LONGEST_ID,
    MessageOrder,
    derived_key,
    message_row,
    role_of,
)
from dynostore.legacy.source_heads import FileHead
from dynostore.legacy.source_json import MAX_BYTES, parse
from dynostore.legacy.timestamps import from_file_time, parse_utc
from dynostore.models import Conversation, Message

_READER_VERSION = "haia 2\n"  # a reader that reads more must see the same files as changed
_NAME = re.compile(r".{0,8}_\d{8}_\d{6}\.json")
_MARKS = [
    re.compile(rb'"conversation_id"\s*:'),
    re.compile(rb'"messages"\s*:\s*\['),
    re.compile(rb'"(start_time|end_time|trigger_reason)"\s*:'),
]
_ESTIMATED = "timestamp_estimated"
_ONLY_ESTIMATED = {_ESTIMATED: True}
_DERIVED_KEYS = frozenset({Message})
_PLAIN_ROLES = ("user", "assistant", "system")


def may_be_transcript(head: FileHead) -> bool:
    """Tell by its name and first bytes whether a file can hold transcripts."""
    # One word first: nearly no file of another tool has it.
    may_be = head.path.endswith(".json") and b'"conversation_id"' in head.data
    return may_be and all(mark.search(head.data) for mark in _MARKS)


def is_named_like_one(path: str) -> bool:
    """Tell by its name alone whether a file was meant to be a transcript."""
    *_, directory, name = ["", *path.replace("\\", "/").split("/")]
    return directory == "transcripts" and bool(_NAME.fullmatch(name))


class TranscriptReader:
    """Reads the transcripts of one source.

    An id that several of them have is the key of the first alone; the others have keys made of the
    id and the time at which they begin.
    """

    def __init__(self) -> None:
        self._taken: dict[str, str] = {}

    def read(self, place: str, path: str) -> Iterator[SourceRecord | Finding]:
        """Give the conversations of one file; exactly one of them counts the file.

        :param place: absolute.
        :param path: for people.
        """
        try:
            facts = read_file(place, keep_bytes=MAX_BYTES)
            document, warnings = _parse(facts)
        except OSError as exc:
            yield _lost(path, f"cannot be read: {exc.strerror or exc}")
            return
        except Unreadable as exc:
            yield _lost(path, str(exc))
            return
        is_list = isinstance(document, list)
        files = 1
        for number, item in enumerate(document if is_list else [document]):
            shown = path
            if is_list:
                said = item.get("conversation_id") if isinstance(item, dict) else None
                shown = f"{path}#{number if said is None else shown_value(said)}"
            try:
                record, findings = self._conversation(item, facts, shown)
            except Unreadable as exc:
                yield Finding(shown, "invalid", str(exc), is_record=True, files=files)
            else:
                record.files = files
                record.warnings[:0] = warnings
                yield record
                yield from findings
            files, warnings = 0, []
        if files:
            yield Finding(path, "skipped", "a list without a transcript")

    def _conversation(
        self, document: Any, facts: FileFacts, path: str
    ) -> tuple[SourceRecord, list[Finding]]:
        if not isinstance(document, dict):
            raise Unreadable(f"an object is expected, not {type(document).__name__}")
        messages = document.get("messages")
        if not isinstance(messages, list):
            raise Unreadable("messages: a list is expected")
        rest = {key: value for key, value in document.items() if key != "messages"}
        cells = CellReader(rest)
        raw = cells.raw("conversation_id")
        started, ended = cells.time("start_time"), cells.time("end_time")
        times = [_time_of(message) for message in messages]
        known = [moment for moment in times if moment is not None]
        created = started or min(known, default=None) or ended or from_file_time(facts.modified_s)
        if created is None:
            raise Unreadable("start_time: is missing, and there is no other time")
        if started is None:
            cells.warn("start_time: is missing; the earliest other time is taken")
        count = cells.raw("message_count")
        if count is not None and count != len(messages):
            cells.keep("message_count", count, f"{count!r}, and there are {len(messages)} messages")
        key = self._key_of(raw, created, path, cells)
        children, findings = _messages(messages, times, key, created, path, cells.warnings)
        metadata = {**cells.rest(), **_ONLY_ESTIMATED}
        if cells.aside:
            metadata["legacy"] = cells.aside
        text = json_text(document)
        record = SourceRecord(
            model=Conversation,
            key=key,
            values={
                "id": key,
                "title": None,
                "created_at": created,
                "updated_at": ended or max(known, default=created),
                "metadata": metadata,
            },
            children=children,
            path=path,
            place=facts.path,
            content_hash=hashlib.sha256((_READER_VERSION + key + text).encode()).hexdigest(),
            warnings=cells.warnings,
            weight_bytes=2 * len(text),
            derived_keys=_DERIVED_KEYS,
        )
        return record, findings

    def _key_of(self, raw: Any, created: dt.datetime, path: str, cells: CellReader) -> str:
        if not isinstance(raw, str) or not raw:
            if raw in (None, ""):
                cells.warn("conversation_id: is missing; one is made of the time")
            else:
                cells.keep("conversation_id", raw)
            return derived_key("conversations", raw, created)
        if len(raw) > LONGEST_ID:
            cells.keep("conversation_id", raw, f"{len(raw)} characters; a key is made of it")
            return derived_key("conversations", raw, created)
        first = self._taken.setdefault(raw, path)
        if first is not path:
            cells.keep("conversation_id", raw, f"is also that of {first}; a key is made of it")
            return derived_key("conversations", raw, created)
        return raw


def _parse(facts: FileFacts) -> tuple[Any, list[str]]:
    """Give a document; the old program wrote in its machine's encoding, on Windows not UTF-8."""
    if facts.data is None:
        raise Unreadable(f"JSON of more than {MAX_BYTES // 2**20} MiB")
    try:
        document, warning = parse(facts.data)
    except Unreadable as exc:
        try:
            facts.data.decode()
        except UnicodeDecodeError:
            pass
        else:
            raise
        try:
            document, _ = parse(facts.data.decode("cp1252").encode())
        except (UnicodeDecodeError, Unreadable):
            raise exc from None
        warning = "not UTF-8; read as Windows-1252"
    return document, [warning] if warning else []


def _time_of(message: Any) -> dt.datetime | None:
    try:
        return parse_utc(message["timestamp"])[0]
    except (KeyError, TypeError, ValueError):  # what is wrong with it is said with the message
        return None


def _messages(
    messages: list[Any],
    times: list[dt.datetime | None],
    key: str,
    created: dt.datetime,
    path: str,
    warnings: list[str],
) -> tuple[list[Row], list[Finding]]:
    """Give the rows of the messages, and a finding for each that is none.

    :param times: what each says of its time, as far as it could be read.
    :param key: the conversation's.
    :param warnings: those of the rows are added.
    """
    rows: list[Row] = []
    findings: list[Finding] = []
    order = MessageOrder()
    last = created
    for number, (message, time) in enumerate(zip(messages, times, strict=True)):
        last = time or last
        message_key = derived_id("messages", key, str(number))
        if time is not None and _is_plain(message):  # nearly always; half the time
            said, content = message["role"], message["content"]
            row = message_row(message_key, key, said, content, last, _ONLY_ESTIMATED, order)
            rows.append((Message, row))
            continue
        cells = CellReader(message if isinstance(message, dict) else {}, f"messages[{number}].")
        try:
            role = role_of(cells, "role", "speaker")
        except Unreadable as exc:
            shown = path if "#" in path else f"{path}#messages"
            findings.append(
                Finding(f"{shown}/{number}", "invalid", str(exc), is_record=True, files=0)
            )
            continue
        content = cells.text("content")
        if content is None:
            cells.warn("content: is missing; left empty")
        if time is not None:
            cells.raw("timestamp")
        else:
            cells.time("timestamp")
            cells.warn("timestamp: is missing; that of the message before is taken")
        metadata = {**_ONLY_ESTIMATED, **cells.rest()}
        if cells.aside:
            metadata["legacy"] = cells.aside
        row = message_row(message_key, key, role, content or "", last, metadata, order)
        rows.append((Message, row))
        warnings += cells.warnings
    return rows, findings


def _is_plain(message: dict[str, Any]) -> bool:
    """Tell whether a message is as the old program wrote it: nothing to mend, nothing to keep.

    :param message: one that has a time.
    """
    return (
        len(message) == len(("role", "content", "timestamp"))
        and message.get("role") in _PLAIN_ROLES
        and isinstance(message.get("content"), str)
    )


def _lost(path: str, reason: str) -> Finding:
    return Finding(path, "invalid", reason, is_record=True)
