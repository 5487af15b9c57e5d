"""The face that a node follows: the newest pose of face/blendshapes, checked, and its end."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
from rclpy.node import Node

from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.msg import Blendshapes
from contextface_ros.nodes import qos
from contextface_ros.types import Float32Array

FADE_S = 1.0
"""Time in which a face fades to neutral that nobody plays any more."""

_WARN_EVERY_S = 10.0
_PLACES = {name: place for place, name in enumerate(ARKIT_NAMES)}


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
        self._pose = np.zeros(len(ARKIT_NAMES), np.float32)
        self._named: frozenset[str] = frozenset(ARKIT_NAMES)
        self._heard_s = time.monotonic()
        self._warned_s = -_WARN_EVERY_S
        node.create_subscription(Blendshapes, "face/blendshapes", self._on_pose, qos.POSE)

    def weights(self, now_s: float) -> Float32Array:
        """The face (52,) in 0..1 at a time (time.monotonic), in the order of ARKIT_NAMES."""
        fading_s = now_s - self._heard_s - self._hold_s
        left = np.float32(np.clip(1.0 - fading_s / FADE_S, 0.0, 1.0))
        return np.asarray(left * self._pose)

    def played(self) -> npt.NDArray[np.bool_]:
        """Which units (52,) the newest pose has; the others are lent to another animator."""
        named = self._named
        return np.array([name in named for name in ARKIT_NAMES])

    def _on_pose(self, message: Blendshapes) -> None:
        try:
            self._pose = posed(self._pose, message.names, np.asarray(message.weights, np.float32))
            self._named = frozenset(message.names)
            self._heard_s = time.monotonic()
        except BadInput as error:
            self._warn(str(error))

    def _warn(self, what: str) -> None:
        now_s = time.monotonic()
        if now_s - self._warned_s >= _WARN_EVERY_S:
            self._warned_s = now_s
            self._node.get_logger().warning(what)


def posed(before: Float32Array, names: list[str], weights: Float32Array) -> Float32Array:
    """A face after a pose that may name a part of the units; another animator has the others.

    Args:
        before: (52,) the face so far.
        names: (N,) of ARKIT_NAMES.
        weights: (N,); what lies outside 0..1 is brought to the nearer of both.

    Returns:
        (52,) in 0..1.

    Raises:
        BadInput: an unknown name, not as many weights as names, or one that is not finite.
    """
    places = [_PLACES.get(name) for name in names]
    if len(places) != len(weights) or None in places or not np.isfinite(weights).all():
        raise BadInput(
            f"a pose with {len(places)} names and {len(weights)} weights is left out: give one"
            " finite weight for each name, and ARKit's names"
        )
    after = before.copy()
    after[np.array(places, dtype=np.intp)] = np.clip(weights, 0.0, 1.0)
    return after
