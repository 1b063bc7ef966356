"""A conversation outlives its processes, and several may speak at once; on both databases."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from dynostore import errors
from dynostore.models import Message
from dynostore.store import Store

pytestmark = pytest.mark.slow

StartPython = Callable[..., "subprocess.Popen[str]"]

SPEAKERS = 8
MESSAGES_EACH = 25

OPENER = """
import sys
from dynostore.store import Store

with Store.open(sys.argv[1], warm=False) as store:
    talk = store.conversations.create_conversation("Fuel map", metadata={"channel": "C1"})
    store.conversations.add_message(talk.id, "system", "You tune engines.")
    store.conversations.add_messages(
        talk.id, [{"role": "user", "content": f"question {n}"} for n in range(30)]
    )
print(talk.id, flush=True)
"""

ANSWERER = """
import sys
from dynostore.store import Store

with Store.open(sys.argv[1], warm=False) as store:
    (talk,) = store.conversations.list_conversations()
    assert talk.message_count == 31
    context = store.conversations.get_context_messages(talk.id)
    assert [m.content for m in context] == [f"question {n}" for n in range(10, 30)]
    store.conversations.add_message(talk.id, "assistant", "answer")
    with store.transaction():
        store.conversations.add_message(talk.id, "assistant", "never sent")
        print("ready", flush=True)
        sys.stdin.readline()  # killed here
"""

SPEAKER = """
import sys
from dynostore.store import Store

with Store.open(sys.argv[1], warm=False) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(sys.argv[4])):
        store.conversations.add_message(sys.argv[2], "user", f"{sys.argv[3]} {number:02}")
print("ok", flush=True)
"""


def test_a_conversation_goes_on_after_its_program_was_killed(
    store_url: str, start_python: StartPython
) -> None:
    output, problems = start_python(OPENER, store_url).communicate()
    assert problems == ""
    talk = output.strip()
    answerer = start_python(ANSWERER, store_url)
    assert answerer.stdout is not None
    assert answerer.stdout.readline() == "ready\n"
    answerer.kill()
    answerer.wait()
    with Store.open(store_url, warm=False) as store:
        store.conversations.update_conversation(talk, title="Fuel map, second try")
        store.conversations.add_message(talk, "user", "thanks")
        found = store.conversations.get_all_messages(talk)
        assert [m.content for m in found[-3:]] == ["question 29", "answer", "thanks"]
        conversation = store.conversations.get_conversation(talk)
        assert (conversation.message_count, conversation.metadata) == (33, {"channel": "C1"})
        store.conversations.delete_conversation(talk)
        with pytest.raises(errors.ConversationNotFound):
            store.conversations.get_all_messages(talk)
        with store.bound():
            assert Message.select().count() == 0
        assert store.check() == []


def test_eight_processes_speak_at_once_and_nothing_is_lost_or_out_of_order(
    store_url: str, start_python: StartPython
) -> None:
    with Store.open(store_url, warm=False) as store:
        talk = store.conversations.create_conversation().id
        speakers = [
            start_python(SPEAKER, store_url, talk, name, MESSAGES_EACH) for name in range(SPEAKERS)
        ]
        for speaker in speakers:
            assert speaker.stdout is not None
            assert speaker.stdout.readline() == "ready\n"
        for speaker in speakers:
            assert speaker.stdin is not None
            speaker.stdin.write("\n")
            speaker.stdin.flush()
        assert [s.communicate() for s in speakers] == [("ok\n", "")] * SPEAKERS
        found = store.conversations.get_all_messages(talk)
        assert len({message.created_at for message in found}) == SPEAKERS * MESSAGES_EACH
        for name in range(SPEAKERS):
            mine = [m.content for m in found if m.content.startswith(f"{name} ")]
            assert mine == [f"{name} {number:02}" for number in range(MESSAGES_EACH)]
        conversation = store.conversations.get_conversation(talk)
        assert conversation.updated_at == found[-1].created_at
        assert store.check() == []
