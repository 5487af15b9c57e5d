"""The node `face_image`: the face as a picture that moves, for a robot with a screen.

    face/blendshapes --the newest pose--> LiveHead or DrawnFace --at its own rate--> face/image

A scene belongs to the thread that made it, so drawing has a thread of its own. Nothing is drawn
while nobody looks.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from functools import partial
from typing import Protocol

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from contextface_ros.errors import ContextFaceError
from contextface_ros.face.drawn import DrawnFace
from contextface_ros.face.live_head import LiveHead
from contextface_ros.nodes import convert, process, qos
from contextface_ros.nodes.followed_face import FollowedFace
from contextface_ros.nodes.pace import Pace
from contextface_ros.nodes.parameters import FaceImageParameters, NodeParameters
from contextface_ros.types import Float32Array, UInt8Array

_CLOSE_S = 1.0
_REPORT_S = 10.0  # between two lines about a rate that is not held


class Painter(Protocol):
    """Draws faces."""

    def picture(self, weights: Float32Array) -> UInt8Array:
        """(height, width, 3) uint8 RGB of a face with (52,) weights in 0..1."""

    def close(self) -> None:
        """Free what is held."""


class FaceImage(Node):
    """Publishes pictures at absolute deadlines."""

    def __init__(self) -> None:
        """Begin. Raises ContextFaceError where the face that is wanted cannot be drawn."""
        super().__init__("face_image")
        declared = NodeParameters(self, FaceImageParameters)
        self._settings = settings = declared.read()
        declared.locked = True
        self._face = FollowedFace(self, settings.hold_s)
        kind = CompressedImage if settings.encoding == "jpeg" else Image
        self._publisher = self.create_publisher(kind, "face/image", qos.PICTURE)
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._failure: ContextFaceError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="face_image")
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        face = "the head" if settings.face == "head" else "the drawn face"
        self.get_logger().info(
            f"{face}, {settings.width} x {settings.height} pixels,"
            f" {settings.rate_hz:g} times a second on {self._publisher.topic_name}"
        )

    def close(self) -> None:
        """Publish nothing more, and free the scene."""
        self._stop.set()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        try:
            painter = _painter(self._settings)
        except ContextFaceError as error:
            self._failure = error
            return
        finally:
            self._ready.set()
        try:
            self._draw(painter)
            painter.close()
        except Exception:
            self.get_logger().fatal(f"the face is not drawn any more:\n{traceback.format_exc()}")
            os._exit(1)  # a node that publishes nothing must not look alive

    def _draw(self, painter: Painter) -> None:
        pace = Pace(self._settings.rate_hz)
        missed, reported_s = 0, time.monotonic()
        as_message = partial(
            convert.image,
            encoding=self._settings.encoding,
            jpeg_quality=self._settings.jpeg_quality,
            frame_id=self._settings.frame_id,
        )
        while not self._stop.is_set():
            due_s = pace.wait()
            if not self._publisher.get_subscription_count():
                continue
            stamp = self.get_clock().now().to_msg()
            picture = painter.picture(self._face.weights(due_s))
            self._publisher.publish(as_message(picture, stamp=stamp))
            if due_s - reported_s > _REPORT_S:
                self._report(pace.missed - missed, due_s - reported_s)
                missed, reported_s = pace.missed, due_s

    def _report(self, missed: int, seconds: float) -> None:
        wanted = self._settings.rate_hz * seconds
        if missed > 0.1 * wanted:
            self.get_logger().warning(
                f"{wanted - missed:.0f} of {wanted:.0f} pictures were drawn in the last"
                f" {seconds:.0f} s: make them smaller, or lower rate_hz"
            )


def _painter(settings: FaceImageParameters) -> Painter:
    size = {"width": settings.width, "height": settings.height}
    if settings.face == "drawn":
        return DrawnFace(theme=settings.theme, **size)
    return LiveHead(basis=settings.basis, **size)


def main() -> int:
    """Entry point of the executable `face_image`."""
    return process.run(FaceImage)


if __name__ == "__main__":
    raise SystemExit(main())
