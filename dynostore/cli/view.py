"""``dynostore view``: the store's file in a browser."""

from __future__ import annotations

import sys
import threading
import webbrowser

import click

from dynostore.cli._options import examples
from dynostore.cli._output import print_item
from dynostore.cli._session import Command, Session
from dynostore.view.server import USUAL_PORT, require_view, serve


@click.command(
    cls=Command,
    epilog=examples(
        "dynostore view --open",
        "dynostore --db sample.db view --port 8080",
    ),
)
@click.option(
    "--port",
    type=click.IntRange(min=0, max=65535),
    help=f"Of 127.0.0.1; 0 takes any that is free. By default {USUAL_PORT}, where it is free.",
)
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
@click.pass_obj
def view(session: Session, port: int | None, open_page: bool) -> None:
    """Look at the store's file in a browser: tables, questions, a dashboard.

    Serves the file on 127.0.0.1, to be read alone, while tools go on writing; prints the address.
    Ctrl-C ends it, with exit code 130 as everywhere, and SIGTERM with 0.

    Every user of this machine can read what it serves.
    """

    def tell(address: str) -> None:
        print_item(session, {"url": address}, text=address)
        sys.stdout.flush()
        session.note("Ctrl-C ends it")
        if open_page:
            # A browser in the terminal does not return before it is left.
            threading.Thread(target=_open, args=(session, address), daemon=True).start()

    require_view(session.place())
    with session.store() as store:
        serve(store, port, tell=tell, verbose=session.verbose)


def _open(session: Session, address: str) -> None:
    if not webbrowser.open(address):
        session.warn(f"no browser could be started: open {address}")
