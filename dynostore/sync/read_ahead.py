"""Lets one side of the sync work ahead of the other: a bounded queue, filled by a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

_READ_AHEAD = 1


class Stopped(Exception):
    """Nobody uses any more what is produced."""


class ReadAhead(Generic[Item]):
    """Runs a producer in a thread, a bounded number of items ahead of who uses them.

    :param produce: called with a function that takes one item, and raises :class:`Stopped` once
        this is closed.
    """

    def __init__(self, produce: Callable[[Callable[[Item], None]], object]) -> None:
        self._produce = produce
        self._queue: queue.Queue[Any] = queue.Queue(_READ_AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="dynostore-read-ahead", daemon=True)

    @classmethod
    def of(cls, items: Iterable[Item]) -> ReadAhead[Item]:
        """Read an iterable ahead."""

        def each(put: Callable[[Item], None]) -> None:
            for item in items:
                put(item)

        return cls(each)

    def __enter__(self) -> ReadAhead[Item]:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue
        self._thread.join()

    def __iter__(self) -> Iterator[Item]:
        while True:
            item = self._queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def _put(self, item: Item) -> None:
        if self._stop.is_set():
            raise Stopped
        self._queue.put(item)

    def _fill(self) -> None:
        try:
            self._produce(self._put)
        except Stopped:
            return
        except BaseException as exc:  # raised again where the items are used
            self._queue.put(exc)
        else:
            self._queue.put(None)
