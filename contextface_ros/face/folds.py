"""Folds of the skin: where they run, and how deep they are in a given face.

The mesh is too coarse for them, and they tell much: the lines between drawn brows, across a raised
forehead, round a smile. Each is drawn where it runs on every face, as strongly as the skin across
it is pushed together, which is measured between two points on either side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contextface_ros.face import paint
from contextface_ros.face.flame import FlameModel
from contextface_ros.face.landmarks import place_from_front
from contextface_ros.types import UInt8Array

ONSET = 0.08
"""Share of its full change at which a fold begins to show."""

DEEPEST = 1.3
"""Depth that a fold reaches at most, in its depth at the full change."""

DARKEST = 0.9
"""Share of the light that folds take at most."""

Array = npt.NDArray[np.float64]
Point = tuple[float, float]


@dataclass(frozen=True)
class Fold:
    """Folds that appear together. Places in mm seen from the front, x to the person's left, y up.

    Attributes:
        across: the two points whose distance is measured.
        full: relative change of that distance, such as -0.36, at which the folds are deepest.
        depth: share of the light that the deepest fold takes, 0..1.
        width: of a fold in mm.
        lines: where they run.
    """

    across: tuple[Point, Point]
    full: float
    depth: float
    width: float
    lines: tuple[tuple[Point, ...], ...]


# The changes were measured on the open head with each action unit at full strength.
FOLDS = (
    Fold(  # between the brows (AU4)
        ((-9, 44), (9, 44)), -0.36, 0.55, 2.2,
        (((3.6, 37), (5.2, 42), (4.8, 48), (6.5, 55)),),
    ),
    Fold(  # across the middle of the forehead (AU1)
        ((10, 50), (10, 86)), -0.22, 0.34, 2.3,
        (
            ((-5, 58.5), (6, 58.2), (17, 59.3)),
            ((-5, 66.4), (6, 66.2), (17, 67.1)),
            ((-5, 74.2), (6, 74.1), (17, 74.7)),
        ),
    ),
    Fold(  # across its sides (AU1 and AU2)
        ((38, 51), (38, 84)), -0.18, 0.32, 2.3,
        (
            ((11, 58.6), (22, 60), (32, 60), (43, 57)),
            ((11, 66.5), (22, 67.6), (32, 67.4), (42, 65)),
            ((11, 74.3), (22, 75), (33, 74.6)),
        ),
    ),
    Fold(  # crow's feet (AU6)
        ((46, 28), (60, 10)), -0.08, 0.36, 1.5,
        (
            ((47.5, 33.5), (52, 35.5), (56.5, 38.5)),
            ((48, 30.5), (53, 30.5), (58, 31)),
            ((47, 27.5), (51.5, 25), (56, 22.5)),
        ),
    ),
    Fold(  # under the eye (AU6, AU12)
        ((32, 24.5), (34, 8)), -0.28, 0.40, 1.8,
        (((18, 25), (24, 20.2), (33, 18.8), (42, 21.5)),),
    ),
    Fold(  # from the nose round the mouth (AU12)
        ((27, -36), (42, -6)), -0.33, 0.62, 2.6,
        (((16, -4), (21, -11), (27, -20), (32, -29), (34.5, -36), (34.5, -41)),),
    ),
    Fold(  # on the side of the nose (AU9)
        ((5, 35), (9, 6)), -0.12, 0.45, 2.0,
        (
            ((3, 33), (7, 29.5), (10, 24.5)),
            ((3.5, 27), (7.5, 23), (10.5, 18)),
            ((15, 2), (17.5, -4), (23, -12)),
        ),
    ),
    Fold(  # down from the corners of the mouth (AU15, AU20)
        ((26, -38), (30, -60)), -0.10, 0.50, 2.0,
        (((28, -35), (31, -41), (32, -48), (30, -55)),),
    ),
)  # fmt: skip


class Folds:
    """Measures and draws the folds of a head.

    Attributes:
        full: (N,) relative change of the measured distance at which each fold is deepest.
    """

    def __init__(self, model: FlameModel, skin: npt.NDArray[np.integer], step: int = 1) -> None:
        """Place the measuring points on the skin.

        Args:
            model: the head.
            skin: (F, 3) triangles of its skin.
            step: pixels of the finest sheet to one of the sheet that is drawn on.
        """
        sides = [(fold, np.array([side, 1.0])) for fold in FOLDS for side in (1.0, -1.0)]
        points = np.concatenate([np.array(fold.across) * mirror for fold, mirror in sides])
        triangle, shares = place_from_front(model.template, skin, points)
        self._corners, self._shares = skin[triangle], shares[..., np.newaxis]
        self._rest = self._distances(model.template)
        self.full = np.array([fold.full for fold, _ in sides])
        self._drawn = [_drawn(_draw(fold, mirror)[::step, ::step]) for fold, mirror in sides]

    def points(self, vertices: npt.NDArray[np.floating]) -> Array:
        """Where it is measured on a face with vertices (V, 3): (2 N, 3), fold after fold."""
        return np.asarray((self._shares * vertices[self._corners]).sum(axis=1))

    def _distances(self, vertices: npt.NDArray[np.floating]) -> Array:
        points = self.points(vertices)
        return np.asarray(np.linalg.norm(points[0::2] - points[1::2], axis=1))

    def draw(self, sheet: UInt8Array, vertices: npt.NDArray[np.floating]) -> None:
        """Darken the sheet (H, W, 3) where a face with `vertices` (V, 3) has folds, in place."""
        change = self._distances(vertices) / self._rest - 1.0
        strength = np.clip((change / self.full - ONSET) / (1.0 - ONSET), 0.0, DEEPEST)
        for k in np.flatnonzero(strength):
            box, light = self._drawn[k]
            left = 1.0 - np.minimum(np.float32(strength[k]) * light, np.float32(DARKEST))
            sheet[box] = (sheet[box] * left[..., np.newaxis]).astype(np.uint8)

    def light(self, height: int, width: int) -> Iterator[npt.NDArray[np.float32]]:
        """For each fold the share (H, W) of the light that it takes where it is deepest."""
        for box, light in self._drawn:
            whole = np.zeros((height, width), np.float32)
            whole[box] = light
            yield whole


def _drawn(light: Array) -> tuple[tuple[slice, slice], npt.NDArray[np.float32]]:
    """Where on the sheet there is anything of a fold, and it."""
    rows, columns = np.flatnonzero(light.any(axis=1)), np.flatnonzero(light.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return box, light[box].astype(np.float32)


def _draw(fold: Fold, mirror: Array) -> Array:
    lines = [paint.stroke(np.array(line) * mirror, fold.width) for line in fold.lines]
    return np.asarray(fold.depth * np.max(lines, axis=0))
