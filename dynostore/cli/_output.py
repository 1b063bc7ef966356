"""What goes to stdout and stderr, as JSON or for people.

JSON is escaped to ASCII, so that it is valid in whatever encoding the pipe has. The shapes are part
of the interface: see ``docs/cli.md``.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynostore import errors

if TYPE_CHECKING:
    from dynostore.cli._session import Session
    from dynostore.cli._tables import Column
    from dynostore.models import Record
    from dynostore.repositories import Page

Progress = Callable[[int, int | None], None]


def print_items(
    session: Session,
    items: Iterable[Mapping[str, Any]],
    columns: Sequence[Column],
    *,
    utc: bool = False,
    cursor: str | None = None,
    **more: Any,
) -> None:
    """Print records: all their values as JSON, or the named columns as a table.

    Items are printed as they come, so that a list of any length takes flat memory.

    :param cursor: where the next page begins, if there is one.
    :param more: further keys of the JSON object.
    """
    if not session.json:
        from dynostore.cli._tables import print_table

        print_table(items, columns, utc=utc)
        if cursor is not None:
            session.note(f"there are more: add --after {cursor}, or --limit 0 for all")
        return
    sys.stdout.write('{"ok": true, "items": [')
    for index, item in enumerate(items):
        sys.stdout.write((", " if index else "") + _json(item))
    rest = "".join(f', "{key}": {_json(value)}' for key, value in more.items())
    sys.stdout.write(f'], "next": {_json(cursor)}{rest}}}\n')


def print_page(
    session: Session,
    fetch: Callable[..., Page[Any]],
    columns: Sequence[Column],
    *,
    limit: int,
    after: str | None,
    utc: bool = False,
    shown: Callable[[Any], Mapping[str, Any]] | None = None,
    **filters: Any,
) -> None:
    """Print a page of a list, or from there on all of it where ``limit`` is 0.

    :param shown: gives what is printed of a record; its columns by default.
    """
    shown = shown or _valued
    if limit:
        page = fetch(limit=limit, after=after, **filters)
        items, cursor = map(shown, page), page.next
    else:
        items, cursor = map(shown, _every(fetch, after, filters)), None
    print_items(session, items, columns, utc=utc, cursor=cursor)


def _every(fetch: Callable[..., Page[Any]], after: str | None, filters: Any) -> Iterator[Any]:
    while True:
        page = fetch(limit=1000, after=after, **filters)
        yield from page
        after = page.next
        if after is None:
            return


def _valued(record: Record) -> dict[str, Any]:
    return record.values()


def print_item(
    session: Session, item: Mapping[str, Any] | None, *, utc: bool = False, text: str | None = None
) -> None:
    """Print one record: as JSON, or a line for each value, or the given text.

    None is a record that does not exist yet: ``null``, or no line.
    """
    if session.json:
        print(_json({"ok": True, "item": item}))
    elif text is not None:
        print(text)
    else:
        from dynostore.cli._tables import print_fields

        print_fields(item or {}, utc=utc)


def print_error(
    code: str, message: str, hint: str | None, *, as_json: bool, traceback: str | None = None
) -> None:
    """Say on stderr what went wrong, with passwords masked."""
    from dynostore.config import mask

    message, hint = mask(message), mask(hint) if hint else None
    if as_json:
        error = {"code": code, "message": message, "hint": hint}
        if traceback:
            error["traceback"] = mask(traceback)
        print(_json({"ok": False, "error": error}), file=sys.stderr)
        return
    if traceback:
        print(mask(traceback), end="", file=sys.stderr)
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)


def write_report(path: Path, content: Mapping[str, Any]) -> None:
    """Write a report as indented JSON.

    :raises StoreUnwritable: the file cannot be written.
    """
    try:
        path.write_text(json.dumps(content, indent=2, default=_plain) + "\n", encoding="utf-8")
    except OSError as exc:
        raise errors.StoreUnwritable(f"{path}: the report: {exc.strerror}") from exc


@contextlib.contextmanager
def progress_bar(session: Session, label: str) -> Iterator[Progress | None]:
    """Give a function that draws progress on stderr; None where nobody would see it."""
    if session.json or session.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _json(value: Any) -> str:
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        from dynostore.fields import time_text

        return time_text(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
