"""One browser: what waits to be sent to it, which is never more than it takes a moment to send."""

from __future__ import annotations

import asyncio
import socket
from collections import deque

from aiohttp import web

_TEXTS = 120  # messages that may wait; the oldest go first
_SEND_BUFFER = 65536  # bytes in the kernel: more would be frames that are old when they arrive


class Browser:
    """Holds the newest pose and picture, and sends them when the browser takes them.

    Used on the server's event loop alone.

    Attributes:
        question: the task that waits for an answer to what was asked here.
    """

    def __init__(self, link: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self.question: asyncio.Task[None] | None = None
        self._link = link
        self._texts: deque[str] = deque(maxlen=_TEXTS)
        self._pose: bytes | None = None
        self._picture: bytes | None = None
        self._waiting = asyncio.Event()
        end = transport.get_extra_info("socket") if transport is not None else None
        if end is not None:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)

    def text(self, text: str) -> None:
        """Leave a message."""
        self._texts.append(text)
        self._waiting.set()

    def pose(self, frame: bytes) -> None:
        """Leave a pose, in place of one that was not sent."""
        self._pose = frame
        self._waiting.set()

    def picture(self, frame: bytes) -> None:
        """Leave a picture, in place of one that was not sent."""
        self._picture = frame
        self._waiting.set()

    async def send_all(self) -> None:
        """Send what is left here, until the browser is gone."""
        try:
            while True:
                await self._waiting.wait()
                self._waiting.clear()
                while self._texts:
                    await self._link.send_str(self._texts.popleft())
                pose, self._pose = self._pose, None
                if pose is not None:
                    await self._link.send_bytes(pose)
                picture, self._picture = self._picture, None
                if picture is not None:
                    await self._link.send_bytes(picture)
        except ConnectionError:  # it has gone; the receiving side notices as well
            return

    async def end(self, code: int = 1001, reason: str = "") -> None:
        """Say goodbye."""
        await self._link.close(code=code, message=reason.encode()[:123])
