"""What the shell completes: quickly, from the store's file, and without a trace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store

Complete = Callable[..., list[str]]


@pytest.fixture
def complete(call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Complete:
    """Give a function that completes the last of some words, as zsh is told it."""

    def run(*words: str) -> list[str]:
        monkeypatch.setenv("_DYNOSTORE_COMPLETE", "zsh_complete")
        monkeypatch.setenv("COMP_WORDS", " ".join(["dynostore", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        done = call()
        monkeypatch.delenv("_DYNOSTORE_COMPLETE")
        assert done.err == ""
        return [value for value in done.out.splitlines()[1::3] if value]

    return run


@pytest.fixture
def records(workplace: Path, three_runs: list[str]) -> None:
    with Store.open("dynostore.db") as store:
        store.tasks.create("Deploy", task_id="018f0000-0000-7000-8000-000000000001")
        store.sessions.create(session_id="talk", mission="Tune", user_id="kim")
        store.conversations.create_conversation("Knock", conversation_id="chat:1")
        store.memories.add("ECU", "check twice", memory_id="lesson", tool_name="flash")
        store.ideation.sessions.create(session_id="idea", project_name="Tuner")


def test_commands_options_states_and_reports_are_completed(complete: Complete) -> None:
    assert complete("ru") == ["runs"]
    assert complete("runs", "") == ["create", "list", "rm", "show", "update"]
    assert complete("runs", "list", "--st") == ["--status"]
    assert complete("tasks", "list", "--status", "e") == ["executing"]
    assert complete("report", "failed") == ["failed-steps", "failed-tasks"]
    assert complete("runs", "list", "--format", "j") == ["json", "jsonl"]


def test_ids_are_completed_from_the_file_the_newest_first(
    complete: Complete, records: None
) -> None:
    assert complete("runs", "show", "") == ["other", "run_beta", "run_alpha"]
    assert complete("runs", "show", "run") == ["run_alpha", "run_beta"]
    assert complete("runs", "rm", "other", "run_a") == ["run_alpha"]
    assert complete("tasks", "approve", "018") == ["018f0000-0000-7000-8000-000000000001"]
    assert complete("sessions", "show", "") == ["talk"]
    assert complete("ideation", "show", "") == ["idea"]
    assert complete("ideation", "requirements", "list", "") == ["idea"]
    assert complete("memories", "show", "") == ["lesson"]
    assert [found.replace("\\", "") for found in complete("conversations", "show", "c")] == [
        "chat:1"
    ]
    assert complete("export", "--run", "run_b") == ["run_beta"]
    assert complete("sessions", "todos", "list", "--session", "t") == ["talk"]
    # A new record's id is no id that is there.
    assert complete("runs", "create", "--id", "r") == []


def test_names_of_tools_users_and_profiles_are_completed(
    complete: Complete, records: None, workplace: Path
) -> None:
    assert complete("runs", "list", "--source", "") == ["dyno", "upload"]
    assert complete("sessions", "list", "--user-id", "k") == ["kim"]
    assert complete("memories", "list", "--tool-name", "") == ["flash"]
    (workplace / "dynostore.yaml").write_text("profiles: {lab: {url: lab.db}, desk: {}}")
    assert complete("--profile", "l") == ["lab"]
    assert complete("runs", "list", "--profile", "d") == ["desk"]
    Store.open("lab.db").close()
    assert complete("--profile", "lab", "runs", "show", "") == []
    assert complete("--db", "dynostore.db", "runs", "show", "o") == ["other"]


def test_completing_leaves_every_file_as_it_is(
    call: Callable[..., Any], complete: Complete, records: None, workplace: Path
) -> None:
    assert complete("--db", "missing.db", "runs", "show", "") == []
    call("db", "downgrade", "--to", "1", "--yes")
    (workplace / "damaged.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    (workplace / "dynostore.yaml").write_text("profiles: [")
    before = {path: path.read_bytes() for path in workplace.iterdir()}
    assert complete("--db", "damaged.db", "runs", "show", "") == []
    assert complete("--profile", "") == []
    (workplace / "dynostore.yaml").unlink()
    assert complete("tasks", "show", "") == []
    assert complete("runs", "show", "run_a") == ["run_alpha"]
    assert complete("--db", "postgresql://nobody@localhost:1/x", "runs", "show", "") == []
    assert complete("query", "-", "-") != []  # and nothing is read from stdin
    for path in workplace.iterdir():
        assert path.read_bytes() == before[path]


def test_completing_beside_a_writer_sees_what_is_committed(
    complete: Complete, records: None
) -> None:
    with Store.open("dynostore.db") as store:
        store.runs.create(run_id="run_gamma")
        with store.transaction():
            store.runs.create(run_id="run_delta")
            assert complete("runs", "show", "run_") == ["run_alpha", "run_beta", "run_gamma"]


def test_a_broken_question_of_the_shell_is_answered_by_silence(
    call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for instruction in ("zsh_complete", "tcsh_complete", "nonsense"):
        monkeypatch.setenv("_DYNOSTORE_COMPLETE", instruction)
        done = call()
        assert (done.code, done.out, done.err) == (1, "", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_can_read(
    call: Callable[..., Any], workplace: Path, shell: str
) -> None:
    done = call("completion", shell)
    assert f"_DYNOSTORE_COMPLETE={shell}_complete" in done.out
    assert call("completion", shell, "--json").item["script"].strip() == done.out.strip()
    if shutil.which(shell):
        script = workplace / "script"
        script.write_text(done.out)
        subprocess.run([shell, "-n", str(script)], check=True)
    assert call("completion", "tcsh").code == 2


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_an_id(workplace: Path, three_runs: list[str]) -> None:
    program = workplace / "dynostore"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dynostore "$@"\n')
    program.chmod(0o700)
    script = (
        'eval "$(dynostore completion bash)"; COMP_WORDS=(dynostore runs show run_b); COMP_CWORD=3;'
        ' _dynostore_completion dynostore; echo "${COMPREPLY[*]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": f"{workplace}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("run_beta\n", "")
