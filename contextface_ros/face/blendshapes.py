"""Two ways to write a face down, FACS action units and ARKit weights, and the table between them.

A person annotates a face in FACS action units (AU1, AU4, ...), each 0 (at rest) to 1 (as strong as
it gets). Avatars and robots are driven by the 52 blendshapes of ARKit, each 0 to 1. This file holds
the names, their order, and the way from one to the other and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from contextface_ros.errors import BadInput
from contextface_ros.face.box_least_squares import solve_box
from contextface_ros.types import Float32Array

ARKIT_NAMES: tuple[str, ...] = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft",
    "eyeSquintLeft", "eyeWideLeft",
    "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight",
    "eyeSquintRight", "eyeWideRight",
    "jawForward", "jawLeft", "jawRight", "jawOpen",
    "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight",
    "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight",
    "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight",
    "mouthUpperUpLeft", "mouthUpperUpRight",
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight",
    "tongueOut",
)  # fmt: skip
"""The 52 blendshapes in the order of Apple's ARFaceAnchor.BlendShapeLocation page.

Left and right are those of the person whose face it is.
"""

ACTION_UNITS: tuple[str, ...] = (
    "AU1", "AU2", "AU4", "AU5", "AU6", "AU7", "AU9", "AU10", "AU12", "AU14", "AU15", "AU16",
    "AU17", "AU18", "AU20", "AU22", "AU23", "AU24", "AU25", "AU26", "AU27", "AU28", "AU43",
)  # fmt: skip
"""The 23 action units that the training contexts are annotated with."""

# One row an action unit: which blendshapes it moves, and how far at full strength. A name without a
# side stands for both sides. Which shape belongs to which unit is taken from Melinda Ozel, "ARKit
# to FACS: Blendshape Cheat Sheet", https://melindaozel.com/arkit-to-facs-cheat-sheet (read 2026),
# where each ARKit shape has one unit. ARKit has fewer shapes than FACS has units, so the rows
# marked with a star are ours, after the descriptions in Ekman, Friesen & Hager, "Facial Action
# Coding System", 2002, as are all strengths below 1.
_TABLE: Mapping[str, Mapping[str, float]] = {
    "AU1": {"browInnerUp": 1.0},  # inner brow raiser
    "AU2": {"browOuterUp": 1.0},  # outer brow raiser
    "AU4": {"browDown": 1.0},  # brow lowerer
    "AU5": {"eyeWide": 1.0},  # upper lid raiser
    "AU6": {"cheekSquint": 1.0},  # cheek raiser
    "AU7": {"eyeSquint": 1.0},  # lid tightener
    "AU9": {"noseSneer": 1.0},  # nose wrinkler
    "AU10": {"mouthUpperUp": 1.0},  # upper lip raiser
    "AU12": {"mouthSmile": 1.0},  # lip corner puller
    "AU14": {"mouthDimple": 1.0},  # dimpler
    "AU15": {"mouthFrown": 1.0},  # lip corner depressor
    "AU16": {"mouthLowerDown": 1.0},  # lower lip depressor
    # The chin pushes both lips up. The upper lip gets less, or the lips would come apart.
    "AU17": {"mouthShrugLower": 1.0, "mouthShrugUpper": 0.4},  # chin raiser
    "AU18": {"mouthPucker": 1.0},  # lip pucker
    "AU20": {"mouthStretch": 1.0},  # lip stretcher
    "AU22": {"mouthFunnel": 1.0},  # lip funneler
    # * Lip tightener: lips narrow from all sides, less red is seen; no shape of its own.
    "AU23": {"mouthRollUpper": 0.5, "mouthRollLower": 0.5, "mouthPucker": 0.25},
    # Lip pressor: pressed together, so some of the red disappears (*).
    "AU24": {"mouthPress": 0.7, "mouthRollUpper": 0.3, "mouthRollLower": 0.3},
    # * Lips part, jaw at rest: no shape of its own.
    "AU25": {"mouthLowerDown": 0.4, "mouthUpperUp": 0.25},
    # One shape for two units: the jaw drops by its weight (26), or is pulled wide open (27) (*).
    "AU26": {"jawOpen": 0.5},  # jaw drop
    "AU27": {"jawOpen": 1.0},  # mouth stretch
    "AU28": {"mouthRollUpper": 1.0, "mouthRollLower": 1.0},  # lip suck
    "AU43": {"eyeBlink": 1.0},  # eyes closed
}


# Mean strength in the 10,570 faces of the training contexts, not less than 0.002: how much is to be
# expected of each unit before anything is seen.
_EXPECTED: Mapping[str, float] = {
    "AU1": 0.210, "AU2": 0.091, "AU4": 0.155, "AU5": 0.100, "AU6": 0.074, "AU7": 0.046,
    "AU9": 0.042, "AU10": 0.059, "AU12": 0.103, "AU14": 0.005, "AU15": 0.042, "AU16": 0.006,
    "AU17": 0.024, "AU18": 0.002, "AU20": 0.030, "AU22": 0.002, "AU23": 0.013, "AU24": 0.016,
    "AU25": 0.087, "AU26": 0.030, "AU27": 0.003, "AU28": 0.002, "AU43": 0.006,
}  # fmt: skip


def _both_sides(row: Mapping[str, float]) -> Mapping[str, float]:
    """Replace a name without a side by its left and right."""
    return MappingProxyType(
        {
            name: strength
            for stem, strength in row.items()
            for name in ((stem,) if stem in ARKIT_NAMES else (f"{stem}Left", f"{stem}Right"))
        }
    )


AU_TO_ARKIT: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {unit: _both_sides(row) for unit, row in _TABLE.items()}
)
"""For each action unit the ARKit weights of that unit alone at full strength. Sources above."""


def _matrix() -> npt.NDArray[np.float64]:
    """AU_TO_ARKIT as (52, 23)."""
    matrix = np.zeros((len(ARKIT_NAMES), len(ACTION_UNITS)))
    for column, unit in enumerate(ACTION_UNITS):
        for name, strength in AU_TO_ARKIT[unit].items():
            matrix[ARKIT_NAMES.index(name), column] = strength
    return matrix


def named(
    values: Mapping[str, float] | npt.ArrayLike, names: tuple[str, ...], what: str
) -> npt.NDArray[np.float64]:
    """Bring strengths by name, or an array of them, into an array in the order of `names`.

    Args:
        values: {name: strength}, names left out being 0, or an array (..., len(names)).
        names: the names in order.
        what: what one of them is called, for the message.

    Returns:
        (..., len(names)) float64 in 0..1.

    Raises:
        BadInput: an unknown name, a wrong width, or a value that is not a number in 0..1.
    """
    if isinstance(values, Mapping):
        unknown = sorted(set(values) - set(names))
        if unknown:
            raise BadInput(f"unknown {what} {unknown[0]!r}: use names from {', '.join(names)}")
        values = [values.get(name, 0.0) for name in names]
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] != len(names):
        raise BadInput(f"{what}s have shape {array.shape}: the last axis must be {len(names)} long")
    bad = ~((array >= 0.0) & (array <= 1.0))  # written so that NaN is bad too
    if bad.any():
        raise BadInput(f"{what}s go from 0 (rest) to 1 (full), not {array[bad][0]:g}")
    return array


def action_units_to_blendshapes(units: Mapping[str, float] | npt.ArrayLike) -> Float32Array:
    """Turn FACS action units into ARKit weights, both sides of the face alike.

    Args:
        units: {"AU12": 0.6, ...} or an array (..., 23) in the order of ACTION_UNITS, each 0..1.

    Returns:
        (..., 52) float32 in the order of ARKIT_NAMES. Where two units pull the same shape their
        sum ends at 1.

    Raises:
        BadInput: an unknown unit, a wrong width, or a strength outside 0..1.
    """
    strengths = named(units, ACTION_UNITS, "action unit")
    weights: Float32Array = np.minimum(strengths @ _matrix().T, 1.0).astype(np.float32)
    return weights


def blendshapes_to_action_units(weights: Mapping[str, float] | npt.ArrayLike) -> Float32Array:
    """Find the action units whose blendshapes come nearest to the given ones.

    Least squares over strengths in 0..1. Several mixes of units may move the same blendshapes:
    parted lips (AU25) are also a little of AU10 and AU16, and a jaw opens by AU26 or by AU27. Among
    such equals the most likely mix is taken, each unit having an exponential distribution round its
    mean in the training contexts.

    Args:
        weights: {"mouthSmileLeft": 0.6, ...} or an array (..., 52) in the order of ARKIT_NAMES,
            each 0..1.

    Returns:
        (..., 23) float32 in the order of ACTION_UNITS.

    Raises:
        BadInput: an unknown blendshape, a wrong width, or a weight outside 0..1.
    """
    shapes = named(weights, ARKIT_NAMES, "blendshape")
    matrix = _matrix()
    # Small, so that it decides between equals and takes less than 0.003 of any strength.
    price = np.array([1e-5 / _EXPECTED[unit] for unit in ACTION_UNITS])
    return solve_box(matrix.T @ matrix, shapes @ matrix - price).astype(np.float32)
