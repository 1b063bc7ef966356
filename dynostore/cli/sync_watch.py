"""What ``dynostore sync --watch`` does: one line per sync, until a signal ends it."""

from __future__ import annotations

import json
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from dynostore.cli._session import Session

if TYPE_CHECKING:
    from dynostore.config import Place
    from dynostore.sync.watch import Round

_INTERRUPTED = 130


def keep_syncing(
    session: Session, remote: Place, interval_s: float, options: dict[str, Any]
) -> int:
    """Sync until SIGINT or SIGTERM; a second one does not wait for the batch that is on its way.

    :param interval_s: the longest time between two syncs.
    :return: 0 after SIGTERM, which is how services are ended; 130 after SIGINT.
    """
    from dynostore.sync.watch import watch  # imported late, as is everything heavy

    stop = threading.Event()
    received: list[int] = []

    def end(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        received.append(number)
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with session.store() as store:
            watch(
                store,
                remote,
                stop=stop,
                tell=lambda done: _tell(session, done),
                interval_s=interval_s,
                **options,
            )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return _INTERRUPTED if signal.SIGINT in received else 0


def _tell(session: Session, done: Round) -> None:
    if session.json:
        line = json.dumps(done.to_json())
    else:
        line = f"{done.at.astimezone():%Y-%m-%d %H:%M:%S}  {_words(done)}"
    print(line, flush=True, file=sys.stderr if done.report is None else sys.stdout)


def _words(done: Round) -> str:
    if done.report is None:
        return f"{done.error}; again in {done.again_in_s:g} s"
    if done.report.up_to_date:
        return "up to date"
    kinds = ("sent", "received", "adopted", "conflicts", "rejected")
    sums = {kind: sum(getattr(t, kind) for t in done.report.tables) for kind in kinds}
    counted = ", ".join(f"{kind} {count:,}" for kind, count in sums.items() if count)
    names = ", ".join(table.name for table in done.report.tables)
    end = "; stopped, the next sync does the rest" if done.stopped else ""
    return f"{counted or 'compared'} in {done.report.seconds:.2f} s ({names}){end}"
