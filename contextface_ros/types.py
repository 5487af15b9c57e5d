"""The nouns of the package: frozen dataclasses and enums, no logic."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]

DEVICES = ("auto", "cpu", "cuda", "tensorrt")
"""Where a model may be asked to run; `tensorrt` is of the face head, and `cuda` for the rest."""

EXPRESSION_SIZE = 100
"""Number of expression coefficients of a FLAME face (the paper, Sec. 3.3)."""

OPEN_BASIS = "open-1"
"""Name and version of the basis made in `face.open_head`."""


class Emotion(str, Enum):
    """The seven classes, in the order used by every probability vector of this package."""

    ANGRY = "Angry"
    SAD = "Sad"
    SURPRISE = "Surprise"
    NEUTRAL = "Neutral"
    FEAR = "Fear"
    HAPPY = "Happy"
    DISGUST = "Disgust"


EMOTIONS: tuple[Emotion, ...] = tuple(Emotion)


class Perspective(str, Enum):
    """Whose face is asked for.

    SPEAKER is the one who says the quote or is in the situation (the paper's task).
    LISTENER is the person opposite: for a robot that listens, its own face.
    """

    SPEAKER = "speaker"
    LISTENER = "listener"


@dataclass(frozen=True)
class Context:
    """What is known about one moment. At least one of `quote` and `situation` is given.

    Attributes:
        quote: what a person says. With a `situation`, the situation is its background.
        situation: what happens to or around the person, in the third person.
        perspective: whose face is asked for.
        image: (H, W, 3) uint8 RGB camera frame, or None.
    """

    quote: str | None = None
    situation: str | None = None
    perspective: Perspective = Perspective.SPEAKER
    image: UInt8Array | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Expression:
    """A face in a named expression basis.

    Attributes:
        basis: name with version of the basis, for example "open-1", "flame2020", "flame2023".
        coefficients: (100,) float32, in standard deviations of each component.
        jaw_pose: (3,) float32 axis-angle in rad. Zero in the open basis, whose jaw opens
            through the coefficients.
        intensity: strength of the face, 0 (at rest) to 1 (as strong as faces get).
    """

    basis: str
    coefficients: Float32Array
    jaw_pose: Float32Array
    intensity: float


@dataclass(frozen=True)
class Prediction:
    """The answer to one Context.

    Attributes:
        emotion: the most probable emotion; the face belongs to it.
        probabilities: (7,) float32 in the order of EMOTIONS, summing to 1.
        valence: -1 (unpleasant) to 1 (pleasant), weighted by probability.
        arousal: -1 (calm) to 1 (excited), weighted by probability.
        expression: the face.
        used_image: whether the image of the context reached the model.
    """

    emotion: Emotion
    probabilities: Float32Array
    valence: float
    arousal: float
    expression: Expression
    used_image: bool
