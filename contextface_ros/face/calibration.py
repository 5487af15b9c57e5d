"""The 52 face units in a user's own FLAME: from ARKit weights to coefficients and a jaw, and back.

`registration` says where FLAME's vertices lie on the open head, and so how each face unit would
move them. Here each unit is written as FLAME coefficients and a turn of the jaw whose vertices come
nearest to that (bounded, regularised least squares), and what is left of it is kept: FLAME cannot
puff every cheek. With the units known, any FLAME face is written as weights in 0..1 whose vertices
come nearest to its own.

A calibration lies in the user's cache under its basis and the checksum of the FLAME file. It holds
the part of the file that faces need, so that the file itself is needed for pictures only.
"""

from __future__ import annotations

import dataclasses
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contextface_ros.errors import BadBundle, BadInput
from contextface_ros.face.blendshapes import ARKIT_NAMES, named
from contextface_ros.face.box_least_squares import solve_box
from contextface_ros.face.flame import JOINTS, FlameModel, rotation
from contextface_ros.face.open_head import OpenHead
from contextface_ros.face.registration import Registration, register
from contextface_ros.folders import user_cache
from contextface_ros.types import EXPRESSION_SIZE, Float32Array

Float64Array = npt.NDArray[np.float64]

FLAME_BASES = ("flame2020", "flame2023", "flame2023_no_jaw")
"""FLAME's releases, whose coefficients mean nothing to each other. In the last, which FLAME 2023
is also given out as, the mouth opens by expressions and the jaw joint stays."""

LARGEST_JAW_RAD = (0.7, 0.3, 0.2)
"""How far a jaw turns, at most: it opens by the first (never closes further than shut), swings to
either side by the second and rolls by the third."""

_LARGEST_IN_UNIT = 4.0  # standard deviations that a coefficient may have in one unit at weight 1
_LIKELY_MM2 = 5e-4
"""What a coefficient of one standard deviation costs, as a mean square of millimetres.

The error of the vertices is worth that much to fit: beyond it a face stays a likely one. It is the
square of 0.02 mm over the whole face, or of 0.1 mm over a twentieth of it.
"""
_QUIET_MM2 = 5e-4  # the same of a weight of 1, for units that FLAME hardly shows
_SEEN_MM = 0.02  # a unit that moves the face by less is not fitted: the tongue's, the eyes'
_JAW = JOINTS.index("jaw")
_JAW_UNITS = tuple(k for k, name in enumerate(ARKIT_NAMES) if name.startswith("jaw"))
_STEPS = 4  # of decoding: each leaves about a tenth of what the one before left
_FRAMES = 256  # whose vertices are in memory together


@dataclass(frozen=True)
class FlameSkin:
    """The part of a FLAME model that moves vertices of the face: expressions and the jaw.

    Attributes:
        template: (N, 3) float32 in m.
        directions: (100, N * 3) float32 in m for one standard deviation.
        jaw_offsets: (9, N * 3) float32 in m for one unit of an entry of R - I.
        jaw_share: (N,) float32, how much of the jaw's turn a vertex takes.
        joint: (3,) float32, the jaw joint in m.
        joint_directions: (100, 3) float32 in m for one standard deviation.
    """

    template: Float32Array
    directions: Float32Array
    jaw_offsets: Float32Array
    jaw_share: Float32Array
    joint: Float32Array
    joint_directions: Float32Array

    @classmethod
    def of(cls, model: FlameModel, vertices: npt.NDArray[np.int64]) -> FlameSkin:
        """Take the part of a model that moves some of its vertices."""
        directions = model.expression_directions
        offsets = model.pose_directions[vertices, :, 9 * (_JAW - 1) : 9 * _JAW]
        regressor = model.joint_regressor[_JAW]
        return cls(
            template=model.template[vertices],
            directions=np.ascontiguousarray(directions[vertices].reshape(-1, EXPRESSION_SIZE).T),
            jaw_offsets=np.ascontiguousarray(offsets.reshape(-1, 9).T),
            jaw_share=model.skin_weights[vertices, _JAW],
            joint=regressor @ model.template,
            joint_directions=np.tensordot(directions, regressor, axes=(0, 0)).T,
        )

    def displacements(
        self, coefficients: npt.NDArray[np.floating], jaw_pose: npt.NDArray[np.floating]
    ) -> Float32Array:
        """How far each vertex lies from where it is at rest, (T, N * 3) in m.

        FLAME with nothing but expressions and the jaw: skinning turns a vertex round the joint by
        its share.

        Args:
            coefficients: (T, 100) in standard deviations.
            jaw_pose: (T, 3) axis-angle in rad.
        """
        faces = coefficients.astype(np.float32)
        moved = faces @ self.directions
        if not jaw_pose.any():
            return moved
        turns = np.array([rotation(jaw) for jaw in jaw_pose], np.float32) - np.eye(
            3, dtype=np.float32
        )
        moved += turns.reshape(-1, 9) @ self.jaw_offsets
        joints = self.joint + faces @ self.joint_directions  # (T, 3)
        arms = moved.reshape(len(faces), -1, 3) + self.template - joints[:, np.newaxis]
        arms = (arms * self.jaw_share[:, np.newaxis]) @ turns.transpose(0, 2, 1)
        return np.asarray(moved + arms.reshape(moved.shape))


@dataclass(frozen=True)
class Calibration:
    """The face units in a FLAME basis.

    Attributes:
        basis: of FLAME_BASES.
        source: SHA-256 of the FLAME file.
        flame_file: where that file was.
        coefficients: (100, 52) of each unit at weight 1.
        jaw_pose: (3, 52) axis-angle in rad of each unit at weight 1.
        moved_mm: (52,) root mean square of what each unit should move, over the face.
        left_mm: (52,) the same of what FLAME leaves of it.
        residual_mm: (52, N) float32, what it leaves at each vertex.
        distance_mm: (2,) mean and 95th percentile of the distance of the bent open head from FLAME.
        frame: (4, 4) from the FLAME head's frame, in m, to the open head's.
        vertices: (N,) which of FLAME's vertices were compared.
        skin: these vertices.
    """

    basis: str
    source: str
    flame_file: str
    coefficients: Float64Array
    jaw_pose: Float64Array
    moved_mm: Float64Array
    left_mm: Float64Array
    residual_mm: Float32Array
    distance_mm: Float64Array
    frame: Float64Array
    vertices: npt.NDArray[np.int64]
    skin: FlameSkin

    def encode(
        self, weights: npt.NDArray[np.floating]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Turn ARKit weights into a FLAME face.

        Args:
            weights: (..., 52) in 0..1, in the order of ARKIT_NAMES.

        Returns:
            (..., 100) coefficients in standard deviations and (..., 3) jaw pose in rad, within
            LARGEST_JAW_RAD.

        Raises:
            BadInput: a wrong width or a weight outside 0..1.
        """
        values = named(weights, ARKIT_NAMES, "blendshape")
        most = np.array(LARGEST_JAW_RAD)
        jaw = np.clip(values @ self.jaw_pose.T, most * (0, -1, -1), most)
        return (values @ self.coefficients.T).astype(np.float32), jaw.astype(np.float32)

    def decode(
        self, coefficients: npt.NDArray[np.floating], jaw_pose: npt.NDArray[np.floating]
    ) -> Float32Array:
        """Find the ARKit weights in 0..1 whose vertices come nearest to those of FLAME faces.

        Args:
            coefficients: (T, 100) in standard deviations.
            jaw_pose: (T, 3) axis-angle in rad.

        Returns:
            (T, 52) float32 in the order of ARKIT_NAMES. Units that do not move this FLAME stay 0.
        """
        parts = [weights for weights, _, _ in self.decoded(coefficients, jaw_pose)]
        return np.concatenate(parts) if parts else np.zeros((0, len(ARKIT_NAMES)), np.float32)

    def decoded(
        self, coefficients: npt.NDArray[np.floating], jaw_pose: npt.NDArray[np.floating]
    ) -> Iterator[tuple[Float32Array, Float32Array, Float32Array]]:
        """As `decode`, some frames at a time.

        Yields:
            (frames, 52) weights; the error that they leave at each vertex and how far the vertex is
            from rest, (frames, N) in mm both.
        """
        for start in range(0, len(coefficients), _FRAMES):
            part = slice(start, start + _FRAMES)
            wanted = self.skin.displacements(coefficients[part], jaw_pose[part])
            weights, shown = self._nearest(wanted)
            yield weights, _lengths_mm(wanted - shown), _lengths_mm(wanted)

    def _nearest(self, wanted: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Weights (T, 52) for displacements (T, N * 3) in m, and the displacements they make.

        Units add up, but for what the jaw carries with it when it turns: of that each step takes
        what the step before has made of it.
        """
        units, quadratic = self._units
        turned: Float32Array = np.zeros_like(wanted)
        for _ in range(_STEPS):
            pull = ((wanted - turned) @ units.T).astype(np.float64) * self._per_mm2
            weights = solve_box(quadratic, pull).astype(np.float32)
            shown = self.skin.displacements(*self.encode(weights))
            turned = shown - weights @ units
        return weights, shown

    @property
    def _per_mm2(self) -> float:
        """From a sum of squares in m^2 over the vertices to a mean of squares in mm^2."""
        return 1e6 / len(self.skin.template)

    @cached_property
    def _units(self) -> tuple[Float32Array, Float64Array]:
        """What each unit moves, (52, N * 3) in m, and the quadratic form of least squares."""
        units = self.skin.displacements(self.coefficients.T, self.jaw_pose.T)
        square = (units @ units.T).astype(np.float64) * self._per_mm2
        return units, square + _QUIET_MM2 * np.eye(len(units))

    @property
    def worst_mm(self) -> Float64Array:
        """(52,) what FLAME leaves of each unit where it leaves most."""
        return np.asarray(self.residual_mm.max(axis=1), dtype=np.float64)

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return _folder() / f"{self.basis}-{self.source[:16]}.npz"

    def save(self) -> None:
        """Keep it in the user's cache. Raises BadBundle where that cannot be written."""
        arrays = {name: getattr(self, name) for name in (*_TEXTS, *_ARRAYS)}
        skin = {f"skin_{name}": getattr(self.skin, name) for name in _SKIN_ARRAYS}
        # In one step, so that a process that starts meanwhile never reads half of it.
        draft = self.path.with_suffix(f".{os.getpid()}.npz")
        try:
            draft.parent.mkdir(parents=True, exist_ok=True)
            np.savez(draft, **arrays, **skin)
            draft.replace(self.path)
        except OSError as error:
            raise BadBundle(
                f"the calibration cannot be written to {self.path}: {error.strerror}; "
                "make room there or set XDG_CACHE_HOME to another folder"
            ) from error


_SKIN_ARRAYS = tuple(spec.name for spec in dataclasses.fields(FlameSkin))
_TEXTS = ("basis", "source", "flame_file")
_ARRAYS = tuple(
    spec.name for spec in dataclasses.fields(Calibration) if spec.name not in (*_TEXTS, "skin")
)


def load_calibration(basis: str) -> Calibration:
    """Read the newest calibration of a basis from the user's cache.

    Raises:
        BadInput: it is no basis of FLAME, or was not calibrated yet; says the command.
        BadBundle: the calibration's file is broken.
    """
    if basis not in FLAME_BASES:
        raise BadInput(f"{basis[:40]!r} is no basis of FLAME: use one of {', '.join(FLAME_BASES)}")
    files = calibration_files(basis)
    if not files:
        raise BadInput(
            f"the basis {basis} is not calibrated on this machine: "
            f"run contextface calibrate --flame FILE --name {basis} with your FLAME file"
        )
    try:
        with np.load(files[-1], allow_pickle=False) as data:
            texts: dict[str, Any] = {name: str(data[name]) for name in _TEXTS}
            arrays = {name: data[name] for name in _ARRAYS}
            skin = FlameSkin(**{name: data[f"skin_{name}"] for name in _SKIN_ARRAYS})
            return Calibration(**texts, **arrays, skin=skin)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BadBundle(
            f"the calibration {files[-1]} is broken ({error}): run contextface calibrate again"
        ) from error


def calibration_files(basis: str) -> list[Path]:
    """The calibrations of a basis in the user's cache, the newest last."""
    return sorted(_folder().glob(f"{basis}-[0-9a-f]*.npz"), key=lambda path: path.stat().st_mtime)


def calibrate(
    head: OpenHead, flame: FlameModel, *, basis: str, source: str, flame_file: str
) -> Calibration:
    """Write the face units in the basis of a FLAME model. Takes some seconds.

    Args:
        head: the open head, whose face units they are.
        flame: the model.
        basis: its name, of FLAME_BASES.
        source: SHA-256 of its file.
        flame_file: where its file is.

    Raises:
        BadInput: the model is no head that can be laid on the open one.
        MissingDependency, BadBundle: the open head cannot be made.
    """
    placed = register(head, flame)
    skin = FlameSkin.of(flame, placed.vertices)
    units = np.einsum("vxk,ku->uvx", head.model.expression_directions, head.encoder)
    wanted = placed.carried(units).reshape(len(units), -1)
    coefficients = np.zeros((EXPRESSION_SIZE, len(units)))
    jaw_pose = np.zeros((3, len(units)))
    moved_mm = np.sqrt((_lengths_mm(wanted) ** 2).mean(axis=1))
    for k in np.flatnonzero(moved_mm > _SEEN_MM):
        turns = k in _JAW_UNITS and basis != "flame2023_no_jaw"
        coefficients[:, k], jaw_pose[:, k] = _fit(skin, wanted[k], turns)
    left = _lengths_mm(wanted - skin.displacements(coefficients.T, jaw_pose.T))  # (52, N)
    distance = 1e3 * placed.distance_m
    return Calibration(
        basis=basis,
        source=source,
        flame_file=flame_file,
        coefficients=coefficients,
        jaw_pose=jaw_pose,
        moved_mm=moved_mm,
        left_mm=np.sqrt((left**2).mean(axis=1)),
        residual_mm=left,
        distance_mm=np.array([distance.mean(), np.percentile(distance, 95)]),
        frame=_frame(placed),
        vertices=placed.vertices,
        skin=skin,
    )


def _lengths_mm(displacements: npt.NDArray[np.floating]) -> Float32Array:
    """Lengths (T, N) in mm of displacements (T, N * 3) in m."""
    vectors = displacements.reshape(len(displacements), -1, 3)
    return np.asarray(1e3 * np.linalg.norm(vectors, axis=2), dtype=np.float32)


def _fit(skin: FlameSkin, wanted: Float64Array, turns: bool) -> tuple[Float64Array, Float64Array]:
    """Coefficients (100,) and jaw pose (3,) whose displacements come nearest to `wanted` (N * 3,).

    The jaw's turn is not linear: Gauss and Newton's steps, each a bounded least squares problem.
    """
    most = np.r_[
        np.full(EXPRESSION_SIZE, _LARGEST_IN_UNIT), LARGEST_JAW_RAD if turns else np.zeros(3)
    ]
    least = -most
    least[EXPRESSION_SIZE] = 0.0
    price = np.r_[np.full(EXPRESSION_SIZE, _LIKELY_MM2), np.zeros(3)]
    per_mm2 = 1e6 / len(skin.template)
    x = np.zeros(EXPRESSION_SIZE + 3)
    for _ in range(6 if turns else 1):
        slopes = _slopes(skin, x, turns)  # (103, N * 3)
        left = wanted - skin.displacements(x[None, :EXPRESSION_SIZE], x[None, EXPRESSION_SIZE:])[0]
        left = left + x @ slopes
        quadratic = slopes @ slopes.T * per_mm2 + np.diag(price)
        linear = slopes @ left * per_mm2
        # From least..most to 0..1.
        span = most - least
        inner = solve_box(quadratic * np.outer(span, span), span * (linear - quadratic @ least))
        x = least + span * inner
    return x[:EXPRESSION_SIZE], x[EXPRESSION_SIZE:]


def _slopes(skin: FlameSkin, x: Float64Array, turns: bool) -> Float64Array:
    """Derivative (103, N * 3) of the displacements by coefficients and jaw pose, by differences."""
    count = len(x) if turns else EXPRESSION_SIZE
    step = np.r_[np.full(EXPRESSION_SIZE, 1.0), np.full(3, 0.02)]  # of float32 vertices
    ends = x + np.diag(step)[:count]
    here = skin.displacements(x[None, :EXPRESSION_SIZE], x[None, EXPRESSION_SIZE:])
    there = skin.displacements(ends[:, :EXPRESSION_SIZE], ends[:, EXPRESSION_SIZE:])
    slopes = np.zeros((len(x), here.shape[1]))
    slopes[:count] = (there.astype(np.float64) - here) / step[:count, np.newaxis]
    return slopes


def _frame(placed: Registration) -> Float64Array:
    """From the FLAME head's frame to the open head's: x -> R'(x - shift) / scale, (4, 4)."""
    frame = np.eye(4)
    frame[:3, :3] = placed.turn.T / placed.scale
    frame[:3, 3] = -frame[:3, :3] @ placed.shift
    return frame


def _folder() -> Path:
    return user_cache() / "flame"
