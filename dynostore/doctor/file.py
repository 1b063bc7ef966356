"""A SQLite file as it lies there: its header and what is beside it, read without SQLite."""

from __future__ import annotations

import shlex
from pathlib import Path

from dynostore.database import APPLICATION_ID, JOURNAL_SIZE_LIMIT_BYTES
from dynostore.doctor.findings import Finding, shown_bytes, telling
from dynostore.fleeting import size_of
from dynostore.sqlite_header import Header, cut_bytes, read_header

_MUCH_FREE_BYTES = 16 * 1024 * 1024


def look_at_file(path: Path) -> list[Finding]:
    """Look at a file and what is beside it; an error among the findings: it is not to be opened.

    :param path: of a file that is there.
    """
    findings: list[Finding] = []
    with telling("file", findings):
        findings += _look(path)
    return findings


def _look(path: Path) -> list[Finding]:
    size = path.stat().st_size
    quoted = shlex.quote(str(path))
    if size == 0:
        message = f"{path}: is empty: no tables yet"
        return [Finding("file", "error", message, f"dynostore --db {quoted} init")]
    header = read_header(path)
    if header is None:
        message = f"{path}: is no SQLite database, or its beginning is destroyed"
        return [Finding("file", "error", message, f"dynostore --db {quoted} db restore BACKUP")]
    if missing := cut_bytes(path, header.page_count * header.page_bytes):
        message = f"{path}: was truncated: {missing:,} bytes of it are missing"
        return [Finding("file", "error", message, f"dynostore --db {quoted} db restore BACKUP")]
    if header.application_id not in (0, APPLICATION_ID):
        message = f"{path}: belongs to another program (application_id {header.application_id})"
        return [Finding("file", "error", message, "dynostore --db ANOTHER_FILE init")]
    findings = [Finding("file", "ok", f"{path}: {shown_bytes(size)}, header in order")]
    findings += _log(path, header)
    findings += _free_pages(header)
    return findings


def _log(path: Path, header: Header) -> list[Finding]:
    if not header.is_wal:
        message = "not in WAL mode: writers keep readers waiting"
        mend = f"dynostore --db {shlex.quote(str(path))} init"
        return [Finding("log", "warning", message, mend)]
    index, log = (path.with_name(path.name + suffix) for suffix in ("-shm", "-wal"))
    # Asked twice: a program that opens the file makes the log before its index, and the last one
    # that closes it removes the index before the log.
    if not log.exists() and index.exists() and not log.exists():
        message = (
            f"{log} is gone, and the index of it is there: what was written last, and was not in "
            "the file yet, is lost; programs that have the file open must end"
        )
        return [Finding("log", "error", message, "dynostore db check --full")]
    log_bytes = size_of(log)
    if log_bytes > 2 * JOURNAL_SIZE_LIMIT_BYTES:
        message = (
            f"{log} has grown to {shown_bytes(log_bytes)}: a program reads in one transaction "
            "for long, or died"
        )
        return [Finding("log", "warning", message, "end that program, then: dynostore db vacuum")]
    return [Finding("log", "ok", f"WAL mode, log of {shown_bytes(log_bytes)}")]


def _free_pages(header: Header) -> list[Finding]:
    free_bytes = header.free_pages * header.page_bytes
    if free_bytes > _MUCH_FREE_BYTES and header.free_pages * 4 > header.page_count:
        message = f"{shown_bytes(free_bytes)} of the file are free pages"
        return [Finding("free pages", "note", message, "dynostore db vacuum")]
    return [Finding("free pages", "ok", shown_bytes(free_bytes))]
