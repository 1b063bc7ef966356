"""Names of files for ids of any kind: one for each, and the id itself wherever that can be."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote

_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", re.ASCII)
_TAKEN = ("index.json",)
_LONGEST_BYTES = 200  # of the 255 of most file systems, for what is put around it
_SHOWN_BYTES = 100


def file_name(key: str) -> str:
    """Give the name for an id; the same for no other id.

    What file systems or shells give a meaning to is written as in URLs; of a name that would be
    too long the end is a hash.
    """
    if len(key) <= _LONGEST_BYTES and _PLAIN.fullmatch(key) and key not in _TAKEN:
        return key
    name = quote(key, safe="").replace("~", "%7E")
    if name.startswith(".") or name in _TAKEN:
        name = name.replace(".", "%2E")
    if len(name) > _LONGEST_BYTES:
        name = f"{name[:_SHOWN_BYTES]}~{hashlib.sha256(key.encode()).hexdigest()}"
    return name
