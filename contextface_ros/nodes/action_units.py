"""The face that is shown as FACS action units: hri_msgs/FacialActionUnits, where it is installed.

The message has a place for each of the codes 0 to 98 and no mark for those that are not known
(https://github.com/ros4hri/hri_msgs, msg/FacialActionUnits.msg). Ours are the 23 of
face/blendshapes.py, with confidence 1; every other code has intensity 0 and confidence 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from rclpy.node import Node
from std_msgs.msg import Header

from contextface_ros.face.blendshapes import (
    ACTION_UNITS,
    ARKIT_NAMES,
    AU_TO_ARKIT,
    blendshapes_to_action_units,
)
from contextface_ros.nodes import qos
from contextface_ros.types import Float32Array

RATE_HZ = 30.0
"""Messages a second: faces are seen, and filmed, at no more."""

_CODES = [int(unit.removeprefix("AU")) for unit in ACTION_UNITS]
_ALL_CODES = 99
_MOVES = np.array([[name in AU_TO_ARKIT[unit] for unit in ACTION_UNITS] for name in ARKIT_NAMES])


def by_code(pose: Float32Array, played: npt.NDArray[np.bool_]) -> tuple[Float32Array, Float32Array]:
    """A face by the codes of FACS.

    Args:
        pose: (52,) weights in 0..1.
        played: (52,) which of them are ours; a unit that moves another one has confidence 0.

    Returns:
        Intensities and confidences, (99,) float32 in 0..1 each.
    """
    intensity, confidence = np.zeros((2, _ALL_CODES), np.float32)
    known = ~_MOVES[~played].any(axis=0)
    intensity[_CODES] = known * blendshapes_to_action_units(pose)
    confidence[_CODES] = known
    return intensity, confidence


class ActionUnitsPublisher:
    """Publishes on robot_face/facs.

    REP-155 names `facs` beside `expression` for the faces of people; here both are below
    robot_face, as robots that speak it have their own `expression`.
    """

    def __init__(self, node: Node, message_type: type[Any]) -> None:
        """Make the topic; message_type is hri_msgs.msg.FacialActionUnits."""
        self._type = message_type
        self._publisher = node.create_publisher(message_type, "robot_face/facs", qos.POSE)

    @property
    def wanted(self) -> bool:
        """Whether anybody listens."""
        return self._publisher.get_subscription_count() > 0

    def publish(self, pose: Float32Array, played: npt.NDArray[np.bool_], stamp: Time) -> None:
        """Publish the face as it looks at the time of the stamp; see `by_code`."""
        intensity, confidence = by_code(pose, played)
        self._publisher.publish(
            self._type(header=Header(stamp=stamp), intensity=intensity, confidence=confidence)
        )


def action_units_publisher(node: Node) -> ActionUnitsPublisher | None:
    """The publisher where hri_msgs is installed, else None."""
    try:
        from hri_msgs.msg import FacialActionUnits
    except ImportError:  # optional
        return None
    return ActionUnitsPublisher(node, FacialActionUnits)
