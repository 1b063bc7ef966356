"""Moving what was taken over to an archive, interrupted anywhere, and comparing sources again."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store, errors
from dynostore.importer import import_from
from dynostore.importing.move import JOURNAL
from dynostore.importing.verify import verify_sources

KillChild = Callable[..., bool]


def files_below(root: Path) -> dict[str, bytes]:
    """Give the content of all files below a directory by their paths."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def storage_paths(store: Store) -> set[str]:
    return {
        str(file.storage_path) for run in store.runs.stream() for file in store.runs.files(run.id)
    }


def test_what_was_taken_over_moves_and_the_store_follows(
    tree: Any, store: Store, tmp_path: Path
) -> None:
    tree.add_all()
    before = files_below(tree.root)
    archive = tmp_path / "archive"
    report = import_from(tree.root, store, archive=archive)
    left, moved = files_below(tree.root), files_below(archive)
    assert {**left, **moved} == before
    assert left.keys() == {
        "runs/index.json",
        "outputs/._manifest_x8.tmp",
        f"outputs/{tree.uuids[7]}/manifest.json",
    }
    assert (report.archived, len(report.not_archived)) == (len(moved), 0)
    assert all(
        os.path.isfile(path) and path.startswith(str(archive)) for path in storage_paths(store)
    )
    assert report.exit_code == 3  # the broken one is still to be looked at
    again = import_from(archive, store)
    assert (again.records.same, again.records.found) == (5, 5)
    compared = verify_sources(store)
    assert (compared.exit_code, [s.records for s in compared.sources]) == (0, [5])
    assert not list(tree.root.glob("runs/run_a"))


def test_what_is_not_all_in_the_store_stays_where_it_is(
    tree: Any, store: Store, tmp_path: Path
) -> None:
    for run in ("run_a", "run_b", "run_c"):
        tree.add_a(run, current_stage="load")
    import_from(tree.root, store)
    for run in ("run_b", "run_c"):
        store.runs.update(run, current_stage="mine")
    tree.add_a("run_c", current_stage="theirs")
    report = import_from(tree.root, store, archive=tmp_path / "archive")
    # The second was only edited here, after all of it had been taken over.
    assert [r.path for r in report.not_archived] == ["runs/run_c"]
    assert "runs run_c" in report.not_archived[0].message
    assert report.exit_code == 3
    assert [path.name for path in (tree.root / "runs").iterdir()] == ["run_c"]


def test_another_file_in_the_archive_is_never_overwritten(
    tree: Any, target: Store, tmp_path: Path
) -> None:
    tree.add_a("run_a")
    other = tmp_path / "archive/runs/run_a/output/VE.csv"
    other.parent.mkdir(parents=True)
    other.write_text("precious")
    report = import_from(tree.root, target, archive=tmp_path / "archive")
    assert "is another file" in report.not_archived[0].message
    assert (other.read_text(), report.archived) == ("precious", 0)
    assert len(files_below(tree.root)) == 2
    assert storage_paths(target) == {str(tree.root / "runs/run_a/output/VE.csv")}


def test_a_file_beside_a_copy_is_left_alone_whatever_its_name(
    tree: Any, target: Store, tmp_path: Path
) -> None:
    tree.add_a("run_a")
    other = tmp_path / "archive/runs/run_a/output/VE.csv.part"
    other.parent.mkdir(parents=True)
    other.write_text("precious")
    report = import_from(tree.root, target, archive=tmp_path / "archive")
    assert (report.archived, other.read_text()) == (2, "precious")
    assert {path.name for path in other.parent.iterdir()} == {"VE.csv", "VE.csv.part"}


def test_the_archive_lies_beside_the_source(tree: Any, target: Store, tmp_path: Path) -> None:
    tree.add_a()
    for archive in (tree.root, tree.root / "below", tmp_path):
        with pytest.raises(errors.ConfigError, match="beside the source"):
            import_from(tree.root, target, archive=archive)


def test_an_archive_that_cannot_be_made_is_refused_before_the_work(
    tree: Any, target: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.add_a()
    (tmp_path / "file").write_text("in its way")
    (tmp_path / "fixed").mkdir()
    access = os.access
    monkeypatch.setattr(
        os,
        "access",
        lambda path, *more, **how: (
            os.fspath(path) != str(tmp_path / "fixed") and access(path, *more, **how)
        ),
    )
    for archive, is_dry in itertools.product(
        ("file", "file/below/it", "fixed", "fixed/below/it"), (False, True)
    ):
        with pytest.raises(errors.StoreUnwritable, match=archive) as caught:
            import_from(tree.root, target, archive=tmp_path / archive, dry_run=is_dry)
        assert "--archive" in str(caught.value.hint)
    assert target.runs.count() == 0
    assert not list((tmp_path / "fixed").iterdir())


def test_an_archive_that_cannot_be_written_is_in_the_report(
    tree: Any, target: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in ("run_a", "run_b"):
        tree.add_a(run)
    before, replace, archive = files_below(tree.root), os.replace, tmp_path / "archive"

    def refuse_journal(one: Any, other: Any) -> None:
        if os.fspath(other).endswith(JOURNAL):
            raise OSError(28, "No space left on device", str(other))
        replace(one, other)

    def refuse_archive(path: Path, *more: Any, **how: Any) -> None:
        raise FileExistsError(17, "File exists", str(path))

    for name, owner, refuse in (("replace", os, refuse_journal), ("mkdir", Path, refuse_archive)):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, refuse)
            report = import_from(tree.root, target, archive=archive)
        assert (report.exit_code, report.archived, target.runs.count()) == (3, 0, 2)
        assert [remark.path for remark in report.not_archived] == ["runs/run_a", "runs/run_b"]
        for remark in report.not_archived:
            assert remark.message.startswith(str(archive))
        assert files_below(tree.root) == before
    assert import_from(tree.root, target, archive=archive).exit_code == 0


def test_a_directory_that_may_not_be_written_to_is_named_and_the_others_move(
    tree: Any, target: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.add_a("run_fixed")
    tree.add_a("run_free")
    fixed = tree.root / "runs/run_fixed"
    before, access = files_below(fixed), os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode, **how: path != str(fixed) and access(path, mode, **how)
    )
    report = import_from(tree.root, target, archive=tmp_path / "archive")
    assert report.exit_code == 3
    assert [(remark.path, remark.message) for remark in report.not_archived] == [
        ("runs/run_fixed", f"{fixed}: the directory may not be written to")
    ]
    assert files_below(fixed) == before
    assert not (tree.root / "runs/run_free").exists()
    assert not (tmp_path / "archive/runs/run_fixed").exists()
    monkeypatch.undo()
    report = import_from(tree.root, target, archive=tmp_path / "archive")
    assert (report.exit_code, fixed.exists()) == (0, False)


def test_a_file_that_may_not_be_removed_is_named_and_the_others_move(
    haia: Any, target: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    haia.add("conversations", haia.talk(1))
    archive, unlink = tmp_path / "archive", os.unlink

    def refuse(path: Any, *more: Any, **how: Any) -> None:
        if os.fspath(path) == str(haia.path):
            raise PermissionError(1, "Operation not permitted", str(path))
        unlink(path, *more, **how)

    monkeypatch.setattr(os, "unlink", refuse)
    for source in (haia.path.parent, haia.path):
        report = import_from(source, target, archive=archive)
        assert (report.exit_code, report.archived) == (3, 0)
        [remark] = report.not_archived
        assert remark.path == "haia.db"
        assert remark.message.startswith(f"{haia.path}: cannot be removed: Operation not permitted")
        assert haia.path.exists()
        assert not (archive / JOURNAL).exists()
    monkeypatch.undo()
    report = import_from(haia.path, target, archive=archive)
    assert (report.exit_code, report.archived, haia.path.exists()) == (0, 1, False)


def test_what_no_reader_knows_was_not_archived(tree: Any, target: Store, tmp_path: Path) -> None:
    archive, unknown = tmp_path / "archive", tmp_path / "unknown/notes.txt"
    archive.mkdir()
    unknown.parent.mkdir()
    unknown.write_text("of no tool")
    for source in (unknown, unknown.parent, tmp_path / "missing"):
        with pytest.raises(errors.SourceNotFound, match=r"none of|one of|nothing to"):
            import_from(source, target, archive=archive)
    tree.add_a()
    import_from(tree.root, target, archive=archive)
    for source in (unknown, tmp_path / "missing"):  # nor where the archive has others
        with pytest.raises(errors.SourceNotFound):
            import_from(source, target, archive=archive)
    again = import_from(tree.root, target, archive=archive)
    assert (again.exit_code, again.records.found) == (0, 0)
    assert "the archive has what was taken over before" in again.warnings[0].message


def test_a_file_that_was_moved_may_be_given_again(haia: Any, target: Store, tmp_path: Path) -> None:
    haia.add("conversations", haia.talk(1))
    for archived in (1, 0):
        report = import_from(haia.path, target, archive=tmp_path / "archive")
        assert (report.exit_code, report.archived) == (0, archived)


def test_a_dry_run_moves_nothing(tree: Any, target: Store, tmp_path: Path) -> None:
    tree.add_a()
    import_from(tree.root, target, archive=tmp_path / "archive", dry_run=True)
    assert not (tmp_path / "archive").exists()


def archive_in_steps(source: Path, path: Path, archive: Path, step: Callable[..., object]) -> None:
    """Import, and then archive, with a call before each statement and change of the file system."""

    def after_step(call: Callable[..., Any]) -> Callable[..., Any]:
        def do(*args: Any, **kwargs: Any) -> Any:
            step()
            return call(*args, **kwargs)

        return do

    with Store.open(path) as store:
        import_from(source, store)
        for name in ("fsync", "replace", "unlink", "rmdir"):
            setattr(os, name, after_step(getattr(os, name)))
        with store.database.reading():
            store.database.connection().set_trace_callback(step)
        import_from(source, store, archive=archive)
        store.database.connection().set_trace_callback(None)


def killed_and_repeated(tree: Any, tmp_path: Path, kill_child: KillChild, number: int) -> int:
    """Kill an archiving at its nth step, repeat it, and compare.

    :return: how many steps there were, where it was not killed.
    """
    source, archive, path = tmp_path / "source", tmp_path / "archive", tmp_path / "killed.db"
    shutil.copytree(tree.root, source)
    steps = itertools.count(1)
    armed: list[Callable[..., object]] = []

    def arm(number: int, die: Callable[[], object]) -> None:
        armed.append(lambda *_: die() if next(steps) == number else None)

    def act() -> None:
        archive_in_steps(source, path, archive, *armed)
        (tmp_path / "steps").write_text(str(next(steps) - 1))

    is_killed = kill_child(number, arm, act)
    with Store.open(path) as store:
        paths = storage_paths(store)
        assert all(map(os.path.isfile, paths)), number
        import_from(source, store, archive=archive)
        assert {**files_below(source), **files_below(archive)} == files_below(tree.root), number
        assert files_below(source).keys() == {"runs/index.json"}, number
        paths = storage_paths(store)
        assert all(p.startswith(str(archive)) and os.path.isfile(p) for p in paths), number
        assert (store.runs.count(), verify_sources(store).exit_code) == (2, 0), number
        assert not (archive / JOURNAL).exists()
    for place in (source, archive):
        shutil.rmtree(place)
    for rest in tmp_path.glob("killed.db*"):
        rest.unlink()
    return 0 if is_killed else int((tmp_path / "steps").read_text())


def fill(tree: Any) -> None:
    tree.add_a("run_a")
    tree.add_b(0)
    tree.write("runs/index.json", "{}")


def test_a_move_that_was_killed_is_completed_by_the_next(
    tree: Any, tmp_path: Path, kill_child: KillChild
) -> None:
    fill(tree)
    steps = killed_and_repeated(tree, tmp_path, kill_child, 0)
    assert steps > 30
    for number in (steps // 3, steps // 2, steps - 4):
        killed_and_repeated(tree, tmp_path, kill_child, number)


@pytest.mark.slow
def test_a_move_killed_at_any_step_is_completed_by_the_next(
    tree: Any, tmp_path: Path, kill_child: KillChild
) -> None:
    fill(tree)
    steps = killed_and_repeated(tree, tmp_path, kill_child, 0)
    for number in range(1, steps + 1):
        killed_and_repeated(tree, tmp_path, kill_child, number)


def test_differences_are_named_by_key_and_field(tree: Any, store: Store) -> None:
    tree.add_a("run_a")
    tree.add_a("run_b")
    tree.add_a("run_c")
    import_from(tree.root, store)
    store.runs.update("run_a", current_stage="mine")
    store.runs.delete("run_b")
    tree.write("runs/run_c/output/VE.csv", "changed\n")
    tree.write("runs/run_d/run_state.json", "{")
    report = verify_sources(store)
    assert report.exit_code == 7
    assert [(s.kind, s.status, s.records, s.equal) for s in report.sources] == [
        ("dynoai", "different", 4, 0)
    ]
    found = {
        (d.path, d.table, d.key, d.field) for d in report.differences if d.table != "run_files"
    }
    assert ("runs/run_a", "runs", "run_a", "current_stage") in found
    assert ("runs/run_b", "runs", "run_b", None) in found
    assert ("runs/run_d", None, None, None) in found
    assert {d.field for d in report.differences if d.table == "run_files"} >= {
        "size_bytes",
        "sha256",
    }
    before = [row.values() for row in store.imports.stream()]
    verify_sources(store)
    assert [row.values() for row in store.imports.stream()] == before


def test_a_source_that_is_gone_or_unknown_is_said_so(
    tree: Any, target: Store, tmp_path: Path
) -> None:
    tree.add_a()
    import_from(tree.root, target)
    shutil.move(tree.root, tmp_path / "moved")
    report = verify_sources(target)
    assert ([s.status for s in report.sources], report.exit_code) == (["gone"], 0)
    named = verify_sources(target, [tmp_path / "moved"])
    assert (named.exit_code, [s.status for s in named.sources]) == (7, ["different"])
    assert {d.field for d in named.differences} == {"storage_path"}
