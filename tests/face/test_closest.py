from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contextface_ros.face.closest import closest_points


@given(st.integers(0, 2**32 - 1))
def test_no_point_of_a_triangle_is_nearer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners, point = rng.standard_normal((3, 3)), 2 * rng.standard_normal((1, 3))
    found = closest_points(point, corners, np.array([[0, 1, 2]]))
    assert found.shares.min() >= 0
    np.testing.assert_allclose(found.shares.sum(), 1, atol=1e-9)
    np.testing.assert_allclose(found.shares[0] @ corners[found.corners[0]], found.points[0])
    others = rng.dirichlet([0.5, 0.5, 0.5], 500) @ corners
    nearest = np.linalg.norm(found.points[0] - point[0])
    assert nearest <= np.linalg.norm(others - point, axis=1).min() + 1e-9


def test_on_a_plane_of_many_triangles_a_point_falls_straight_down() -> None:
    x, y = (grid.ravel() for grid in np.meshgrid(range(6), range(6), indexing="ij"))
    plane = np.c_[x, y, 0 * x].astype(float)
    cell = np.array([i * 6 + j for i in range(5) for j in range(5)])
    triangles = np.r_[np.c_[cell, cell + 6, cell + 1], np.c_[cell + 1, cell + 6, cell + 7]]
    points = np.c_[np.random.default_rng(0).uniform(0, 5, (50, 2)), np.full(50, 0.3)]
    found = closest_points(points, plane, triangles)
    np.testing.assert_allclose(found.points, points * (1, 1, 0), atol=1e-9)
