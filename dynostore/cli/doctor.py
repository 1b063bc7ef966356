"""``dynostore doctor``: what is wrong with the store, and which command mends it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dynostore.cli._options import examples
from dynostore.cli._output import print_items
from dynostore.cli._session import Command, Session
from dynostore.cli._tables import Column

if TYPE_CHECKING:
    from dynostore.doctor import Finding

_COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "red"}
_COLUMNS = (Column("severity"), Column("check"), Column("message", "found"), Column("mend"))


@click.command(
    cls=Command,
    epilog=examples(
        "dynostore doctor",
        "dynostore doctor --strict || mail -s dynostore kim   # warnings too",
        "dynostore --json doctor | jq '.items[] | select(.severity != \"ok\")'",
    ),
)
@click.option("--to", metavar="URL", help="The shared server to ask, as sync finds it.")
@click.option("--offline", is_flag=True, help="Ask no shared server.")
@click.option("--strict", is_flag=True, help="Exit with 1 for a warning too.")
@click.pass_obj
def doctor(session: Session, to: str | None, offline: bool, strict: bool) -> int:
    """Say what is wrong with the store, and what mends it.

    Changes nothing, and works on a file that cannot be opened. Of a large file it looks at the
    header, the free pages and a sample, in under two seconds; all of it: dynostore db check.

    Exits with 1 when it finds an error; notes and warnings leave it at 0, unless --strict.
    """
    from dynostore.doctor import diagnose  # imported late, as is everything heavy

    place = session.place()
    remote = None if offline else session.remote_if_any(to)
    found = diagnose(place, own=session.own_models(place), remote=remote)
    code = found.exit_code(strict=strict)
    if session.format == "table":
        _tell(found.findings)
    else:
        items = map(dataclasses.asdict, found.findings)
        print_items(session, items, _COLUMNS, ok=not code, worst=found.worst)
    return code


def _tell(findings: Sequence[Finding]) -> None:
    """Print each finding in whole: a table would cut off the commands."""
    for finding in findings:
        click.echo(f"{click.style(f'{finding.severity:<8}', _COLOURS[finding.severity])}", nl=False)
        click.echo(f"{finding.check}: {finding.message}")
        if finding.mend:
            click.echo(f"{'':8}mend: {finding.mend}")
