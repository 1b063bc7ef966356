"""Whatever was said is found by its words, on both databases, and no text is a syntax error."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynostore import errors
from dynostore.models import Message, Run
from dynostore.search import KINDS, is_ready
from dynostore.store import Store

pytestmark = pytest.mark.once

ALL = {kind.name for kind in KINDS}


def kinds(hits: Any) -> set[str]:
    return {hit.kind for hit in hits}


def ids(hits: Any) -> list[str]:
    return [hit.id for hit in hits]


def test_every_kind_is_found_with_what_a_person_wants_to_know_of_it(filled: Store) -> None:
    hits = filled.search("knock correction")
    assert kinds(hits) == ALL
    assert len(hits) == len(ALL)
    assert hits.notes == []
    assert [hit.rank for hit in hits] == sorted((hit.rank for hit in hits), reverse=True)
    found = {hit.kind: hit for hit in hits}
    assert {hit.kind: (hit.title, hit.parent) for hit in hits} == {
        "messages": ("Tuning the VE table", "talk"),
        "memories": ("knock sensors", None),
        "tasks": ("Plot the knock correction", None),
        "requirements": ("REQ-001", "idea"),
        "runs": ("pull_3.csv", None),
    }
    (first, _) = filled.conversations.get_all_messages("talk")
    assert (found["messages"].id, found["messages"].when) == (first.id, first.created_at)
    for hit in hits:
        assert "[knock] [correction]" in hit.snippet
        assert "\n" not in hit.snippet


def test_a_query_is_of_words_phrases_and_beginnings_in_any_case(filled: Store) -> None:
    assert kinds(filled.search("KNOCK sensors")) == {"memories"}
    assert kinds(filled.search('"correction knock"')) == set()
    assert kinds(filled.search('"halve the knock"')) == {"memories"}
    assert kinds(filled.search("sens* corr*")) == {"memories"}
    assert kinds(filled.search('"halve the kno"*')) == {"memories"}
    assert kinds(filled.search("sens")) == set()
    assert kinds(filled.search("knock nowhere")) == set()
    # A word in a file's name, and behind what JSON writes for a line's end and a backslash.
    for query in ("VE_2.csv", "ve", "output", "output/VE_2.csv"):
        (hit,) = filled.search(query, kinds=["messages"])
        assert "[" in hit.snippet
    assert kinds(filled.search('"7 knock"')) == {"runs"}
    assert kinds(filled.search(r"C:\new")) == {"runs"}


def test_kinds_limit_and_marks_are_obeyed(filled: Store) -> None:
    assert kinds(filled.search("knock", kinds=["runs", "messages"])) == {"runs", "messages"}
    best = filled.search("knock")
    assert ids(filled.search("knock", limit=2)) == ids(best)[:2]
    (hit,) = filled.search("knock", kinds=["tasks"], marks=("<b>", "</b>"))
    assert hit.snippet == "Plot the <b>knock</b> correction"
    with pytest.raises(errors.InvalidValue, match="kinds: 'files' is none of messages, "):
        filled.search("knock", kinds=["files"])
    for limit in (0, 1001):
        with pytest.raises(errors.InvalidValue, match="limit: "):
            filled.search("knock", limit=limit)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("query", value) for value in (None, 5, b"knock")),
        *(("kinds", value) for value in (5, "files", [None], [["runs"]], b"runs", iter(["runs"]))),
        *(
            ("marks", value)
            for value in (None, "ab", ("a",), ("a", "b", "c"), ("a", 1), ("", "\0"))
        ),
        *(("limit", value) for value in (None, "5", 1.5)),
    ],
)
def test_an_argument_of_another_type_is_named_before_an_index_is_made(
    filled: Store, name: str, value: Any
) -> None:
    for text in ("knock", "?") if name != "query" else ("",):
        with pytest.raises(errors.InvalidValue, match=f"^{name}: .") as caught:
            filled.search(**{"query": text, name: value})
        assert caught.value.field == name
    assert not is_ready(filled.database)


def test_one_kind_may_be_a_plain_name(filled: Store) -> None:
    assert kinds(filled.search("knock", kinds="runs")) == {"runs"}


def test_words_in_what_a_record_is_called_count_more(store: Store) -> None:
    store.memories.add("here", "the turbo and so on", memory_id="said")
    store.memories.add("the turbo", "here and so on", memory_id="called")
    assert ids(store.search("turbo")) == ["called", "said"]


def test_the_index_is_kept_current_by_whatever_is_written(filled: Store) -> None:
    assert kinds(filled.search("knock")) == ALL
    filled.memories.update("memory", context="spark plugs", lesson="look at their colour")
    filled.conversations.delete_conversation("talk")  # and its messages
    filled.tasks.create("Count the spark plugs")
    put = filled.runs.put_many(
        [Run(**{**filled.runs.get("run").values(), "error_info": {"spark": 1}})]
    )
    assert put == []
    assert kinds(filled.search("knock")) == {"tasks", "requirements"}
    assert sorted(hit.kind for hit in filled.search("spark")) == ["memories", "runs", "tasks"]
    filled.ideation.sessions.delete("idea")
    assert kinds(filled.search("knock")) == {"tasks"}


def test_a_search_inside_a_transaction_sees_what_was_written_there(filled: Store) -> None:
    def write() -> None:
        with filled.transaction():
            filled.memories.add("flywheel", "balance it")
            assert kinds(filled.search("flywheel")) == {"memories"}
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert kinds(filled.search("flywheel")) == set()
    assert kinds(filled.search("knock")) == ALL


def test_what_memories_search_finds_by_whole_words_is_found(filled: Store) -> None:
    for text in ("knock", "SENSORS knock", "first halve", "knock correction"):
        (memory,) = filled.memories.search(text)
        assert ids(filled.search(text, kinds=["memories"])) == [memory.memory_id]


ODD = [
    "",
    " ",
    "\x00",
    "knock\x00correction",
    "\ud800 knock",
    '"',
    '"knock',
    '""',
    "'",
    "*",
    "**knock**",
    "-knock",
    "knock OR",
    "AND",
    "NOT knock",
    "NEAR(knock correction)",
    "body:knock",
    "^knock",
    "(knock",
    "{knock}",
    "knock + correction",
    "knock & ! | <-> :*",
    "knock:*",
    "\\",
    "%s %",
    "?1 :name $1 @x",
    "; DROP TABLE runs; --",
    "🎉",
    "knock 🎉",
    "今天天气",
    "e\u0301",
    "\u200b",
    "x" * 100_000,
    "knock " * 20_000,
    " ".join(f"{word}*" for word in range(20_000)),
    '"' + "knock correction " * 6_000 + '"',
]


def test_no_text_is_a_syntax_error(filled: Store) -> None:
    for query in ODD:
        hits = filled.search(query)
        if not any(map(str.isalnum, query)):
            assert (len(hits), hits.notes) == (0, ["nothing in the query is a word"]), query
    for query in ("knock 🎉", "**knock**", "-knock", "(knock", '"knock', "knock\x00correction"):
        assert kinds(filled.search(query)) == ALL, query
    hits = filled.search("knock " * 20_000)
    assert kinds(hits) == ALL
    assert hits.notes == ["searched for the first 100 words of the first 2,000 characters"]


# What both databases take for letters; beyond lie scripts that only newer versions know.
LETTERS = string.ascii_letters + string.digits + "äéßÑøЖщΩλא天气한"
OTHERS = " \n\t.,;:-_/\\'\"()[]{}<>!?*&|%$#@^~+=🎉…—"
TEXTS = st.text(st.sampled_from(LETTERS + OTHERS), min_size=1, max_size=60)


@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(texts=st.lists(TEXTS, min_size=5, max_size=5), typed=st.text(max_size=30))
def test_any_text_is_found_by_its_words_and_any_text_is_a_query(
    store: Store, texts: list[str], typed: str
) -> None:
    with store.transaction():  # the index is made once, and not for each example
        for text in texts:
            memory = store.memories.add("c", text)
            words = "".join(c if c in LETTERS else " " for c in text).split()
            for query in (text, *words, f"{words[0][:1]}*" if words else ""):
                found = ids(store.search(query, kinds=["memories"], limit=1000))
                assert (memory.memory_id in found) == bool(words and query.split()), query
            store.memories.delete(memory.memory_id)
    store.search(typed)


def dense(first: str) -> str:
    """Give 100,000 characters of words that are all different, and take the most room in an index.

    :param first: the letter of an alphabet from which on it is used.
    """
    return "".join(f"{chr(0x4E00 + n % 20_000)}{chr(ord(first) + n % 24)} " for n in range(33_333))


def test_a_text_of_any_size_can_be_written_beside_the_index(store: Store) -> None:
    store.search("knock")
    words = "".join(f"{number:x} " for number in range(150_000))  # over 1 MiB in an index
    talk = store.conversations.create_conversation("long")
    store.conversations.add_message(talk.id, "tool", f"begin {words} end")
    # Together they are over the limit too.
    run = store.runs.create(source="begin", current_stage=dense("β"), metadata={"a": dense("ж")})
    facts: dict[str, Any] = {"a": dense("բ")}
    store.runs.update(run.id, error_info=facts, results_summary={"a": dense("ბ")})
    assert len(store.search("begin")) == 2
    assert len(store.search("end")) == 0  # beyond the part that is indexed


def test_long_titles_are_cut_and_their_gaps_closed(store: Store) -> None:
    store.tasks.create("Plot\n\n the knock " + "and more " * 1000)
    (hit,) = store.search("plot")
    assert hit.title.startswith("Plot the knock and more and")
    assert len(hit.title) <= 80
    assert hit.title.endswith("…")


def test_thousands_of_messages_written_at_once_are_found(store: Store) -> None:
    store.search("knock")
    talk = store.conversations.create_conversation("many")
    made = [store.conversations.add_message(talk.id, "user", "first")]
    rows = [
        Message(**{**made[0].values(), "id": f"{n:08}-0000-7000-8000-000000000000", "content": t})
        for n, t in enumerate(["common knock" if n % 100 == 0 else "common" for n in range(3_000)])
    ]
    assert store.conversations.put_many(rows) == []
    assert len(store.search("knock", limit=1000)) == 30
