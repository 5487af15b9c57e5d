"""The point of a triangle mesh that lies nearest to a given point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_ROWS = 512  # points looked at together: their distances to all vertices have to fit into memory


@dataclass(frozen=True)
class Closest:
    """For each of N points the nearest point of a mesh.

    Attributes:
        points: (N, 3).
        corners: (N, 3) vertices of the triangle that it lies on.
        shares: (N, 3) barycentric coordinates in it, 0..1.
    """

    points: Array
    corners: IntArray
    shares: Array


def closest_points(points: Array, vertices: Array, triangles: IntArray) -> Closest:
    """Find the nearest points of a mesh, among the triangles round the nearest vertex.

    The nearest point of all may lie on a triangle with no corner near by, where triangles are long
    and thin; those of a head's skin are not.

    Args:
        points: (N, 3).
        vertices: (V, 3); those of no triangle are left out.
        triangles: (F, 3).
    """
    used = np.unique(triangles)
    nearest = used[_nearest_vertex(points, vertices[used])]
    around = _triangles_of_vertices(triangles, len(vertices))[nearest]  # (N, K), -1 for none
    corners = triangles[around]  # (N, K, 3)
    shares = _shares_of_nearest(points[:, np.newaxis], vertices[corners])  # (N, K, 3)
    candidates = np.einsum("nkc,nkcx->nkx", shares, vertices[corners])
    distance = ((candidates - points[:, np.newaxis]) ** 2).sum(axis=-1)
    distance[around < 0] = np.inf
    row, best = np.arange(len(points)), distance.argmin(axis=1)
    return Closest(candidates[row, best], corners[row, best], shares[row, best])


def _nearest_vertex(points: Array, vertices: Array) -> IntArray:
    """Index (N,) of the vertex that is nearest to each point."""
    vertices = vertices.astype(np.float32)
    half_square = 0.5 * (vertices**2).sum(axis=1)
    parts = [
        (half_square - points[start : start + _ROWS].astype(np.float32) @ vertices.T).argmin(axis=1)
        for start in range(0, len(points), _ROWS)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _triangles_of_vertices(triangles: IntArray, count: int) -> IntArray:
    """The triangles round each vertex, (V, K), filled up with -1."""
    owner = triangles.ravel()
    order = np.argsort(owner, kind="stable")
    valence = np.bincount(owner, minlength=count)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(valence) - valence, valence)
    table = np.full((count, valence.max(initial=1)), -1)
    table[owner[order], place] = order // 3
    return table


def _shares_of_nearest(points: Array, corners: Array) -> Array:
    """Barycentric coordinates (..., 3) of the nearest points of triangles (..., 3 corners, 3)."""
    a, b, c = (corners[..., k, :] for k in range(3))
    ab, ac, ap = b - a, c - a, points - a
    aa, bb, cross = _dot(ab, ab), _dot(ac, ac), _dot(ab, ac)
    pa, pb = _dot(ab, ap), _dot(ac, ap)
    area = np.maximum(aa * bb - cross * cross, 1e-30)
    v, w = (bb * pa - cross * pb) / area, (aa * pb - cross * pa) / area
    inside = np.stack([1.0 - v - w, v, w], axis=-1)

    # Off the triangle, the nearest point lies on one of its sides.
    sides = np.zeros((*inside.shape[:-1], 3, 3))  # (..., side, corner)
    for side, (p, q) in enumerate(((0, 1), (1, 2), (2, 0))):
        start, along = corners[..., p, :], corners[..., q, :] - corners[..., p, :]
        t = _dot(along, points - start) / np.maximum(_dot(along, along), 1e-30)
        sides[..., side, q] = np.clip(t, 0.0, 1.0)
        sides[..., side, p] = 1.0 - sides[..., side, q]
    away = np.einsum("...sc,...cx->...sx", sides, corners) - points[..., np.newaxis, :]
    best = (away**2).sum(axis=-1).argmin(axis=-1)
    on_side = np.take_along_axis(sides, best[..., np.newaxis, np.newaxis], axis=-2)[..., 0, :]
    return np.where((inside >= 0.0).all(axis=-1, keepdims=True), inside, on_side)


def _dot(u: Array, v: Array) -> Array:
    return np.asarray((u * v).sum(axis=-1))
