from __future__ import annotations

import numpy as np
import pytest

from contextface_ros.face.subdivision import Subdivision

OCTAHEDRON = np.array(
    [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=float
)
OCTAHEDRON_FACES = np.array(
    [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
)


def edges_of(faces: np.ndarray) -> np.ndarray:
    halves = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return np.unique(np.sort(halves, axis=1), axis=0)


def test_a_closed_mesh_stays_closed() -> None:
    once = Subdivision.of(OCTAHEDRON_FACES, 6)
    assert once.count == 6 + 12 and once.faces.shape == (32, 3)
    twice = Subdivision.of(once.faces, once.count)
    assert twice.count - len(edges_of(twice.faces)) + len(twice.faces) == 2, "Euler"


def test_an_octahedron_becomes_round() -> None:
    faces, points = OCTAHEDRON_FACES, OCTAHEDRON
    for _ in range(3):
        subdivide = Subdivision.of(faces, len(points))
        faces, points = subdivide.faces, subdivide(points)
    radius = np.linalg.norm(points, axis=1)
    assert radius.max() / radius.min() < 1.12
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-12)


def test_it_is_the_surface_that_vtk_makes() -> None:
    pyvista = pytest.importorskip("pyvista")
    subdivide = Subdivision.of(OCTAHEDRON_FACES, 6)
    ours = subdivide(OCTAHEDRON)
    table = np.c_[np.full(8, 3), OCTAHEDRON_FACES]
    theirs = np.asarray(pyvista.PolyData(OCTAHEDRON, table).subdivide(1, "loop").points)
    assert len(theirs) == len(ours)
    distance = np.linalg.norm(ours[:, None] - theirs, axis=-1)
    assert distance.min(axis=1).max() < 1e-6


def test_a_flat_sheet_stays_flat_and_keeps_its_border_and_colour() -> None:
    x, y = (g.ravel() for g in np.meshgrid(range(4), range(4)))
    corner = (np.arange(3) + 4 * np.arange(3)[:, None]).ravel()
    faces = np.concatenate(
        [np.c_[corner, corner + 1, corner + 5], np.c_[corner, corner + 5, corner + 4]]
    )
    points = np.c_[x, y, np.full(16, 7.0)]
    fine = Subdivision.of(faces, 16)(points)
    np.testing.assert_allclose(fine[:, 2], 7.0)
    assert fine[:, :2].min() >= 0 and fine[:, :2].max() <= 3
    on_border = (fine[:, :2] == 0).any(axis=1) | (fine[:, :2] == 3).any(axis=1)
    assert on_border.sum() >= 20


def test_refined_triangles_keep_their_order() -> None:
    faces = OCTAHEDRON_FACES
    subdivide = Subdivision.of(faces, 6)
    fine = subdivide(OCTAHEDRON)
    for k, face in enumerate(faces):
        middle = OCTAHEDRON[face].mean(axis=0)
        for part in range(4):
            child = fine[subdivide.faces[k + part * len(faces)]].mean(axis=0)
            assert child @ middle > 0.6 * np.linalg.norm(child) * np.linalg.norm(middle)
