"""The node `camera`: frames of a camera, a video file or a folder of pictures, onto `image`.

    source --read--> (H, W, 3) RGB --when it is due--> Image or CompressedImage --> image

Reading waits for hardware, so it has a thread of its own; the executor only answers questions about
parameters. A source that is lost is opened again, once a second, until it is back.
"""

from __future__ import annotations

import math
import os
import threading
import time
import traceback
from array import array

import cv2
from builtin_interfaces.msg import Time
from rclpy.logging import LoggingSeverity
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from contextface_ros.errors import BadInput
from contextface_ros.nodes import process
from contextface_ros.nodes.parameters import CameraParameters, NodeParameters
from contextface_ros.types import UInt8Array
from contextface_ros.vision.sources import FrameSource, SourceLost, is_live, open_source

RETRY_S = 1.0
"""Pause before a lost source is opened again."""

_CLOSE_S = 1.0  # a read from hardware that hangs longer is left behind
_JITTER = 0.25  # of a period, by which a live frame may be early


class Camera(Node):
    """Publishes frames at absolute deadlines. A changed parameter counts from the next frame."""

    def __init__(self) -> None:
        super().__init__("camera")
        self._parameters = NodeParameters(self, CameraParameters)
        source = self._parameters.read().source
        if not is_live(source):  # a camera may come later; a wrong path is told at once
            with open_source(source):
                pass
        self._stop = threading.Event()
        self._due_s = time.monotonic()  # when the next frame is to be published
        self._state = ""  # the last sentence about the source that was logged
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
                self._publish(self._parameters.read())
        except Exception:
            self.get_logger().fatal(f"the camera node ends:\n{traceback.format_exc()}")
            os._exit(1)  # a node that publishes nothing must not look alive

    def _wanted(self, settings: CameraParameters) -> bool:
        return not self._stop.is_set() and self._parameters.read() == settings

    def _publish(self, settings: CameraParameters) -> None:
        """Play the source, again and again, until the node ends or its parameters change."""
        kind = CompressedImage if settings.encoding == "jpeg" else Image
        publisher = self.create_publisher(kind, "image", qos_profile_sensor_data)
        playing = f"{settings.source} is published on {publisher.topic_name} ({settings.encoding})"
        while self._wanted(settings):
            try:
                with open_source(settings.source, settings.width, settings.height) as source:
                    self._tell(playing)
                    self._play(source, settings, publisher)
            except SourceLost as error:
                self._tell(f"{error}; trying again every {RETRY_S:g} s", lost=True)
                self._stop.wait(RETRY_S)
            else:
                if not settings.loop and self._wanted(settings):
                    self._tell(f"{settings.source} has ended")
                    while self._wanted(settings):
                        self._stop.wait(RETRY_S)
        self.destroy_publisher(publisher)

    def _play(self, source: FrameSource, settings: CameraParameters, publisher: Publisher) -> None:
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
            elif self._stop.wait(self._due_s - time.monotonic()):
                return
            publisher.publish(message(frame, settings, self.get_clock().now().to_msg()))
            self._due_s = next_deadline(self._due_s, period_s, time.monotonic())

    def _tell(self, sentence: str, lost: bool = False) -> None:
        if sentence != self._state:  # a source is lost every second anew
            self._state = sentence
            self.get_logger().log(sentence, LoggingSeverity.WARN if lost else LoggingSeverity.INFO)

    def _tell_of_frame(self, sentence: str) -> None:
        if sentence not in self._bad_frames:
            self._bad_frames.add(sentence)
            self.get_logger().warning(sentence)


def message(frame: UInt8Array, settings: CameraParameters, stamp: Time) -> Image | CompressedImage:
    """A frame as the message that the parameters ask for.

    Args:
        frame: (H, W, 3) uint8 RGB.
        settings: encoding, quality and frame id.
        stamp: when the frame was taken.
    """
    header = Header(stamp=stamp, frame_id=settings.frame_id)
    if settings.encoding != "rgb8":
        frame = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)  # type: ignore[assignment]
    data = array("B")  # the one type that rclpy's setters take over without a look at each byte
    if settings.encoding == "jpeg":
        quality = cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality
        data.frombytes(cv2.imencode(".jpg", frame, quality)[1].data)
        return CompressedImage(header=header, format="jpeg", data=data)
    data.frombytes(frame.data)
    height, width, _ = frame.shape
    return Image(
        header=header,
        height=height,
        width=width,
        encoding=settings.encoding,
        step=3 * width,
        data=data,
    )


def next_deadline(due_s: float, period_s: float, now_s: float) -> float:
    """The deadline after `due_s`, whole periods later: what was missed is left out, not caught up.

    Args:
        due_s: the deadline that was just met, or missed.
        period_s: from one deadline to the next; 0 for frames that are due at any time.
        now_s: the time.
    """
    if period_s == 0:
        return now_s
    return due_s + period_s * max(1, math.ceil((now_s - due_s) / period_s))


def main() -> int:
    """Entry point of the executable `camera`."""
    return process.run(Camera)


if __name__ == "__main__":
    raise SystemExit(main())
