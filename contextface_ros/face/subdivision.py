"""Loop subdivision of a triangle mesh whose vertices move but whose triangles stay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Subdivision:
    """One round of Loop subdivision (Loop, "Smooth subdivision surfaces based on triangles", 1987).

    Made once for a mesh, then applied to any values on its vertices.

    Attributes:
        faces: (4 F, 3) the finer triangles; those of old triangle k are k, k + F, k + 2 F, k + 3 F.
        count: how many vertices they have, V + E.
    """

    faces: IntArray
    count: int
    _edges: IntArray  # (E, 2) ends
    _opposite: IntArray  # (E, 2) the other corners of the two triangles at an edge
    _border: npt.NDArray[np.bool_]  # (E,) edge with other than two triangles
    _neighbours: tuple[IntArray, IntArray]  # vertex, neighbour: every edge both ways
    _pull: npt.NDArray[np.float64]  # (V,) weight of each neighbour of an inner vertex
    _degree: IntArray

    @classmethod
    def of(cls, faces: npt.NDArray[np.integer], count: int) -> Subdivision:
        """Prepare for `faces` (F, 3) over `count` vertices."""
        faces = faces.astype(np.int64)
        halves = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        across = np.concatenate([faces[:, 2], faces[:, 0], faces[:, 1]])
        edges, edge_of_half = np.unique(np.sort(halves, axis=1), axis=0, return_inverse=True)
        edge_of_half = edge_of_half.reshape(-1)
        used = np.bincount(edge_of_half, minlength=len(edges))
        opposite = np.empty((len(edges), 2), np.int64)
        opposite[edge_of_half, 0] = across
        opposite[edge_of_half[::-1], 1] = across[::-1]
        border = used != 2

        # A vertex on a border follows the border alone.
        on_border = np.zeros(count, bool)
        on_border[edges[border]] = True
        follows = border[:, np.newaxis] | ~on_border[edges]  # (E, 2): end k sees the other end
        vertex = np.concatenate([edges[follows[:, 0], 0], edges[follows[:, 1], 1]])
        neighbour = np.concatenate([edges[follows[:, 0], 1], edges[follows[:, 1], 0]])
        degree = np.bincount(vertex, minlength=count)
        n = np.maximum(degree, 3)
        pull = (5 / 8 - (3 / 8 + np.cos(2 * np.pi / n) / 4) ** 2) / n
        pull = np.where(on_border, np.where(degree == 2, 1 / 8, 0.0), pull)

        middle = (count + edge_of_half).reshape(3, -1).T  # of the edges 01, 12, 20 of each face
        finer = [
            np.c_[faces[:, 0], middle[:, 0], middle[:, 2]],
            np.c_[faces[:, 1], middle[:, 1], middle[:, 0]],
            np.c_[faces[:, 2], middle[:, 2], middle[:, 1]],
            middle,
        ]
        return cls(
            np.concatenate(finer),
            count + len(edges),
            edges,
            opposite,
            border,
            (vertex, neighbour),
            pull,
            degree,
        )

    def __call__(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Refine values on the vertices: (V, C) to (V + E, C)."""
        ends = values[self._edges].sum(axis=1)
        sides = values[self._opposite].sum(axis=1)
        middles = np.where(self._border[:, np.newaxis], ends / 2, ends * (3 / 8) + sides / 8)
        vertex, neighbour = self._neighbours
        around = np.stack(
            [np.bincount(vertex, column[neighbour], len(values)) for column in values.T], axis=1
        )
        pull, total = self._pull[:, np.newaxis], (self._pull * self._degree)[:, np.newaxis]
        return np.concatenate([(1.0 - total) * values + pull * around, middles])
