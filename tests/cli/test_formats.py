"""Every form in which results are printed: what a program reads, and what a person pastes."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from dynostore import Store

Call = Callable[..., Any]

ODD = "a|b_c *d* `e` <f> [g] \\ ünd\n\x1b[2J"


@pytest.fixture
def odd_run(three_runs: list[str]) -> str:
    with Store.open("dynostore.db") as store:
        store.runs.update("other", current_stage=ODD, progress_percent=80, input_filename='"a", b')
    return "other"


def records(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_list_says_the_same_in_json_in_lines_of_json_and_in_csv(call: Call, odd_run: str) -> None:
    whole = call("runs", "list", "--json")
    assert call("runs", "list", "--format", "json") == whole
    assert call("--format", "json", "runs", "list") == whole
    lines = call("runs", "list", "--format", "jsonl")
    assert [json.loads(line) for line in lines.out.splitlines()] == whole.items
    rows = records(call("runs", "list", "--format", "csv").out)
    assert len(rows) == len(whole.items)
    for row, item in zip(rows, whole.items, strict=True):
        for name, value in item.items():
            if isinstance(value, dict | list):
                assert json.loads(row[name]) == value
            else:
                assert row[name] == ("" if value is None else str(value))
        assert dt.datetime.fromisoformat(row["created_at"]).utcoffset() == dt.timedelta()


def test_a_record_is_a_line_of_json_a_row_of_csv_or_a_table_of_markdown(
    call: Call, odd_run: str
) -> None:
    item = call("runs", "show", odd_run, "--json").item
    assert json.loads(call("runs", "show", odd_run, "--format", "jsonl").out) == item
    (row,) = records(call("runs", "show", odd_run, "--format", "csv").out)
    assert list(row) == list(item)
    assert (row["current_stage"], row["progress_percent"], row["error_info"]) == (ODD, "80", "")
    assert json.loads(row["metadata"]) == item["metadata"]
    shown = call("runs", "show", "run_alpha", "--format", "md").out.split("\n\n")
    assert shown[0].splitlines()[0].split() == ["|", "field", "|", "value", "|"]
    assert "| run_alpha" in shown[0]
    assert "| output/VE.csv |" in shown[1]
    made = call("runs", "create", "--id", "new", "--format", "csv")
    assert records(made.out)[0]["id"] == "new"


def test_markdown_has_the_tables_columns_and_no_cell_breaks_out(call: Call, odd_run: str) -> None:
    lines = call("runs", "list", "--format", "md").out.splitlines()
    assert lines[0].split("|")[1].strip() == "id"
    assert set(lines[1]) <= set("|-: ")
    assert len(lines) == 2 + 3
    cells = r"a\|b_c \*d\* \`e\` \<f> \[g\] \\ ünd\\n\\x1b\[2J"
    assert cells in lines[2]
    assert call("tasks", "list", "--format", "md").out.splitlines()[1].count("|") == 7


def test_what_is_empty_still_says_its_columns(call: Call, three_runs: list[str]) -> None:
    assert call("tasks", "list", "--format", "jsonl").out == ""
    assert call("tasks", "list", "--format", "csv").out.startswith("task_id,status,")
    assert call("report", "failed-tasks", "--format", "csv").out.startswith("task_id,request_text,")


def test_where_a_list_goes_on_is_said_beside_it(call: Call, three_runs: list[str]) -> None:
    def listed(form: str, *more: str) -> Any:
        return call("runs", "list", "--limit", "1", "--format", form, *more)

    whole = call("runs", "list", "--limit", "1", "--json")
    after = json.loads(whole.out)["next"]
    assert json.loads(listed("jsonl").err) == {"next": after}
    assert f"--after {after}" in listed("csv").err
    assert f"--after {after}" in listed("md").err
    for form in ("jsonl", "csv", "md"):
        assert listed(form, "-q").err == ""


def test_errors_are_json_for_those_who_read_json(call: Call, three_runs: list[str]) -> None:
    for form in (["--json"], ["--format", "jsonl"], ["--format=json"]):
        assert call("runs", "show", "nothing", *form).error["code"] == "run_not_found"
        assert call("runs", "lst", *form).error["code"] == "usage"
    for form in (["--format", "csv"], ["--format=md"]):
        assert call("runs", "show", "nothing", *form).err.startswith("error: ")
    assert call("--format", "xml", "runs", "list").code == 2


def test_the_form_nearest_to_the_command_wins(call: Call, three_runs: list[str]) -> None:
    assert call("--json", "runs", "list", "--format", "csv").out.startswith("id,")
    assert call("--format", "csv", "runs", "list", "--json").out.startswith('{"ok"')
    # This command has a --format of its own.
    assert call("export", "--format", "csv", "--tables", "runs").out.startswith('"id"')


def test_without_a_terminal_a_program_is_not_asked(call: Call, three_runs: list[str]) -> None:
    for form in ("json", "jsonl", "csv"):
        refused = call("runs", "rm", "other", "--format", form, answer="y\n")
        assert (refused.code, refused.out) == (2, "")
    removed = call("runs", "rm", "other", "--format", "csv", "--yes")
    assert removed.out == "id\nother\n"
