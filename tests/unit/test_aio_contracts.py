"""The types of the asynchronous verbs are those of the contracts, with await.

They are written by this file, not by hand: ``python tests/unit/test_aio_contracts.py``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import dynostore

PACKAGE = Path(dynostore.__file__).parent
Import = tuple[str | None, str]  # the module, None for a whole one, and the name
STUB = PACKAGE / "aio_contracts.pyi"
HEAD = '''"""The contracts of :mod:`dynostore.repositories` with await, for type checkers.

Written by tests/unit/test_aio_contracts.py; what the verbs mean is said there.
"""
'''


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Give the modules that hold contracts, by dotted name."""
    for path in sorted((PACKAGE / "repositories").rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield name, ast.parse(path.read_text(encoding="utf-8"))


def contracts_of(module: ast.Module) -> list[ast.ClassDef]:
    return [
        node
        for node in module.body
        if isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
    ]


class Names(ast.NodeTransformer):
    """Makes the names in annotations of one module mean the same in the stub."""

    def __init__(self, name: str, module: ast.Module, contracts: set[str]) -> None:
        self._alias = "_" + name.removeprefix("dynostore.repositories.").replace(".", "_")
        self._home = (name.rpartition(".")[0], f"{name.rpartition('.')[2]} as {self._alias}")
        self._contracts = contracts
        self._imported: dict[str, Import] = {}
        for node in module.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                origin = node.module if isinstance(node, ast.ImportFrom) else None
                for alias in node.names:
                    known_as = alias.asname or alias.name
                    self._imported[known_as] = (origin, ast.unparse(alias))
        self._local = {
            target.id
            for node in module.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        } | {node.name for node in module.body if isinstance(node, ast.ClassDef)}
        self.imports: set[Import] = set()

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in self._contracts:
            return ast.Name(f"Async{node.id}")
        if node.id == "Iterator":
            self.imports.add(("collections.abc", "AsyncIterator"))
            return ast.Name("AsyncIterator")
        if node.id in self._imported:
            self.imports.add(self._imported[node.id])
        elif node.id in self._local:
            self.imports.add(self._home)
            return ast.Attribute(ast.Name(self._alias), node.id)
        return node


def parameters(arguments: ast.arguments) -> Iterator[str]:
    """Give the parameters one by one, with their defaults left out."""
    plain = arguments.args
    first_default = len(plain) - len(arguments.defaults)
    for index, argument in enumerate(plain):
        yield ast.unparse(argument) + (" = ..." if index >= first_default else "")
    if arguments.kwonlyargs:
        yield "*"
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield ast.unparse(argument) + (" = ..." if default is not None else "")
    if arguments.kwarg is not None:
        yield f"**{ast.unparse(arguments.kwarg)}"


def method(node: ast.FunctionDef) -> str:
    assert node.returns is not None
    gives = ast.unparse(node.returns)
    lines = [f"    @{ast.unparse(decorator)}" for decorator in node.decorator_list]
    if lines:
        return "\n".join([*lines, f"    def {node.name}(self) -> {gives}: ..."])
    start = "def" if gives.startswith("AsyncIterator[") else "async def"
    body = "".join(f"        {parameter},\n" for parameter in parameters(node.args))
    return f"    {start} {node.name}(\n{body}    ) -> {gives}: ..."


def import_lines(imports: set[Import]) -> Iterator[str]:
    """Give the import statements as ruff sorts them: the standard library, then ours."""
    for ours in (False, True):
        if ours:
            yield ""
        here = {i for i in imports if (i[0] or "").startswith("dynostore") == ours}
        yield from sorted(f"import {name}" for module, name in here if module is None)
        for module in sorted({module for module, _ in here if module is not None}):
            names = sorted(name for other, name in here if other == module)
            # Those with another name stand alone.
            plain = [name for name in names if " as " not in name]
            yield from (f"from {module} import {name}" for name in names if " as " in name)
            if len(line := f"from {module} import {', '.join(plain)}") > 100:
                line = "\n".join([f"from {module} import (", *(f"    {n}," for n in plain), ")"])
            if plain:
                yield line


def written() -> str:
    """Give what the stub has to say."""
    found = list(modules())
    contracts = {contract.name for _, module in found for contract in contracts_of(module)}
    imports: set[Import] = {("typing", "Protocol")}
    classes = []
    for name, module in found:
        names = Names(name, module, contracts)
        for contract in contracts_of(module):
            verbs = [node for node in contract.body if isinstance(node, ast.FunctionDef)]
            methods = [method(names.visit(verb)) for verb in verbs]
            bases = ", ".join(ast.unparse(names.visit(base)) for base in contract.bases)
            title = f"class Async{contract.name}({bases}):"
            meaning = f'    """The verbs of ``{contract.name}``, awaited."""\n'
            classes.append("\n".join(["", title, meaning, *methods]))
        imports |= names.imports
    return "\n".join([HEAD, *import_lines(imports), *classes, ""])


def test_the_types_of_the_asynchronous_verbs_are_those_of_the_contracts() -> None:
    assert STUB.read_text(encoding="utf-8") == written(), f"run: python {Path(__file__).name}"


if __name__ == "__main__":
    STUB.write_text(written(), encoding="utf-8")
