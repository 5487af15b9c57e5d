"""The open head made fine enough for a picture: smooth skin, eyeballs, hair, colours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from contextface_ros.face import paint
from contextface_ros.face.flame import FlameModel, rotation
from contextface_ros.face.folds import Folds
from contextface_ros.face.landmarks import place_from_front
from contextface_ros.face.light import light_on
from contextface_ros.face.subdivision import Subdivision
from contextface_ros.types import Float32Array, UInt8Array

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

EYES = {"left_eye": 3, "right_eye": 4}
"""Parts that are drawn as spheres, and the joint at the centre of each."""

EYE_RADIUS_M = 0.01495
TEETH_LIGHT = ((0.0005, 0.003), (0.3, 1.0))
"""Light that reaches the teeth by how far the lips part in m, beyond what the mesh has at rest."""

_TEETH_SCALE = (0.95, 1.0, 0.97)  # behind the lips, which the smooth surface makes thinner
_LIPS_MM = ((-12, -35.0), (0, -35.0), (12, -35.0), (-12, -38.5), (0, -38.5), (12, -38.5))
_LASH_TRIM = 0.45  # share of their length that lashes lose
_HAIR_M = 0.005  # how far the hair stands off


@dataclass(frozen=True)
class Shape:
    """One thing to draw: (N, 3) float32 points in m and unit normals, (N, 3) uint8 RGB."""

    points: Float32Array
    normals: Float32Array
    colours: UInt8Array


class Surface:
    """Turns the vertices of a face into what is drawn.

    Attributes:
        triangles: for each thing to draw, by name, its triangles (F, 3).
        sheet_coordinates: (N, 2) in 0..1, where the points of "skin" lie on the sheet.
        skin_colours: (N, 3) float32 RGB in 0..1 of the points of "skin", before any light.
        shine: (N, 1) float32, 1 where skin is glossy, 0 within the mouth.
        skin_at_rest: (N, 3) in m, the points of "skin" of the face at rest, without hair.
        folds: what is drawn on the sheet as the face moves.
        ball: (N, 3) float64, an eyeball of radius 1 that looks along +z.
        eye_centres: (5, 3) in m, by the joints that EYES names.
    """

    def __init__(self, model: FlameModel, parts: npt.NDArray[np.str_], *, rounds: int = 2) -> None:
        """Prepare everything that does not change with the face.

        Args:
            model: the head.
            parts: (F,) the part that each of its triangles belongs to.
            rounds: of subdivision; each makes four triangles of one.
        """
        coarse = fine = model.faces.astype(np.int64)
        count = len(model.template)
        self._rounds: list[Subdivision] = []
        for _ in range(rounds):
            self._rounds.append(Subdivision.of(fine, count))
            fine, count = self._rounds[-1].faces, self._rounds[-1].count
        height = model.template[coarse, 1].mean(axis=1)
        lower = height < height[parts == "left_eye"].mean()
        parts = np.where((parts == "lashes") & lower, "", parts)  # they would look like make-up
        fine_parts = np.tile(parts, 4**rounds)

        self.triangles: dict[str, IntArray] = {}
        self._kept: dict[str, IntArray] = {}
        for name in ("skin", *paint.PARTS):
            # Teeth are narrow strips, which smoothing would shrink.
            whole = "teeth" in name
            triangles = coarse[parts == name] if whole else fine[fine_parts == name]
            self._kept[name], renumbered = np.unique(triangles, return_inverse=True)
            self.triangles[name] = renumbered.reshape(-1, 3)

        skin = coarse[parts == "skin"]
        rest = self._refine(model.template)[self._kept["skin"]]
        interior = self._refine(_inside_mouth(model, skin)[:, np.newaxis])[self._kept["skin"], 0]
        self.skin_colours = paint.skin_colours(rest, interior).astype(np.float32)
        self.shine = (1.0 - interior)[:, np.newaxis].astype(np.float32)
        self._normals = {
            name: Normals(triangles)
            for name, triangles in self.triangles.items()
            if "teeth" not in name
        }
        self.skin_at_rest = rest
        self._hair = _hair(rest)[:, np.newaxis] * self._normals["skin"].of(rest)
        self.sheet_coordinates = paint.sheet_coordinates(rest)
        step = 1 if rounds > 1 else 2  # a coarser sheet where the triangles are
        self._sheet = (_coarser(paint.sheet(), step) * 255).astype(np.uint8)
        self.folds = Folds(model, skin, step)

        lashes = np.unique(coarse[parts == "lashes"])
        lids = np.unique(skin)
        away = model.template[lashes][:, np.newaxis] - model.template[lids]
        self._lashes = lashes, lids[(away**2).sum(-1).argmin(axis=1)]

        triangle, shares = place_from_front(model.template, skin, _LIPS_MM)
        self._lips = skin[triangle], shares
        self._lip_gap_at_rest = self._lip_gap(model.template)

        self.ball, ball_triangles = _ball()
        self.eye_centres = model.joint_regressor @ model.template
        self.triangles |= dict.fromkeys(EYES, ball_triangles)

    def _refine(self, values: npt.NDArray[np.floating]) -> Array:
        for subdivide in self._rounds:
            values = subdivide(values)
        return np.asarray(values, dtype=np.float64)

    def shapes(
        self, vertices: npt.NDArray[np.floating], gaze: tuple[float, float]
    ) -> Iterator[tuple[str, Shape]]:
        """Yield what to draw for the vertices (V, 3) of a face and a gaze (left, up) in rad."""
        lashes, lids = self._lashes
        vertices = vertices.copy()
        vertices[lashes] += _LASH_TRIM * (vertices[lids] - vertices[lashes])
        fine = self._refine(vertices)
        points: npt.NDArray[np.floating]
        normals: npt.NDArray[np.floating]
        for name, kept in self._kept.items():
            if "teeth" in name:
                points = vertices[kept] * _TEETH_SCALE
                normals = points * (1.0, 0.0, 1.0)  # round like their arch, which has no thickness
                normals /= np.linalg.norm(normals, axis=1, keepdims=True)
            else:
                points = fine[kept]
                if name == "skin":
                    points = points + self._hair
                normals = self._normals[name].of(points)
            if name == "skin":
                factors, gloss = light_on(normals)
                colours = self.skin_colours * factors + self.shine * gloss
            else:
                colours = np.tile(np.array(paint.PARTS[name]), (len(points), 1))
                if "teeth" in name:
                    colours *= self._light_on_teeth(vertices)
            yield name, _shape(points, normals, colours)
        turned = self.ball @ rotation((-gaze[1], gaze[0], 0.0)).T
        colours = paint.eye_colours(self.ball, turned)
        for name, joint in EYES.items():
            points = self.eye_centres[joint] + EYE_RADIUS_M * turned
            yield name, _shape(points, turned, colours)

    def _light_on_teeth(self, vertices: npt.NDArray[np.floating]) -> float:
        """0.3 behind closed lips, which are not tight in the mesh, to 1 behind open ones."""
        apart = self._lip_gap(vertices) - self._lip_gap_at_rest
        return float(np.interp(apart.max(), *TEETH_LIGHT))

    def _lip_gap(self, vertices: npt.NDArray[np.floating]) -> Array:
        """Distance of the upper from the lower lip in m, at three places."""
        points = self.lip_points(vertices)
        return np.asarray(np.linalg.norm(points[:3] - points[3:], axis=1))

    def lip_points(self, vertices: npt.NDArray[np.floating]) -> Array:
        """Three points of the upper lip and, below them, three of the lower one: (6, 3) in m."""
        corners, shares = self._lips
        return np.asarray((shares[..., np.newaxis] * vertices[corners]).sum(axis=1))

    def sheet(self, vertices: npt.NDArray[np.floating]) -> UInt8Array:
        """What lies over the skin of a face, (H, W, 3) RGB, lowest row first: factors of 255."""
        sheet: UInt8Array = self._sheet.copy()
        self.folds.draw(sheet, vertices)
        return sheet


def vertex_normals(points: npt.NDArray[np.floating], triangles: IntArray) -> Array:
    """Unit normals (N, 3) of vertices, as `Normals`, once; (0, 0, 0) of what no triangle has."""
    used, renumbered = np.unique(triangles, return_inverse=True)
    normals = np.zeros((len(points), 3))
    normals[used] = Normals(renumbered.reshape(-1, 3)).of(points[used])
    return normals


class Normals:
    """Unit normals of the vertices of triangles that stay while the vertices move."""

    def __init__(self, triangles: IntArray) -> None:
        """Prepare for triangles (F, 3) over vertices each of which is a corner of one."""
        self._corners = triangles.T.copy()
        corners = triangles.ravel()
        order = np.argsort(corners, kind="stable")
        self._triangle_of_corner = order // 3
        self._first = np.searchsorted(corners[order], np.arange(corners.max() + 1))

    def of(self, points: npt.NDArray[np.floating]) -> Array:
        """The mean (N, 3) of the normals of each point's triangles, by area."""
        a, b, c = (points.T[:, corner] for corner in self._corners)
        (ux, uy, uz), (vx, vy, vz) = b - a, c - a
        faces = np.stack([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx])
        x, y, z = (np.add.reduceat(axis[self._triangle_of_corner], self._first) for axis in faces)
        length = np.sqrt(x * x + y * y + z * z)
        return np.asarray(np.stack([x, y, z], axis=1) / np.maximum(length, 1e-20)[:, np.newaxis])


def _coarser(sheet: Array, step: int) -> Array:
    height, width = sheet.shape[0] // step, sheet.shape[1] // step
    return np.asarray(cv2.resize(sheet, (width, height), interpolation=cv2.INTER_AREA))


def _hair(rest: Array) -> Array:
    """How far each point of the skin at rest (N, 3) is raised by hair, in m: short, with tufts."""
    x, y, z = (rest * 1000.0).T
    tufts = np.sin(0.40 * x + 0.2 * y) * np.sin(0.35 * y - 0.2 * z) * np.sin(0.3 * z + 0.25 * x + 1)
    return np.asarray(_HAIR_M * paint.scalp(rest) * (1.0 + 0.25 * tufts))


def _inside_mouth(model: FlameModel, skin: IntArray) -> Array:
    """1 for vertices of the skin that the closed lips hide from the front, else 0."""
    x, y, z = model.template.T * 1000.0
    near = np.flatnonzero((np.abs(x) < 32) & (y > -58) & (y < -20) & (z > -40))
    near = near[np.isin(near, skin)]
    triangle, shares = place_from_front(model.template, skin, np.c_[x, y][near])
    surface = (shares * z[skin[triangle]]).sum(axis=1)
    inside = np.zeros(len(model.template))
    inside[near[surface - z[near] > 1.2]] = 1.0
    return inside


def _ball(rings: int = 36, sectors: int = 40) -> tuple[Array, IntArray]:
    """The front of a unit sphere whose pole looks forward (+z), with rings closer to the pole.

    It reaches far enough round that a turned eye does not show its edge.
    """
    polar = 0.7 * np.pi * (np.arange(rings + 1) / rings) ** 1.3
    around = 2 * np.pi * np.arange(sectors) / sectors
    t, p = (grid.ravel() for grid in np.meshgrid(polar, around, indexing="ij"))
    points = np.c_[np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)]
    ring, sector = (g.ravel() for g in np.meshgrid(range(rings), range(sectors), indexing="ij"))
    a, b = ring * sectors + sector, ring * sectors + (sector + 1) % sectors
    below = np.c_[a, a + sectors, b], np.c_[b, a + sectors, b + sectors]
    return points, np.concatenate(below).astype(np.int64)


def _shape(
    points: npt.NDArray[np.floating], normals: npt.NDArray[np.floating], colours: Array
) -> Shape:
    return Shape(
        points.astype(np.float32),
        normals.astype(np.float32),
        (np.clip(colours, 0.0, 1.0) * 255).astype(np.uint8),
    )
