"""A server that demands TLS: every way there keeps to the mode that it is told, or says why."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from dynostore import config, errors
from dynostore.aio import AsyncStore
from dynostore.aio_postgres import AsyncPostgresServer
from dynostore.store import Store
from dynostore.sync import sync

pytestmark = pytest.mark.once

Way = Callable[[Path], None]


@pytest.fixture
def server(
    tls_postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.MonkeyPatch]:
    """Say in the environment where an empty database of the server is; give what changes that."""
    name = tls_postgres.create()
    parts = urlsplit(tls_postgres.admin_url)
    monkeypatch.setenv("POSTGRES_HOST", str(parts.hostname))
    monkeypatch.setenv("POSTGRES_PORT", str(parts.port))
    monkeypatch.setenv("POSTGRES_DB", name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # certificates are looked for there
    yield monkeypatch
    tls_postgres.drop(name)


@pytest.fixture
def certificate(tls_postgres: Any) -> str:
    """Give the file of the certificate that the server shows."""
    return str(tls_postgres.directory / "server.crt")


def store(directory: Path) -> None:
    with Store.open(config.locate_remote().url, warm=False) as opened:
        opened.runs.create()
        assert opened.runs.count() == 1


def async_store(directory: Path) -> None:
    async def use() -> None:
        async with AsyncStore.open(config.locate_remote().url) as opened:
            await opened.runs.create()
            assert await opened.runs.count() == 1

    asyncio.run(use())


def asyncpg(directory: Path) -> None:
    """Connect as an asynchronous store does later: it opens by way of a synchronous one."""

    async def use() -> None:
        db = AsyncPostgresServer(config.locate_remote().url, config.Settings())
        try:
            await db.start()
            await db.run(lambda: opened(db))
        finally:
            await db.shut()

    def opened(db: Any) -> None:
        with db.reading():
            db.execute_sql("SELECT 1")

    asyncio.run(use())


def sync_verb(directory: Path) -> None:
    with Store.open(directory / "node.db") as opened:
        opened.runs.create()
        [table] = sync(opened, config.locate_remote()).tables
        assert (table.name, table.sent) == ("runs", 1)


def command(directory: Path) -> None:
    """Run ``dynostore sync``; give the error that it tells as an exception."""
    path = directory / "node.db"
    with Store.open(path) as node:
        node.runs.create()
    program = [sys.executable, "-m", "dynostore", "--json", "--db", str(path), "sync"]
    done = subprocess.run(program, capture_output=True, text=True)
    if done.returncode:
        told = json.loads(done.stderr)["error"]
        error = errors.DynostoreError(told["message"], hint=told["hint"])
        error.code, error.exit_code = told["code"], done.returncode
        raise error
    [table] = json.loads(done.stdout)["item"]["tables"]
    assert (table["name"], table["sent"]) == ("runs", 1)


@pytest.fixture(
    params=[store, async_store, asyncpg, sync_verb, pytest.param(command, marks=pytest.mark.slow)],
    ids=lambda way: way.__name__,
)
def way(request: pytest.FixtureRequest) -> Way:
    """Give each of the ways to a server in turn."""
    return request.param  # type: ignore[no-any-return]


def refusal(way: Way, directory: Path) -> str:
    """Give what is said where the server is there and TLS stands between it and us."""
    with pytest.raises(errors.DynostoreError) as caught:
        way(directory)
    error = caught.value
    if way is asyncpg and "root certificate file" in error.message:
        assert (error.code, error.exit_code) == ("config", 2)  # it asks nobody before that
    else:
        assert (error.code, error.exit_code) == ("access_denied", 1)
        assert "sslmode" in str(error.hint)
    return error.message


@pytest.mark.parametrize("mode", ["", "allow", "require"])
def test_every_mode_that_may_encrypt_gets_in(
    mode: str, way: Way, server: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.setenv("POSTGRES_SSL_MODE", mode)
    way(tmp_path)


def test_disable_is_obeyed_and_so_refused_by_the_server(
    way: Way, server: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.setenv("POSTGRES_SSL_MODE", "disable")
    assert "no encryption" in refusal(way, tmp_path)


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_a_certificate_is_not_believed_without_its_authority(
    mode: str, way: Way, server: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.setenv("POSTGRES_SSL_MODE", mode)
    assert "root certificate file" in refusal(way, tmp_path)


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_a_certificate_is_believed_with_its_authority(
    mode: str, way: Way, server: pytest.MonkeyPatch, certificate: str, tmp_path: Path
) -> None:
    server.setenv("POSTGRES_SSL_MODE", mode)
    server.setenv("PGSSLROOTCERT", certificate)
    way(tmp_path)


def test_the_authority_may_stand_in_the_address(
    way: Way, server: pytest.MonkeyPatch, certificate: str, tmp_path: Path
) -> None:
    server.setenv("POSTGRES_SSL_MODE", "verify-full")
    url = f"{config.locate_remote().url}&sslrootcert={certificate}"
    server.setenv("DYNOSTORE_REMOTE", url)
    way(tmp_path)


def test_a_certificate_of_another_authority_is_not_believed(
    way: Way, server: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger.crt"
    program = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other"]
    subprocess.run(
        [*program, "-keyout", str(tmp_path / "stranger.key"), "-out", str(stranger)],
        check=True,
        capture_output=True,
    )
    server.setenv("POSTGRES_SSL_MODE", "verify-ca")
    server.setenv("PGSSLROOTCERT", str(stranger))
    assert "certificate verify failed" in refusal(way, tmp_path)


def test_a_certificate_of_another_host_is_believed_by_verify_ca(
    way: Way, server: pytest.MonkeyPatch, certificate: str, tmp_path: Path
) -> None:
    server.setenv("POSTGRES_HOST", "127.0.0.1")
    server.setenv("PGSSLROOTCERT", certificate)
    server.setenv("POSTGRES_SSL_MODE", "verify-ca")
    way(tmp_path)


def test_a_certificate_of_another_host_is_not_believed_by_verify_full(
    way: Way, server: pytest.MonkeyPatch, certificate: str, tmp_path: Path
) -> None:
    server.setenv("POSTGRES_HOST", "127.0.0.1")
    server.setenv("PGSSLROOTCERT", certificate)
    server.setenv("POSTGRES_SSL_MODE", "verify-full")
    assert "127.0.0.1" in refusal(way, tmp_path)
