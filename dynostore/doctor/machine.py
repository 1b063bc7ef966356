"""What a file stands on: SQLite itself, the file system, the room, who may do what."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from dynostore.doctor.findings import Finding, shown_bytes, telling
from dynostore.rights import may

_FIXED_SINCE = (3, 51, 3)
_FIXED_BRANCHES = ((3, 44, 6), (3, 50, 7))
"""The WAL-reset defect (sqlite.org/wal.html, "The WAL Reset Bug"): from 3.7.0 on, two connections
that checkpoint at the same moment may, very rarely, leave a file damaged. Mended in these."""

_OVER_A_NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "smb", "afpfs", "webdav", "davfs", "9p", "afs"),
        *("ceph", "glusterfs", "lustre", "gpfs", "beegfs", "ncpfs", "ocfs2"),
        *("vboxsf", "prl_fs", "vmhgfs", "drvfs", "fuse.vmhgfs-fuse"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.rclone", "fuse.s3fs", "fuse.davfs2"),
    }
)
_LEAST_ROOM_BYTES = 64 * 1024 * 1024


def look_at_machine(path: Path) -> list[Finding]:
    """Look at what a file stands on, without opening it as a database.

    :param path: of a file that is there.
    """
    findings = [_sqlite(sqlite3.sqlite_version_info)]
    for check, look in (("file system", _file_system), ("room", _room), ("rights", _rights)):
        with telling(check, findings):
            findings += look(path)
    return findings


def look_at_directory(path: Path) -> list[Finding]:
    """Look at what a directory of records stands on.

    :param path: of a directory that is there.
    """
    findings: list[Finding] = []
    with telling("file system", findings):
        kind = _kind_of_file_system(path)
        findings.append(Finding("file system", "ok", kind or "cannot be told here"))
    with telling("room", findings):
        findings += _room(path)
    if may(path, os.R_OK | os.W_OK | os.X_OK):
        findings.append(Finding("rights", "ok", "may be read and written to by you"))
    else:
        message = f"{path}: may not be read and written to by you"
        mend = f"sudo chown -R {_user()} {_quoted(path)}"
        findings.append(Finding("rights", "error", message, mend))
    return findings


def _sqlite(version: tuple[int, ...]) -> Finding:
    shown = ".".join(map(str, version))
    mended = version >= _FIXED_SINCE or any(
        version[:2] == branch[:2] and version >= branch for branch in _FIXED_BRANCHES
    )
    if mended:
        return Finding("sqlite", "ok", f"SQLite {shown}")
    return Finding(
        "sqlite",
        "warning",
        f"SQLite {shown} has the WAL-reset defect: two processes that end a log at the same moment "
        "can damage the file; very rare",
        "run Python with SQLite 3.51.3 or later (or 3.50.7, 3.44.6, or a distribution's mended "
        "one), and keep backups: dynostore db backup FILE",
    )


def _file_system(path: Path) -> Iterator[Finding]:
    kind = _kind_of_file_system(path)
    if kind is None:
        yield Finding("file system", "ok", "cannot be told here")
    elif kind in _OVER_A_NETWORK:
        yield Finding(
            "file system",
            "error",
            f"{path}: lies on {kind}, over which a file in WAL mode cannot be shared safely",
            f"dynostore --db {_quoted(path)} db backup /a/local/disk/{shlex.quote(path.name)}",
        )
    else:
        yield Finding("file system", "ok", f"local ({kind})")


def _kind_of_file_system(path: Path) -> str | None:
    """Give the file system's name as the system calls it; None where it does not say."""
    place = str(path.resolve())
    if sys.platform == "win32":
        import ctypes

        drive = os.path.splitdrive(place)[0]
        remote = drive.startswith("\\\\") or ctypes.windll.kernel32.GetDriveTypeW(drive + "\\") == 4
        return "smb" if remote else "a disk of this machine"
    mounts = _linux_mounts() if sys.platform == "linux" else _other_mounts()
    inside = [m for m in mounts if m[0] == "/" or place == m[0] or place.startswith(m[0] + "/")]
    # Of several on one point the last one is seen.
    return max(enumerate(inside), key=lambda m: (len(m[1][0]), m[0]))[1][1] if inside else None


def _linux_mounts() -> list[tuple[str, str]]:
    """Give (mount point, kind) as proc(5) describes ``mountinfo``."""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4].encode("latin-1", "replace").decode("unicode_escape")
        found.append((point, after.split(" ")[0]))
    return found


def _other_mounts() -> list[tuple[str, str]]:
    """Give the same from the lines of mount(8) on macOS and BSD: ``x on /point (kind, ...)``."""
    try:
        done = subprocess.run(["/sbin/mount"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return []
    found = []
    for line in done.stdout.splitlines():
        point, _, options = line.partition(" on ")[2].rpartition(" (")
        found.append((point, options.split(",")[0].rstrip(")")))
    return found


def _room(path: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(path if path.is_dir() else path.parent).free
    size = path.stat().st_size
    if free < _LEAST_ROOM_BYTES:
        message = f"{shown_bytes(free)} are free: writing fails when they are used up"
        yield Finding("room", "error", message, "make room, then: dynostore db vacuum")
    elif free < size:
        yield Finding(
            "room",
            "warning",
            f"{shown_bytes(free)} are free, less than the file's {shown_bytes(size)}: an upgrade, "
            "which makes a backup first, would be refused",
            "make room, or move the store to a larger disk",
        )
    else:
        yield Finding("room", "ok", f"{shown_bytes(free)} are free")


def _rights(path: Path) -> list[Finding]:
    found = []
    for suffix in ("", "-wal", "-shm", ".lock"):
        part = path.with_name(path.name + suffix)
        if not may(part, os.R_OK | (0 if suffix == "" else os.W_OK)) and part.exists():
            mend = f"chmod u+rw {_quoted(part)}"
            if _user() not in ("you", str(part.stat().st_uid)):
                mend = f"sudo chown {_user()} {_quoted(part)} && {mend}"
            verb = "read" if suffix == "" else "written to"
            found.append(Finding("rights", "error", f"{part}: may not be {verb} by you", mend))
    if found:
        return found
    if not (may(path, os.W_OK) and may(path.parent, os.W_OK)):
        what = path if not may(path, os.W_OK) else path.parent
        message = f"{what}: may not be written to by you: the store can only be read"
        return [Finding("rights", "warning", message, f"chmod u+w {_quoted(what)}")]
    mode = stat.S_IMODE(path.stat().st_mode)
    if os.name != "nt" and mode & 0o077:
        message = f"{path}: other users of this machine may open it (mode {mode:04o})"
        return [Finding("rights", "note", message, f"chmod 600 {_quoted(path)}")]
    return [Finding("rights", "ok", "read and written by you alone")]


def _user() -> str:
    return str(os.geteuid()) if hasattr(os, "geteuid") else "you"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
