"""Reading files once for content and hash, and comparing hashes that git's line endings changed."""

from __future__ import annotations

import dataclasses
import hashlib
import os

_CHUNK_BYTES = 1024 * 1024
# A link that took the file's place after the directory was listed must not lead out of the tree,
# and a pipe must not block.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
)


@dataclasses.dataclass(slots=True)
class FileFacts:
    """What a file holds.

    :ivar data: the content, where the file is small; None for larger ones.
    :ivar modified_s: the file system's time, in seconds since 1970.
    """

    path: str
    size_bytes: int
    digest: bytes
    modified_s: float
    data: bytes | None

    @property
    def sha256(self) -> str:
        """The hash in 64 hexadecimal digits."""
        return self.digest.hex()


def read_file(path: str, keep_bytes: int = _CHUNK_BYTES) -> FileFacts:
    """Read and hash a file, in chunks, keeping its content when it is at most ``keep_bytes``.

    :raises OSError: it cannot be read, or is a link.
    """
    handle = os.open(path, _FLAGS)
    try:
        status = os.fstat(handle)
        # Room for one byte more, to see a file that grew; the room of a whole chunk would take
        # longer to get than a small file to read.
        first = os.read(handle, min(status.st_size + 1, _CHUNK_BYTES))
        digest = hashlib.sha256(first)
        size = len(first)
        if size == status.st_size and size <= keep_bytes:  # nearly every file: spare a call
            return FileFacts(path, size, digest.digest(), status.st_mtime, first)
        kept: list[bytes] | None = [first]
        while chunk := os.read(handle, _CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            if kept is not None:
                kept.append(chunk)
                kept = kept if size <= keep_bytes else None
    finally:
        os.close(handle)
    data = b"".join(kept) if kept is not None and size <= keep_bytes else None
    return FileFacts(path, size, digest.digest(), status.st_mtime, data)


def agrees(facts: FileFacts, expected: str) -> bool:
    """Tell whether a file has the expected SHA-256, as it is or with CRLF line endings.

    The old programs hashed what they wrote on Windows; git then turned CRLF into LF.

    :raises OSError: a large file cannot be read again.
    """
    wanted = expected.strip().lower()
    if facts.sha256 == wanted:
        return True
    digest = hashlib.sha256()
    if facts.data is not None:
        digest.update(_with_crlf(facts.data))
        return digest.hexdigest() == wanted
    with open(facts.path, "rb") as file:
        held = b""
        while chunk := file.read(_CHUNK_BYTES):
            chunk = held + chunk
            # CR and LF of one line end may come in two chunks.
            held = b"\r" if chunk.endswith(b"\r") else b""
            digest.update(_with_crlf(chunk[: len(chunk) - len(held)]))
        digest.update(held)
    return digest.hexdigest() == wanted


def _with_crlf(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
