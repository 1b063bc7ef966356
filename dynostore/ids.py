"""Keys that are unique everywhere, so that stores of several machines can be merged."""

from __future__ import annotations

import functools
import hashlib
import sys
import uuid
from collections.abc import Callable
from typing import Any

NAMESPACE = uuid.UUID("7f1d2c52-6d0c-5b6e-9a3e-0d9a54b3c1f7")
"""Root of every derived id. It is part of the file format: changing it would make every store
disagree with every other about the id of the same thing."""


def new_id() -> str:
    """Give a new UUIDv7: 36 lower-case characters, later ones of one process sort after earlier."""
    return str(_maker()())


@functools.cache
def _maker() -> Callable[[], uuid.UUID]:
    if sys.version_info >= (3, 14):
        from uuid import uuid7
    else:
        # Late: it looks up its own version, which costs a command as much as half of Peewee.
        from uuid6 import uuid7
    return uuid7


def derived_id(table: str, parent: str, key: str) -> str:
    """Give the id of the row that is ``key`` within ``parent``: the same on every machine.

    :param table: the row's table, so that equal names in two tables do not meet.
    :param parent: the parent's id.
    :param key: the natural key inside the parent, such as a file name.
    :return: ``uuid5(uuid5(NAMESPACE, table + US + parent), key)`` as 36 characters.
    """
    # By hand: uuid.uuid5() takes five times as long, which an import of many files would notice. So
    # is the inner one, which mostly is of another parent than the last.
    digest = _begun_within(table, parent).copy()
    digest.update(key.encode())
    digits = digest.hexdigest()
    variant = _VARIANTS[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


@functools.lru_cache(maxsize=1024)
def _begun_within(table: str, parent: str) -> Any:
    """Give the hash of all ids within a parent, as far as they have in common."""
    name = f"{table}\x1f{parent}".encode()
    space = bytearray(hashlib.sha1(NAMESPACE.bytes + name, usedforsecurity=False).digest()[:16])
    space[6] = space[6] & 0x0F | 0x50
    space[8] = space[8] & 0x3F | 0x80
    return hashlib.sha1(space, usedforsecurity=False)


_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""RFC 4122's two bits over the digit that a hash has in their place."""
