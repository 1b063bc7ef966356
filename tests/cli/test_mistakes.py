"""The mistakes that people make most often, each with all that they see: ``mistakes.txt``.

The file reads as a terminal does: a command, what it prints on stderr, the exit code. ``HERE`` is
the working directory, ``CONFIG`` that of the user's configuration.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store

pytestmark = pytest.mark.once

TEXT = Path(__file__).with_name("mistakes.txt").read_text("utf-8")
EMPTY, FULL = (
    re.findall(r"(?ms)^\$ dynostore (.*?)\n(.*?)^exits (\d+)$", part)
    for part in TEXT.split("\n## ")[1:]
)
TASK = "018f0000-0000-7000-8000-000000000001"


def check(call: Callable[..., Any], words: str, said: str, code: str) -> None:
    done = call(*shlex.split(words))
    shown = done.err.replace(os.getcwd(), "HERE").replace(os.environ["XDG_CONFIG_HOME"], "CONFIG")
    assert (done.out, shown, str(done.code)) == ("", said, code)


def test_there_are_at_least_fifty_and_each_says_what_to_do() -> None:
    assert len({words for words, _, _ in EMPTY + FULL}) >= 50
    for words, said, code in EMPTY + FULL:
        assert code != "0", words
        assert '"hint": "' in said or re.search("(?m)^hint: .", said), words


@pytest.mark.parametrize(("words", "said", "code"), EMPTY, ids=[words for words, *_ in EMPTY])
def test_a_mistake_at_first_use_is_explained_and_leaves_nothing(
    call: Callable[..., Any], workplace: Path, words: str, said: str, code: str
) -> None:
    (workplace / "notes.txt").write_text("shopping list\n" * 100)
    check(call, words, said, code)
    assert [path.name for path in workplace.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(("words", "said", "code"), FULL, ids=[words for words, *_ in FULL])
def test_a_mistake_is_explained_and_changes_nothing(
    call: Callable[..., Any], workplace: Path, words: str, said: str, code: str
) -> None:
    with Store.open("dynostore.db") as store:
        for run_id in ("run_alpha", "run_beta", "other"):
            store.runs.create(run_id=run_id)
        store.tasks.create("Deploy", task_id=TASK)
    before = (workplace / "dynostore.db").read_bytes()
    check(call, words, said, code)
    assert (workplace / "dynostore.db").read_bytes() == before
    names = {path.name for path in workplace.iterdir()}
    assert {name for name in names if not name.startswith("dynostore.db")} == set()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("profile: {}", "mend FILE; docs/configuration.md says what it may hold"),
        (
            "profiles: {default: {synchronous: NORMALLY}}",
            "did you mean NORMAL? mend FILE; docs/configuration.md says what it may hold",
        ),
        (
            "profiles: {default: {url: 'mysql://host/a'}}",
            "mend default profile in FILE; docs/configuration.md says how an address looks",
        ),
        (
            "{default: a, profiles: {a: {}, b: {}}}",
            "add its url to FILE, or name the place itself: --db FILE",
        ),
    ],
)
def test_a_bad_configuration_is_mended_in_its_file(
    call: Callable[..., Any], workplace: Path, text: str, hint: str
) -> None:
    path = workplace / "dynostore.yaml"
    path.write_text(text)
    profile = ("--profile", "a") if "b: {}" in text else ()
    done = call("--json", *profile, "runs", "list")
    assert (done.code, done.error["code"]) == (2, "config")
    assert done.error["hint"].replace(str(path), "FILE") == hint


def test_a_bad_address_is_mended_where_it_stands(
    call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNOSTORE_URL", "mysql://host/a")
    hint = call("--json", "runs", "list").error["hint"]
    assert hint == "mend DYNOSTORE_URL; docs/configuration.md says how an address looks"
    hint = call("--json", "--db", "mysql://host/a", "runs", "list").error["hint"]
    assert hint == "dynostore runs list --help"
