"""What the verbs of every family in files do beyond a repository's: they do not overlook damage.

A file that cannot be read may hold the record that is asked for, or one that belongs into a list:
then the answer is the error that names the file.
"""

from __future__ import annotations

from typing import Any

from dynostore import errors
from dynostore.compat.folder_database import FolderDatabase
from dynostore.compat.shelf import Shelf
from dynostore.repositories.base import Page, Repository


class FolderVerbs(Repository):
    """The base of a family's verbs on files, before its repository.

    :ivar shelf: how its records lie in files.
    """

    _db: FolderDatabase

    def __init__(self, database: FolderDatabase, shelf: Shelf) -> None:
        super().__init__(database)
        self.shelf = shelf

    def _require_readable(self, key: str) -> None:
        with self._db.reading():
            self._db.require_readable(self.shelf.path_of(key), key)

    def _by_key(self, model: Any, key: Any, *, lock: bool = False) -> Any:
        with self._db.reading():
            found = super()._by_key(model, key, lock=lock)
            if found is None and model is next(iter(self.shelf.owners)):
                self._require_readable(key)
        return found

    def _full_id(
        self, model: Any, prefix: str, missing: type[errors.NotFound] | None = None
    ) -> str:
        with self._db.reading():
            try:
                found = super()._full_id(model, prefix, missing)
            except errors.NotFound:
                self._db.require_whole()
                raise
            if found != prefix:
                self._db.require_whole()
        return found

    def _list(self, *args: Any, **kwargs: Any) -> Page[Any]:
        with self._db.reading():
            self._db.require_whole()
            return super()._list(*args, **kwargs)

    def _page(self, *args: Any, **kwargs: Any) -> Page[Any]:
        with self._db.reading():
            self._db.require_whole()
            return super()._page(*args, **kwargs)
