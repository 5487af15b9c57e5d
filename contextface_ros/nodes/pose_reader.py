"""Poses of face/blendshapes, of which each may name a part of the units."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.msg import Blendshapes
from contextface_ros.types import Float32Array

_PLACES = {name: place for place, name in enumerate(ARKIT_NAMES)}


class PoseReader:
    """Keeps the face up to date, message by message. Its attributes may be read by any thread.

    Attributes:
        weights: (52,) in 0..1, in the order of ARKIT_NAMES; replaced, never changed.
        named: (52,) which of them the last pose named; the others are another animator's.
    """

    def __init__(self) -> None:
        """A neutral face, all of which is the player's."""
        self.weights: Float32Array = np.zeros(len(ARKIT_NAMES), np.float32)
        self.named: npt.NDArray[np.bool_] = np.ones(len(ARKIT_NAMES), dtype=bool)
        self._names: list[str] | None = None
        self._places = np.zeros(0, np.intp)

    def read(self, message: Blendshapes) -> None:
        """Take the units that are named; the others stay as they were left.

        What lies outside 0..1 is brought to the nearer of both.

        Raises:
            BadInput: an unknown name, not as many weights as names, or one that is not finite.
        """
        weights = np.asarray(message.weights, np.float32)
        places = self._places
        if message.names != self._names:  # 60 times a second they are the same
            found = [_PLACES.get(name) for name in message.names]
            places = np.array([-1 if place is None else place for place in found], np.intp)
        if len(places) != len(weights) or (places < 0).any() or not np.isfinite(weights).all():
            raise BadInput(
                f"a pose with {len(places)} names and {len(weights)} weights is left out: give one"
                " finite weight for each name, and ARKit's names"
            )
        if places is not self._places:
            self._names, self._places = list(message.names), places
            self.named = np.isin(np.arange(len(ARKIT_NAMES)), places)
        after = self.weights.copy()
        after[places] = np.clip(weights, 0.0, 1.0)
        self.weights = after
