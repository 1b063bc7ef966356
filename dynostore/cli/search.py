"""``dynostore search``: records by the words in them, of all families at once."""

from __future__ import annotations

import dataclasses

import click

from dynostore.cli._options import comma_separated, examples, in_utc
from dynostore.cli._output import print_item, print_items, progress
from dynostore.cli._session import Command, Session
from dynostore.cli._tables import Column
from dynostore.search import KINDS, MOST_HITS

_COLUMNS = (
    Column("kind"),
    Column("id", whole=True),
    Column("when", "created"),
    Column("snippet", "text"),
    Column("title"),
    Column("parent", "part of"),
)
_NAMES = tuple(kind.name for kind in KINDS)


def _kinds(ctx: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = comma_separated(ctx, option, value)
    for name in names:
        if name not in _NAMES:
            raise click.BadParameter(f"{name!r} is none of {', '.join(_NAMES)}")
    return names


@click.command(
    cls=Command,
    epilog=examples(
        "dynostore search knock correction",
        "dynostore search 'knock correction' --in messages,runs --limit 5",
        "dynostore search '\"knock correction\" calib*'   # a phrase, and the beginning of a word",
        "dynostore --json search timeout | jq -r '.items[].id'",
        "dynostore search --rebuild                     # make the index anew",
    ),
)
@click.argument("words", metavar="WORD...", nargs=-1)
@click.option(
    "--in",
    "kinds",
    metavar="KINDS",
    callback=_kinds,
    help=f"Only these: {','.join(_NAMES)}; all by default.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, MOST_HITS),
    default=20,
    show_default=True,
    help="Most records to list.",
)
@click.option("--rebuild", is_flag=True, help="Make the index anew, before a search if any.")
@click.option("--drop", is_flag=True, help="Take the index away; the next search makes it again.")
@in_utc
@click.pass_obj
def search(
    session: Session,
    words: tuple[str, ...],
    kinds: tuple[str, ...],
    limit: int,
    rebuild: bool,
    drop: bool,
    utc: bool,
) -> None:
    """Find records by the words in them.

    Lists those that hold every WORD, the best ones first. A word is found whole, whatever its case;
    "a phrase" as it stands, and with a * at its end the beginning of a word. The first search makes
    an index, which is kept current from then on.
    """
    if drop and (rebuild or words):
        raise click.UsageError("--drop goes alone", click.get_current_context())
    if not (words or rebuild or drop):
        raise click.UsageError("no word to search for is given", click.get_current_context())
    with session.store() as store:
        if drop:
            store.drop_search()
            print_item(session, {"index": None}, text="the index is gone")
            return
        with progress(session) as show:
            if rebuild:
                store.rebuild_search(show)
            if words:
                query = " ".join(words)
                hits = store.search(query, kinds=kinds or None, limit=limit, progress=show)
    if not words:
        print_item(session, {"index": "whole"}, text="the index is made")
        return
    print_items(session, map(dataclasses.asdict, hits), _COLUMNS, utc=utc, notes=hits.notes)
    notes = hits.notes or ([] if len(hits) else ["nothing was found"])
    for note in notes:
        session.note(note)
