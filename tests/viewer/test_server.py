"""The server over real sockets, spoken to as browsers do, and as they should not."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np
import pytest

from contextface_ros.errors import BadInput, ContextFaceError
from contextface_ros.prompts import MAX_TEXT_LENGTH
from contextface_ros.viewer.protocol import PICTURE, POSE, Answer, Question, Status
from contextface_ros.viewer.server import MOST_QUESTIONS, Server

REST = np.zeros(52, np.float32)


class Agent:
    """Keeps what is asked; answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[Question, Future[None]]] = []
        self.at_once = True

    def __call__(self, question: Question) -> Future[None]:
        answer: Future[None] = Future()
        self.asked.append((question, answer))
        if self.at_once:
            answer.set_result(None)
        return answer


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def server(agent: Agent) -> Iterator[Server]:
    server = Server("127.0.0.1", 0, agent, most_browsers=12, answer_timeout_s=1.0)
    yield server
    server.close()


def answer(text: str) -> Answer:
    return Answer("Happy", (0.1,) * 7, text, "", "speaker", 1.0, 2.0)


@asynccontextmanager
async def linked(server: Server, **headers: str) -> Any:
    origin = {"Origin": server.url.rstrip("/"), **headers}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{server.url}link", headers=origin) as link,
    ):
        yield link


async def message(link: Any, kind: str) -> dict[str, Any]:
    """The next message of a kind."""
    while True:
        received = await link.receive(timeout=10)
        assert received.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), received
        if received.type is aiohttp.WSMsgType.TEXT:
            content: dict[str, Any] = json.loads(received.data)
            if content["type"] == kind:
                return content


async def frame(link: Any, kind: int) -> bytes:
    """The next frame of a kind."""
    while True:
        received = await link.receive(timeout=10)
        if received.type is aiohttp.WSMsgType.BINARY and received.data[0] == kind:
            return bytes(received.data)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_ten_browsers_see_the_same_at_once(server: Server) -> None:
    async def test() -> None:
        async with AsyncLinks(server, 10) as links:
            assert server.watching == 10
            server.show_answer(answer("one"))
            server.show_pose(REST + 0.5, 1.0)
            server.show_picture(b"jpeg")
            for link in links:
                assert (await message(link, "answer"))["quote"] == "one"
            frames = [await frame(link, POSE) for link in links]
            assert len(set(frames)) == 1
            assert {await frame(link, PICTURE) for link in links} == {b"\x02" + bytes(7) + b"jpeg"}

    run(test())
    until(lambda: server.watching == 0)


class AsyncLinks:
    """Several browsers."""

    def __init__(self, server: Server, count: int) -> None:
        self._contexts = [linked(server) for _ in range(count)]

    async def __aenter__(self) -> list[Any]:
        links = [await context.__aenter__() for context in self._contexts]
        for link in links:
            await message(link, "hello")
        return links

    async def __aexit__(self, *_: object) -> None:
        for context in self._contexts:
            await context.__aexit__(None, None, None)


def test_who_comes_late_is_told_what_was_and_what_is(server: Server) -> None:
    for k in range(60):
        server.show_answer(answer(str(k)))
    server.show_status(Status(camera=True))
    server.show_pose(REST, 1.0)

    async def test() -> None:
        async with linked(server) as link:
            assert (await message(link, "status"))["camera"]
            quotes = [(await message(link, "answer"))["quote"] for _ in range(50)]
            assert quotes == [str(k) for k in range(10, 60)]
            assert len(await frame(link, POSE)) == 112

    run(test())


def test_one_too_many_is_refused_in_a_sentence(server: Server) -> None:
    async def test() -> None:
        async with AsyncLinks(server, 12), linked(server) as link:
            received = await link.receive(timeout=10)
            assert received.type is aiohttp.WSMsgType.CLOSE
            assert (received.data, received.extra) == (
                1013,
                "12 browsers look already: close one.",
            )

    run(test())


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://evil.example", "Host": "evil.example"},  # DNS rebinding
    ],
)
def test_a_page_of_another_site_is_refused(
    server: Server, agent: Agent, headers: dict[str, str]
) -> None:
    async def test() -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            async with linked(server, **headers):
                pass

    run(test())
    assert not agent.asked


def test_what_is_typed_is_asked_and_its_answer_told(server: Server, agent: Agent) -> None:
    async def test() -> None:
        async with linked(server) as link:
            asked = {"type": "ask", "number": 7, "quote": "Hello <b>you</b>"}
            await link.send_json({**asked, "perspective": "listener"})
            assert await message(link, "asked") == {"type": "asked", "number": 7, "trouble": ""}

    run(test())
    (question, _) = agent.asked[0]
    assert (question.quote, question.perspective.value) == ("Hello <b>you</b>", "listener")


def test_what_cannot_be_asked_is_told_in_a_sentence(server: Server, agent: Agent) -> None:
    async def test() -> None:
        async with linked(server) as link:
            for text, said in (
                ("{", "reload"),
                ("[]", "reload"),
                (json.dumps({"type": "ask", "number": 1, "quote": ""}), "nothing to answer"),
                (
                    json.dumps({"type": "ask", "number": 1, "quote": "x" * (MAX_TEXT_LENGTH + 1)}),
                    "shorten it to at most 4,000.",
                ),
            ):
                await link.send_str(text)
                assert said in (await message(link, "asked"))["trouble"]
            await link.send_bytes(b"\x00")  # means nothing, and breaks nothing
            await link.send_json({"type": "ask", "number": 2, "quote": "x"})
            assert not (await message(link, "asked"))["trouble"]
            await link.send_str("x" * 200_000)
            received = await link.receive(timeout=10)
            assert (received.type, received.data) == (aiohttp.WSMsgType.CLOSE, 1009)

    run(test())
    assert len(agent.asked) == 1


def test_an_agent_that_fails_or_never_answers_is_told_in_a_sentence(
    server: Server, agent: Agent
) -> None:
    agent.at_once = False

    async def test() -> None:
        async with linked(server) as link, linked(server) as other:
            await link.send_json({"type": "ask", "number": 1, "quote": "x"})
            await asyncio.to_thread(until, lambda: len(agent.asked) == 1)
            await link.send_json({"type": "ask", "number": 2, "quote": "y"})
            assert "one thing at a time" in (await message(link, "asked"))["trouble"].lower()
            agent.asked[0][1].set_exception(ContextFaceError("the agent is not active"))
            assert (await message(link, "asked"))["trouble"] == "The agent is not active."
            await other.send_json({"type": "ask", "number": 3, "quote": "z"})
            trouble = (await message(other, "asked"))["trouble"]
            assert trouble.startswith("The agent has not answered within 1 s")

    run(test())
    until(lambda: agent.asked[1][1].cancelled())  # so that nobody waits on


def test_questions_do_not_pile_up(server: Server, agent: Agent) -> None:
    agent.at_once = False

    async def test() -> None:
        async with AsyncLinks(server, MOST_QUESTIONS + 1) as links:
            for link in links[:-1]:
                await link.send_json({"type": "ask", "number": 1, "quote": "x"})
            await asyncio.to_thread(until, lambda: len(agent.asked) == MOST_QUESTIONS)
            await links[-1].send_json({"type": "ask", "number": 1, "quote": "x"})
            assert "others wait" in (await message(links[-1], "asked"))["trouble"]

    run(test())
    assert len(agent.asked) == MOST_QUESTIONS
    until(lambda: all(future.cancelled() for _, future in agent.asked))  # the browsers went


def test_a_browser_that_takes_nothing_costs_neither_memory_nor_the_others(server: Server) -> None:
    async def test() -> None:
        async with linked(server) as deaf, linked(server) as link:
            await message(link, "hello")
            deaf._response.connection.transport.pause_reading()
            picture = bytes(100_000)
            for k in range(300):  # 30 MB, of which the deaf one takes none
                server.show_picture(picture)
                server.show_pose(REST, k / 60)
                if k % 50 == 0:
                    await frame(link, POSE)
            server.show_answer(answer("last"))
            assert (await message(link, "answer"))["quote"] == "last"
            for _ in range(100):  # the other one may be about to take its last
                kept = [browser for browser in server._browsers if browser._picture is not None]
                if len(kept) == 1:
                    break
                await asyncio.sleep(0.05)
            assert len(kept) == 1
            waiting = [b._link._req.transport.get_write_buffer_size() for b in server._browsers]
            assert max(waiting) < 400_000
            deaf._response.connection.transport.abort()

    run(test())


def test_a_browser_that_vanishes_in_mid_stream_costs_nothing(server: Server) -> None:
    async def test() -> None:
        for _ in range(20):
            async with linked(server) as link:
                server.show_pose(REST, 1.0)
                link._response.connection.transport.abort()

    run(test())
    until(lambda: server.watching == 0)
    server.show_pose(REST, 2.0)

    async def after() -> None:
        async with linked(server) as link:
            await frame(link, POSE)

    run(after())


async def get(server: Server, path: str, **headers: str) -> tuple[int, Any, bytes]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{server.url}{path}", headers=headers) as response,
    ):
        return response.status, response.headers, await response.read()


def test_the_page_is_all_there_is_and_takes_nothing_from_elsewhere(server: Server) -> None:
    async def test() -> None:
        status, headers, page = await get(server, "")
        assert status == 200 and b"main.js" in page
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        status, _, _ = await get(server, "main.js", **{"If-None-Match": "*other*"})
        assert status == 200
        status, _, body = await get(server, "", **{"If-None-Match": headers["ETag"]})
        assert (status, body) == (304, b"")
        for path in "../../etc/passwd", "page", "__init__.py", "%2e%2e/protocol.py", "head.bin/x":
            assert (await get(server, path))[0] == 404, path
        assert (await get(server, "", Host="evil.example"))[0] == 403
        status, headers, head = await get(server, "head.bin")
        assert (status, headers["Content-Encoding"], head[:4]) == (200, "gzip", b"CFH1")
        _, headers, head = await get(server, "head.bin", **{"Accept-Encoding": "identity"})
        assert head[:4] == b"CFH1" and "Content-Encoding" not in headers

    run(test())


def test_an_address_that_cannot_be_had_is_told_in_a_sentence(agent: Agent) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"no page at 127.0.0.1:{port}"):
            Server("127.0.0.1", port, agent)
    with pytest.raises(BadInput, match=r"no page at no\.such\.address\.invalid"):
        Server("no.such.address.invalid", 0, agent)


def test_it_ends_at_once_while_browsers_look(agent: Agent) -> None:
    server = Server("127.0.0.1", 0, agent)

    async def test() -> None:
        async with AsyncLinks(server, 3) as links:
            start = time.monotonic()
            await asyncio.to_thread(server.close)
            assert time.monotonic() - start < 1.0
            for link in links:
                while (last := await link.receive(timeout=5)).type is aiohttp.WSMsgType.TEXT:
                    pass
                assert last.extra == "The viewer has ended."

    run(test())
    server.close()
    server.show_pose(REST, 1.0)  # too late, and no error
