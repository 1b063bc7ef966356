"""A store: one database, its repositories, and what concerns the whole of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import peewee

from dynostore import compat, config, database, errors, models
from dynostore.backup import backup_file
from dynostore.integrity import find_problems
from dynostore.migrator import Migrator
from dynostore.own_models import OwnModels
from dynostore.own_schema import OwnSchema
from dynostore.repositories import (
    ConversationRepository,
    HistoryRepository,
    IdeationRepository,
    ImportRepository,
    MemoryRepository,
    RunRepository,
    SessionRepository,
    TaskRepository,
    TodoRepository,
)

if TYPE_CHECKING:
    from dynostore.search.hits import Hits, Progress


class Verbs:
    """The repositories of one database: all that can be done with its records.

    :ivar runs: analysis runs and their files.
    :ivar tasks: what agents were asked to do, and the log of their steps.
    :ivar sessions: agent sessions and each state that they were saved in.
    :ivar todos: the todo lists of agents, step by step.
    :ivar history: what agents thought, did and saw in their sessions.
    :ivar memories: lessons that outlive sessions.
    :ivar conversations: conversations and their messages.
    :ivar ideation: product ideas on their way to requirements and user stories.
    :ivar imports: what was taken over from older tools, and from where.
    :ivar database: the Peewee database, for those who write their own queries.
    """

    def __init__(self, db: Any) -> None:
        self.database = db
        self.runs = RunRepository(db)
        self.tasks = TaskRepository(db)
        self.sessions = SessionRepository(db)
        self.todos = TodoRepository(db)
        self.history = HistoryRepository(db)
        self.memories = MemoryRepository(db)
        self.conversations = ConversationRepository(db)
        self.ideation = IdeationRepository(db)
        self.imports = ImportRepository(db)


class Store(Verbs):
    """Everything that a program must remember, in one SQLite file or one Postgres database.

    A store may be shared by threads, and used in a forked child; each gets connections of its own.

    :ivar place: where the store is and who said so.
    :ivar own: the user's own models, which are part of it.
    """

    def __init__(self, place: config.Place, db: Any, own: OwnModels | None = None) -> None:
        super().__init__(db)
        self.place = place
        self.own = own or OwnModels()
        self.migrator = Migrator(db)
        self.own_schema = OwnSchema(db, self.own, self.migrator)
        self._at_close = contextlib.ExitStack()

    @property
    def replicated(self) -> tuple[type[peewee.Model], ...]:
        """The models of all tables that sync: dynostore's, then the user's own."""
        return (*models.REPLICATED, *self.own.models)

    @classmethod
    def open(
        cls,
        url_or_path: str | os.PathLike[str] | None = None,
        *,
        profile: str | None = None,
        config: str | os.PathLike[str] | None = None,
        migrate: bool = True,
        models: Sequence[type[peewee.Model]] = (),
        migrations: str | os.PathLike[str] | None = None,
        read_only: bool = False,
        create: bool = True,
        warm: bool = True,
    ) -> Self:
        """Open a store, making or upgrading it where that is needed.

        A missing SQLite file is created, one that is behind is upgraded behind a backup; an empty
        Postgres database is set up, one that is behind is refused. Safe from many processes.

        :param url_or_path: ``sqlite:///``, ``postgresql://``, a plain path, or a place in an older
            tool's form (``dir:./runs``, see :mod:`dynostore.compat`); where it is None,
            :func:`dynostore.config.locate` says where to look.
        :param profile: a profile of ``dynostore.yaml``.
        :param config: the configuration file, instead of the usual places.
        :param migrate: False: an upgrade that is needed is an error, and so is a missing file.
        :param models: Peewee models of your own, whose tables become part of the store: made here,
            extended by columns that may be empty, and synced.
        :param migrations: a directory of steps for these tables, run after dynostore's own; see
            ``docs/own-models.md``.
        :param read_only: True: nothing is ever written, and a missing file is an error.
        :param create: False: a missing file is an error.
        :param warm: False: open no Postgres connections ahead.
        :raises StoreNotFound: no such file.
        :raises SchemaError: one of its kinds; nothing was written.
        :raises ModelRefused: a model that cannot replicate, with the reason and what to write.
        :raises ModelChanged: a model's table is otherwise; the hint says which step to write.
        :raises RemoteUnavailable: the Postgres server does not answer.
        """
        return cls.at(
            _locate(url_or_path, profile, config),
            own=OwnModels.of(models, migrations),
            migrate=migrate,
            read_only=read_only,
            create=create,
            warm=warm,
        )

    @classmethod
    def at(
        cls,
        place: config.Place,
        *,
        own: OwnModels | None = None,
        migrate: bool = True,
        read_only: bool = False,
        create: bool = True,
        warm: bool = True,
    ) -> Self:
        """Open a store at a place that was found already; see :meth:`open`."""
        if compat.is_compat(place.url):
            if own is not None and own.models:
                raise errors.ConfigError(f"{place.shown}: holds no models of your own")
            form = compat.open_compat(place, read_only=read_only, create=create)
            store = cls(place, form)
            vars(store).update(compat.families_of(form))
            return store
        # Without the right to make tables there is no sense in making the file.
        create = create and migrate
        db = database.connect(place.url, place.settings, read_only=read_only, create=create)
        store = cls(place, db, own)
        try:
            store.migrator.ensure(migrate=migrate)
            store.own_schema.ensure(migrate=migrate)
            if warm and isinstance(db, database.PostgresServer):
                db.warm(place.settings.pool_min)
        except BaseException:
            db.shut()
            raise
        return store

    def close(self) -> None:
        """Close every thread's connection; from any thread, and as often as you like."""
        self.database.shut()
        self._at_close.close()

    def at_close(self, act: Callable[[], object]) -> None:
        """Let something be done when the store is closed."""
        self._at_close.callback(act)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all verbs inside one transaction: all or nothing. Nested, it is a savepoint."""
        with self.database.writing(), self.database.lent():
            yield

    @contextlib.contextmanager
    def bound(self) -> Iterator[Any]:
        """Bind the models to this store, for Peewee's own style; not for several threads.

        The user's own models are bound too, also where they have a database of their own.
        """
        every = (*models.ALL, *self.own.models)
        db = self.database
        # Not by their references: models of others may refer to ours.
        with db.reading(), db.bind_ctx(every, bind_refs=False, bind_backrefs=False):
            yield db

    def check(self, *, full: bool = True) -> list[str]:
        """Look for damage and contradictions; an empty list means that none was found.

        Reads everything: seconds on a large file.

        :param full: False: skip the comparison of indexes with what they index.
        """
        if compat.is_compat(self.place.url):
            return list(self.database.check())
        return find_problems(self.database, full=full)

    def search(
        self,
        query: str,
        *,
        kinds: str | Sequence[str] | None = None,
        limit: int = 20,
        marks: tuple[str, str] = ("[", "]"),
        progress: Progress | None = None,
    ) -> Hits:
        """Give the records that hold every word of a text, best first, with snippets.

        The first search makes an index, which is kept current from then on; on a server that does
        not let this role do so it goes without, and a note in the answer says so.

        :param query: words, ``"a phrase"``, the beginning of a word with ``*`` behind it; no text
            is an error.
        :param kinds: one name or several of :data:`dynostore.search.KINDS`; all by default.
        :param limit: most hits to give, 1 to 1,000.
        :param marks: what stands around each match in a snippet.
        :param progress: told how far the index is where one is made.
        :raises InvalidValue: no such kind, a bad limit, or an argument of another type; no index
            was made.
        :raises StoreUnwritable: a file without an index, which cannot be written.
        :raises NotHeld: a store in an older tool's form.
        """
        from dynostore import search

        compat.require_database(self.place, "search indexes")
        return search.search(
            self.database, query, kinds=kinds, limit=limit, marks=marks, progress=progress
        )

    def rebuild_search(self, progress: Progress | None = None) -> None:
        """Make the index of :meth:`search` anew, while others read and write.

        :raises StoreUnwritable: it cannot be written, or on a server inside a transaction.
        :raises AccessDenied: a server's tables belong to another role.
        :raises StoreLocked: somebody else makes it now.
        :raises NotHeld: a store in an older tool's form.
        """
        from dynostore import search

        compat.require_database(self.place, "search indexes")
        search.index_of(self.database).rebuild(progress)

    def drop_search(self) -> None:
        """Take the index of :meth:`search` away, with all that it costs; raises as a rebuild does.

        The next search makes it again.
        """
        from dynostore import search

        compat.require_database(self.place, "search indexes")
        search.index_of(self.database).drop()

    def backup(self, path: str | os.PathLike[str]) -> Path:
        """Copy the file while others write; the copy is checked before it gets its name.

        :raises ConfigError: a Postgres store or one in memory; use pg_dump for the former.
        :raises IntegrityFailure: the copy is not equal or not sound; nothing was left there.
        """
        db = self.database
        if not isinstance(db, database.SqliteFile) or isinstance(db, database.MemoryDatabase):
            raise errors.ConfigError(
                f"{self.place.shown}: only a SQLite file can be backed up here",
                hint="for Postgres: pg_dump",
            )
        destination = Path(path)
        backup_file(db.path, destination)
        return destination


def _locate(
    url: str | os.PathLike[str] | None,
    profile: str | None,
    config_file: str | os.PathLike[str] | None,
) -> config.Place:
    # Store.open has an argument named like the module.
    return config.locate(url, profile=profile, config=config_file)
