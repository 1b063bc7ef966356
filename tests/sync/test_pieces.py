"""Rows that COPY sends arrive whole, in pieces, whatever the size of the buffer between."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from dynostore import config
from dynostore.sync.exchange import Limits
from dynostore.sync.pull.arrivals import Batches
from dynostore.sync.remote.pieces import gathered
from dynostore.sync.remote.session import Session
from dynostore.sync.remote.stall import StallGuard

ROWS = [b"%d\t%s\n" % (number, b"x" * (number % 40)) for number in range(500)] + [
    b"y" * 5000 + b"\n"
]


@pytest.mark.parametrize("size", [1, 7, 100, 1 << 20])
def test_pieces_end_where_rows_end(size: int) -> None:
    pieces: list[bytes] = []
    with gathered(pieces.append, StallGuard(0), size) as stream:
        for row in ROWS:
            stream.write(row)
    assert b"".join(pieces) == b"".join(ROWS)
    assert all(piece.endswith(b"\n") for piece in pieces)


@pytest.mark.parametrize("size", [1, 100, 1 << 20])
def test_batches_are_cut_by_rows_and_bytes_whatever_the_pieces(size: int) -> None:
    for limits in (Limits(rows=3), Limits(rows=1), Limits(rows=1000), Limits(bytes=50)):
        taken: list[bytes] = []
        batches = Batches(limits, taken.append)
        with gathered(batches.take, StallGuard(0), size) as stream:
            for row in ROWS:
                stream.write(row)
        batches.end()
        assert b"".join(taken) == b"".join(ROWS)
        counts = [batch.count(b"\n") for batch in taken]
        if limits.bytes > 50:
            assert counts[:-1] == [limits.rows] * (len(counts) - 1)
        elif size == 1:
            assert all(len(batch) - len(batch.splitlines()[-1]) <= 50 for batch in taken)


def test_who_wants_no_more_is_asked_once(remote: Any) -> None:
    calls: list[int] = []

    def stop(rows: bytes) -> None:
        calls.append(len(rows))
        raise EOFError

    session = Session(config.Place(remote.url, "argument"))
    session.connect()
    try:
        with pytest.raises(EOFError):
            session.copy_out("COPY (SELECT generate_series(1, 100000)) TO STDOUT", stop, 1000)
        gc.collect()
        assert len(calls) == 1
        pieces: list[bytes] = []
        session.copy_out("COPY (SELECT generate_series(1, 9)) TO STDOUT", pieces.append)
        assert b"".join(pieces).split() == [b"%d" % number for number in range(1, 10)]
    finally:
        session.close()
