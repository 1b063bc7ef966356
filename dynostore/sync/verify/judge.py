"""Says of one key whether the two sides agree, from what each of them holds.

What waits to be sent, was set aside, or was not pulled yet is no difference: nobody has promised
yet that the sides agree there.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence

from dynostore.sync.tables import Column
from dynostore.sync.verify.lines import Line, Version, differing, misfit_in


class Kind(enum.StrEnum):
    """How the two sides differ on a key."""

    MISSING_HERE = "missing here"
    MISSING_THERE = "missing there"
    REVISION = "other revision"
    CONTENTS = "other contents"
    MISFIT = "fits no file"
    TOMBSTONE = "tombstone missing there"


@dataclasses.dataclass(frozen=True)
class Difference:
    """One key on which file and server differ.

    :ivar kind: ``missing here``, ``missing there``, ``other revision`` (the file remembers another
        version than the server holds, in contents that differ or not), ``other contents`` (of the
        same version), ``fits no file`` (the server's row holds a value that no file can), or
        ``tombstone missing there`` (a deletion of which other nodes will not learn).
    :ivar columns: those whose values differ, or the one that does not fit.
    """

    table: str
    key: str
    kind: Kind
    columns: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Sighting:
    """What the two sides hold under one key that does not wait for a push.

    :ivar here: the file's row; ``there`` the server's.
    :ivar base: what the file remembers of the server; None: nothing.
    :ivar stone: the server's tombstone.
    """

    here: Line | None
    base: Version | None
    there: Line | None
    stone: Version | None


@dataclasses.dataclass(frozen=True)
class Horizons:
    """Up to which numbers the two sides are expected to agree.

    :ivar pulled: the table's cursor.
    :ivar purged: tombstones up to this number are gone from the server.
    """

    pulled: int
    purged: int

    def is_news(self, version: Version) -> bool:
        """Tell whether the next pull brings a version."""
        return version[1] is not None and version[1] > self.pulled

    def may_be_purged(self, base: Version | None) -> bool:
        """Tell whether a row's deletion may have been purged, so that a pull compares in full."""
        return base is not None and self.pulled < self.purged and (base[1] or 0) <= self.purged


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found out about one key.

    :ivar kind: None: no difference.
    :ivar behind: the next pull settles it.
    """

    kind: Kind | None = None
    columns: tuple[str, ...] = ()
    behind: bool = False


_AGREED = Finding()
_BEHIND = Finding(behind=True)


def judge(
    seen: Sighting,
    horizons: Horizons,
    columns: Sequence[Column],
    *,
    deep: bool,
    same_json: Callable[[str, str], bool],
) -> Finding:
    """Compare what the two sides hold under one key.

    :param columns: those that the rows' lines hold.
    :param deep: of the same version, compare the contents.
    """
    if seen.there is not None:
        return _of_row(seen, seen.there, horizons, columns, deep=deep, same_json=same_json)
    if seen.stone is not None:
        return _of_tombstone(seen, seen.stone, horizons)
    if seen.here is not None:
        lost = not horizons.may_be_purged(seen.base)
        return Finding(Kind.MISSING_THERE) if lost else _BEHIND
    if seen.base is not None and (seen.base[1] or 0) > horizons.purged:
        return Finding(Kind.TOMBSTONE)
    return _AGREED


def _of_row(
    seen: Sighting,
    there: Line,
    horizons: Horizons,
    columns: Sequence[Column],
    *,
    deep: bool,
    same_json: Callable[[str, str], bool],
) -> Finding:
    known = seen.base is not None and seen.base[0] == there.version[0]
    if not known and horizons.is_news(there.version):
        return _BEHIND
    if known and seen.here is not None and not deep:
        return _AGREED
    misfit = misfit_in(columns, there)
    if misfit is not None:
        return Finding(Kind.MISFIT, (misfit,))
    if seen.here is None:
        return Finding(Kind.MISSING_HERE)
    names = differing(columns, seen.here, there, same_json)
    if not known:
        return Finding(Kind.REVISION, names)
    return Finding(Kind.CONTENTS, names) if names else _AGREED


def _of_tombstone(seen: Sighting, stone: Version, horizons: Horizons) -> Finding:
    known = seen.base is not None and seen.base[0] == stone[0]
    if not known and horizons.is_news(stone):
        return _BEHIND
    if seen.here is not None:
        return Finding(Kind.MISSING_THERE)
    return _AGREED if known or seen.base is None else Finding(Kind.REVISION)
