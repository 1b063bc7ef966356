from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynostore import config
from dynostore.errors import ConfigError

repeatable = settings(max_examples=300)

YAML = """
default: desk
profiles:
  desk:
    url: sqlite:///desk.db
    remote: postgresql://desk-server/db
    synchronous: FULL
    busy_timeout_s: 1.5
    pool_max: 3
    pool_min: 2
  team:
    url: postgresql://team-server/db
  bare: {}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in an empty directory, with an empty configuration directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def write(path: Path, text: str = YAML) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def where(place: config.Place) -> tuple[str, str]:
    return place.url, place.source


# the order of places


def test_each_source_wins_over_those_after_it(here: Path) -> None:
    path = write(here / config.CONFIG_NAME)
    environ = {"DYNOSTORE_URL": "one.db", "DATABASE_URL": "two.db"}
    locate = config.locate
    assert where(locate("arg.db", profile="team", environ=environ)) == ("arg.db", "argument")
    assert where(locate(profile="team", environ=environ)) == (
        "postgresql://team-server/db",
        f"profile team in {path}",
    )
    assert where(locate(environ=environ)) == ("one.db", "DYNOSTORE_URL")
    del environ["DYNOSTORE_URL"]
    assert where(locate(environ=environ)) == ("two.db", "DATABASE_URL")
    assert where(locate(environ={"DATABASE_URL": ""})) == (
        "sqlite:///desk.db",
        f"default profile in {path}",
    )
    path.unlink()
    assert where(locate(environ={})) == (config.DEFAULT_URL, "default")


def test_the_current_directory_wins_over_the_users_configuration(here: Path) -> None:
    write(here / "config" / "dynostore" / config.CONFIG_NAME, "profiles: {default: {url: user.db}}")
    assert config.locate(environ={}).url == "user.db"
    write(here / config.CONFIG_NAME, "profiles: {default: {url: here.db}}")
    assert config.locate(environ={}).url == "here.db"
    other = write(here / "other.yaml", "profiles: {default: {url: named.db}}")
    assert config.locate(config=other, environ={}).url == "named.db"


def test_settings_come_from_the_profile_whoever_names_the_place(here: Path) -> None:
    write(here / config.CONFIG_NAME)
    expected = config.Settings(synchronous="FULL", busy_timeout_s=1.5, pool_max=3, pool_min=2)
    assert config.locate("x.db", environ={}).settings == expected
    assert config.locate(environ={"DYNOSTORE_URL": "x.db"}).settings == expected
    assert config.locate_remote("postgresql://h/d", environ={}).settings == expected
    assert config.locate("x.db", profile="bare", environ={}).settings == config.Settings()


def test_all_states_are_kept_unless_the_profile_says_how_many(here: Path) -> None:
    path = write(here / "other.yaml", "profiles: {a: {keep_states: 5}, b: {}}")
    kept = {
        name: config.locate("x.db", profile=name, config=path, environ={}).settings.keep_states
        for name in "ab"
    }
    assert kept == {"a": 5, "b": None}


def test_who_says_how_many_connections_at_most_need_not_say_how_many_ahead(here: Path) -> None:
    write(here / config.CONFIG_NAME, "profiles: {default: {pool_max: 2}}")
    settings = config.locate(environ={}).settings
    assert (settings.pool_max, settings.pool_min) == (2, 2)
    write(here / config.CONFIG_NAME, "profiles: {default: {pool_max: 9}}")
    assert config.locate(environ={}).settings.pool_min == 5


def test_the_real_environment_is_asked(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNOSTORE_URL", "from-environment.db")
    assert config.locate().url == "from-environment.db"
    monkeypatch.setenv("DYNOSTORE_REMOTE", "postgresql://from-environment/db")
    assert config.locate_remote().url == "postgresql://from-environment/db"


def test_each_source_of_the_remote_wins_over_those_after_it(here: Path) -> None:
    path = write(here / config.CONFIG_NAME)
    environ = {"DYNOSTORE_REMOTE": "postgresql://remote/db", "POSTGRES_HOST": "host"}
    locate = config.locate_remote
    assert where(locate("postgresql://arg/db", environ=environ))[1] == "argument"
    assert where(locate(environ=environ)) == ("postgresql://remote/db", "DYNOSTORE_REMOTE")
    del environ["DYNOSTORE_REMOTE"]
    assert where(locate(environ=environ)) == (
        "postgresql://postgres@host:5432/dynostore?sslmode=prefer",
        "POSTGRES_HOST",
    )
    assert where(locate(environ={})) == ("postgresql://desk-server/db", f"profile in {path}")
    with pytest.raises(ConfigError, match="no shared server") as caught:
        locate(profile="team", environ={})
    assert "--to" in str(caught.value.hint)


def test_without_a_directory_or_home_the_default_is_found(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = here / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert config.locate(environ={}).url == config.DEFAULT_URL


# what is wrong with a file is said by key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "a mapping is expected at the top"),
        ("false", "a mapping is expected at the top"),
        ("just text", "a mapping is expected at the top"),
        ("a: [", "not YAML"),
        ("a: 2020-99-99", "not YAML"),
        ("profile: {}", "unknown key 'profile'"),
        ("1: {}", "unknown key '1'"),
        ("profiles: []", "profiles: a mapping is expected"),
        ("profiles: x", "profiles: a mapping is expected"),
        ("default: 5", "default: a name is expected"),
        ("default: nobody", "default: there is no profile 'nobody'"),
        ("profiles: {a: 5}", "profiles.a: a mapping is expected"),
        ("profiles: {a: {uri: x}}", "profiles.a.uri: unknown key"),
        ("profiles: {a: {url: 5}}", "profiles.a.url: str expected"),
        ("profiles: {a: {url: null}}", "profiles.a.url: str expected"),
        ("profiles: {a: {pool_max: '5'}}", "profiles.a.pool_max: int expected"),
        ("profiles: {a: {pool_max: 5.5}}", "profiles.a.pool_max: int expected"),
        ("profiles: {a: {pool_max: true}}", "profiles.a.pool_max: int expected"),
        ("profiles: {a: {pool_max: 0}}", "profiles.a.pool_max: 0 is not between 1"),
        ("profiles: {a: {keep_states: 0}}", "profiles.a.keep_states: 0 is not between 1"),
        ("profiles: {a: {keep_states: -1}}", "profiles.a.keep_states: -1 is not between"),
        ("profiles: {}\nprofiles: {}", "profiles: is there twice"),
        ("profiles: {a: {url: x}, b: {}, 'a': {url: y}}", "profiles.a: is there twice"),
        ("profiles: {a: {url: x, url: y}}", "profiles.a.url: is there twice"),
        ("profiles: {a: {keep_states: all}}", "profiles.a.keep_states: int expected"),
        ("profiles: {a: {pool_min: -1}}", "profiles.a.pool_min: -1 is not between"),
        ("profiles: {a: {busy_timeout_s: x}}", "profiles.a.busy_timeout_s: int or float"),
        ("profiles: {a: {busy_timeout_s: .nan}}", "profiles.a.busy_timeout_s: nan is not"),
        ("profiles: {a: {busy_timeout_s: .inf}}", "profiles.a.busy_timeout_s: inf is not"),
        ("profiles: {a: {synchronous: 'OFF'}}", "profiles.a.synchronous: 'OFF' is none of"),
        ("profiles: {a: {pool_max: 2, pool_min: 3}}", "profiles.a.pool_min: is greater than"),
        ("profiles: {a: {pool_min: 21}}", "profiles.a.pool_min: is greater than pool_max, 20"),
    ],
)
def test_a_bad_file_is_refused_by_path_and_key(here: Path, text: str, message: str) -> None:
    path = write(here / config.CONFIG_NAME, text)
    for locate in (config.locate, config.locate_remote):
        with pytest.raises(ConfigError) as caught:
            locate(environ={})
        assert str(path) in str(caught.value)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.hint == f"mend {path}; docs/configuration.md says what it may hold"


def test_an_empty_file_is_no_configuration(here: Path) -> None:
    for text in ("", "# nothing\n", "profiles: {}", "{}"):
        write(here / config.CONFIG_NAME, text)
        assert config.locate(environ={}).url == config.DEFAULT_URL


def test_a_file_that_cannot_be_read_is_named(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: No such file") as caught:
        config.locate(config=here / "absent.yaml", environ={})
    assert caught.value.hint == "--config FILE names another"
    with pytest.raises(ConfigError, match="Is a directory"):
        config.locate(config=here, environ={})
    (here / "latin.yaml").write_bytes(b"default: \xe9")
    with pytest.raises(ConfigError, match=r"latin\.yaml: not YAML"):
        config.locate(config=here / "latin.yaml", environ={})


def test_a_missing_profile_is_refused_with_those_that_are_there(here: Path) -> None:
    with pytest.raises(ConfigError, match="there is no profile 'x', and no"):
        config.locate(profile="x", environ={})
    write(here / config.CONFIG_NAME)
    for locate in (config.locate, config.locate_remote):
        with pytest.raises(ConfigError, match="no profile 'x'; known: bare, desk, team"):
            locate("x.db", profile="x", environ={})
    with pytest.raises(ConfigError, match="profile 'bare' has no url"):
        config.locate(profile="bare", environ={})


# composing and reading URLs

login_texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@repeatable
@given(user=login_texts, password=login_texts, name=login_texts)
def test_postgres_variables_survive_any_character(user: str, password: str, name: str) -> None:
    environ = {
        "POSTGRES_HOST": "db.example",
        "POSTGRES_PORT": "6543",
        "POSTGRES_USER": user,
        "POSTGRES_PASSWORD": password,
        "POSTGRES_DB": name,
        "POSTGRES_SSL_MODE": "verify-full",
    }
    place = config.locate_remote(environ=environ, config=os.devnull)
    assert config.is_postgres(place.url)
    assert config.postgres_parameters(place.url) == {
        "host": "db.example",
        "port": 6543,
        "user": user,
        "password": password,
        "dbname": name,
        "sslmode": "verify-full",
    }


@pytest.mark.parametrize("host", ["::1", "/var/run/post gres", "10.0.0.1"])
def test_postgres_host_may_be_an_address_or_a_socket_directory(host: str) -> None:
    place = config.locate_remote(environ={"POSTGRES_HOST": host}, config=os.devnull)
    parameters = config.postgres_parameters(place.url)
    assert (parameters["host"], int(parameters["port"])) == (host, 5432)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("POSTGRES_PORT", "x"), ("POSTGRES_PORT", "٣"), ("POSTGRES_SSL_MODE", "yes")],
)
def test_a_bad_postgres_variable_is_named(variable: str, value: str) -> None:
    for find in (config.locate_remote, config.find_remote):
        with pytest.raises(ConfigError, match=f"{variable}: "):
            find(environ={"POSTGRES_HOST": "h", variable: value}, config=os.devnull)
    assert config.find_remote(environ={variable: value}, config=os.devnull) is None


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2", "POSTGRESQL"])
def test_postgres_urls_are_read_as_people_write_them(scheme: str) -> None:
    url = f"{scheme}://us%40er:p%2F%3A%40w@host:1234/da%20ta?sslmode=require&application_name=5"
    assert config.is_postgres(url)
    assert config.postgres_parameters(url) == {
        "user": "us@er",
        "password": "p/:@w",
        "host": "host",
        "port": 1234,
        "dbname": "da ta",
        "sslmode": "require",
        "application_name": "5",
    }


def test_the_query_overrides_and_values_that_look_like_numbers_stay_text() -> None:
    url = "postgresql://u@/db?host=/sock/dir&password=0123&user=true&port=5433"
    assert config.postgres_parameters(url) == {
        "host": "/sock/dir",
        "password": "0123",
        "user": "true",
        "port": "5433",
        "dbname": "db",
    }


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://host",
        "postgresql://host/",
        "postgresql://u:secret@host:port/db",
        "postgresql://u:sec/ret@host/db",
        "postgresql://u:secret@host:99999/db",
        "postgresql://u:secret@[::1/db",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.postgres_parameters(url)
    assert caught.value.hint
    for text in (str(caught.value), repr(caught.value), str(caught.value.__cause__)):
        assert "sec" not in text


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("x.db", "x.db"),
        ("/data/x.db", "/data/x.db"),
        ("sqlite:///x.db", "x.db"),
        ("sqlite:////data/x.db", "/data/x.db"),
        ("sqlite:///C:/data/x.db", "C:/data/x.db"),
        ("SQLITE:///x.db", "x.db"),
        ("a b#c%41.db", "a b#c%41.db"),
        (":memory:", None),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
    ],
)
def test_sqlite_urls_and_paths(url: str, path: str | None) -> None:
    assert not config.is_postgres(url)
    assert config.sqlite_path(url) == path


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nul\0",
        "sqlite:///nul\0",
        "mysql://u:secret@h/d",
        "sqlite://x.db",
        "file:x",
        "sqlite:///x?mode=ro",
    ],
)
def test_other_urls_are_refused_and_shown_without_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.sqlite_path(url)
    assert "secret" not in str(caught.value)


# masking


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://u:secret@h:5432/d", "postgresql://u:***@h:5432/d"),
        ("postgresql://:secret@h/d", "postgresql://:***@h/d"),
        ("postgresql://u:se/c@re?t@h/d", "postgresql://u:***@h/d"),
        ("postgresql://a/b:secret@h/d", "postgresql://a/b:***@h/d"),
        ("postgresql://u:sec ret@h/d", "postgresql://u:***@h/d"),
        ("could not open 'postgresql://u:secret@h/d'", "could not open 'postgresql://u:***@h/d'"),
        ("postgresql://u@h/d?password=secret&x=1", "postgresql://u@h/d?password=***&x=1"),
        ("postgresql://u@h/d?x=1&sslpassword=sec ret", "postgresql://u@h/d?x=1&sslpassword=***"),
        ("host=h password=secret user=u", "host=h password=*** user=u"),
        ("host=h password = 'sec \\' ret' user=u", "host=h password = *** user=u"),
        ("PGPASSWORD=secret psql", "PGPASSWORD=*** psql"),
        (
            "postgresql://u@h/d?password=***: refused: password=secret",
            "postgresql://u@h/d?password=***: refused: password=***",
        ),
    ],
)
def test_passwords_are_masked(text: str, masked: str) -> None:
    assert config.mask(text) == masked
    assert config.mask(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x.db",
        "sqlite:////data/x.db",
        "postgresql://h:5432/d",
        "postgresql://u@h:5432/d?sslmode=require",
        "postgresql:///d?host=/run",
        "at 12:30 mail a@b",
        r"C:\data\x.db",
    ],
)
def test_what_has_no_password_is_left_alone(text: str) -> None:
    assert config.mask(text) == text


passwords = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(
    lambda text: f"QQ{text}QQ"
)


@repeatable
@given(password=passwords, quoted=st.booleans(), in_query=st.booleans(), scheme=st.booleans())
def test_no_password_survives_in_a_place_that_is_shown(
    password: str, quoted: bool, in_query: bool, scheme: bool
) -> None:
    written = quote(password, safe="") if quoted else password.replace("&", "")
    kind = "postgresql" if scheme else "postgresql+psycopg2"
    if in_query:
        url = f"{kind}://user@host/db?password={written}"
    else:
        url = f"{kind}://user:{written}@host/db"
    place = config.Place(url, "argument")
    assert "QQ" not in place.shown + repr(place)


@repeatable
@given(password=passwords, before=st.text("ab: \n"), after=st.text("ab: \n"))
def test_no_quoted_password_survives_in_any_text(password: str, before: str, after: str) -> None:
    url = f"postgresql://user:{quote(password, safe='')}@host/db"
    any_text: Any = config.mask(f"{before} {url} {after}")
    assert "QQ" not in any_text
