from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contextface_ros.errors import BadInput
from contextface_ros.face.flame_codes import read_codes, read_shape

RNG = np.random.default_rng(0)
FACES = RNG.standard_normal((7, 50)).astype(np.float32)
JAW = 0.1 * RNG.standard_normal((7, 3)).astype(np.float32)
HEAD = 0.2 * RNG.standard_normal((7, 3)).astype(np.float32)
SHAPE = RNG.standard_normal(100).astype(np.float32)


def save(path: Path, arrays: dict[str, Any]) -> Path:
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(arrays, 2))
    elif path.suffix == ".npy":
        np.save(path, next(iter(arrays.values())))
    else:
        np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
@pytest.mark.parametrize(
    "arrays",
    [
        {"expression": FACES, "jaw_pose": JAW, "global_orient": HEAD, "shape": SHAPE},
        {"exp": FACES, "pose": np.c_[HEAD, JAW], "shape": np.tile(SHAPE, (7, 1))},
        {"expcode": FACES[:, None], "posecode": np.c_[HEAD, JAW], "shapecode": SHAPE[None]},
        {"expr": FACES, "pose": np.c_[HEAD, 9 * JAW, JAW, HEAD, HEAD], "betas": SHAPE},
        {"exp": FACES, "jaw": JAW, "rotation": HEAD, "shape": SHAPE, "cam": np.ones((7, 3))},
    ],
    ids=["by name", "emoca", "deca", "smplx", "smirk"],
)
def test_the_names_of_trackers(tmp_path: Path, arrays: dict[str, Any], suffix: str) -> None:
    codes = read_codes(save(tmp_path / f"codes{suffix}", arrays))
    np.testing.assert_array_equal(codes.expression[:, :50], FACES)
    assert codes.expression.shape == (7, 100) and not codes.expression[:, 50:].any()
    np.testing.assert_allclose(codes.jaw_pose, JAW)
    np.testing.assert_allclose(codes.head_pose, HEAD)
    assert codes.shape is not None and codes.shape.shape == (300,)
    np.testing.assert_allclose(codes.shape[:100], SHAPE, atol=1e-6)


def test_expressions_alone(tmp_path: Path) -> None:
    codes = read_codes(save(tmp_path / "exp.npy", {"exp": FACES[0]}))
    assert codes.expression.shape == (1, 100)
    assert not codes.jaw_pose.any() and codes.shape is None
    codes = read_codes(save(tmp_path / "codes.npz", {"exp": FACES, "jaw_pose": JAW[0]}))
    np.testing.assert_array_equal(codes.jaw_pose, np.tile(JAW[0], (7, 1)))


def test_the_folders_of_a_tracker(tmp_path: Path) -> None:
    for frame in range(7):
        folder = tmp_path / "video" / f"{frame:06d}_000"
        folder.mkdir(parents=True)
        np.save(folder / "exp.npy", FACES[frame])
        np.save(folder / "pose.npy", np.r_[HEAD[frame], JAW[frame]])
        np.save(folder / "shape.npy", SHAPE)
    codes = read_codes(tmp_path / "video")
    np.testing.assert_array_equal(codes.expression[:, :50], FACES)
    np.testing.assert_array_equal(codes.jaw_pose, JAW)
    one = read_codes(tmp_path / "video" / "000003_000")
    np.testing.assert_array_equal(one.expression[:, :50], FACES[3:4])


def test_a_shape(tmp_path: Path) -> None:
    by_name = read_shape(save(tmp_path / "codes.npz", {"exp": FACES, "shapecode": SHAPE}))
    alone = read_shape(save(tmp_path / "shape.npy", {"shape": SHAPE}))
    np.testing.assert_array_equal(by_name, alone)
    assert alone.shape == (300,)
    with pytest.raises(BadInput, match="has no shape: one of shape, shapecode"):
        read_shape(save(tmp_path / "no.npz", {"exp": FACES}))


def spoilt(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array[4, 2] = value
    return array


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"shape": SHAPE}, "has no expression: one of expression, exp"),
        ({}, "it holds nothing"),
        ({"exp": spoilt(FACES, np.nan)}, "expression 2 of frame 4 is nan"),
        ({"exp": spoilt(FACES, 400)}, "expression 2 of frame 4 is 400"),
        ({"exp": FACES, "jaw_pose": spoilt(JAW, -np.inf)}, "jaw 2 of frame 4 is -inf"),
        ({"exp": FACES, "jaw_pose": JAW[:5]}, "jaw has 5 frames, the expression 7"),
        ({"exp": FACES, "pose": JAW}, "give 6 .* or the jaw alone as jaw_pose"),
        ({"exp": FACES, "jaw_pose": HEAD[:, :2]}, "jaw has 2 numbers a frame: 3 are known"),
        ({"exp": np.zeros((7, 101))}, "expression has 101 numbers a frame: 100 are known"),
        ({"exp": np.zeros((2, 3, 50))}, "more than one sequence"),
        ({"exp": np.array(["a", "b"])}, "no sequence of numbers"),
        ({"exp": np.float32(3)}, "no sequence of numbers"),
        ({"exp": FACES, "shape": np.full(301, 0.1)}, "shape has 301 numbers a frame"),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, arrays: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read_codes(save(tmp_path / "codes.npz", arrays))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


def test_a_pickle_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "codes.pkl", {"exp": FACES, "extra": Evil()})
    with pytest.raises(BadInput, match=r"it asks for __builtin__\.print"):
        read_codes(path)
    assert capsys.readouterr().out == ""


@given(st.binary(max_size=200), st.sampled_from([".npz", ".npy", ".pkl", ".txt"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_bytes_are_refused_in_one_sentence(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"any{suffix}"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"holds no arrays|cannot be read|is no \.npz|no expression"):
        read_codes(path)


def test_a_file_cut_short(tmp_path: Path) -> None:
    for suffix in (".npz", ".npy", ".pkl"):
        path = save(tmp_path / f"codes{suffix}", {"exp": FACES})
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(BadInput, match=r"can be read|cannot be read"):
            read_codes(path)
