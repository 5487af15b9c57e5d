"""Heads in FLAME's file format whose every answer is known, since no real file may be shipped.

A head like FLAME's is made out of the open one: skin and eyeballs alone, 5,023 vertices in another
order and other places on the surface, another person's proportions, another pose and size. Its
expression components are mixes, by a known matrix, of the open head's face units as that person
would make them, so the coefficients of each unit are known.
"""

from __future__ import annotations

import pickle
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.flame import FIRST_EXPRESSION, rotation
from contextface_ros.face.open_flame import _regressor
from contextface_ros.face.open_head import OpenHead

VERTICES = 5023  # of FLAME
JAW_UNITS = tuple(k for k, name in enumerate(ARKIT_NAMES) if name.startswith("jaw"))
_EYE_JOINTS = {"left_eye": 3, "right_eye": 4}

# Where this person differs from the open head: place and width in m, and the displacement in m.
_BUMPS = (
    ((0.0, 0.005, 0.07), 0.02, (0.0, -0.002, 0.004)),  # a longer nose
    ((0.0, -0.075, 0.05), 0.03, (0.0, -0.004, 0.003)),  # a longer chin
    ((0.06, 0.0, 0.02), 0.04, (0.003, 0.0, 0.0)),  # wide cheeks
    ((-0.06, 0.0, 0.02), 0.04, (-0.003, 0.0, 0.0)),
    ((0.0, 0.05, 0.07), 0.03, (0.0, 0.001, 0.003)),  # a strong brow
)
_PROPORTIONS = (1.05, 0.97, 1.02)


@dataclass(frozen=True)
class FlameLike:
    """A head in FLAME's format and what is known of it.

    Attributes:
        fields: the arrays of the file by their names in it.
        units: (52, V, 3) the open head's face units as this head would make them, in its metres.
        coefficients: (100, 52) of each unit; zero for those that the basis does not hold.
        known: (52,) whether the basis holds a unit.
        moved: (4, 4) from the open head's frame to this one's, its proportions aside.
    """

    fields: dict[str, Any]
    units: np.ndarray
    coefficients: np.ndarray
    known: np.ndarray
    moved: np.ndarray


def flame_like(
    head: OpenHead,
    *,
    seed: int = 0,
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0),
    scale: float = 1.0,
    proportions: bool = True,
    noise_m: float = 0.0,
    jaw_in_basis: bool = False,
) -> FlameLike:
    """Make one.

    Args:
        head: the open head.
        seed: of the order of the vertices, their places, and the mix of the units.
        turn: axis-angle in rad by which the head is turned.
        scale: its size.
        proportions: whether it is another person.
        noise_m: standard deviation of an error in every coordinate of the template.
        jaw_in_basis: whether the jaw's units are expressions too, as in FLAME 2023 without jaw.
    """
    rng = np.random.default_rng(seed)
    points, faces, weights, units = _skin_and_eyes(head)
    points, faces, weights, units = _refined(points, faces, weights, units)
    points, weights, units = _slid(rng, points, faces, weights, units)
    joints = head.model.joint_regressor.astype(float) @ head.model.template
    if proportions:
        points, units, joints = _another_person(points, units, joints)

    order = rng.permutation(len(points))
    faces = np.argsort(order)[faces]
    points, weights, units = points[order], weights[order], units[:, order]
    moved = np.eye(4)
    moved[:3, :3] = scale * rotation(turn)
    moved[:3, 3] = scale * np.array([0.01, -0.03, 0.02])
    points = points @ moved[:3, :3].T + moved[:3, 3]
    joints = joints @ moved[:3, :3].T + moved[:3, 3]
    units = units @ moved[:3, :3].T

    known = np.abs(units).max(axis=(1, 2)) > 1e-3  # the tongue's moves next to nothing else
    if not jaw_in_basis:
        known[list(JAW_UNITS)] = False
    rank = int(known.sum())
    mix, _ = np.linalg.qr(rng.standard_normal((rank, rank)))
    spread = np.linspace(1.0, 0.3, rank)
    directions = np.zeros((len(points), 3, FIRST_EXPRESSION + 100))
    directions[..., FIRST_EXPRESSION : FIRST_EXPRESSION + rank] = np.einsum(
        "uvx,uk->vxk", units[known], mix * spread
    )
    directions[..., :3] = (points - points.mean(0))[..., np.newaxis] * [0.02, 0.01, 0.015]
    coefficients = np.zeros((100, len(ARKIT_NAMES)))
    coefficients[:rank, known] = (mix / spread).T
    return FlameLike(
        fields={
            "v_template": points + noise_m * rng.standard_normal(points.shape),
            "f": faces.astype(np.uint32),
            "shapedirs": directions,
            "posedirs": np.zeros((len(points), 3, 36)),
            "J_regressor": np.array([_regressor(points, joint) for joint in joints]),
            "weights": weights,
            "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], range(5)], np.uint32),
            "J": joints,
            "bs_style": "lbs",
            "bs_type": "lrotmin",
        },
        units=units,
        coefficients=coefficients,
        known=known,
        moved=moved,
    )


def write_npz(path: Path, like: FlameLike) -> Path:
    """Write the arrays as an .npz."""
    np.savez(path, **like.fields)
    return path


def write_pickle(path: Path, like: FlameLike) -> Path:
    """Write a pickle of protocol 2 with chumpy's and scipy's names, as FLAME 2020's is."""

    class Ch:
        def __init__(self, x: np.ndarray) -> None:
            self._dirty_vars: set[str] = {"x"}
            self._itr = None
            self.x = x

    class csc_matrix:
        def __init__(self, dense: np.ndarray) -> None:
            columns, rows = np.nonzero(dense.T)
            self._shape = dense.shape
            self.data, self.indices = dense[rows, columns], rows.astype(np.int32)
            self.indptr = np.searchsorted(columns, np.arange(dense.shape[1] + 1)).astype(np.int32)

    fields = dict(like.fields)
    fields["shapedirs"] = Ch(np.asfortranarray(fields["shapedirs"]))
    fields["J_regressor"] = csc_matrix(fields["J_regressor"])
    before = dict(sys.modules)
    try:
        for module, kind in (("chumpy.ch", Ch), ("scipy.sparse.csc", csc_matrix)):
            kind.__module__, kind.__qualname__ = module, kind.__name__
            names = module.split(".")
            for length in range(1, len(names) + 1):
                home = types.ModuleType(".".join(names[:length]))
                sys.modules[home.__name__] = home
            setattr(home, kind.__name__, kind)
        path.write_bytes(pickle.dumps(fields, 2))
    finally:
        for name in set(sys.modules) - set(before):
            del sys.modules[name]
        sys.modules.update(before)
    return path


def _skin_and_eyes(head: OpenHead) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    model = head.model
    faces = model.faces[np.isin(head.parts, ["skin", *_EYE_JOINTS])]
    kept, renumbered = np.unique(faces, return_inverse=True)
    directions = model.expression_directions[kept].astype(float)
    return (
        model.template[kept].astype(float),
        renumbered.reshape(-1, 3),
        model.skin_weights[kept].astype(float),
        np.einsum("vxk,ku->uvx", directions, head.encoder),
    )


def _refined(
    points: np.ndarray, faces: np.ndarray, weights: np.ndarray, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Halve the longest sides until there are as many vertices as FLAME has."""
    first, more = len(points), VERTICES - len(points)
    points = np.concatenate([points, np.zeros((more, 3))])
    weights = np.concatenate([weights, np.zeros((more, weights.shape[1]))])
    units = np.concatenate([units, np.zeros((len(units), more, 3))], axis=1)
    middle = first
    while middle < VERTICES:
        ends = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1)  # (F, 3 sides, 2)
        sides = np.linalg.norm(points[ends[..., 0]] - points[ends[..., 1]], axis=-1)
        beside: dict[tuple[int, int], list[int]] = {}
        for k, (p, q) in enumerate(np.sort(ends, axis=-1).reshape(-1, 2).tolist()):
            beside.setdefault((p, q), []).append(k // 3)
        whole = np.ones(len(faces), bool)  # triangles that no side was halved of in this round
        halves = []
        for k in np.argsort(sides.ravel())[::-1][:300]:
            a, b = sorted(ends.reshape(-1, 2)[k].tolist())
            triangles = beside[a, b]
            if middle == VERTICES or not whole[triangles].all():
                continue
            whole[triangles] = False
            for values in (points, weights):
                values[middle] = (values[a] + values[b]) / 2
            units[:, middle] = (units[:, a] + units[:, b]) / 2
            halves += [
                np.where(faces[triangles] == end, middle, faces[triangles]) for end in (a, b)
            ]
            middle += 1
        faces = np.concatenate([faces[whole], *halves])
    return points, faces, weights, units


def _slid(
    rng: np.random.Generator,
    points: np.ndarray,
    faces: np.ndarray,
    weights: np.ndarray,
    units: np.ndarray,
    reach: float = 0.15,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Move every vertex a little way into one of its triangles, with all that belongs to it."""
    order = rng.permutation(len(faces))
    triangle = np.zeros(len(points), int)
    triangle[faces[order].ravel()] = np.repeat(order, 3)
    others = faces[triangle]  # (V, 3), the vertex itself among them
    share = reach * rng.random((len(points), 3)) / 2

    def slide(values: np.ndarray) -> np.ndarray:
        return values + np.einsum("vk,vk...->v...", share, values[others] - values[:, np.newaxis])

    return slide(points), slide(weights), np.array([slide(unit) for unit in units])


def _another_person(
    points: np.ndarray, units: np.ndarray, joints: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, displacements and joints on a head of other proportions."""

    def moved(places: np.ndarray) -> np.ndarray:
        result = places * _PROPORTIONS
        for place, width, push in _BUMPS:
            near = np.exp(-((places - place) ** 2).sum(-1) / (2 * width**2))
            result = result + near[:, np.newaxis] * push
        return result

    step = 1e-5  # a displacement goes through the derivative
    turned = np.array([(moved(points + step * unit) - moved(points)) / step for unit in units])
    return moved(points), turned, moved(joints)
