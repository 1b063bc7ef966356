"""``dynostore query``: a person's own SQL."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from dynostore.cli._options import examples
from dynostore.cli._output import print_items
from dynostore.cli._session import Command, Session
from dynostore.cli._tables import Column
from dynostore.query import ask


def _statement(ctx: click.Context, _: click.Parameter, words: tuple[str, ...]) -> str:
    """Read the SQL from where it is: the argument itself, a file, or stdin."""
    text = words[0] if words else ""
    if len(words) > 1:
        raise click.UsageError("SQL is one argument: put it into quotes", ctx)
    if ctx.resilient_parsing:  # the shell completes what stands behind it
        return text
    try:
        if text == "-":
            return sys.stdin.read()
        return Path(text[1:]).read_text("utf-8") if text[:1] == "@" else text
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "no UTF-8 text"
        raise click.BadParameter(f"{text[1:] or 'stdin'}: {reason}") from None


@click.command(
    cls=Command,
    epilog=examples(
        'dynostore query "SELECT status, count(*) FROM runs GROUP BY status"',
        'dynostore query "SELECT id FROM runs WHERE source = :tool" -p tool dyno --format csv',
        "dynostore query @monthly.sql --format md",
    ),
)
@click.argument("sql", metavar="SQL", nargs=-1, required=True, callback=_statement)
@click.option(
    "-p",
    "--parameter",
    "parameters",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="A value for :NAME; may be repeated.",
)
@click.pass_obj
def query(session: Session, sql: str, parameters: tuple[tuple[str, str], ...]) -> None:
    """Ask the database in SQL; nothing is written.

    SQL is one statement that reads, in the dialect of the store's database; @FILE reads it from a
    file, - from stdin. The store is not upgraded for it. Times are text in UTC, bytes hexadecimal.
    """
    with session.database() as database, ask(database, sql, dict(parameters)) as answer:
        columns = [Column(name, name) for name in answer.columns]
        items = (dict(zip(answer.columns, row, strict=True)) for row in answer.rows)
        print_items(session, items if session.json else map(_for_people, items), columns)


def _for_people(item: Mapping[str, Any]) -> dict[str, Any]:
    """Give fractions with all the digits that mean something; other tables round them."""
    return {
        name: f"{value:.15g}" if isinstance(value, float) else value for name, value in item.items()
    }
