"""The face that a node follows: the newest pose of face/blendshapes, checked, and its end."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
from rclpy.node import Node

from contextface_ros.errors import BadInput
from contextface_ros.msg import Blendshapes
from contextface_ros.nodes import qos
from contextface_ros.nodes.pose_reader import PoseReader
from contextface_ros.types import Float32Array

FADE_S = 1.0
"""Time in which a face fades to neutral that nobody plays any more."""

_WARN_EVERY_S = 10.0


class FollowedFace:
    """Receives poses on a node's executor. Its weights may be asked for by any thread."""

    def __init__(self, node: Node, hold_s: float) -> None:
        """Subscribe.

        Args:
            node: that follows the face.
            hold_s: seconds without a pose after which the face fades.
        """
        self._node = node
        self._hold_s = hold_s
        self._poses = PoseReader()
        self._heard_s = time.monotonic()
        self._warned_s = -_WARN_EVERY_S
        node.create_subscription(Blendshapes, "face/blendshapes", self._on_pose, qos.POSE)

    def weights(self, now_s: float) -> Float32Array:
        """The face (52,) in 0..1 at a time (time.monotonic), in the order of ARKIT_NAMES."""
        fading_s = now_s - self._heard_s - self._hold_s
        left = np.float32(np.clip(1.0 - fading_s / FADE_S, 0.0, 1.0))
        return np.asarray(left * self._poses.weights)

    def played(self) -> npt.NDArray[np.bool_]:
        """Which units (52,) the newest pose has; the others are lent to another animator."""
        return self._poses.named

    def _on_pose(self, message: Blendshapes) -> None:
        try:
            self._poses.read(message)
            self._heard_s = time.monotonic()
        except BadInput as error:
            self._warn(str(error))

    def _warn(self, what: str) -> None:
        now_s = time.monotonic()
        if now_s - self._warned_s >= _WARN_EVERY_S:
            self._warned_s = now_s
            self._node.get_logger().warning(what)
