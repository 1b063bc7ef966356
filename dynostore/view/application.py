"""Datasette over a store's file: opened for reading alone, described, and safe from odd names."""

from __future__ import annotations

import contextvars
import re
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from datasette.app import Datasette
from datasette.database import Database, QueryInterrupted
from datasette.plugins import pm
from datasette.utils import escape_sqlite

from dynostore.database import SqliteFile
from dynostore.store import Store
from dynostore.view import cells
from dynostore.view.dashboard import dashboards, sqlite_charts
from dynostore.view.metadata import describe_tables, group_tables
from dynostore.view.queries import canned_queries, chart_query

NAME = "store"
"""What the file is called in addresses: any name of a file would do, but for some in any URL."""

_HERE = Path(__file__).parent
_OUR_HOST = re.compile(rb"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")
_LABEL_CHARACTERS = 60
_COUNT_MS = 250

_SETTINGS = {
    # Reports read whole tables; Datasette's one second is meant for the open web.
    "sql_time_limit_ms": 15_000,
    "truncate_cells_html": 200,
    # A tool writes meanwhile, and a page that is loaded again must show it.
    "default_cache_ttl": 0,
    "suggest_facets": False,
    "max_returned_rows": 5000,
}

# Datasette's own statement fails on a name with "]". A reference that names no column means the key
# of the other table; one of several columns, or to a table that is not there, is no link.
_REFERENCES = """
SELECT m.name AS from_table, r."from" AS from_column, r."table" AS to_table,
    COALESCE(r."to", (SELECT k.name FROM pragma_table_info(r."table") AS k WHERE k.pk = 1))
        AS to_column
FROM sqlite_master AS m, pragma_foreign_key_list(m.name) AS r
WHERE m.type = 'table'
GROUP BY m.name, r.id
HAVING COUNT(*) = 1
ORDER BY m.name, r.id
"""

# With rich it would print each mistyped query to stdout, with the records in all local variables.
pm.get_plugin("datasette.handle_exception").rich = None

_dashboards: contextvars.ContextVar[Mapping[str, Any] | None] = contextvars.ContextVar(
    "dashboards", default=None
)
"""The dashboards of the request that is being answered."""


class StoreFile(Database):  # type: ignore[misc]  # untyped
    """The store's file, which no request can change."""

    def __init__(self, datasette: Datasette, path: Path, busy_timeout_s: float) -> None:
        super().__init__(datasette, path=str(path), is_mutable=True)
        self._uri = f"{path.as_uri()}?mode=ro"
        self._busy_timeout_s = busy_timeout_s

    def connect(self, write: bool = False) -> sqlite3.Connection:
        """Open a connection that only reads. Never as immutable: tools write meanwhile."""
        if write:
            raise sqlite3.OperationalError("the view only reads")
        # As a quoted URI: Datasette's own breaks on a path with "?", "#" or "%".
        connection = sqlite3.connect(
            self._uri, uri=True, check_same_thread=False, timeout=self._busy_timeout_s
        )
        connection.execute("PRAGMA query_only = ON")
        self._all_file_connections.append(connection)
        return connection

    async def execute(self, sql: str, params: Any = None, **options: Any) -> Any:
        """Execute a query; its values go to no log."""
        return await super().execute(sql, params, **{**options, "log_sql_errors": False})

    async def table_counts(self, limit: int = 10) -> dict[str, int | None]:
        """Count the rows of each table; None where that takes longer than ours ever should."""
        counts: dict[str, int | None] = {}
        for table in await self.table_names():
            counting = f"SELECT COUNT(*) FROM {escape_sqlite(table)}"
            try:
                found = await self.execute(counting, custom_time_limit=_COUNT_MS)
                counts[table] = found.rows[0][0]
            except (QueryInterrupted, sqlite3.DatabaseError):
                counts[table] = None
        return counts

    async def get_all_foreign_keys(self) -> dict[str, dict[str, list[dict[str, str]]]]:
        """Give the references from and to each table."""
        names = await self.table_names()
        found: dict[str, Any] = {name: {"incoming": [], "outgoing": []} for name in names}
        for table, column, other_table, other_column in await self._references():
            if table in found and other_table in found:
                link = {"other_table": table, "column": other_column, "other_column": column}
                found[other_table]["incoming"].append(link)
                link = {"other_table": other_table, "column": column, "other_column": other_column}
                found[table]["outgoing"].append(link)
        return found

    async def foreign_keys_for_table(self, table: str) -> list[dict[str, str]]:
        """Give the references from a table."""
        found = await self.get_all_foreign_keys()
        return found[table]["outgoing"] if table in found else []

    async def _references(self) -> list[tuple[str, str, str, str]]:
        rows = (await self.execute(_REFERENCES)).rows
        # A reference may spell the other table in another case.
        spelled = {name.lower(): name for name in await self.table_names()}
        return [
            (table, column, spelled.get(other.lower(), other), key)
            for table, column, other, key in map(tuple, rows)
            if key is not None
        ]


class StoreView(Datasette):  # type: ignore[misc]  # untyped
    """The web application: the pages of one file, which follow its schema while it is served.

    :ivar store_name: Datasette's name of the file.
    """

    def __init__(self, store: Store) -> None:
        if not pm.is_registered(cells):
            pm.register(cells, cells.__name__)
        super().__init__(
            memory=True,  # else it looks for files; taken away at once
            settings=_SETTINGS,
            template_dir=str(_HERE / "templates"),
            static_mounts=[("-/dynostore", str(_HERE / "static"))],
        )
        self.remove_database("_memory")
        file: SqliteFile = store.database
        self.store_name = NAME
        self._own = store.own.models
        self._shown = Path(file.shown).name
        self._schema_version: int | None = None
        self._file = self.add_database(
            StoreFile(self, file.path, file.settings.busy_timeout_s), name=NAME
        )

    def app(self) -> Any:
        """Give the ASGI application."""
        inner = super().app()

        async def serve(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                if not _is_ours(scope["headers"]):
                    await _refuse(send)
                    return
                if scope["path"].startswith("/-/dashboards"):
                    await self.refresh_schemas()  # as Datasette does for its own pages
                    _dashboards.set(dashboards(NAME, await self._reasons(scope["query_string"])))
            await inner(scope, receive, send)

        return serve

    async def refresh_schemas(self) -> None:
        """Describe the tables anew where one came or went.

        Datasette's own catalogue, which this replaces, is shown nowhere and fails on odd names.
        """
        version = (await self._file.execute("PRAGMA schema_version")).first()[0]
        if version != self._schema_version:
            tables = await self._file.table_names()
            self._metadata_local = self._described(tables)
            self._schema_version = version

    def _described(self, tables: list[str]) -> dict[str, Any]:
        described = describe_tables(self._own, tables)
        return {
            "title": self._shown,
            "description": "A file of dynostore, which is only read here.",
            "extra_css_urls": ["/-/dynostore/view.css"],
            "databases": {
                NAME: {
                    "title": self._shown,
                    "description": "All that the file holds.",
                    "tables": described,
                    "groups": group_tables(described),
                    "queries": canned_queries(tables),
                }
            },
        }

    def shut(self) -> None:
        """End what is being asked, and close all connections."""
        for connection in self._file._all_file_connections:
            connection.interrupt()
        self.executor.shutdown()
        self._file.close()

    def plugin_config(
        self,
        plugin_name: str,
        database: str | None = None,
        table: str | None = None,
        fallback: bool = True,
    ) -> Any:
        """Give the dashboards of this request, and nothing to any other plugin."""
        return _dashboards.get() if plugin_name == "datasette-dashboards" else None

    async def expand_foreign_keys(
        self, database: str, table: str, column: str, values: Iterable[Any]
    ) -> dict[tuple[str, Any], str]:
        """Give the labels of other rows, short enough for a cell; the key where there is none."""
        found = await super().expand_foreign_keys(database, table, column, values)
        return {key: _short(str(label or key[1])) for key, label in found.items()}

    async def _reasons(self, query_string: bytes) -> dict[str, str]:
        """Say why charts are empty, by their names; those that are not are left out."""
        days = parse_qs(query_string.decode("latin1")).get("days", [""])[0]
        there = set(await self._file.table_names())
        reasons = {}
        for chart in sqlite_charts():
            if chart.needs is not None and chart.needs not in there:
                reasons[chart.name] = chart.missing
                continue
            asked = f"SELECT 1 FROM ({chart_query(chart)}) LIMIT 1"
            if not (await self._file.execute(asked, {"days": days})).rows:
                reasons[chart.name] = chart.empty
        return reasons


def _short(label: str) -> str:
    line = " ".join(label.split())
    return line if len(line) <= _LABEL_CHARACTERS else f"{line[: _LABEL_CHARACTERS - 1]}…"


def _is_ours(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Tell whether a request was meant for this machine.

    Else a page of somebody else's, whose name was made to lead here, could read all records.
    """
    hosts = [value.lower() for name, value in headers if name.lower() == b"host"]
    return len(hosts) == 1 and _OUR_HOST.fullmatch(hosts[0]) is not None


async def _refuse(send: Any) -> None:
    text = b"This is served to 127.0.0.1 and localhost only.\n"
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 421, "headers": headers})
    await send({"type": "http.response.body", "body": text})
