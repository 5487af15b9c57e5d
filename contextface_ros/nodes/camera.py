"""The node `camera`: frames of a camera, a video file or a folder of pictures, onto `image`.

    source --read--> (H, W, 3) RGB --when it is due--> Image or CompressedImage --> image

Reading waits for hardware, so it has a thread of its own; the executor only answers questions about
parameters. A source that is lost is opened again, once a second, until it is back.
"""

from __future__ import annotations

import os
import threading
import time
import traceback

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from contextface_ros.errors import BadInput
from contextface_ros.nodes import convert, process
from contextface_ros.nodes.pace import next_deadline
from contextface_ros.nodes.parameters import CameraParameters, NodeParameters
from contextface_ros.vision.sources import FrameSource, SourceLost, is_live, open_source

RETRY_S = 1.0
"""Pause before a lost source is opened again."""

_CLOSE_S = 1.0  # a read from hardware that hangs longer is left behind
_JITTER = 0.25  # of a period, by which a live frame may be early


class Camera(Node):
    """Publishes frames at absolute deadlines. A changed parameter counts from the next frame."""

    def __init__(self) -> None:
        super().__init__("camera")
        self._settings = NodeParameters(self, CameraParameters)
        settings = self._settings.read()
        if not is_live(settings.source):  # a camera may come later; a wrong path is told at once
            with open_source(settings.source):
                pass
        kind = CompressedImage if settings.encoding == "jpeg" else Image
        self._publisher = self.create_publisher(kind, "image", qos_profile_sensor_data)
        self._settings.locked = True  # what the publisher depends on
        self._stop = threading.Event()
        self._due_s = 0.0  # when the next frame is to be published (time.monotonic)
        self._state = ""  # of the source, as it was logged: "playing", "lost" or "ended"
        self._bad_frames: set[str] = set()  # sentences that were logged
        self._thread = threading.Thread(target=self._run, daemon=True, name="camera")
        self._thread.start()

    def close(self) -> None:
        """Publish nothing more, and let the source go."""
        self._stop.set()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._state = ""
                self._due_s = time.monotonic()
                self._repeat(self._settings.read())
        except Exception:
            self.get_logger().fatal(f"the camera node ends:\n{traceback.format_exc()}")
            os._exit(1)  # a node that publishes nothing must not look alive

    def _wanted(self, settings: CameraParameters) -> bool:
        return not self._stop.is_set() and self._settings.read() == settings

    def _repeat(self, settings: CameraParameters) -> None:
        """Play the source again and again, until the node ends or its parameters change."""
        while self._wanted(settings):
            try:
                with open_source(settings.source, settings.width, settings.height) as source:
                    self._play(source, settings)
            except SourceLost as error:
                if self._changes_to("lost"):
                    self.get_logger().warning(f"{error}; trying again every {RETRY_S:g} s")
                self._stop.wait(RETRY_S)
            else:
                if not settings.loop and self._wanted(settings):
                    if self._changes_to("ended"):
                        self.get_logger().info(f"{settings.source} has ended")
                    while self._wanted(settings):
                        self._stop.wait(RETRY_S)

    def _play(self, source: FrameSource, settings: CameraParameters) -> None:
        """Publish a source's frames, each when it is due, to its end or until it is not wanted.

        Raises:
            SourceLost: from the source.
        """
        rate_hz = settings.rate_hz or source.rate_hz
        period_s = 1 / rate_hz if rate_hz else 0.0
        while self._wanted(settings):
            try:
                frame = source.read()
            except SourceLost:
                raise
            except BadInput as error:
                self._tell_of_frame(str(error))
                self._stop.wait(RETRY_S)
                continue
            if frame is None:
                return
            if source.rate_hz is None:  # it came when it came; too early for the wanted rate?
                if time.monotonic() < self._due_s - _JITTER * period_s:
                    continue
            elif not self._wait(settings):
                return
            stamp = self.get_clock().now().to_msg()
            self._publisher.publish(
                convert.image(
                    frame, settings.encoding, stamp, settings.frame_id, settings.jpeg_quality
                )
            )
            self._due_s = next_deadline(self._due_s, period_s, time.monotonic())
            if self._changes_to("playing"):
                topic, encoding = self._publisher.topic_name, settings.encoding
                self.get_logger().info(f"{settings.source} is published on {topic} ({encoding})")

    def _wait(self, settings: CameraParameters) -> bool:
        """Wait until the next frame is due; whether it is still wanted then."""
        while self._wanted(settings):
            left_s = self._due_s - time.monotonic()
            if left_s <= 0:
                return True
            self._stop.wait(min(left_s, RETRY_S))
        return False

    def _changes_to(self, state: str) -> bool:
        """Whether the source was in another state: only that is worth a line in the log."""
        before, self._state = self._state, state
        return before != state

    def _tell_of_frame(self, sentence: str) -> None:
        if sentence not in self._bad_frames:
            self._bad_frames.add(sentence)
            self.get_logger().warning(sentence)


def main() -> int:
    """Entry point of the executable `camera`."""
    return process.run(Camera)


if __name__ == "__main__":
    raise SystemExit(main())
