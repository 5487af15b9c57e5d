"""The figures that the paper reports: Kim, Kim and Baek, ContextFace.

On SFEW-C, with the 13B model unless said, in per cent where they are shares. They are of another
set (film stills, with contexts that an annotator model wrote from image *and* label), of another
model and of another basis: they stand beside ours for orientation, not for comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

from contextface_ros.types import Emotion

NAME = "paper, 13B, SFEW-C"

ORDER = (
    Emotion.HAPPY,
    Emotion.SAD,
    Emotion.NEUTRAL,
    Emotion.ANGRY,
    Emotion.SURPRISE,
    Emotion.DISGUST,
    Emotion.FEAR,
)
"""Columns of Table 1."""


@dataclass(frozen=True)
class Labels:
    """One row of Table 1: F1 in the order of ORDER, UAR and WAR, 0..1."""

    f1: tuple[float, ...]
    uar: float
    war: float


@dataclass(frozen=True)
class Distances:
    """L2 and FD of one kind of face (Table 2)."""

    l2: float
    fd: float


@dataclass(frozen=True)
class Variant:
    """One row of an ablation with quotes: UAR and WAR, 0..1."""

    uar: float
    war: float


EMOTION = {
    "situation": Labels(
        (0.9420, 0.9589, 0.9277, 0.9494, 0.8545, 0.8571, 0.8431), uar=0.9013, war=0.9068
    ),
    "quote": Labels(
        (0.9660, 0.9221, 0.8493, 0.9448, 0.9174, 0.9565, 0.9278), uar=0.9321, war=0.9489
    ),
}
"""Table 1, by what the emotion is read from."""

FACE = {
    "situation": {
        "ours": Distances(0.07, 0.81),
        "mean": Distances(0.14, 14.38),
        "random": Distances(0.34, 1.98),
    },
    "quote": {
        "ours": Distances(0.10, 1.95),
        "mean": Distances(0.12, 11.76),
        "random": Distances(0.31, 2.42),
    },
}
"""Table 2. Mean and Random are worded there as distances of the prediction."""

TASKS = {
    "neither": Variant(0.6826, 0.7053),
    "expression": Variant(0.7934, 0.8248),
    "situation": Variant(0.8833, 0.8940),
    "both": Variant(0.9321, 0.9489),
}
"""Table 3: which of the two tasks is trained beside VQA."""

SIZES = {"7b": Variant(0.8971, 0.9056), "13b": Variant(0.9321, 0.9489)}
"""Table 4: size of the language model."""
