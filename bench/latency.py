"""A way to a server's Unix socket that takes longer, for what a distant server would cost.

Run as a program, so that it takes no time from the one that is measured:
``python -m bench.latency DIRECTORY SOCKET ROUND_TRIP_MS``. It prints a line when it listens.
"""

from __future__ import annotations

import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SOCKET = ".s.PGSQL.5432"
_PIECE_BYTES = 1 << 16
_PIECES_UNDER_WAY = 1024  # 64 MiB: the wire holds whatever is sent, and only time is lost


@contextmanager
def delayed(directory: Path, url: str, round_trip_ms: float) -> Iterator[str]:
    """Give a URL of the same server, behind a wire that makes each round trip longer."""
    directory.mkdir()
    host = url.partition("host=")[2]
    words = [sys.executable, "-m", "bench.latency", directory, f"{host}/{_SOCKET}", round_trip_ms]
    with subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield url.replace(f"host={host}", f"host={directory}")
        finally:
            process.kill()


def _serve(directory: str, target: str, one_way_s: float) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/{_SOCKET}")
        listener.listen()
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        while True:
            client, _ = listener.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(target)
            _carry(client, server, one_way_s)
            _carry(server, client, one_way_s)


def _carry(source: socket.socket, sink: socket.socket, one_way_s: float) -> None:
    """Carry bytes one way; what is sent together arrives together, later."""
    under_way: queue.Queue[tuple[float, bytes]] = queue.Queue(_PIECES_UNDER_WAY)

    def take() -> None:
        data = b"-"
        while data:
            data = b""
            with suppress(OSError):
                data = source.recv(_PIECE_BYTES)
            under_way.put((time.monotonic() + one_way_s, data))

    def give() -> None:
        with suppress(OSError):
            while True:
                due, data = under_way.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    break
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    for act in (take, give):
        threading.Thread(target=act, daemon=True).start()


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], float(sys.argv[3]) / 2000)
