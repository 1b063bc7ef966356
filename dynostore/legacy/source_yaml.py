"""Reading YAML that somebody else wrote: any flaw is a reason, and no alias can make it grow."""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import Any

import yaml

from dynostore.legacy.base import Unreadable
from dynostore.legacy.cells import as_json, printable_key
from dynostore.legacy.source_json import MAX_LEVELS

MAX_BYTES = 4 * 1024 * 1024
"""A larger document is no description of a task, and takes minutes to read."""

MAX_VALUES = 100_000
"""How many values a document may have once its aliases are followed."""

_TOO_DEEP = f"nested more than {MAX_LEVELS} levels deep"
# The one in C is ten times as fast, where PyYAML was built with it.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_mapping(data: bytes) -> dict[str, Any]:
    """Give a document that is a mapping at its top, as JSON can hold it.

    Dates are ISO text, sets are sorted lists, keys that are no text are taken as text.

    :raises Unreadable: empty, too large, not UTF-8 or UTF-16, not YAML, nested too deeply, or with
        more values than anybody means.
    """
    if len(data) > MAX_BYTES:
        raise Unreadable(f"YAML of more than {MAX_BYTES // 2**20} MiB")
    if not data.strip():
        raise Unreadable("the file is empty")
    try:
        _refuse_depth(data)
        loader = _Loader(data)
        try:
            node = loader.get_single_node()
            _ValueCount().of(node)
            document = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as exc:
        raise Unreadable(f"not YAML: {' '.join(str(exc).split())[:200]}") from None
    except Unreadable:
        raise
    except (ValueError, OverflowError) as exc:  # a date that is none, a number too long
        raise Unreadable(f"not YAML: {exc}") from None
    if not isinstance(document, dict):
        raise Unreadable(f"a mapping is expected at the top, not {type(document).__name__}")
    plain: dict[str, Any] = _plain(document)
    return plain


def _refuse_depth(data: bytes) -> None:
    """Look at the levels before anything recurses: the parser in C has no limit but the stack."""
    level = 0
    for event in yaml.parse(data, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            level += 1
            if level > MAX_LEVELS:
                raise Unreadable(_TOO_DEEP)
        elif isinstance(event, yaml.CollectionEndEvent):
            level -= 1


class _ValueCount:
    """Counts a document's values as if each alias were written out, without doing so.

    Before anything is built: a mapping that merges others copies them while it is built.
    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def of(self, node: Any, level: int = 0) -> int:
        if level > MAX_LEVELS:
            raise Unreadable(_TOO_DEEP)  # aliases that hold one another, or themselves
        known = self._counts.get(id(node))
        if known is not None:
            return known
        below = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            below = [part for pair in below for part in pair]
        count = 1 + sum(self.of(part, level + 1) for part in below)
        if count > MAX_VALUES:
            raise Unreadable(f"more than {MAX_VALUES} values, aliases followed")
        self._counts[id(node)] = count
        return count


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, set):
        return sorted(map(_plain, value), key=json.dumps)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value)}
    return as_json(value)


def _key(key: Any) -> str:
    return printable_key(key if isinstance(key, str) else str(_plain(key)))
