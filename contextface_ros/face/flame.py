"""Any FLAME-format head in NumPy: reading the file, and vertices from coefficients.

FLAME (Li et al., "Learning a model of facial shape and expression from 4D scans", SIGGRAPH Asia
2017) is a template plus linear shape, expression and pose offsets, followed by linear blend
skinning over five joints: root, neck, jaw, left eye, right eye.
"""

from __future__ import annotations

import pickle
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contextface_ros.errors import BadBundle, BadInput
from contextface_ros.face.pickled_arrays import dense, read_pickle
from contextface_ros.types import EXPRESSION_SIZE, Float32Array

FIRST_EXPRESSION = 300
"""Index in shapedirs of the first expression component; shape components come before it."""

JOINTS = ("root", "neck", "jaw", "left_eye", "right_eye")


@dataclass(frozen=True)
class FlameModel:
    """A FLAME-format head.

    Attributes:
        template: (V, 3) float32 in m.
        faces: (F, 3) int32 triangles.
        shape_directions: (V, 3, 300) float32 in m for one standard deviation.
        expression_directions: (V, 3, 100) float32 in m for one standard deviation.
        pose_directions: (V, 3, 36) float32 in m for one unit of an entry of R - I, over the four
            joints after the root.
        joint_regressor: (5, V) float32.
        skin_weights: (V, 5) float32, each row summing to 1.
        parents: index of each joint's parent, -1 for the root.
    """

    template: Float32Array
    faces: npt.NDArray[np.int32]
    shape_directions: Float32Array
    expression_directions: Float32Array
    pose_directions: Float32Array
    joint_regressor: Float32Array
    skin_weights: Float32Array
    parents: tuple[int, ...]

    @classmethod
    def load(cls, path: str | Path) -> FlameModel:
        """Read a FLAME file, .npz or .pkl.

        A .pkl runs no code of its own: only arrays are taken from it, and chumpy and scipy, which
        the released files were written with, are not needed.

        Raises:
            BadBundle: the file cannot be read, is not a FLAME file, or holds anything else than
                arrays.
        """
        path = Path(path)
        try:
            fields = _read_npz(path) if path.suffix == ".npz" else read_pickle(path)
            return cls._from_fields(fields)
        except OSError as error:
            raise BadBundle(f"{path} cannot be read: {error.strerror or error}") from error
        except KeyError as error:
            raise BadBundle(f"{path} is no FLAME file: it has no {error.args[0]}") from error
        except (
            ValueError,
            TypeError,
            IndexError,
            AttributeError,
            EOFError,
            RecursionError,
            pickle.UnpicklingError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise BadBundle(f"{path} is no FLAME file: {error}") from error

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> FlameModel:
        def numbers(name: str, *shape: int | None) -> Float32Array:
            array = np.ascontiguousarray(dense(fields[name]), dtype=np.float32)
            fits = len(shape) == array.ndim and all(
                want in (None, have) for want, have in zip(shape, array.shape, strict=True)
            )
            if not fits or not np.isfinite(array).all():
                raise ValueError(f"{name} has shape {array.shape} or is not finite")
            return array

        template = numbers("v_template", None, 3)
        count = len(template)
        directions = numbers("shapedirs", count, 3, FIRST_EXPRESSION + EXPRESSION_SIZE)
        parents = np.asarray(dense(fields["kintree_table"])).astype(np.int64)[0]
        faces = np.asarray(dense(fields["f"])).astype(np.int32)
        if faces.ndim != 2 or faces.shape[1] != 3 or faces.min() < 0 or faces.max() >= count:
            raise ValueError("f does not hold triangles of its vertices")
        if len(parents) != len(JOINTS) or any(p >= k for k, p in enumerate(parents[1:], 1)):
            raise ValueError(f"kintree_table is not a tree of {len(JOINTS)} joints")
        return cls(
            template=template,
            faces=faces,
            shape_directions=np.ascontiguousarray(directions[..., :FIRST_EXPRESSION]),
            expression_directions=np.ascontiguousarray(directions[..., FIRST_EXPRESSION:]),
            pose_directions=numbers("posedirs", count, 3, 9 * (len(JOINTS) - 1)),
            joint_regressor=numbers("J_regressor", len(JOINTS), count),
            skin_weights=numbers("weights", count, len(JOINTS)),
            parents=(-1, *(int(parent) for parent in parents[1:])),
        )

    def vertices(
        self,
        expression: npt.ArrayLike,
        pose: npt.ArrayLike | None = None,
        shape: npt.ArrayLike | None = None,
    ) -> Float32Array:
        """Compute the vertices of one head.

        Args:
            expression: up to 100 coefficients in standard deviations.
            pose: (5, 3) axis-angle in rad of JOINTS, each relative to its parent. At rest if None.
            shape: up to 300 identity coefficients in standard deviations. Average if None.

        Returns:
            (V, 3) float32 in m.

        Raises:
            BadInput: too many coefficients, a wrong shape, or a value that is not finite.
        """
        vertices = self.template + _blend(self.expression_directions, expression, "expression")
        if shape is not None:
            vertices += _blend(self.shape_directions, shape, "shape")
        if pose is not None:
            vertices = self._pose(vertices, pose)
        return np.asarray(vertices, dtype=np.float32)

    def _pose(self, vertices: npt.NDArray[Any], pose: npt.ArrayLike) -> npt.NDArray[Any]:
        """Turn the joints: pose offsets, then linear blend skinning."""
        angles = np.asarray(pose, dtype=np.float64)
        if angles.shape != (len(JOINTS), 3) or not np.isfinite(angles).all():
            raise BadInput(f"the pose must be {len(JOINTS)} finite axis-angle vectors")
        joints = self.joint_regressor @ vertices
        turns = np.array([rotation(angle) for angle in angles])
        vertices = vertices + self.pose_directions @ (turns[1:] - np.eye(3)).ravel()

        # Where each joint's frame comes to lie in the world: x -> linear x + offset.
        linear, offset = np.zeros((len(joints), 3, 3)), np.zeros((len(joints), 3))
        for k, parent in enumerate(self.parents):
            if parent < 0:
                linear[k], place = turns[k], joints[k]
            else:
                linear[k] = linear[parent] @ turns[k]
                place = linear[parent] @ joints[k] + offset[parent]
            offset[k] = place - linear[k] @ joints[k]
        by_vertex = np.tensordot(self.skin_weights, linear, axes=1)  # (V, 3, 3)
        return np.asarray(np.einsum("vij,vj->vi", by_vertex, vertices) + self.skin_weights @ offset)


def rotation(axis_angle: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Rodrigues' formula: the (3, 3) rotation about an axis by its length in rad."""
    x, y, z = vector = np.asarray(axis_angle, dtype=np.float64)
    angle = float(np.linalg.norm(vector))
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    # np.sinc(a) is sin(pi a) / (pi a), which is 1 at 0.
    first, half = np.sinc(angle / np.pi), np.sinc(angle / (2 * np.pi))
    return np.asarray(np.eye(3) + first * cross + 0.5 * half**2 * cross @ cross)


def _blend(directions: Float32Array, coefficients: npt.ArrayLike, what: str) -> npt.NDArray[Any]:
    factors = np.asarray(coefficients, dtype=np.float64)
    if factors.ndim != 1 or len(factors) > directions.shape[-1] or not np.isfinite(factors).all():
        raise BadInput(
            f"{what} has shape {factors.shape}: "
            f"give up to {directions.shape[-1]} finite coefficients of one head"
        )
    used = np.flatnonzero(factors)
    return np.asarray(directions[..., used] @ factors[used])


def _read_npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)
