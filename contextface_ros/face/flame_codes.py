"""FLAME codes as trackers save them: expression, jaw, and whose head it is.

    .npz, .pkl      arrays by name (below)
    .npy            expression coefficients alone
    a folder        exp.npy, pose.npy, shape.npy, as EMOCA and INFERNO write with --save_codes; or
                    such a folder for each frame, in the order of their names

| what | names | shape |
|---|---|---|
| expression | expression, exp, expcode, expr, expression_params | (T, n), n up to 100 |
| jaw | jaw_pose, jaw, jawpose, jaw_params | (T, 3) axis-angle in rad |
| pose | pose, posecode, pose_params | (T, 6) head and jaw, or (T, 15) head, neck, jaw, eyes |
| head | global_pose, global_orient, rotation | (T, 3) axis-angle in rad |
| shape | shape, shapecode, betas, shape_params | (n,) or (T, n), n up to 300; the mean counts |

One frame may lack its axis, and a jaw or head that is the same for all frames may be given once.
"""

from __future__ import annotations

import pickle
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contextface_ros.errors import BadInput
from contextface_ros.face.flame import FIRST_EXPRESSION
from contextface_ros.face.pickled_arrays import dense, read_pickle
from contextface_ros.types import EXPRESSION_SIZE, Float32Array

_NAMES = {
    "expression": ("expression", "exp", "expcode", "expr", "expression_params"),
    "jaw": ("jaw_pose", "jaw", "jawpose", "jaw_params"),
    "pose": ("pose", "posecode", "pose_params"),
    "head": ("global_pose", "global_orient", "rotation"),
    "shape": ("shape", "shapecode", "betas", "shape_params"),
}
_SHAPE_SIZE = FIRST_EXPRESSION
_LARGEST = {"expression": 20.0, "shape": 20.0, "jaw": 2.0, "head": 7.0, "pose": 7.0}
"""Beyond this, in standard deviations or rad, nothing is a face."""


@dataclass(frozen=True)
class FlameCodes:
    """A sequence of FLAME faces of one person.

    Attributes:
        expression: (T, 100) float32 in standard deviations; those that were not tracked are 0.
        jaw_pose: (T, 3) float32 axis-angle in rad; 0 where none was saved.
        head_pose: (T, 3) float32 axis-angle in rad; 0 where none was saved.
        shape: (300,) float32 identity in standard deviations, None where none was saved.
    """

    expression: Float32Array
    jaw_pose: Float32Array
    head_pose: Float32Array
    shape: Float32Array | None


def read_codes(path: Path) -> FlameCodes:
    """Read a sequence.

    Raises:
        BadInput: the file cannot be read, lacks expressions, or holds what is no face's; says which
            frame.
    """
    arrays = _read(path)
    expression = _frames(path, arrays, "expression", EXPRESSION_SIZE)
    if expression is None:
        raise BadInput(
            f"{path} has no expression: one of {', '.join(_NAMES['expression'])} is needed, it "
            f"holds {', '.join(sorted(arrays)) or 'nothing'}"
        )
    count = len(expression)
    jaw, head = _frames(path, arrays, "jaw", 3), _frames(path, arrays, "head", 3)
    pose = _frames(path, arrays, "pose", None)
    if pose is not None:
        if pose.shape[1] not in (6, 15):
            raise BadInput(
                f"{path}: pose has {pose.shape[1]} numbers a frame: give 6 (head, jaw) or 15 "
                "(head, neck, jaw, eyes), or the jaw alone as jaw_pose"
            )
        jaw = jaw if jaw is not None else pose[:, 3:6] if pose.shape[1] == 6 else pose[:, 6:9]
        head = head if head is not None else pose[:, :3]
    return FlameCodes(
        expression=expression,
        jaw_pose=_for_all(path, "jaw", jaw, count),
        head_pose=_for_all(path, "head", head, count),
        shape=_shape(path, arrays),
    )


def read_shape(path: Path) -> Float32Array:
    """Read who it is: the shape in a file of codes, or a .npy that holds nothing else.

    Returns:
        (300,) float32 identity coefficients in standard deviations.

    Raises:
        BadInput: the file cannot be read, or holds no shape.
    """
    arrays = _read(path)
    if path.suffix == ".npy":
        arrays = {"shape": arrays["expression"]}
    shape = _shape(path, arrays)
    if shape is None:
        raise BadInput(
            f"{path} has no shape: one of {', '.join(_NAMES['shape'])} is needed, it holds "
            f"{', '.join(sorted(arrays)) or 'nothing'}"
        )
    return shape


def _read(path: Path) -> Mapping[str, npt.NDArray[Any]]:
    """The arrays of a file or folder by the names in it."""
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.suffix == ".npy":
            return {"expression": np.load(path, allow_pickle=False)}
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files if name in _KNOWN}
        if path.suffix in (".pkl", ".pickle"):
            fields = read_pickle(path)
            return {name: dense(value) for name, value in fields.items() if name in _KNOWN}
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        EOFError,
        MemoryError,
        OverflowError,
        RecursionError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise BadInput(
            f"{path} holds no arrays that can be read ({error}): save them with numpy.savez"
        ) from error
    raise BadInput(f"{path} is no .npz, .npy, .pkl or folder of codes")


_KNOWN = frozenset(name for names in _NAMES.values() for name in names)


def _read_folder(folder: Path) -> Mapping[str, npt.NDArray[Any]]:
    frames = (
        [folder]
        if (folder / "exp.npy").is_file()
        else sorted(below for below in folder.iterdir() if (below / "exp.npy").is_file())
    )
    names = [name for name in ("exp", "pose", "shape") if frames]
    arrays = {}
    for name in names:
        files = [frame / f"{name}.npy" for frame in frames]
        if all(file.is_file() for file in files):
            parts = [np.load(file, allow_pickle=False) for file in files]
            arrays[name] = parts[0] if len(parts) == 1 else np.stack([p.ravel() for p in parts])
    return arrays


def _find(arrays: Mapping[str, npt.NDArray[Any]], what: str) -> npt.NDArray[Any] | None:
    return next((arrays[name] for name in _NAMES[what] if name in arrays), None)


def _frames(
    path: Path, arrays: Mapping[str, npt.NDArray[Any]], what: str, size: int | None
) -> Float32Array | None:
    """What is of each frame, (T, size), filled up with zeros; None where there is none."""
    found = _find(arrays, what)
    if found is None:
        return None
    if found.dtype.kind not in "fiu" or found.ndim not in (1, 2, 3):
        raise BadInput(f"{path}: {what} of shape {found.shape} is no sequence of numbers")
    # Trackers keep the axis of a batch of one: (T, 1, n).
    rows = found.reshape(-1, found.shape[-1])
    if found.ndim == 3 and 1 not in found.shape[:2]:
        raise BadInput(f"{path}: {what} of shape {found.shape} is more than one sequence")
    if size is not None and (rows.shape[1] > size or (size == 3 and rows.shape[1] != 3)):
        raise BadInput(f"{path}: {what} has {rows.shape[1]} numbers a frame: {size} are known")
    wrong = ~(np.abs(rows.astype(np.float64)) <= _LARGEST[what])  # so that NaN is wrong too
    if wrong.any():
        frame, k = (int(i) for i in np.argwhere(wrong)[0])
        raise BadInput(
            f"{path}: {what} {k} of frame {frame} is {rows[frame, k]:g}, which no face has"
        )
    full = np.zeros((len(rows), size or rows.shape[1]), np.float32)
    full[:, : rows.shape[1]] = rows
    return full


def _for_all(path: Path, what: str, values: Float32Array | None, count: int) -> Float32Array:
    """Bring values to as many frames as there are expressions."""
    if values is None:
        return np.zeros((count, 3), np.float32)
    if len(values) == 1:
        return np.repeat(values, count, axis=0)
    if len(values) != count:
        raise BadInput(f"{path}: {what} has {len(values)} frames, the expression {count}")
    return values


def _shape(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> Float32Array | None:
    frames = _frames(path, arrays, "shape", _SHAPE_SIZE)
    if frames is None or not len(frames):
        return None
    return np.asarray(frames.mean(axis=0), dtype=np.float32)
