"""Data flows one way: no module imports one that stands above it, and equals stay apart."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import dynostore

PACKAGE = Path(dynostore.__file__).parent

# From bottom to top; a package's name stands for all of its modules. A module may import what is
# below it, nothing else of its own line.
LAYERS = (
    ("dynostore.fleeting",),
    (
        "dynostore",
        "dynostore.errors",
        "dynostore.canonical_json",
        "dynostore.durable",
        "dynostore.sqlite_header",
        "dynostore.rights",
    ),
    ("dynostore.forked",),
    (
        "dynostore.config",
        "dynostore.file_copy",
        "dynostore.in_use",
        "dynostore.open_file",
        "dynostore.ids",
        "dynostore.fields",
        "dynostore.driver_errors",
    ),
    ("dynostore.connections", "dynostore.backup"),
    ("dynostore.sqlite_file", "dynostore.postgres_server", "dynostore.redis_server"),
    ("dynostore.database",),
    ("dynostore.models",),
    ("dynostore.prepared",),
    ("dynostore.migrator", "dynostore.repositories"),
    (
        "dynostore.integrity",
        "dynostore.inventory",
        "dynostore.legacy",
        "dynostore.own_models",
        "dynostore.restore",
        "dynostore.search",
        "dynostore.table_sizes",
        "dynostore.vacuum",
    ),
    ("dynostore.compat",),
    ("dynostore.store",),
    ("dynostore.exporting", "dynostore.importing", "dynostore.querying"),
    (
        "dynostore.aio",
        "dynostore.exporter",
        "dynostore.importer",
        "dynostore.prune",
        "dynostore.query",
        "dynostore.reports",
        "dynostore.samples",
        "dynostore.schemas",
        "dynostore.sync",
    ),
    ("dynostore.charts", "dynostore.doctor"),
    ("dynostore.view",),
    ("dynostore.cli", "dynostore.pytest_plugin"),
    ("dynostore.__main__",),
)
# Parts of what would be one module if it were short.
PARTS = {
    "dynostore.migration_steps": "dynostore.config",
    "dynostore.urls": "dynostore.config",
    "dynostore.field_kinds": "dynostore.fields",
    "dynostore.field_writers": "dynostore.fields",
    "dynostore.connection_use": "dynostore.sqlite_file",
    "dynostore.memory_database": "dynostore.sqlite_file",
    "dynostore.aio_database": "dynostore.aio",
    "dynostore.aio_postgres": "dynostore.aio",
    "dynostore.aio_sqlite": "dynostore.aio",
    "dynostore.aio_verbs": "dynostore.aio",
    "dynostore.schema_fields": "dynostore.schemas",
    "dynostore.migration_runner": "dynostore.migrator",
    "dynostore.sqlite_dependents": "dynostore.migrator",
    "dynostore.own_schema": "dynostore.own_models",
}
# The readers know the records and nothing of the store that these will go to.
NOT_BELOW = {
    ("dynostore.legacy", "dynostore.database"),
    ("dynostore.legacy", "dynostore.migrator"),
    ("dynostore.legacy", "dynostore.repositories"),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# Installed, the migrations lie inside the package; they are read as files and imported by nobody.
MODULES = {
    module_name(path): path for path in PACKAGE.rglob("*.py") if "migrations" not in path.parts
}


def imports_of(name: str) -> Iterator[str]:
    """Give the modules of the package that a module imports, late and for types alone too."""
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            whole = f"{node.module}.{{}}"
            found = [
                whole.format(alias.name)
                if whole.format(alias.name) in MODULES
                else str(node.module)
                for alias in node.names
            ]
        else:
            continue
        yield from (module for module in found if module in MODULES)


def family_of(name: str) -> str:
    """Give the layer's entry that a module belongs to."""
    name = PARTS.get(name, name)
    owners = [
        entry
        for layer in LAYERS
        for entry in layer
        if name == entry or (entry != "dynostore" and name.startswith(f"{entry}."))
    ]
    assert owners, f"{name}: give it a place in LAYERS"
    return max(owners, key=len)


RANKS = {entry: rank for rank, layer in enumerate(LAYERS) for entry in layer}


def violations() -> Iterator[str]:
    for name in MODULES:
        if name == "dynostore":
            continue  # what users import: it loads each name at first use
        family = family_of(name)
        for imported in imports_of(name):
            other = family_of(imported)
            if other == family:
                continue
            if RANKS[other] >= RANKS[family] or (family, other) in NOT_BELOW:
                yield f"{name} imports {imported}"


def test_no_module_imports_one_above_or_beside_it() -> None:
    assert sorted(violations()) == []


def test_repositories_do_not_import_each_other() -> None:
    package = "dynostore.repositories"
    shared = {f"{package}.base", f"{package}.pages"}
    for name in MODULES:
        if name.startswith(f"{package}."):
            family = ".".join(name.split(".")[:3])
            siblings = {i for i in imports_of(name) if i.startswith(package)}
            own = {i for i in siblings if name == family and i.startswith(f"{family}.")}
            assert siblings - own <= shared, name


def test_nothing_imports_the_migrations_by_name() -> None:
    for name, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        assert "import dynostore.migrations" not in text, name
        assert "from dynostore.migrations" not in text, name


def test_importing_dynostore_imports_nothing_else() -> None:
    tree = ast.parse(MODULES["dynostore"].read_text(encoding="utf-8"))
    at_once = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert set(at_once) <= {"__future__", "typing"}
