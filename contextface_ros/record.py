"""A Prediction as a plain object: what `contextface express --json` and `--batch` write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TypeAlias

import numpy as np

from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import (
    ACTION_UNITS,
    ARKIT_NAMES,
    blendshapes_to_action_units,
)
from contextface_ros.face.decode import blendshapes_of
from contextface_ros.face.open_head import OpenHead
from contextface_ros.types import EMOTIONS, OPEN_BASIS, Float32Array, Prediction

Record: TypeAlias = "dict[str, object]"

_SEEN = 0.01  # an action unit weaker than this moves nothing that an eye could see
_DIGITS = 5


def records(predictions: Sequence[Prediction], head: OpenHead) -> list[Record]:
    """Plain objects, ready for JSON, in the same order.

    Keys: emotion, probabilities {label: 0..1}, valence, arousal, intensity, basis, expression (100
    standard deviations), jaw_pose (3 angles in rad), blendshapes {ARKit name: 0..1}, action_units
    {"AU12": 0..1} (those that are seen), used_image. A face in a basis of FLAME has no blendshapes
    and no action units as long as that basis is not calibrated here.

    Args:
        predictions: the answers.
        head: the open head, which turns coefficients into blendshapes.
    """
    plain = [_without_face_units(prediction) for prediction in predictions]
    is_open = [i for i, p in enumerate(predictions) if p.expression.basis == OPEN_BASIS]
    weights: dict[int, Float32Array] = {}
    if is_open:
        faces = np.stack([predictions[i].expression.coefficients for i in is_open])  # (N, 100)
        weights.update(zip(is_open, head.decode(faces), strict=True))
    for i in set(range(len(predictions))) - set(is_open):
        with suppress(BadInput):  # not calibrated
            weights[i] = blendshapes_of(predictions[i].expression)
    if weights:
        units = blendshapes_to_action_units(np.stack(list(weights.values())))  # (N, 23)
        for (i, shapes), strengths in zip(weights.items(), units, strict=True):
            plain[i]["blendshapes"] = _by_name(ARKIT_NAMES, shapes)
            named = _by_name(ACTION_UNITS, strengths)
            plain[i]["action_units"] = {unit: s for unit, s in named.items() if s >= _SEEN}
    return plain


def _without_face_units(prediction: Prediction) -> Record:
    face = prediction.expression
    return {
        "emotion": prediction.emotion.value,
        "probabilities": _by_name([e.value for e in EMOTIONS], prediction.probabilities),
        "valence": _rounded(prediction.valence),
        "arousal": _rounded(prediction.arousal),
        "intensity": _rounded(face.intensity),
        "basis": face.basis,
        "expression": [_rounded(value) for value in face.coefficients],
        "jaw_pose": [_rounded(value) for value in face.jaw_pose],
        "blendshapes": {},
        "action_units": {},
        "used_image": prediction.used_image,
    }


def _by_name(names: Iterable[str], values: Iterable[float]) -> dict[str, float]:
    return {name: _rounded(value) for name, value in zip(names, values, strict=True)}


def _rounded(value: float) -> float:
    return round(float(value), _DIGITS)
