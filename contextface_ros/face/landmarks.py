"""The 51 inner points of the 68-point face annotation (300-W), on the open head.

The order is the usual one (Sagonas et al., "300 Faces in-the-Wild Challenge", 2013), without the 17
points of the jaw line: right brow, left brow, nose bridge, nostrils, right eye, left eye, outer
lips, inner lips. Right and left are the person's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Points = tuple[tuple[float, float], ...]

# Seen from the front, in mm: x to the person's left, y up. One side; the other is its mirror.
_BROW: Points = ((9, 44), (18, 47.5), (27, 49), (36, 47.5), (44.5, 43))  # inner to outer
_BRIDGE: Points = ((0, 31), (0, 21), (0, 11), (0, 1))  # downwards
_NOSTRIL: Points = ((0, -17.5), (6, -16), (12, -13.5))  # middle to side
_EYE: Points = ((19.5, 30.5), (26.5, 36.5), (36.5, 36.8), (45.2, 31.3), (37, 25), (27, 25))
_UPPER_LIP: Points = ((0, -29.8), (6, -29), (15.5, -31.5))  # middle to side
_CORNER: Points = ((26.5, -36.5),)
_LOWER_LIP: Points = ((0, -49.7), (7, -49), (15, -45.5))  # middle to side
_INNER_CORNER: Points = ((22, -36.7),)
_INNER_UPPER: Points = ((0, -35.5), (9, -35.2))
_INNER_LOWER: Points = ((0, -38.5), (9, -38.2))


def _mirror(points: Points) -> Points:
    return tuple((-x, y) for x, y in points)


def _across(middle_to_side: Points) -> Points:
    """Points of one side, from the middle one outwards, continued over the other: right to left."""
    return _mirror(middle_to_side[:0:-1]) + middle_to_side


def _ring(corner: Points, upper: Points, lower: Points) -> Points:
    """Round a mouth: right corner, upper lip, left corner, lower lip back to the right."""
    return _mirror(corner) + _across(upper) + corner + _across(lower)[::-1]


# Around an eye the annotation runs clockwise in the picture: the left eye from its inner corner
# over the upper lid, the right eye from its outer corner over the upper lid.
_RIGHT_EYE = _mirror(_EYE[3::-1] + _EYE[:3:-1])

LANDMARKS: Points = (
    _mirror(_BROW[::-1])
    + _BROW
    + _BRIDGE
    + _across(_NOSTRIL)
    + _RIGHT_EYE
    + _EYE
    + _ring(_CORNER, _UPPER_LIP, _LOWER_LIP)
    + _ring(_INNER_CORNER, _INNER_UPPER, _INNER_LOWER)
)


def place_from_front(
    vertices: npt.NDArray[np.floating], faces: npt.NDArray[np.integer], points_mm: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Put points, seen from the front, on a surface.

    Args:
        vertices: (V, 3) in m.
        faces: (F, 3) triangles.
        points_mm: (N, 2) x to the person's left and y up, in mm.

    Returns:
        (N,) triangle of each point and (N, 3) barycentric coordinates in it. Of several triangles
        that lie behind each other the foremost is taken.

    Raises:
        ValueError: a point lies beside the surface.
    """
    points = np.asarray(points_mm, dtype=np.float64) / 1000.0
    corners = np.asarray(vertices, dtype=np.float64)[faces]  # (F, 3, 3)
    a, b, c = (corners[:, k, :2] for k in range(3))
    area = _cross(b - a, c - a)
    reachable = (corners[..., :2].max(axis=1) >= points.min(axis=0)).all(axis=1)
    reachable &= (corners[..., :2].min(axis=1) <= points.max(axis=0)).all(axis=1)
    upright = np.flatnonzero(reachable & (np.abs(area) > 1e-12))
    corners, a, b, c, area = (array[upright] for array in (corners, a, b, c, area))

    triangles, coordinates = [], []
    for point in points:
        first = _cross(b - point, c - point) / area
        second = _cross(c - point, a - point) / area
        shares = np.stack([first, second, 1.0 - first - second], axis=1)
        inside = np.flatnonzero((shares >= -1e-6).all(axis=1))
        if not len(inside):
            raise ValueError(f"there is no surface at {point * 1000} mm")
        depth = (shares[inside] * corners[inside, :, 2]).sum(axis=1)
        front = inside[depth.argmax()]
        triangles.append(upright[front])
        coordinates.append(shares[front])
    return np.array(triangles, dtype=np.int64), np.array(coordinates)


def _cross(u: npt.NDArray[np.float64], v: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
