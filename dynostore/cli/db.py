"""``dynostore db``: the schema's version and how to move it; where the care of the file hangs."""

from __future__ import annotations

import contextlib

import click

from dynostore import errors
from dynostore.cli._options import assured, examples, in_utc, require_consent
from dynostore.cli._output import print_item, print_items
from dynostore.cli._session import Group, Session
from dynostore.cli._tables import Column
from dynostore.cli.db_care import backup, check, restore, vacuum
from dynostore.config import is_postgres
from dynostore.migration_runner import offline_sql
from dynostore.migrator import Step, directory, step_names

_COLUMNS = (Column("name", "migration", whole=True), Column("state"), Column("applied_at"))


def _step_number(text: str) -> int:
    known = sorted({int(name[:4]) for name in step_names()})
    if not text.isdigit() or int(text) not in (0, *known):
        raise click.BadParameter(f"{text!r} is no migration; they are 1 to {known[-1]}, 0 is none")
    return int(text)


@click.group(cls=Group)
def db() -> None:
    """See and change the schema's version; check, copy and tidy the file.

    A SQLite file is upgraded when it is opened; a Postgres database only by "db upgrade".
    """


for _command in (check, backup, restore, vacuum):
    db.add_command(_command)


@db.command(
    epilog=examples(
        "dynostore db status || dynostore db upgrade",
    )
)
@in_utc
@click.pass_obj
def status(session: Session, utc: bool) -> int:
    """Show which migrations are applied; never upgrades.

    Exits with 1 when some are pending, with 6 when a newer dynostore has upgraded the database.
    """
    with session.migrator() as migrator:
        steps = migrator.status()
    pending = [step for step in steps if step.applied_at is None]
    newer = [step for step in steps if not step.known]
    code = errors.SchemaTooNew.exit_code if newer else int(bool(pending))
    print_items(
        session, map(_described, steps), _COLUMNS, utc=utc, ok=not code, behind=bool(pending)
    )
    if newer:
        session.note("a newer dynostore has upgraded this database: pip install -U dynostore")
    elif pending:
        session.note("the database is behind: dynostore db upgrade")
    return code


def _described(step: Step) -> dict[str, object]:
    state = "applied" if step.applied_at else "pending"
    return {
        "name": step.name,
        "number": step.number,
        "state": state if step.known else "unknown",
        "applied_at": step.applied_at,
    }


@db.command(
    epilog=examples(
        "dynostore db upgrade",
        "dynostore db upgrade --sql                       # what it would execute",
        "dynostore db upgrade --sql --dialect postgres | psql team",
    )
)
@click.option("--to", type=_step_number, metavar="N", help="Stop at this migration.")
@click.option("--sql", is_flag=True, help="Print the script of what is pending; change nothing.")
@click.option(
    "--dialect",
    type=click.Choice(["sqlite", "postgres"]),
    help="With --sql: the script for an empty database, without connecting to any.",
)
@click.pass_obj
def upgrade(session: Session, to: int | None, sql: bool, dialect: str | None) -> None:
    """Apply the pending migrations, all or none.

    A SQLite file with data is copied first, to FILE.before-NNNN.bak beside it.
    """
    if dialect and not sql:
        raise click.UsageError("--dialect goes with --sql", click.get_current_context())
    if sql:
        _print_sql(session, dialect, to)
        return
    with session.migrator() as migrator:
        taken = migrator.upgrade(to)
    _print_taken(session, "applied", taken, "nothing is pending")


def _print_sql(session: Session, dialect: str | None, to: int | None) -> None:
    applied: set[str] = set()
    if dialect is None:
        dialect = "postgres" if is_postgres(session.place().url) else "sqlite"
        with session.migrator() as migrator:
            # It refuses a database of a newer dynostore, for which no script can be written.
            with contextlib.suppress(errors.SchemaBehind):
                migrator.ensure(migrate=False)
            applied = {step.name for step in migrator.status() if step.applied_at}
    script = offline_sql(dialect, directory(), applied=applied, to=to)
    print_item(session, {"dialect": dialect, "sql": script}, text=script.rstrip())


def _print_taken(session: Session, what: str, steps: list[str], nothing: str) -> None:
    if steps or session.json:
        print_items(session, ({"name": name} for name in steps), (Column("name", what),))
    else:
        session.note(nothing)


@db.command(
    epilog=examples(
        "dynostore db downgrade --to 1",
    )
)
@click.option(
    "--to",
    type=_step_number,
    required=True,
    metavar="N",
    help="The last migration to keep.",
)
@assured
@click.pass_obj
def downgrade(session: Session, to: int, yes: bool) -> None:
    """Revert the migrations after N, all or none; 0 reverts all.

    What only the newer tables and columns can hold is lost. A SQLite file with data is copied
    first, to FILE.before-NNNN.bak beside it.
    """
    with session.migrator() as migrator:
        steps = [s.name for s in migrator.status() if s.applied_at and s.number > to]
        if steps:
            what = (
                f"{session.place().shown}: would revert {', '.join(reversed(steps))}, and drop the "
                "tables and columns that only they made, with all that is in them"
            )
            require_consent(session, what, yes)
        taken = migrator.downgrade(to)
    _print_taken(session, "reverted", taken, "nothing is applied after that migration")
