"""The files for a shared server say what the program reads, and make what it needs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dynostore import Store
from dynostore.cli import main
from dynostore.config import find_remote, locate, postgres_parameters
from dynostore.migration_runner import offline_sql
from dynostore.migrator import directory

Environment = dict[str, str]


@pytest.fixture
def compose(root: Path) -> Any:
    return yaml.safe_load((root / "docker-compose.yml").read_text(encoding="utf-8"))


@pytest.fixture
def example(root: Path) -> Environment:
    """Give what .env.example sets."""
    lines = (root / ".env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def texts_in(value: Any) -> list[str]:
    """Give all strings of a document."""
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return [text for item in items for text in texts_in(item)]
    return [value] if isinstance(value, str) else []


def test_compose_runs_a_postgres_that_keeps_its_data_and_says_when_it_is_ready(
    compose: Any, root: Path
) -> None:
    (service,) = compose["services"].values()
    assert int(re.fullmatch(r"postgres:(\d+)", service["image"])[1]) in (16, 17)  # type: ignore[index]
    (volume,) = compose["volumes"]
    # Where the images of these versions keep it; that of 18 has another place.
    assert f"{volume}:/var/lib/postgresql/data" in service["volumes"]
    assert "pg_isready -h 127.0.0.1" in service["healthcheck"]["test"][1]
    script = next(v for v in service["volumes"] if "initdb.d" in v).split(":")
    assert (root / script[0]).is_file()
    assert script[1:] == ["/docker-entrypoint-initdb.d/10-dynostore.sql", "ro"]


def test_compose_lets_nobody_in_without_a_password_or_from_elsewhere(
    compose: Any, example: Environment
) -> None:
    (service,) = compose["services"].values()
    assert service["environment"]["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")
    assert example["POSTGRES_PASSWORD"] == ""
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "POSTGRES_HOST_AUTH_METHOD" not in service["environment"]


def test_compose_takes_its_values_from_the_names_in_env_example(
    compose: Any, example: Environment
) -> None:
    used = re.findall(r"\$\{(\w+)(?::-([^}]*))?[^}]*\}", " ".join(texts_in(compose)))
    assert {name for name, _ in used} <= set(example)
    assert {name: default for name, default in used if default} == {
        name: example[name] for name in ("POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PORT")
    }


def test_env_example_has_all_names_that_say_where_the_server_is_and_no_other(
    root: Path, example: Environment
) -> None:
    password = example | {"POSTGRES_PASSWORD": "p@ss/word"}
    place = find_remote(environ=password)
    assert place is not None
    assert postgres_parameters(place.url) == {
        "host": example["POSTGRES_HOST"],
        "port": int(example["POSTGRES_PORT"]),
        "dbname": example["POSTGRES_DB"],
        "user": example["POSTGRES_USER"],
        "password": "p@ss/word",
        "sslmode": example["POSTGRES_SSL_MODE"],
    }
    other = {"POSTGRES_PORT": "1", "POSTGRES_SSL_MODE": "require"}
    for name in example:
        changed = find_remote(environ=password | {name: other.get(name, "other")})
        assert changed is not None
        assert changed.url != place.url, name
    text = (root / ".env.example").read_text(encoding="utf-8")
    said = dict(re.findall(r"^# ([A-Z_]+)=(\S+)$", text, re.M))
    assert set(said) == {"DYNOSTORE_REMOTE", "DYNOSTORE_URL"}
    assert getattr(find_remote(environ=password | said), "url", None) == said["DYNOSTORE_REMOTE"]
    assert locate(environ=said).url == said["DYNOSTORE_URL"]


def test_init_sql_is_what_db_upgrade_would_do_to_an_empty_server(root: Path) -> None:
    written = (root / "init.sql").read_text(encoding="utf-8")
    again = "dynostore db upgrade --sql --dialect postgres > init.sql"
    assert written == offline_sql("postgres", directory()), again


def schema_of(postgres: Any, database: str) -> list[str]:
    """Give what pg_dump says of a database without rows."""
    command = [postgres.program("pg_dump"), "--schema-only", postgres.url_of(database)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    # A word that is new each time guards newer dumps.
    return [line for line in done.stdout.splitlines() if not line.startswith("\\")]


def test_psql_makes_a_server_of_init_sql_that_a_file_syncs_with(
    root: Path, postgres: Any, example: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_script, by_program = postgres.create(), postgres.create()
    psql = [postgres.program("psql"), "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "-q"]
    subprocess.run(
        [*psql, "-o", os.devnull, "-f", root / "init.sql", postgres.url_of(by_script)],
        check=True,
        timeout=60,
    )
    assert main(["--db", postgres.url_of(by_program), "-q", "db", "upgrade"]) == 0
    assert schema_of(postgres, by_script) == schema_of(postgres, by_program)
    with Store.open(tmp_path / "here.db") as store:
        store.runs.create(run_id="run_a")
    there = postgres_parameters(postgres.url_of(by_script))
    monkeypatch.chdir(tmp_path)
    for name, key in (("HOST", "host"), ("PORT", "port"), ("USER", "user"), ("DB", "dbname")):
        monkeypatch.setenv(f"POSTGRES_{name}", str(there.get(key, example.get(f"POSTGRES_{name}"))))
    monkeypatch.setenv("POSTGRES_SSL_MODE", example["POSTGRES_SSL_MODE"])
    assert main(["--db", "here.db", "-q", "sync"]) == 0
    with Store.open(postgres.url_of(by_script), warm=False) as server:
        assert server.runs.get("run_a").id == "run_a"
    postgres.drop(by_script)
    postgres.drop(by_program)
