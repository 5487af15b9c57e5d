from __future__ import annotations

import numpy as np
import pytest

from contextface_ros.face.blendshapes import action_units_to_blendshapes
from contextface_ros.face.folds import Folds
from contextface_ros.face.open_head import OpenHead
from contextface_ros.face.paint import SHEET_BOTTOM_MM, SHEET_HEIGHT_MM, SHEET_LEFT_MM, sheet_points


@pytest.fixture(scope="module")
def folds(head: OpenHead) -> Folds:
    return Folds(head.model, head.model.faces[head.parts == "skin"])


def shadow(folds: Folds, head: OpenHead, **units: float) -> np.ndarray:
    return light_left(folds, head, action_units_to_blendshapes(units))


def light_left(folds: Folds, head: OpenHead, weights: np.ndarray | dict[str, float]) -> np.ndarray:
    """(H, W) in 0..1."""
    sheet = np.full((*sheet_points().shape[:2], 3), 255, np.uint8)
    folds.draw(sheet, head.vertices(head.encode(weights)))
    return sheet[..., 0] / 255


def test_a_face_at_rest_has_no_folds(folds: Folds, head: OpenHead) -> None:
    assert (shadow(folds, head) == 1).all()


@pytest.mark.parametrize(
    ("unit", "x", "y"),
    [("AU4", 5, 45), ("AU1", 6, 66), ("AU6", 52, 35), ("AU12", 27, -20), ("AU9", 7, 29)],
)
def test_each_fold_deepens_with_its_unit(
    folds: Folds, head: OpenHead, unit: str, x: float, y: float
) -> None:
    """At a place of the face, in mm from the front, on both sides of it."""
    scale = shadow(folds, head).shape[0] / SHEET_HEIGHT_MM
    row = round((y - SHEET_BOTTOM_MM) * scale)
    columns = [round((side * x - SHEET_LEFT_MM) * scale) for side in (-1, 1)]
    for column in columns:
        around = (slice(row - 12, row + 13), slice(column - 12, column + 13))
        light = [shadow(folds, head, **{unit: s})[around].min() for s in (0.0, 0.4, 0.7, 1.0)]
        assert (np.diff(light) <= 0).all()
        assert light[-1] < 0.75


def test_one_sided_faces_fold_on_one_side(folds: Folds, head: OpenHead) -> None:
    smirk = light_left(folds, head, {"mouthSmileLeft": 1.0})
    half = smirk.shape[1] // 2
    assert smirk[:, half:].min() < 0.6 < smirk[:, :half].min()
