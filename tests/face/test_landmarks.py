from __future__ import annotations

import numpy as np
import pytest

from contextface_ros.face.landmarks import LANDMARKS, place_from_front
from contextface_ros.face.open_head import OpenHead

TWO_SHEETS = np.array(
    [[-1, -1, 0], [1, -1, 0], [0, 1, 0], [-1, -1, 0.5], [1, -1, 0.5], [0, 1, 0.5]], dtype=float
)
FACES = np.array([[0, 1, 2], [3, 4, 5]])


def test_the_foremost_surface_is_taken() -> None:
    triangles, shares = place_from_front(TWO_SHEETS, FACES, [(0.0, 0.0), (100.0, -500.0)])
    assert triangles.tolist() == [1, 1]
    points = (shares[..., None] * TWO_SHEETS[FACES[triangles]]).sum(axis=1)
    np.testing.assert_allclose(points, [[0, 0, 0.5], [0.1, -0.5, 0.5]], atol=1e-12)


def test_a_point_beside_the_surface_is_an_error() -> None:
    with pytest.raises(ValueError, match="no surface at"):
        place_from_front(TWO_SHEETS, FACES, [(0.0, 0.0), (900.0, 900.0)])


def test_landmarks_are_symmetric_and_on_the_skin(head: OpenHead) -> None:
    assert len(LANDMARKS) == 51
    points = np.array(LANDMARKS)
    mirrored = {(-x, y) for x, y in LANDMARKS}
    assert set(LANDMARKS) == mirrored
    skin = head.model.faces[head.parts == "skin"]
    _, shares = place_from_front(head.model.template, skin, points)
    assert shares.min() > -1e-5
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
