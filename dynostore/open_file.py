"""Whether the file that a connection has open still has its name.

In WAL mode SQLite goes on with a file that was removed, and what it writes is lost with it. Windows
lets nobody remove a file that is open.
"""

from __future__ import annotations

import os
import shlex
import time

from dynostore import errors
from dynostore.forked import require_inherited

_LOOK_EVERY_S = 0.1
"""To look takes a twentieth of the time in which a run is created; those who write in quick
succession look now and then."""


def require_file(path: str, shown: str) -> int | None:
    """Give what tells a file from a later one of its name; None where the system does not say.

    :param shown: the path as the user gave it, for the message.
    :raises StoreNotFound: there is none any more.
    :raises WrongProcess: it was closed just while this process was forked.
    """
    if os.name == "nt":
        return None
    require_inherited(path, shown)
    try:
        return os.stat(path).st_ino
    except (FileNotFoundError, NotADirectoryError):
        raise _gone(shown, "was removed or renamed") from None
    except OSError:  # a directory on the way was closed to us, and the open file can still be used
        return None


class OpenFile:
    """One connection's file, as it was when that was opened.

    :raises StoreNotFound: there is none any more.
    """

    def __init__(self, path: str, shown: str) -> None:
        self._path = path
        self._shown = shown
        self._number = require_file(path, shown)
        self._look_at = time.monotonic() + _LOOK_EVERY_S

    def require_its_name(self) -> None:
        """Look, ten times a second at most, whether the file is where it was.

        :raises StoreNotFound: it was removed, renamed or replaced.
        """
        now = time.monotonic()
        if now < self._look_at:
            return
        found = require_file(self._path, self._shown)
        if found != self._number and found is not None and self._number is not None:
            raise _gone(self._shown, "was replaced by another one")
        self._look_at = now + _LOOK_EVERY_S


def _gone(shown: str, what: str) -> errors.StoreNotFound:
    return errors.StoreNotFound(
        f"{shown}: the file {what} while the store was open; nothing was written",
        hint="put the file back, or a backup in its place (dynostore --db "
        f"{shlex.quote(shown)} db restore BACKUP), and open the store again",
    )
