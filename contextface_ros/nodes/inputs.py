"""What the agent sees and hears while it is active."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image, RegionOfInterest
from std_msgs.msg import String

from contextface_ros.errors import BadInput
from contextface_ros.nodes import convert, qos
from contextface_ros.vision.detectors import Box

IMAGE_TYPES = {"raw": Image, "compressed": CompressedImage}


@dataclass(frozen=True)
class Seen:
    """A camera frame, and when it was received (time.monotonic)."""

    message: Image | CompressedImage
    received_s: float


@dataclass(frozen=True)
class Background:
    """A situation, and when it was received (time.monotonic)."""

    text: str
    received_s: float


class Inputs:
    """All that belongs to one activation: subscriptions, the newest frame, the situation.

    Attributes:
        region: where the target person is looked for, in pixels; None for anywhere.
        background: the situation in which the next utterance is said.
    """

    def __init__(
        self,
        node: Node,
        image_transport: str,
        on_speech: Callable[[String], Awaitable[None]],
        on_situation: Callable[[String], Awaitable[None]],
        on_bad_frame: Callable[[BadInput], None],
        group: CallbackGroup,
    ) -> None:
        self.region: Box | None = None
        self.background: Background | None = None
        self._node = node
        self._on_bad_frame = on_bad_frame
        self._newest: Seen | None = None
        self._started_s = time.monotonic()
        self._subscriptions: list[Subscription] = [
            node.create_subscription(
                String, "speech", on_speech, qos.UTTERANCE, callback_group=group
            ),
            node.create_subscription(
                String, "situation", on_situation, qos.UTTERANCE, callback_group=group
            ),
        ]
        if image_transport in IMAGE_TYPES:
            self._subscriptions += [
                node.create_subscription(
                    IMAGE_TYPES[image_transport], "image", self._on_image, qos.NEWEST_FRAME
                ),
                node.create_subscription(RegionOfInterest, "roi", self._on_region, qos.REGION),
            ]

    def close(self) -> None:
        """Stop listening."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def frame(self, max_age_s: float) -> Image | CompressedImage | None:
        """The newest usable frame, unless it is older than `max_age_s`."""
        if self._newest is None or self.silence_s > max_age_s:
            return None
        return self._newest.message

    def situation(self, max_age_s: float) -> str | None:
        """The situation in which something is said now, unless it is older than `max_age_s`."""
        if self.background and time.monotonic() - self.background.received_s <= max_age_s:
            return self.background.text
        return None

    @property
    def seen(self) -> bool:
        """Whether there has been a usable frame."""
        return self._newest is not None

    @property
    def silence_s(self) -> float:
        """Seconds since the last usable frame, or since the start where there was none."""
        return time.monotonic() - (self._newest.received_s if self._newest else self._started_s)

    def _on_region(self, message: RegionOfInterest) -> None:
        self.region = None
        if message.width and message.height:  # a region without a size stands for the whole frame
            self.region = Box(message.x_offset, message.y_offset, message.width, message.height)

    def _on_image(self, message: Image | CompressedImage) -> None:
        try:
            convert.check_frame(message)
        except BadInput as error:
            self._on_bad_frame(error)
        else:
            self._newest = Seen(message, time.monotonic())
