"""The node `viewer`: the agent's face, and what it answered, in a browser.

    expression --draw (one thread, the newest only)--> Page --> http://127.0.0.1:8765/
    emotion -----------------------------------------> Page

For looking only: nothing that a browser sends is acted on.
"""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
from rclpy.node import Node

from contextface_ros.errors import BadInput, ContextFaceError
from contextface_ros.face.render import FaceRenderer
from contextface_ros.msg import Emotion, Expression
from contextface_ros.nodes import process, qos
from contextface_ros.nodes.parameters import NodeParameters, ViewerParameters
from contextface_ros.types import OPEN_BASIS

_ALIVE_S = 2.0  # between two parts of a stream in which nothing changes
_CLOSE_S = 1.0
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 90)

_HTML = """<!doctype html>
<meta charset="utf-8">
<title>contextface</title>
<style>
  body { margin: 2em auto; max-width: 30em; font: 18px sans-serif; text-align: center }
  img { width: 100%; border-radius: 8px }
  #quote { color: #555; min-height: 3em }
</style>
<img src="/face" alt="the face">
<h1 id="label"></h1>
<p id="quote"></p>
<script>
  new EventSource("/words").onmessage = (event) => {
    const words = JSON.parse(event.data);
    for (const id of ["label", "quote"]) document.getElementById(id).textContent = words[id];
  };
</script>
"""


class Page:
    """What the browsers show. They wait here for what comes next."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._parts: dict[str, tuple[int, bytes]] = {}  # name -> how often it changed, content
        self._closed = False

    def show(self, name: str, content: bytes) -> None:
        """Replace one part of the page."""
        with self._changed:
            count, _ = self._parts.get(name, (0, b""))
            self._parts[name] = (count + 1, content)
            self._changed.notify_all()

    def after(self, name: str, count: int) -> tuple[int, bytes] | None:
        """A part once it changed more than `count` times, or after a while; None at the end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._parts.get(name, (0, b""))[0] > count, _ALIVE_S
            )
            return None if self._closed else self._parts.get(name, (0, b""))

    def close(self) -> None:
        """Send everybody home."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Viewer(Node):
    """Draws the newest face and serves it."""

    def __init__(self) -> None:
        super().__init__("viewer")
        settings = NodeParameters(self, ViewerParameters).read()
        self._page = Page()
        self._newest: Expression | None = None  # not drawn yet
        self._arrived = threading.Condition()
        self._closing = False
        try:
            self._server = ThreadingHTTPServer((settings.host, settings.port), _handler(self._page))
        except OSError as error:
            raise BadInput(
                f"no page at {settings.host}:{settings.port} ({error.strerror}): set host and port"
            ) from error
        self._server.daemon_threads = True
        self._threads = [
            threading.Thread(target=self._server.serve_forever, daemon=True),
            threading.Thread(target=self._draw_all, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self.create_subscription(Expression, "expression", self._on_expression, qos.LAST_ANSWER)
        self.create_subscription(Emotion, "emotion", self._on_emotion, qos.LAST_ANSWER)
        host, port = self._server.server_address[:2]
        self.get_logger().info(f"the face is shown at http://{host!s}:{port}/")

    def close(self) -> None:
        """End the page and the drawing."""
        self._page.close()
        with self._arrived:
            self._closing = True
            self._arrived.notify_all()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join(_CLOSE_S)

    def _on_emotion(self, message: Emotion) -> None:
        words = {"label": message.label, "quote": message.quote or message.situation}
        self._page.show("words", json.dumps(words).encode())

    def _on_expression(self, message: Expression) -> None:
        if message.basis != OPEN_BASIS:
            self.get_logger().warning(
                f"a face in the basis {message.basis!r} is not drawn, only {OPEN_BASIS!r} is",
                once=True,
            )
            return
        with self._arrived:
            self._newest = message
            self._arrived.notify_all()

    def _draw_all(self) -> None:
        """Draw whatever is newest. A renderer belongs to the thread that made it."""
        try:
            with FaceRenderer() as renderer:
                self._draw(renderer, np.zeros(100, np.float32))
                while (message := self._next()) is not None:
                    self._draw(renderer, np.asarray(message.expression))
        except ContextFaceError as error:
            self.get_logger().error(f"no face is drawn: {error}")
        except Exception:
            self.get_logger().error(f"no face is drawn any more:\n{traceback.format_exc()}")

    def _next(self) -> Expression | None:
        with self._arrived:
            self._arrived.wait_for(lambda: self._closing or self._newest is not None)
            message, self._newest = self._newest, None
            return None if self._closing else message

    def _draw(self, renderer: FaceRenderer, coefficients: np.ndarray) -> None:
        try:
            picture = renderer.picture(coefficients)  # (H, W, 3) RGB
        except BadInput as error:
            self.get_logger().warning(f"a face is not drawn: {error}")
            return
        jpeg = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), _JPEG)[1]
        self._page.show("face", jpeg.tobytes())


def _handler(page: Page) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10.0  # of a browser that asks for nothing

        def do_GET(self) -> None:
            """Answer one browser."""
            if self.path == "/":
                self._start("text/html; charset=utf-8")
                self.wfile.write(_HTML.encode())
            elif self.path == "/face":
                self._start("multipart/x-mixed-replace; boundary=face")
                # A browser shows a part once the next begins, so each is sent twice.
                self._stream("face", lambda jpeg: (_part(jpeg) * 2) if jpeg else b"")
            elif self.path == "/words":
                self._start("text/event-stream")
                self._stream("words", lambda words: b"data: " + words + b"\n\n" if words else b"")
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def _start(self, kind: str) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Cache-Control", "no-store")
            self.end_headers()

        def _stream(self, name: str, wrap: Callable[[bytes], bytes]) -> None:
            count = 0
            try:
                while (part := page.after(name, count)) is not None:
                    count, content = part
                    self.wfile.write(wrap(content))
                    self.wfile.flush()
            except OSError:  # the browser has gone
                return

        def log_message(self, *_: object) -> None:
            """Say nothing: what browsers ask for is of no interest."""

    return Handler


def _part(jpeg: bytes) -> bytes:
    return b"--face\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (
        len(jpeg),
        jpeg,
    )


def main() -> int:
    """Entry point of the executable `viewer`."""
    return process.run(Viewer)


if __name__ == "__main__":
    raise SystemExit(main())
