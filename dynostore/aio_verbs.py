"""A repository's verbs with await in front, each made of the verb itself when it is first used."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any, ParamSpec, TypeVar

from dynostore.repositories.base import Repository

P = ParamSpec("P")
T = TypeVar("T")

_END: Any = object()


class AsyncVerbs:
    """A repository whose verbs are awaited; those that give iterators give asynchronous ones."""

    def __init__(self, run: Callable[..., Any], repository: Repository) -> None:
        self._run = run
        self._repository = repository

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        member = getattr(self._repository, name)
        if isinstance(member, Repository):
            member = AsyncVerbs(self._run, member)
        elif inspect.isgeneratorfunction(member):
            member = _streamed(self._run, member)
        elif inspect.ismethod(member):
            member = _awaited(self._run, member)
        setattr(self, name, member)
        return member

    def __dir__(self) -> list[str]:
        return [name for name in dir(self._repository) if not name.startswith("_")]


def _awaited(run: Callable[..., Any], verb: Callable[P, T]) -> Callable[P, Any]:
    @functools.wraps(verb)
    async def awaited(*args: P.args, **kwargs: P.kwargs) -> T:
        return await run(verb, *args, **kwargs)  # type: ignore[no-any-return]

    return awaited


def _streamed(run: Callable[..., Any], verb: Callable[P, Any]) -> Callable[P, AsyncIterator[Any]]:
    @functools.wraps(verb)
    async def streamed(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Any]:
        items = verb(*args, **kwargs)
        while (item := await run(next, items, _END)) is not _END:
            yield item

    return streamed
