"""The plain strong face of each emotion, as FACS has it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from contextface_ros.face.blendshapes import action_units_to_blendshapes
from contextface_ros.types import Emotion, Float32Array

PROTOTYPES: Mapping[Emotion, Mapping[str, float]] = MappingProxyType(
    {
        Emotion.ANGRY: {"AU4": 1.0, "AU5": 0.6, "AU7": 0.8, "AU23": 0.8},
        Emotion.SAD: {"AU1": 1.0, "AU4": 0.5, "AU15": 1.0},
        Emotion.SURPRISE: {"AU1": 1.0, "AU2": 1.0, "AU5": 0.8, "AU26": 0.8},
        Emotion.NEUTRAL: {},
        Emotion.FEAR: {"AU1": 1.0, "AU2": 0.7, "AU4": 0.6, "AU5": 1.0, "AU20": 0.8, "AU26": 0.4},
        Emotion.HAPPY: {"AU6": 0.9, "AU12": 1.0},
        Emotion.DISGUST: {"AU9": 1.0, "AU10": 0.6, "AU15": 0.5},
    }
)
"""Action units by emotion as in Ekman and Friesen, EMFACS; the strengths are ours."""


def prototype_faces() -> dict[str, Float32Array]:
    """(52,) weights of each emotion's prototype, by the emotion's name."""
    return {
        emotion.value: action_units_to_blendshapes(units) for emotion, units in PROTOTYPES.items()
    }
