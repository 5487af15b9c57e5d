"""The open head as one binary, from which a browser draws any face by 52 weights.

Every point that is drawn moves in a straight line with each weight, subdivision and all, so that
the browser adds up displacements and needs to know nothing of how the head is made. What is not
linear in the weights (normals, light, folds, light on the teeth) it works out from the points.

The binary: "CFH1", the length of a header (uint32), the header (JSON), then the arrays that the
header names, each at a multiple of 4 bytes. Little-endian.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from contextface_ros.face import folds, light, paint
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.live_head import gaze_of
from contextface_ros.face.open_head import OpenHead
from contextface_ros.face.surface import EYE_RADIUS_M, EYES, TEETH_LIGHT, Surface

Arrays = Mapping[str, npt.NDArray[Any]]

MAGIC = b"CFH1"

_NOTICED_M = 1e-5  # displacements below this are left out
_FOLD_SHEET = (510, 360)  # height and width of the folds, which are soft: half of the sheet's
_EYE_PIXELS = 256


def head_mesh() -> bytes:
    """Make the binary; takes about two seconds.

    Raises:
        MissingDependency: the mesh of the head is not installed.
        BadBundle: it is another one, or the cache cannot be written.
    """
    head = OpenHead.load()
    surface = Surface(head.model, head.parts, rounds=1)
    faces = _faces(head, surface)
    arrays = {
        **_points(faces["points"]),
        **_looks(surface),
        **_probes(surface, faces["vertices"]),
        **_eyes(surface),
    }
    return pack(_settings(), arrays)


def pack(settings: Mapping[str, Any], arrays: Arrays) -> bytes:
    """Put settings and arrays into one binary, as described above."""
    places, parts, offset = {}, [], 0
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
        data += bytes(-len(data) % 4)
        places[name] = {"type": array.dtype.name, "shape": array.shape, "offset": offset}
        parts.append(data)
        offset += len(data)
    header = json.dumps({**settings, "arrays": places}).encode()
    header += b" " * (-len(header) % 4)
    return b"".join([MAGIC, len(header).to_bytes(4, "little"), header, *parts])


def _settings() -> dict[str, Any]:
    """Names and constants, which thus are written in one place."""
    return {
        "units": ARKIT_NAMES,
        "light": {
            "directions": [place for place, _, _ in light.LIGHTS],
            "colours": [[strength * c for c in colour] for _, colour, strength in light.LIGHTS],
            "sky": light.SKY,
            "ground": light.GROUND,
            "wrap": light.WRAP,
            "gloss": light.GLOSS,
            "sharpness": 2**light.SQUARINGS,
        },
        "folds": {
            "onset": folds.ONSET,
            "deepest": folds.DEEPEST,
            "darkest": folds.DARKEST,
        },
        "teeth_light": TEETH_LIGHT,
        "eye_radius": EYE_RADIUS_M,
        "catchlight": paint.CATCHLIGHT.tolist(),
    }


def _parts(surface: Surface) -> list[str]:
    """What is drawn as one mesh: all but the eyes."""
    return [name for name in surface.triangles if name not in EYES]


def _faces(head: OpenHead, surface: Surface) -> dict[str, npt.NDArray[np.float64]]:
    """The face at rest and that of each unit: points (53, N, 3), vertices (53, V, 3)."""
    points, vertices = [], []
    for weights in np.vstack([np.zeros(len(ARKIT_NAMES)), np.eye(len(ARKIT_NAMES))]):
        coarse = head.vertices(head.encode(weights)).astype(np.float64)
        shapes = dict(surface.shapes(coarse, (0.0, 0.0)))
        points.append(np.concatenate([shapes[name].points for name in _parts(surface)]))
        vertices.append(coarse)
    return {"points": np.array(points, np.float64), "vertices": np.array(vertices)}


def _points(points: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[Any]]:
    """The points at rest, and for each unit those that move and by how much."""
    rest = points[0]
    moves = points[1:] - rest  # (52, N, 3)
    moved = np.abs(moves).max(axis=2) > _NOTICED_M
    largest = np.abs(moves).max(axis=(1, 2))
    steps = np.where(largest > 0, largest, 1.0) / 32767
    unit, point = np.nonzero(moved)
    return {
        "rest": rest.astype(np.float32),
        "first_move": np.concatenate([[0], np.cumsum(moved.sum(axis=1))]).astype(np.uint32),
        "moved_point": point.astype(np.uint32),
        "moves": np.round(moves[unit, point] / steps[unit, np.newaxis]).astype(np.int16),
        "move_step": steps.astype(np.float32),  # in m
    }


def _looks(surface: Surface) -> dict[str, npt.NDArray[Any]]:
    """Triangles, colours, what each point is made of, and the sheets that lie over the skin."""
    triangles, colours, materials, coordinates, first = [], [], [], [], 0
    for name in _parts(surface):
        count = int(surface.triangles[name].max()) + 1
        triangles.append(surface.triangles[name] + first)
        first += count
        material = np.zeros(
            (count, 4)
        )  # gloss, hair, teeth (upper 1, lower 0.7), tongue and lashes
        if name == "skin":
            colours.append(surface.skin_colours)
            coordinates.append(surface.sheet_coordinates)
            material[:, 0] = surface.shine[:, 0]
            material[:, 1] = paint.scalp(surface.skin_at_rest)
        else:
            colours.append(np.tile(paint.PARTS[name], (count, 1)))
            coordinates.append(np.zeros((count, 2)))  # a corner, where nothing is drawn
            material[:, 2 if "teeth" in name else 3] = 0.7 if name == "lower_teeth" else 1.0
        materials.append(material)
    height, width = _FOLD_SHEET
    fold_sheet = np.stack([*surface.folds.light(height, width)], axis=-1)  # (H, W, 16)
    return {
        "triangles": np.concatenate(triangles).astype(np.uint32),
        "colours": _bytes(np.concatenate(colours)),
        "materials": _bytes(np.concatenate(materials)),
        "sheet_coordinates": np.round(
            np.clip(np.concatenate(coordinates), 0.0, 1.0) * 65535
        ).astype(np.uint16),
        "sheet": _bytes(paint.sheet()),
        "folds": _bytes(fold_sheet.reshape(height, width, -1, 4).transpose(2, 0, 1, 3)),
        "fold_full": surface.folds.full.astype(np.float32),
    }


def _probes(
    surface: Surface, vertices: npt.NDArray[np.float64]
) -> dict[str, npt.NDArray[np.float32]]:
    """Points that are only measured: pairs across the folds, then three on each lip."""
    points = np.array(
        [np.concatenate([surface.folds.points(v), surface.lip_points(v)]) for v in vertices]
    )
    return {
        "probes": points[0].astype(np.float32),
        "probe_moves": (points[1:] - points[0]).astype(np.float32),
    }


def _eyes(surface: Surface) -> dict[str, npt.NDArray[Any]]:
    """One ball, where the two lie, how the units turn them, and their colours from the front."""
    across = (np.arange(_EYE_PIXELS) + 0.5) / _EYE_PIXELS * 2.0 - 1.0
    x, y = (grid.ravel() for grid in np.meshgrid(across, across))
    ball = np.c_[x, y, np.sqrt(np.clip(1.0 - x * x - y * y, 0.0, 1.0))]
    colours = paint.eyeball_colours(ball).reshape(_EYE_PIXELS, _EYE_PIXELS, 3)
    return {
        "ball": surface.ball.astype(np.float32),
        "ball_triangles": surface.triangles["left_eye"].astype(np.uint32),
        "eye_centres": np.array([surface.eye_centres[k] for k in EYES.values()], np.float32),
        "eye_colours": _bytes(colours),
        "gaze": np.array([gaze_of(w) for w in np.eye(len(ARKIT_NAMES))], np.float32),  # in rad
    }


def _bytes(shares: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    return np.asarray(np.round(np.clip(shares, 0.0, 1.0) * 255), dtype=np.uint8)
