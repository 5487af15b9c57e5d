"""The binary, read as the page reads it, against the head that it was made from."""

from __future__ import annotations

import json

import numpy as np
import pytest

from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.live_head import gaze_of
from contextface_ros.face.open_head import OpenHead
from contextface_ros.face.surface import EYES, Surface
from contextface_ros.viewer.head_mesh import head_mesh


@pytest.fixture(scope="module")
def binary() -> tuple[dict, dict[str, np.ndarray]]:
    data = head_mesh()
    assert data[:4] == b"CFH1"
    end = 8 + int.from_bytes(data[4:8], "little")
    header = json.loads(data[8:end])
    arrays = {}
    for name, place in header["arrays"].items():
        count = int(np.prod(place["shape"]))
        assert (end + place["offset"]) % 4 == 0
        array = np.frombuffer(data, place["type"], count, end + place["offset"])
        arrays[name] = array.reshape(place["shape"])
    return header, arrays


def test_a_face_of_the_browser_is_the_one_that_is_drawn_here(binary) -> None:  # type: ignore[no-untyped-def]
    header, arrays = binary
    assert header["units"] == list(ARKIT_NAMES)
    weights = np.random.default_rng(3).uniform(0, 0.7, 52)
    points = arrays["rest"].astype(float)
    probes = arrays["probes"] + np.tensordot(weights, arrays["probe_moves"], 1)
    for unit, weight in enumerate(weights):
        part = slice(*arrays["first_move"][unit : unit + 2])
        move = arrays["moves"][part] * (weight * arrays["move_step"][unit])
        np.add.at(points, arrays["moved_point"][part], move)

    head = OpenHead.load()
    surface = Surface(head.model, head.parts, rounds=1)
    vertices = head.vertices(head.encode(weights)).astype(float)
    shapes = dict(surface.shapes(vertices, (0.0, 0.0)))
    drawn = np.concatenate([shape.points for name, shape in shapes.items() if name not in EYES])
    assert np.linalg.norm(points - drawn, axis=1).max() < 2e-4  # 0.2 mm: 52 cuts of 0.01 at most
    measured = np.concatenate([surface.folds.points(vertices), surface.lip_points(vertices)])
    assert np.allclose(probes, measured, atol=1e-5)
    assert np.allclose(weights @ arrays["gaze"], gaze_of(weights), atol=1e-6)


def test_all_of_it_fits_together(binary) -> None:  # type: ignore[no-untyped-def]
    _, arrays = binary
    count = len(arrays["rest"])
    assert arrays["triangles"].max() == count - 1
    assert arrays["first_move"][-1] == len(arrays["moves"]) == len(arrays["moved_point"])
    for name in "colours", "materials", "sheet_coordinates":
        assert len(arrays[name]) == count
    assert arrays["folds"].shape[0] * arrays["folds"].shape[3] == len(arrays["fold_full"]) == 16
    assert arrays["probes"].shape == (2 * 16 + 6, 3)
    assert arrays["sheet"].min() < 60 and np.median(arrays["sheet"]) == 255
