"""The web API that docs/async.md shows, run exactly as it is shown there."""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dynostore.store import Store

PAGE = Path(__file__).parents[2] / "docs" / "async.md"
Test = Callable[[httpx.AsyncClient], Awaitable[None]]


@pytest.fixture
def app(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give the example's application over an empty store."""
    monkeypatch.setenv("DYNOSTORE_URL", store_url)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    (code,) = [block for block in blocks if "FastAPI" in block]
    (tmp_path / "example_of_async.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("example_of_async").app
    del sys.modules["example_of_async"]


def serve(app: Any, test: Test, *, lifespan: bool = True) -> None:
    """Run a test against the application, as a server would run it."""

    async def main() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            if lifespan:
                async with app.router.lifespan_context(app):
                    await test(client)
            else:
                await test(client)

    asyncio.run(main())


async def begun(client: httpx.AsyncClient, **values: Any) -> str:
    answer = await client.post("/conversations", json=values)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def said(client: httpx.AsyncClient, talk: str, content: str) -> None:
    message = {"role": "user", "content": content}
    answer = await client.post(f"/conversations/{talk}/messages", json=message)
    assert answer.status_code == 201, answer.text


def contents(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [message["content"] for message in answer.json()]


@pytest.mark.parametrize("lifespan", [True, False], ids=["lifespan", "no lifespan"])
def test_a_conversation_is_begun_continued_read_and_deleted(
    app: Any, store_url: str, lifespan: bool
) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        talk = await begun(client, title="Idle", metadata={"bike": "FXDX"})
        for number in range(30):
            await said(client, talk, str(number))
        found = (await client.get(f"/conversations/{talk}")).json()
        assert (found["title"], found["metadata"]) == ("Idle", {"bike": "FXDX"})
        assert found["message_count"] == 30
        newest = contents(await client.get(f"/conversations/{talk}/context"))
        assert newest == [str(number) for number in range(10, 30)]
        other = await begun(client, conversation_id="other")
        page = (await client.get("/conversations", params={"limit": 1})).json()
        assert [item["id"] for item in page["items"]] == [other]
        after = {"limit": 1, "after": page["next"]}
        page = (await client.get("/conversations", params=after)).json()
        assert ([item["message_count"] for item in page["items"]], page["next"]) == ([30], None)
        assert (await client.delete(f"/conversations/{talk}")).status_code == 204
        assert (await client.get(f"/conversations/{talk}")).status_code == 404

    serve(app, test, lifespan=lifespan)
    with Store.open(store_url, warm=False) as store:
        assert [talk.id for talk in store.conversations.list_conversations()] == ["other"]
        assert store.check() == []


def test_what_the_verbs_refuse_is_refused_with_a_reason_and_writes_nothing(app: Any) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        talk = await begun(client)
        for bad in (
            {"role": "nobody", "content": "x"},
            {"role": "user", "content": ""},
            {"role": "user", "content": "\0"},
            {"role": "user", "content": None},
            {"role": "user"},
            {"role": "user", "content": "x", "id": talk},
            {"role": "user", "content": "x", "created_at": "2026-01-01T00:00:00"},
        ):
            answer = await client.post(f"/conversations/{talk}/messages", json=bad)
            assert answer.status_code == 422, bad
            assert {key for told in answer.json()["detail"] for key in told} == {
                "type",
                "loc",
                "msg",
            }
        for unspeakable in ('{"title": "\\ud800"}', '{"title": "a", "metadata": {"a": 1e999}}'):
            answer = await client.post(
                "/conversations",
                content=unspeakable,
                headers={"content-type": "application/json"},
            )
            assert answer.status_code == 422, unspeakable
        assert contents(await client.get(f"/conversations/{talk}/context")) == []
        for limit in (0, -1):
            answer = await client.get(f"/conversations/{talk}/context", params={"limit": limit})
            assert answer.status_code == 422
            assert answer.json()["error"]["code"] == "invalid_value"
        message = {"role": "user", "content": "x"}
        answer = await client.post("/conversations/none/messages", json=message)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "conversation_not_found"
        answer = await client.post("/conversations", json={"conversation_id": talk})
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "already_exists")

    serve(app, test)


def test_fifty_requests_at_once_lose_no_message(app: Any) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        talk = await begun(client)
        await asyncio.gather(*(said(client, talk, str(number)) for number in range(50)))
        found = contents(await client.get(f"/conversations/{talk}/context", params={"limit": 1000}))
        assert sorted(found, key=int) == [str(number) for number in range(50)]

    serve(app, test)


def test_its_schema_says_what_is_accepted(app: Any) -> None:
    schemas = app.openapi()["components"]["schemas"]
    message = schemas["MessageCreate"]
    assert message["required"] == ["role", "content"]
    assert message["additionalProperties"] is False
    assert message["properties"]["role"]["enum"] == ["system", "user", "assistant", "tool"]
    assert message["properties"]["content"]["minLength"] == 1
    assert schemas["ConversationResponse"]["properties"]["message_count"]["type"] == "integer"
