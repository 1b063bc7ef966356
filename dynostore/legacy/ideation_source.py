"""What a source of ideation's keys must give, whether it is a server or a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol

from dynostore.legacy.base import Finding
from dynostore.legacy.ideation_keys import KeyIndex, Owner

Value = bytes | list[bytes] | dict[bytes, bytes]
"""What a key holds: a document, documents in their order, or documents by name."""

MESSAGES_AT_ONCE = 10_000
"""How many messages of one session are held at a time; all others follow by as many."""


@dataclasses.dataclass(slots=True)
class SessionKeys:
    """The keys of one session, or of what is left of one.

    :ivar values: by noun; of the messages the first :data:`MESSAGES_AT_ONCE` at most.
    :ivar problems: by noun, why a key's value cannot be read.
    :ivar gone: the nouns whose keys went away since they were listed.
    """

    owner: Owner
    values: dict[str, Value] = dataclasses.field(default_factory=dict)
    problems: dict[str, str] = dataclasses.field(default_factory=dict)
    gone: list[str] = dataclasses.field(default_factory=list)


class KeySource(Protocol):
    """A server or a file that holds keys of ideation, and perhaps others.

    :ivar index: its keys, after :meth:`list_keys`.
    """

    index: KeyIndex

    def list_keys(self) -> Iterator[Finding]:
        """Note all keys and the members of the users' sets; give findings about the rest."""
        ...

    def fetch(self, owners: Sequence[Owner]) -> Iterator[SessionKeys]:
        """Give the values of these owners' keys, in their order."""
        ...

    def more_messages(self, owner: Owner, start: int) -> list[bytes]:
        """Give up to :data:`MESSAGES_AT_ONCE` of a session's messages from this one on."""
        ...


def wrong_type(noun_type: str, found: str) -> str:
    """Give the reason of a key whose value is of a type that the old program never wrote."""
    return f"is a {found} and not a {noun_type}"
