"""How a face looks while it attends to something: while somebody speaks, and while it thinks."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import ARKIT_NAMES, named

Float64Array = npt.NDArray[np.float64]


class Attention(str, Enum):
    """What the robot is about, as the topic `attention` says it."""

    IDLE = "idle"
    LISTENING = "listening"
    THINKING = "thinking"


# Who thinks of an answer looks up or away (Doherty-Sneddon & Phelps, "Gaze aversion: a response to
# cognitive or social difficulty?", Memory & Cognition 33(4), 2005). The rest of the thinking face,
# and the open look of who listens, are ours, and weak: an emotion has to be seen through them.
_FACES: Mapping[Attention, Mapping[str, float]] = {
    Attention.IDLE: {},
    Attention.LISTENING: {
        "browInnerUp": 0.14, "browOuterUpLeft": 0.10, "browOuterUpRight": 0.10,
        "eyeWideLeft": 0.08, "eyeWideRight": 0.08,
        "mouthSmileLeft": 0.08, "mouthSmileRight": 0.08,
    },
    Attention.THINKING: {
        "eyeLookUpLeft": 0.35, "eyeLookUpRight": 0.35,
        "eyeLookOutLeft": 0.28, "eyeLookInRight": 0.28,
        "browDownLeft": 0.10, "browDownRight": 0.16, "browOuterUpLeft": 0.12,
        "mouthPressLeft": 0.20, "mouthPressRight": 0.20, "mouthLeft": 0.08,
    },
}  # fmt: skip

ATTITUDES: Mapping[Attention, Float64Array] = MappingProxyType(
    {attention: named(face, ARKIT_NAMES, "blendshape") for attention, face in _FACES.items()}
)
"""For each attention the weights that show it, (52,) in the order of ARKIT_NAMES."""

ONSET_S = 0.45
"""Time in which a face takes an attitude on, and lets go of it."""


def parse_attention(text: str) -> Attention:
    """Read what `attention` says.

    Raises:
        BadInput: an unknown word.
    """
    try:
        return Attention(text.strip().lower())
    except ValueError:
        known = ", ".join(attention.value for attention in Attention)
        raise BadInput(f"attention {text[:40]!r} is unknown: send one of {known}") from None
