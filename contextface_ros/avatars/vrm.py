"""ARKit weights as the expressions of a VRM avatar: perfect sync, or the presets of VRM 0 or 1.

- `perfect_sync`: 52 clips with ARKit's names, the first letter a capital ("BrowInnerUp"), as
  https://note.com/noppefoxwolf/n/nfc77aba63041 lists them. For avatars that have them.
- `vrm0`, `vrm1`: the presets that every avatar has: emotions, vowels, lids, gaze. The names of both
  beside each other are in the VMC protocol, https://protocol.vmc.info/marionette-spec, those of VRM
  1 in https://github.com/vrm-c/vrm-specification (VRMC_vrm-1.0, expressions).

Names are case sensitive. No bones are made: where an eye's bone rests is known to the avatar alone,
so a gaze is told by the names for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contextface_ros.face.blendshapes import ARKIT_NAMES, action_units_to_blendshapes
from contextface_ros.face.box_least_squares import solve_box
from contextface_ros.face.prototypes import PROTOTYPES
from contextface_ros.types import Emotion, Float32Array

NAMES = ("perfect_sync", "vrm0", "vrm1")
"""The sets of names."""

_PRICE = 0.02  # of a preset: less of it than about this is left out, such as a breath


@dataclass(frozen=True)
class _Preset:
    """One expression by its names in VRM 0 and 1, and the weights (52,) that show it whole."""

    vrm0: str
    vrm1: str
    weights: Float32Array


def _units(units: Mapping[str, float]) -> Float32Array:
    return action_units_to_blendshapes(units)


def _shapes(shapes: Mapping[str, float]) -> Float32Array:
    return np.array([shapes.get(name, 0.0) for name in ARKIT_NAMES], np.float32)


# Emotions by FACS's prototypes; the happy face shows its teeth, as opposed to that of one at ease.
# VRM 0 has no preset of surprise, but many avatars have a clip of that name. Vowels are ours, after
# how lips look: rounded for O and U, drawn wide for I and E, open for A.
_PRESETS = (
    _Preset("Joy", "happy", _units({**PROTOTYPES[Emotion.HAPPY], "AU25": 0.6})),
    _Preset("Angry", "angry", _units(PROTOTYPES[Emotion.ANGRY])),
    _Preset("Sorrow", "sad", _units(PROTOTYPES[Emotion.SAD])),
    _Preset("Fun", "relaxed", _units({"AU12": 0.6})),
    _Preset("Surprised", "surprised", _units(PROTOTYPES[Emotion.SURPRISE])),
    _Preset(
        "A", "aa", _shapes({"jawOpen": 0.7, "mouthLowerDownLeft": 0.3, "mouthLowerDownRight": 0.3})
    ),
    _Preset(
        "I",
        "ih",
        _shapes(
            {
                **{"mouthStretchLeft": 0.6, "mouthStretchRight": 0.6},
                **{"mouthLowerDownLeft": 0.3, "mouthLowerDownRight": 0.3},
            }
        ),
    ),
    _Preset("U", "ou", _shapes({"mouthPucker": 0.8, "jawOpen": 0.1})),
    _Preset(
        "E", "ee", _shapes({"jawOpen": 0.3, "mouthStretchLeft": 0.4, "mouthStretchRight": 0.4})
    ),
    _Preset("O", "oh", _shapes({"jawOpen": 0.4, "mouthFunnel": 0.7})),
    _Preset("Blink_L", "blinkLeft", _shapes({"eyeBlinkLeft": 1.0})),
    _Preset("Blink_R", "blinkRight", _shapes({"eyeBlinkRight": 1.0})),
    _Preset("LookUp", "lookUp", _shapes({"eyeLookUpLeft": 1.0, "eyeLookUpRight": 1.0})),
    _Preset("LookDown", "lookDown", _shapes({"eyeLookDownLeft": 1.0, "eyeLookDownRight": 1.0})),
    _Preset("LookLeft", "lookLeft", _shapes({"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0})),
    _Preset("LookRight", "lookRight", _shapes({"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0})),
)

# Two faces that avatars have no preset for, and what comes near them: ours, by their looks.
_WITHOUT_PRESET: Mapping[Emotion, Mapping[str, float]] = {
    Emotion.FEAR: {"surprised": 0.6, "sad": 0.5},
    Emotion.DISGUST: {"angry": 0.7, "sad": 0.3},
}

_FACES = np.stack(
    [preset.weights for preset in _PRESETS] + [_units(PROTOTYPES[e]) for e in _WITHOUT_PRESET],
    axis=1,
).astype(np.float64)  # (52, 18)
_SHARES = np.vstack(
    [np.eye(len(_PRESETS))]
    + [[[shares.get(p.vrm1, 0.0) for p in _PRESETS]] for shares in _WITHOUT_PRESET.values()]
)  # (18, 16): of each face's strength, what goes to each preset
_PERFECT_SYNC = tuple(name[0].upper() + name[1:] for name in ARKIT_NAMES)


def expressions(
    weights: Float32Array, names: str, played: npt.NDArray[np.bool_] | None = None
) -> list[tuple[str, float]]:
    """Find what an avatar has to show for a face.

    Presets are the mix that comes nearest, by least squares over strengths in 0..1. Fear and
    disgust have none, and are told by those of their neighbours.

    Args:
        weights: (52,) in 0..1, in the order of ARKIT_NAMES.
        names: one of NAMES.
        played: (52,) which of the units are known; all by default. What another animator has, a
            lip-sync the mouth, is left out, and so is a preset that moves nothing else.

    Returns:
        Pairs of an expression's name and its strength in 0..1.
    """
    if played is None:
        played = np.ones(len(ARKIT_NAMES), dtype=bool)
    if names == "perfect_sync":
        return [(_PERFECT_SYNC[i], float(weights[i])) for i in np.flatnonzero(played)]
    shapes = _FACES[played]  # (N, 18)
    moving = np.asarray(shapes.any(axis=0))
    if not moving.any():
        return []
    shapes = shapes[:, moving]
    strengths = solve_box(shapes.T @ shapes, weights[played] @ shapes - _PRICE)
    told = np.minimum(strengths @ _SHARES[moving], 1.0)  # (16,)
    return [
        (getattr(preset, names), float(told[k])) for k, preset in enumerate(_PRESETS) if moving[k]
    ]
