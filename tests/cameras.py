"""Cameras for tests: a video file, and one that is reached over the network."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

from contextface_ros.vision.sources import DEMO_FOLDER


def write_video(path: Path, count: int = 12, rate_hz: float = 25.0) -> Path:
    """Frames that grow brighter, red on the left half."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate_hz, (64, 48))
    for number in range(count):
        bgr = np.full((48, 64, 3), 20 * number, np.uint8)
        bgr[:, :32, 2] = 250
        writer.write(bgr)
    writer.release()
    return path


class _MotionJpeg(BaseHTTPRequestHandler):
    """Plays a picture 50 times a second, as cameras with a web page do."""

    def do_GET(self) -> None:
        picture = (DEMO_FOLDER / "1_far.jpg").read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
        while not self.server.cut.is_set():  # type: ignore[attr-defined]
            try:
                self.wfile.write(head.encode() + picture + b"\r\n")
            except OSError:
                return
            time.sleep(0.02)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def camera_on_the_network(port: int = 0) -> Iterator[str]:
    """The URL of a stream that lives as long as the with block."""
    with ThreadingHTTPServer(("127.0.0.1", port), _MotionJpeg) as server:
        server.cut = threading.Event()  # type: ignore[attr-defined]
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/camera.mjpg"
        finally:
            server.cut.set()  # type: ignore[attr-defined]
            server.shutdown()
