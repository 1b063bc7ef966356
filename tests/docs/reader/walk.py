"""The way through a page, from block to block."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import yaml

from dynostore.config import locate
from tests.docs.reader.blocks import Block
from tests.docs.reader.commands import Result, execute, split_commands
from tests.docs.reader.output import is_as_told

_LANGUAGES = {"console", "diff", "ini", "json", "mermaid", "python", "sh", "sql", "text", "yaml"}
_POSTGRES = re.compile(r"postgres(?:ql)?://[\w.:%-]+@(?:host|db\.example(?:\.org)?)(?::\d+)?/(\w+)")
_REDIS = re.compile(r"rediss?://[\w:]*@?host(?::\d+)?(?:/\d+)?")


class Walk:
    """Runs the blocks of one page as a reader would, in the current directory.

    :param address_of: gives the URL of the database of a name, made at the first call.
    :param redis_url: gives that of Redis; None where there is none, and its commands are left out.
    """

    def __init__(
        self,
        page: Path,
        address_of: Callable[[str], str],
        redis_url: Callable[[], str | None],
        psql: Callable[[], str],
    ) -> None:
        self._page = page.name
        self._address_of = address_of
        self._redis_url = redis_url
        self._psql = psql
        self._module = types.ModuleType("page")
        sys.modules["page"] = self._module

    def run(self, block: Block) -> None:
        """Run one block, or do with it what its language asks for."""
        where = f"{self._page}:{block.line}"
        assert block.language in _LANGUAGES, f"{where}: {block.language!r} is no language of a page"
        if block.exempt is not None:
            return
        text = self._placed(block.text)
        if block.language == "diff":
            assert block.name is not None, f"{where}: says no file"
            _patch(Path(block.name), text, where)
        elif block.name is not None:
            path = Path(block.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        read = getattr(self, f"_read_{block.language}", None)
        if read is not None and (block.name is None or block.language in ("json", "yaml", "ini")):
            read(text, where)

    def _placed(self, text: str) -> str:
        text = _POSTGRES.sub(lambda match: self._address_of(match[1]), text)
        if _REDIS.search(text) and (url := self._redis_url()):
            text = _REDIS.sub(url, text)
        return text

    def _read_sh(self, text: str, where: str) -> None:
        for line in split_commands(text):
            self._check(line, where)

    def _read_console(self, text: str, where: str) -> None:
        for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.M):
            result = self._check(command, where)
            assert is_as_told(result.seen, output), (
                f"{where}: $ {command}\nthe page says:\n{output}\nit is:\n{result.seen}"
            )

    def _check(self, line: str, where: str) -> Result:
        wanted = re.search(r"\s#.*\bexits? (\d+)", line)
        if _REDIS.search(line) and self._redis_url() is None:
            return Result(0, "")
        result = execute(line)
        code = int(wanted[1]) if wanted else 0
        assert result.code == code, f"{where}: $ {line}\nends with {result.code}:\n{result.seen}"
        return result

    def _read_python(self, text: str, where: str) -> None:
        code = compile(text, where, "exec", dont_inherit=True)
        exec(code, vars(self._module))

    def _read_sql(self, text: str, where: str) -> None:
        url = self._address_of("dynostore")
        name = url.partition("?")[0].rpartition("/")[2]
        script = re.sub(r"(?<=DATABASE )dynostore\b", name, text)
        if "GRANT" in script:
            # Roles are the server's: one made here would be there for every other test.
            script = f"BEGIN; CREATE ROLE lab; {script}; ROLLBACK"
        command = [self._psql(), "-X", "-q", "-v", "ON_ERROR_STOP=1", url]
        done = subprocess.run(command, input=script, text=True, capture_output=True, check=False)
        assert done.returncode == 0, f"{where}: {done.stderr}"

    def _read_json(self, text: str, where: str) -> None:
        for line in text.splitlines():
            json.loads(line)

    def _read_yaml(self, text: str, where: str) -> None:
        document = yaml.safe_load(text)
        if set(document) <= {"default", "profiles"}:
            path = Path("checked.yaml")
            path.write_text(text, encoding="utf-8")
            locate(config=path)
            path.unlink()

    def _read_ini(self, text: str, where: str) -> None:
        configparser.ConfigParser(interpolation=None, strict=False).read_string(text)


def _patch(path: Path, difference: str, where: str) -> None:
    """Change a file as a difference says; what it shows of the file must be there once."""
    text = path.read_text(encoding="utf-8")
    for hunk in re.split(r"^@@.*\n", difference, flags=re.M):
        lines = hunk.splitlines(keepends=True)
        before, after = (
            "".join(line[1:] for line in lines if line[0] in signs) for signs in (" -", " +")
        )
        assert text.count(before) == 1, (
            f"{where}: {path} has this {text.count(before)} times:\n{before}"
        )
        text = text.replace(before, after)
    path.write_text(text, encoding="utf-8")
