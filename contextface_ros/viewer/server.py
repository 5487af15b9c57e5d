"""The web server of the page, in a thread of its own.

    show_pose, show_picture, show_answer, show_status --> Server --> each Browser
                                                  ask <-- Server <-- the one that asks

Many browsers cost one encoding: each holds a reference to the same bytes.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt

from contextface_ros.errors import BadInput, ContextFaceError, MissingDependency
from contextface_ros.viewer import guard, protocol
from contextface_ros.viewer.head_mesh import head_mesh
from contextface_ros.viewer.protocol import Answer, Question, Status

try:
    from aiohttp import WSMsgType, web
except ImportError as error:
    raise MissingDependency(
        "the page needs aiohttp: pip install 'contextface_ros[viewer]'"
    ) from error

from contextface_ros.viewer.browser import Browser

Ask = Callable[[Question], "Future[None]"]
"""Starts to answer a question. Completes when the answer was published, or with the trouble."""

MOST_QUESTIONS = 8
"""That may wait for an answer at once, from all browsers together."""

_ANSWERS = 50  # that a browser which joins late is told
_HEARTBEAT_S = 15.0  # after which a browser that says nothing is asked, and left
_START_S = 10.0
_CLOSE_S = 1.0
_BUSY = 1013  # WebSocket close code: try again later

_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",  # kept, but asked for each time
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class File:
    """One file of the page, with a tag that changes with its content."""

    body: bytes
    kind: str
    zipped: bool = False

    @property
    def tag(self) -> str:
        """For the header ETag."""
        return f'"{hashlib.sha256(self.body).hexdigest()[:20]}"'


@cache
def page_files() -> dict[str, File]:
    """The page by the path of each of its files."""
    folder = resources.files("contextface_ros.viewer") / "page"
    files = {
        f"/{file.name}": File(file.read_bytes(), _TYPES[f".{file.name.rpartition('.')[2]}"])
        for file in folder.iterdir()
        if file.is_file()
    }
    return {"/": files["/index.html"], **files}


class Server:
    """Serves the page and its WebSocket. Usable from any thread.

    Attributes:
        url: where the page is.
        watching: how many browsers look.
    """

    def __init__(
        self,
        host: str,
        port: int,
        ask: Ask,
        *,
        names: tuple[str, ...] = (),
        most_browsers: int = 16,
        answer_timeout_s: float = 20.0,
    ) -> None:
        """Begin to serve.

        Args:
            host: address to listen at.
            port: 0 for any that is free.
            ask: answers what is typed; called on the server's thread, and does not block.
            names: further names under which browsers may ask for the page.
            most_browsers: the next one is refused.
            answer_timeout_s: after which a question is given up.

        Raises:
            BadInput: the address cannot be listened at.
        """
        self.watching = 0
        self._ask = ask
        self._names = guard.own_names(host, *names)
        self._most_browsers = most_browsers
        self._answer_timeout_s = answer_timeout_s
        self._browsers: set[Browser] = set()
        self._questions = 0
        self._status = Status()
        self._answers: deque[str] = deque(maxlen=_ANSWERS)
        self._pose: bytes | None = None
        self._head: Future[File] | None = None
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        started: Future[int] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(host, port, started), daemon=True, name="viewer's server"
        )
        self._thread.start()
        shown = f"[{host}]" if ":" in host else host
        try:
            self.url = f"http://{shown}:{started.result(_START_S)}/"
        except OSError as error:
            raise BadInput(
                f"no page at {host}:{port} ({error.strerror}): set host and port"
            ) from error

    def show_pose(self, weights: npt.NDArray[np.floating], time_s: float) -> None:
        """Show a pose (52,) of a time in s."""
        self._soon(self._on_pose, protocol.pose_frame(weights, time_s))

    def show_picture(self, jpeg: bytes) -> None:
        """Show what the camera sees."""
        self._soon(self._on_picture, protocol.picture_frame(jpeg))

    def show_answer(self, answer: Answer) -> None:
        """Enter an answer into the transcript."""
        self._soon(self._on_answer, protocol.answer_text(answer))

    def show_status(self, status: Status) -> None:
        """Show what is there; the same again costs nothing."""
        if status != self._status:
            self._status = status
            self._soon(self._tell_all, protocol.status_text(status))

    def close(self) -> None:
        """Send the browsers home and free the address. Safe to call twice."""
        self._soon(self._ended.set)
        self._thread.join(_CLOSE_S)

    # --- the server's thread ----------------------------------------------------------------------

    def _soon(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # closed
            return

    def _run(self, host: str, port: int, started: Future[int]) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve(host, port, started))
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)
        finally:
            self._loop.close()

    async def _serve(self, host: str, port: int, started: Future[int]) -> None:
        app = web.Application(middlewares=[self._check_host], client_max_size=1024)
        app.router.add_get("/link", self._link)
        app.router.add_get("/head.bin", self._send_head)
        for path in page_files():
            app.router.add_get(path, self._send_page)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port)
            await site.start()
            started.set_result(runner.addresses[0][1])
            await self._ended.wait()
            goodbyes = [b.end(reason="The viewer has ended.") for b in self._browsers]
            if goodbyes:
                await asyncio.wait([asyncio.ensure_future(g) for g in goodbyes], timeout=0.4)
        finally:
            await runner.cleanup()

    @web.middleware
    async def _check_host(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not guard.is_own_host(request.headers.get("Host"), self._names):
            raise web.HTTPForbidden(
                text="This is no name of the robot. Use its address, or set the parameter names."
            )
        return await handler(request)

    async def _send_page(self, request: web.Request) -> web.StreamResponse:
        return _response(request, page_files()[request.path])

    async def _send_head(self, request: web.Request) -> web.StreamResponse:
        if self._head is None or (self._head.done() and self._head.exception()):
            self._head = Future()
            threading.Thread(target=_make_head, args=(self._head,), daemon=True).start()
        try:
            file = await asyncio.shield(asyncio.wrap_future(self._head))
        except ContextFaceError as error:
            raise web.HTTPServiceUnavailable(text=f"The head cannot be drawn: {error}") from error
        return _response(request, file)

    async def _link(self, request: web.Request) -> web.StreamResponse:
        """One browser, from its first word to its last."""
        if not guard.is_own_page(request.headers.get("Origin"), request.headers.get("Host")):
            raise web.HTTPForbidden(text="Only the robot's own page may speak to it.")
        link = web.WebSocketResponse(
            heartbeat=_HEARTBEAT_S, max_msg_size=protocol.LONGEST_MESSAGE, compress=False
        )
        await link.prepare(request)
        browser = Browser(link, request.transport)
        if len(self._browsers) >= self._most_browsers:
            await browser.end(_BUSY, f"{self._most_browsers} browsers look already: close one.")
            return link
        self._browsers.add(browser)
        self.watching = len(self._browsers)
        for text in protocol.hello(), protocol.status_text(self._status), *self._answers:
            browser.text(text)
        if self._pose is not None:
            browser.pose(self._pose)
        sender = asyncio.create_task(browser.send_all())
        try:
            async for message in link:
                if message.type is WSMsgType.TEXT:
                    self._hear(browser, message.data)
        finally:
            self._browsers.discard(browser)
            self.watching = len(self._browsers)
            sender.cancel()
            if browser.question is not None:
                browser.question.cancel()
        return link

    # --- questions --------------------------------------------------------------------------------

    def _hear(self, browser: Browser, text: str) -> None:
        """Start to answer what a browser asks, or tell it why not."""
        number = 0
        try:
            message = protocol.read_message(text)
            number = protocol.question_number(message)
            question = protocol.read_question(message)
            if browser.question is not None and not browser.question.done():
                raise BadInput("one thing at a time: wait for the answer to the last one")
            if self._questions >= MOST_QUESTIONS:
                raise BadInput(f"{MOST_QUESTIONS} others wait for an answer: try again in a while")
        except BadInput as error:
            browser.text(protocol.asked_text(number, _sentence(str(error))))
            return
        browser.question = asyncio.create_task(self._answer(browser, number, question))

    async def _answer(self, browser: Browser, number: int, question: Question) -> None:
        self._questions += 1
        trouble = ""
        try:
            answer = asyncio.wrap_future(self._ask(question))
            await asyncio.wait_for(answer, self._answer_timeout_s)
        except ContextFaceError as error:
            trouble = _sentence(str(error))
        except asyncio.TimeoutError:
            trouble = (
                f"The agent has not answered within {self._answer_timeout_s:g} s:"
                " it is busy, or it has ended."
            )
        finally:
            self._questions -= 1
        browser.text(protocol.asked_text(number, trouble))

    # --- what is shown ----------------------------------------------------------------------------

    def _on_pose(self, frame: bytes) -> None:
        self._pose = frame
        for browser in self._browsers:
            browser.pose(frame)

    def _on_picture(self, frame: bytes) -> None:
        for browser in self._browsers:
            browser.picture(frame)

    def _on_answer(self, text: str) -> None:
        self._answers.append(text)
        self._tell_all(text)

    def _tell_all(self, text: str) -> None:
        for browser in self._browsers:
            browser.text(text)


def _make_head(head: Future[File]) -> None:
    try:
        body = gzip.compress(head_mesh(), mtime=0)
        head.set_result(File(body, "application/octet-stream", zipped=True))
    except BaseException as error:
        head.set_exception(error)


def _response(request: web.Request, file: File) -> web.Response:
    headers = {**_HEADERS, "ETag": file.tag}
    if request.headers.get("If-None-Match") == file.tag:
        return web.Response(status=304, headers=headers)
    body = file.body
    if file.zipped and "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
    elif file.zipped:
        body = gzip.decompress(body)
    charset = "utf-8" if file.kind.startswith("text/") else None
    return web.Response(body=body, headers=headers, content_type=file.kind, charset=charset)


def _sentence(text: str) -> str:
    """An error's text as a sentence of a page."""
    return text[:1].upper() + text[1:].rstrip(".") + "."
