"""The verbs of runs and their files."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, TypedDict, Unpack

from dynostore import errors
from dynostore.errors import quoted
from dynostore.fields import utc_now
from dynostore.ids import derived_id, new_id
from dynostore.models.base import Record, checked
from dynostore.models.runs import Run, RunFile
from dynostore.repositories.base import Page, Refused, Repository, filtered

# Inside the classes below ``list`` is a verb.
RunFiles = list[RunFile]
RefusedList = list[Refused]


class RunDetails(TypedDict, total=False):
    """What can be said of a run beside its status; None clears the column."""

    source: str
    jetstream_id: str | None
    current_stage: str | None
    progress_percent: int | None
    results_summary: Any
    error_info: Any
    input_filename: str | None
    config_snapshot: Any
    metadata: Any


class RunChanges(RunDetails, total=False):
    """What can be changed of a run."""

    status: str


class FileFacts(TypedDict, total=False):
    """What can be said of a run's file beside its name."""

    file_type: str | None
    size_bytes: int | None
    sha256: str | None
    storage_path: str | None
    created_at: dt.datetime
    metadata: Any


class Runs(Protocol):
    """The contract of every store of runs.

    Statuses are those of :data:`dynostore.models.runs.STATUSES`; any may follow any. Every verb
    that changes something does so in one transaction, and refuses a value that breaks a rule with
    :class:`~dynostore.errors.InvalidValue`, naming the column. Unknown ids raise
    :class:`~dynostore.errors.RunNotFound`.
    """

    def create(
        self,
        *,
        run_id: str | None = None,
        created_at: dt.datetime | None = None,
        **values: Unpack[RunChanges],
    ) -> Run:
        """Record a new run and give it back: ``pending`` and from ``manual`` where nothing is said.

        :param run_id: the caller's own id, up to 64 characters; a UUIDv7 by default.
        :param created_at: aware; now by default. ``updated_at`` starts equal to it.
        :raises AlreadyExists: the id is taken.
        """
        ...

    def get(self, run_id: str) -> Run:
        """Give the run of exactly this id."""
        ...

    def resolve(self, prefix: str) -> str:
        """Give the full id that begins with ``prefix``.

        :raises AmbiguousId: several ids begin so.
        """
        ...

    def update(self, run_id: str, **changes: Unpack[RunChanges]) -> Run:
        """Change what is passed and nothing else; None clears a column. Moves ``updated_at``."""
        ...

    def set_status(self, run_id: str, status: str, **changes: Unpack[RunDetails]) -> Run:
        """Change the status, and with it whatever else is passed."""
        ...

    def list(
        self,
        *,
        status: str | None = None,
        source: str | None = None,
        since: dt.datetime | None = None,
        until: dt.datetime | None = None,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
    ) -> Page[Run]:
        """Give a page of runs, newest ``created_at`` first, then by descending id.

        :param since: created at or after; aware.
        :param until: created before; aware.
        :param limit: most items on the page, at least 1.
        :param after: the ``next`` of the page before.
        :param offset: items to leave out; with ``after``, counted from there.
        """
        ...

    def stream(
        self,
        *,
        status: str | None = None,
        source: str | None = None,
        since: dt.datetime | None = None,
        until: dt.datetime | None = None,
    ) -> Iterator[Run]:
        """Give all runs in the order of :meth:`list`, in flat memory."""
        ...

    def count(
        self,
        *,
        status: str | None = None,
        source: str | None = None,
        since: dt.datetime | None = None,
        until: dt.datetime | None = None,
    ) -> int:
        """Count the runs that :meth:`list` would give."""
        ...

    def delete(self, run_id: str) -> None:
        """Remove the run and the records of its files; files on disk stay."""
        ...

    def add_file(self, run_id: str, filename: str, **facts: Unpack[FileFacts]) -> RunFile:
        """Record a file of the run.

        :param filename: its path below the run's directory, with ``/``.
        :raises AlreadyExists: the run has a file of this name.
        """
        ...

    def add_files(self, run_id: str, files: Iterable[Mapping[str, Any]]) -> RunFiles:
        """Record several files at once, all or none; each mapping has ``filename`` and facts."""
        ...

    def files(self, run_id: str) -> RunFiles:
        """Give the run's files by file name."""
        ...

    def file(self, run_id: str, filename: str) -> RunFile:
        """Give one file.

        :raises RunFileNotFound: the run has no file of this name.
        """
        ...

    def put_many(self, records: Iterable[Record]) -> RefusedList:
        """Write whole :class:`Run` and :class:`RunFile` records; give back the refused ones."""
        ...


class RunRepository(Repository):
    """Runs in a database; the contract is :class:`Runs`."""

    MODELS = (Run, RunFile)
    NOT_FOUND = errors.RunNotFound

    def create(
        self,
        *,
        run_id: str | None = None,
        created_at: dt.datetime | None = None,
        **values: Unpack[RunChanges],
    ) -> Run:
        _refuse_fixed(values)
        created = utc_now() if created_at is None else created_at
        row = checked(
            Run,
            {
                "id": new_id() if run_id is None else run_id,
                "source": "manual",
                "status": "pending",
                "created_at": created,
                "updated_at": created,
                **values,
            },
        )
        try:
            with self._db.writing():
                self._insert(Run, [row])
        except errors.AlreadyExists as exc:
            raise errors.AlreadyExists(f"there is a run {row['id']!r} already") from exc
        return Run(**row)

    def get(self, run_id: str) -> Run:
        return self._get(run_id)

    def _get(self, run_id: str, *, lock: bool = False) -> Run:
        run = self._by_key(Run, _known(run_id), lock=lock)
        if run is None:
            raise _no_run(run_id)
        return run

    def resolve(self, prefix: str) -> str:
        return self._full_id(Run, prefix)

    def update(self, run_id: str, **changes: Unpack[RunChanges]) -> Run:
        _refuse_fixed(changes)
        row = checked(Run, changes)
        with self._db.writing():
            run = self._get(run_id, lock=True)
            # A clock that was set back must not move updated_at back.
            row["updated_at"] = max(utc_now(), run.updated_at)
            self._change_row(Run, run_id, row)
        for name, value in row.items():
            setattr(run, name, value)
        return run

    def set_status(self, run_id: str, status: str, **changes: Unpack[RunDetails]) -> Run:
        return self.update(run_id, status=status, **changes)

    def list(
        self,
        *,
        status: str | None = None,
        source: str | None = None,
        since: dt.datetime | None = None,
        until: dt.datetime | None = None,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
    ) -> Page[Run]:
        return self._list(
            Run.created_at,
            since=since,
            until=until,
            status=status,
            source=source,
            limit=limit,
            after=after,
            offset=offset,
        )

    def stream(
        self,
        *,
        status: str | None = None,
        source: str | None = None,
        since: dt.datetime | None = None,
        until: dt.datetime | None = None,
    ) -> Iterator[Run]:
        # Page by page: an open cursor would keep SQLite's WAL from being recycled for as long as
        # the reader takes.
        after: str | None = None
        while True:
            page = self.list(
                status=status, source=source, since=since, until=until, limit=1000, after=after
            )
            yield from page
            if page.next is None:
                return
            after = page.next

    def count(
        self,
        *,
        status: str | None = None,
        source: str | None = None,
        since: dt.datetime | None = None,
        until: dt.datetime | None = None,
    ) -> int:
        query = filtered(Run.select(), Run.created_at, since, until, status=status, source=source)
        with self._db.reading():
            return int(query.count(self._db))

    def delete(self, run_id: str) -> None:
        with self._db.writing():
            if not Run.delete().where(Run.id == _known(run_id)).execute(self._db):
                raise _no_run(run_id)

    def add_file(self, run_id: str, filename: str, **facts: Unpack[FileFacts]) -> RunFile:
        return self.add_files(run_id, [{"filename": filename, **facts}])[0]

    def add_files(self, run_id: str, files: Iterable[Mapping[str, Any]]) -> RunFiles:
        now = utc_now()
        rows = []
        for facts in files:
            for fixed in {"id", "run", "run_id"} & set(facts):
                raise errors.InvalidValue(fixed, "is set by the store")
            row = checked(RunFile, {"filename": None, "created_at": now, **facts})
            row["id"] = _file_id(run_id, row["filename"])
            rows.append(row | {"run": run_id})
        with self._db.writing():
            self.get(run_id)
            for row in rows:
                try:
                    with self._db.reading():
                        RunFile.insert(row).execute(self._db)
                except errors.AlreadyExists as exc:
                    raise errors.AlreadyExists(
                        f"run {run_id!r} has a file {row['filename']!r} already"
                    ) from exc
        return [RunFile(**row) for row in rows]

    def files(self, run_id: str) -> RunFiles:
        with self._db.reading():
            query = RunFile.select().where(RunFile.run == _known(run_id))
            found = [*query.order_by(RunFile.filename, RunFile.id).execute(self._db)]
        if not found:
            self.get(run_id)
        return found

    def file(self, run_id: str, filename: str) -> RunFile:
        found = None
        with contextlib.suppress(ValueError):  # a name that no file can have
            key = _file_id(run_id, RunFile.filename.check(filename))
            found = self._by_key(RunFile, key)
        if found is None:
            self.get(run_id)
            raise errors.RunFileNotFound(
                f"run {run_id!r} has no file {quoted(filename)}",
                hint=f"dynostore runs show {run_id}",
            )
        return found


def _known(run_id: str) -> str:
    """Give the id if a run can have it; the drivers raise errors of their own for some text."""
    try:
        return str(Run.id.check(run_id))
    except ValueError:
        raise _no_run(run_id) from None


def _file_id(run_id: str, filename: str) -> str:
    return derived_id("run_files", _known(run_id), filename)


def _refuse_fixed(values: Mapping[str, Any]) -> None:
    for name in ("id", "created_at", "updated_at"):
        if name in values:
            raise errors.InvalidValue(name, "is set by the store")


def _no_run(run_id: str) -> errors.RunNotFound:
    return errors.RunNotFound(
        f"there is no run {quoted(run_id)}", hint="dynostore runs list", run_id=run_id
    )
