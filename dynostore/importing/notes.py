"""Keeping in ``imports`` what could not be taken over, and why, as of the last look at it."""

from __future__ import annotations

from collections.abc import Iterable

from dynostore.fields import utc_now
from dynostore.ids import derived_id
from dynostore.importing.ledger import Ledger
from dynostore.importing.report import Entry
from dynostore.importing.source import Source
from dynostore.legacy.source_tree import shown
from dynostore.models import Import
from dynostore.store import Store

_FORGOTTEN_AT_ONCE = 1000


class InvalidNotes:
    """The rows of ``imports`` for what is invalid; written only where something changed."""

    def __init__(self, store: Store, source: Source, ledger: Ledger) -> None:
        self._store = store
        self._source = source
        self._ledger = ledger

    def take(self, entries: Iterable[Entry]) -> None:
        """Note those of the entries that are invalid."""
        wanted: dict[str, Import] = {}
        for entry in entries:
            if entry.outcome != "invalid":
                continue
            place = self._source.place_of(entry.path)
            key = shown(entry.key) if entry.key is not None else ""
            identity = derived_id("imports", entry.kind, f"\x1f{place}\x1f{entry.table}\x1f{key}")
            if self._ledger.note(identity):
                wanted[identity] = Import(
                    id=identity,
                    kind=entry.kind,
                    source_path=place,
                    status="invalid",
                    reason=entry.reason or "",
                    imported_at=utc_now(),
                )
        if not wanted:
            return
        noted = self._store.imports.reasons([*wanted])
        changed = [row for key, row in wanted.items() if noted.get(key) != row.reason]
        if changed:
            self._store.imports.put_many(changed)

    def forget_outdated(self, kind: str) -> None:
        """Forget what was noted of this source before, and is gone or good by now."""
        outdated: list[str] = []
        for row in self._store.imports.stream(kind=kind, status="invalid"):
            if self._source.holds(row.source_path) and not self._ledger.is_noted(row.id):
                outdated.append(row.id)
            if len(outdated) == _FORGOTTEN_AT_ONCE:
                self._store.imports.forget(outdated)
                outdated = []
        if outdated:
            self._store.imports.forget(outdated)
