"""What goes to stdout and stderr, for programs or for people.

The shapes are part of the interface: see ``docs/cli.md``. To add a form: name it in ``FORMATS`` of
``_session``, and write it in ``_rows`` where programs read it, in ``_tables`` where people do.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dynostore.cli._rows import json_text, print_csv

if TYPE_CHECKING:
    from dynostore.cli._session import Session
    from dynostore.cli._tables import Column
    from dynostore.models import Record
    from dynostore.repositories import Page


class Progress(Protocol):
    """Draws what is being done, how many of it are done, and of how many where that is known."""

    def __call__(self, what: str, done: int, total: int | None = None) -> None: ...


def print_items(
    session: Session,
    items: Iterable[Mapping[str, Any]],
    columns: Sequence[Column],
    *,
    utc: bool = False,
    cursor: str | None = None,
    ok: bool = True,
    **more: Any,
) -> None:
    """Print records: all their values for a program, or the named columns as a table.

    Items are printed as they come, so that a list of any length takes flat memory.

    :param cursor: where the next page begins, if there is one.
    :param ok: whether the command will exit with 0.
    :param more: further keys of the JSON object, which other forms leave out; an iterator is a list
        that is printed as it comes.
    """
    if session.format == "json":
        _print_object(items, cursor, ok, more)
        return
    if session.format == "jsonl":
        for item in items:
            sys.stdout.write(json_text(item) + "\n")
    elif session.format == "csv":
        print_csv(items, [column.key for column in columns])
    else:
        from dynostore.cli._tables import print_table

        print_table(items, columns, utc=utc)
    if cursor is None or session.quiet:
        return
    if session.json_errors:
        print(json_text({"next": cursor}), file=sys.stderr)
    else:
        session.note(f"there are more: add --after {cursor}, or --limit 0 for all")


def _print_object(
    items: Iterable[Mapping[str, Any]], cursor: str | None, ok: bool, more: Mapping[str, Any]
) -> None:
    sys.stdout.write(f'{{"ok": {json_text(ok)}, "items": [')
    for index, item in enumerate(items):
        sys.stdout.write((", " if index else "") + json_text(item))
    sys.stdout.write(f'], "next": {json_text(cursor)}')
    for key, value in more.items():
        sys.stdout.write(f', "{key}": ')
        if not isinstance(value, Iterator):
            sys.stdout.write(json_text(value))
            continue
        sys.stdout.write("[")
        for index, item in enumerate(value):
            sys.stdout.write((", " if index else "") + json_text(item))
        sys.stdout.write("]")
    sys.stdout.write("}\n")


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
    session: Session,
    item: Mapping[str, Any] | None,
    *,
    text: str | None = None,
    fields: Mapping[str, Any] | None = None,
    utc: bool = False,
    ok: bool = True,
) -> None:
    """Print one record: all of it for a program; for people a text, or a line for each value.

    :param item: None is a record that does not exist yet: ``null``.
    :param fields: what people see, where that is not all of the item.
    :param ok: whether the command will exit with 0.
    """
    if session.format == "json":
        print(json_text({"ok": ok, "item": item}))
    elif session.format == "jsonl":
        print(json_text(item))
    elif session.format == "csv":
        print_csv([] if item is None else [item])
    elif text is not None:
        print(text)
    else:
        from dynostore.cli._tables import print_fields

        print_fields(item or {} if fields is None else fields, utc=utc)


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
        print(json_text({"ok": False, "error": error}), file=sys.stderr)
        return
    if traceback:
        print(mask(traceback), end="", file=sys.stderr)
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)


def write_report(path: Path, content: Mapping[str, Any]) -> None:
    """Write a report as JSON, each member and each item of a list on a line of its own.

    The file is there whole or not at all, and replaces one of that name.

    :param content: its lists may be iterators, which are written as they come.
    :raises StoreUnwritable: the file cannot be written.
    """
    from dynostore.exporting.places import whole_file

    with whole_file(path, replace=True) as file:
        file.writelines(line.encode() for line in _report_lines(content))


def refuse_occupied(session: Session, path: Path) -> None:
    """Refuse a file to write that is the store's own, or a database that somebody has open.

    :raises StoreUnwritable: it is one.
    """
    from dynostore.compat import is_compat
    from dynostore.config import is_postgres, sqlite_path
    from dynostore.in_use import refuse_database_in_use, refuse_itself

    url = session.place().url
    own = None if is_postgres(url) or is_compat(url) else sqlite_path(url)
    if own is not None:
        refuse_itself(path, Path(own))
    refuse_database_in_use(path)


def _report_lines(content: Mapping[str, Any]) -> Iterator[str]:
    separator = "{\n  "
    for key, value in content.items():
        yield f'{separator}"{key}": '
        separator = ",\n  "
        if not isinstance(value, list | Iterator):
            yield json_text(value)
            continue
        between = "[\n    "
        for item in value:
            yield between + json_text(item)
            between = ",\n    "
        yield "[]" if between.startswith("[") else "\n  ]"
    yield "\n}\n"


@contextlib.contextmanager
def progress(session: Session) -> Iterator[Progress | None]:
    """Give a function that draws progress on stderr; None where nobody would see it."""
    if session.json or session.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}"),
        bars.TextColumn("{task.fields[count]}"),
        bars.TimeElapsedColumn(),
        bars.TextColumn("{task.fields[left]}"),
    )
    tasks: dict[str, bars.TaskID] = {}
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as drawn:

        def show(what: str, done: int, total: int | None = None) -> None:
            if what not in tasks:
                tasks[what] = drawn.add_task(what, total=total, count="", left="")
            elapsed_s = drawn.tasks[tasks[what]].elapsed or 0.0
            count, left = _count_and_rest(done, total, elapsed_s)
            drawn.update(tasks[what], completed=done, total=total, count=count, left=left)

        yield show


def _count_and_rest(done: int, total: int | None, elapsed_s: float) -> tuple[str, str]:
    """Give ``1,500 of 6,000, 300/s`` and ``15 s left``, as far as that is known."""
    count = f"{done:,}" if total is None else f"{done:,} of {total:,}"
    if not done or elapsed_s < 1:
        return count, ""
    rate = done / elapsed_s
    left = "" if total is None or total < done else f"{round((total - done) / rate):,} s left"
    return f"{count}, {rate:,.0f}/s", left
