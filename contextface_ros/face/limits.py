"""What a face cannot do, whatever is asked of it.

Everything here is smooth, so that a limit that is reached is not seen as a jerk.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.types import Float32Array

Float64Array = npt.NDArray[np.float64]

_PLACE = {name: i for i, name in enumerate(ARKIT_NAMES)}

# Highest weights below 1, ours: eyes turned as far as they go look strained (people turn their
# head), a jaw is kept off its stops.
_HIGHEST = {
    "eyeLook": 0.75,
    "eyeWide": 0.9,
    "jawOpen": 0.9,
    "jawForward": 0.6,
    "jawLeft": 0.6,
    "jawRight": 0.6,
}

HIGHEST: Float64Array = np.array(
    [next((h for stem, h in _HIGHEST.items() if n.startswith(stem)), 1.0) for n in ARKIT_NAMES]
)
"""(52,) The weight that no unit exceeds, in the order of ARKIT_NAMES."""

_OPPOSITES = (
    ("eyeLookUpLeft", "eyeLookDownLeft"),
    ("eyeLookUpRight", "eyeLookDownRight"),
    ("eyeLookInLeft", "eyeLookOutLeft"),
    ("eyeLookInRight", "eyeLookOutRight"),
    ("jawLeft", "jawRight"),
    ("mouthLeft", "mouthRight"),
)
_ONE = np.array([_PLACE[one] for one, _ in _OPPOSITES])
_OTHER = np.array([_PLACE[other] for _, other in _OPPOSITES])
_WIDE = np.array([_PLACE["eyeWideLeft"], _PLACE["eyeWideRight"]])
_SHUT = np.array([_PLACE["eyeBlinkLeft"], _PLACE["eyeBlinkRight"]])
_CAPPED = np.flatnonzero(HIGHEST < 1.0)
_MISSING = 1.0 - HIGHEST[_CAPPED]


def add(one: Float64Array, other: Float64Array) -> Float64Array:
    """Sum two layers of weights in 0..1 so that the sum stays there: a + b - ab.

    Small weights add as they are, and a lid that one layer shuts is shut.
    """
    return one + other - one * other


def limited(pose: Float64Array) -> Float32Array:
    """Bring a pose within what a face can do.

    - Of two units that pull against each other (look up and look down) each is weakened by the
      other, a (1 - b) and b (1 - a): their difference, which is what is seen, stays.
    - A lid that shuts takes the widening of its eye with it.
    - A unit that may not go to 1 has x - (1 - h) x^(1 / (1 - h)): x while it is small, its highest
      weight h at 1, no edge between.

    Args:
        pose: (52,) in 0..1, in the order of ARKIT_NAMES.

    Returns:
        (52,) float32, each in 0..HIGHEST.
    """
    pose = np.clip(pose, 0.0, 1.0)  # of what rounding leaves; a copy
    one, other = pose[_ONE], pose[_OTHER]
    pose[_ONE], pose[_OTHER] = one * (1.0 - other), other * (1.0 - one)
    pose[_WIDE] *= 1.0 - pose[_SHUT]
    capped = pose[_CAPPED]
    pose[_CAPPED] = capped - _MISSING * capped ** (1.0 / _MISSING)
    return pose.astype(np.float32)
