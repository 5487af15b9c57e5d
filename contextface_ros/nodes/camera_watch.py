"""The camera's pictures: subscribed to, and made, only as long as somebody watches.

image, roi --newest--> CameraPicture (a thread) --JPEG--> show
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image, RegionOfInterest

from contextface_ros.errors import BadInput
from contextface_ros.nodes import convert, qos
from contextface_ros.nodes.inputs import IMAGE_TYPES
from contextface_ros.nodes.parameters import ViewerParameters
from contextface_ros.viewer.camera_picture import CameraPicture
from contextface_ros.vision.detectors import Box

_FRESH_S = 2.0  # age up to which a picture counts as coming
_CLOSE_S = 0.5


class CameraWatch:
    """Shows the newest frame, again and again, at no more than a rate."""

    def __init__(
        self, node: Node, settings: ViewerParameters, show: Callable[[bytes], None]
    ) -> None:
        self._node = node
        self._settings = settings
        self._show = show
        self._region: Box | None = None
        self._newest: Image | CompressedImage | None = None
        self._shown_s = float("-inf")
        self._picture: CameraPicture | None = None
        self._fault = ""
        self._subscriptions: list[Subscription] = []
        self._arrived = threading.Condition()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def seen(self) -> bool:
        """Whether pictures are coming."""
        return time.monotonic() - self._shown_s < _FRESH_S

    @property
    def note(self) -> str:
        """A sentence about the last picture, or ""."""
        return self._fault or (self._picture.note if self._picture is not None else "")

    def watch(self, wanted: bool) -> None:
        """Begin to watch, or stop. Called on the executor's thread, as often as one likes."""
        kind = IMAGE_TYPES.get(self._settings.image_transport)
        if kind is None or wanted == bool(self._subscriptions):
            return
        if not wanted:
            for subscription in self._subscriptions:
                self._node.destroy_subscription(subscription)
            self._subscriptions = []
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True, name="camera pictures")
            self._thread.start()
        self._subscriptions = [
            self._node.create_subscription(kind, "image", self._on_image, qos.NEWEST_FRAME),
            self._node.create_subscription(RegionOfInterest, "roi", self._on_region, qos.REGION),
        ]

    def close(self) -> None:
        """Make no more pictures."""
        self._closing.set()
        with self._arrived:
            self._arrived.notify_all()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def _on_image(self, message: Image | CompressedImage) -> None:
        with self._arrived:
            self._newest = message
            self._arrived.notify_all()

    def _on_region(self, message: RegionOfInterest) -> None:
        self._region = None
        if message.width and message.height:  # a region without a size stands for the whole frame
            self._region = Box(message.x_offset, message.y_offset, message.width, message.height)

    def _run(self) -> None:
        try:
            self._picture = CameraPicture(self._settings.face_detector, self._settings.target)
            while (message := self._next()) is not None:
                self._make(self._picture, message)
                self._closing.wait(1.0 / self._settings.image_rate_hz)
        except Exception:
            self._node.get_logger().error(f"the camera is shown no more:\n{traceback.format_exc()}")

    def _next(self) -> Image | CompressedImage | None:
        with self._arrived:
            self._arrived.wait_for(lambda: self._closing.is_set() or self._newest is not None)
            message, self._newest = self._newest, None
            return None if self._closing.is_set() else message

    def _make(self, picture: CameraPicture, message: Image | CompressedImage) -> None:
        try:
            convert.check_frame(message)
            self._show(picture.jpeg(convert.rgb(message), self._region))
            self._fault = ""
        except BadInput as error:  # a camera repeats its fault with every frame
            if str(error) != self._fault:
                self._node.get_logger().warning(f"a camera frame is not shown: {error}")
            self._fault = str(error)
        self._shown_s = time.monotonic()
