"""From face units to commands, within every channel's limits and speed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.robots.description import Robot
from contextface_ros.types import Float32Array

LONGEST_STEP_S = 0.1
"""Time that one step may make up for. A clock that leaps must not let a servo leap."""

Commands = npt.NDArray[np.float64]


class Drive:
    """Where a robot's channels are, and where they go next.

    Attributes:
        commands: (C,) the last commands, in the units and the order of the channels.
    """

    def __init__(self, robot: Robot) -> None:
        """Begin at rest."""
        channels = robot.channels
        self._map = np.zeros((len(channels), len(ARKIT_NAMES)))
        for row, channel in zip(self._map, channels, strict=True):
            for name, weight in channel.weights.items():
                row[ARKIT_NAMES.index(name)] = weight
        self._neutral = np.array([channel.neutral for channel in channels])
        self._lower = np.array([channel.lower for channel in channels])
        self._upper = np.array([channel.upper for channel in channels])
        self._speed = np.array([channel.max_speed for channel in channels])
        self.commands: Commands = self._neutral.copy()

    def goal(self, weights: Float32Array) -> Commands:
        """(C,) where the channels belong for a face of (52,) weights, which may be anything.

        A weight that is no number counts as 0; the others are taken within 0..1.
        """
        face = np.nan_to_num(np.asarray(weights, np.float64), nan=0.0, posinf=1.0, neginf=0.0)
        wanted = self._neutral + self._map @ np.clip(face, 0.0, 1.0)
        return np.asarray(np.clip(wanted, self._lower, self._upper))

    def step(self, weights: Float32Array, elapsed_s: float) -> Commands:
        """Go towards a face, no faster than each channel may.

        Args:
            weights: (52,) in the order of ARKIT_NAMES.
            elapsed_s: since the last step; what is negative or no number is no time.

        Returns:
            (C,) the commands.
        """
        usable = min(elapsed_s, LONGEST_STEP_S) if elapsed_s > 0 else 0.0
        reach = self._speed * usable
        way = self.goal(weights) - self.commands
        self.commands = np.clip(
            self.commands + np.clip(way, -reach, reach), self._lower, self._upper
        )
        return self.commands
