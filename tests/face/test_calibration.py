from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contextface_ros.errors import BadBundle, BadInput
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.calibration import (
    LARGEST_JAW_RAD,
    Calibration,
    FlameSkin,
    calibrate,
    calibration_files,
    load_calibration,
)
from contextface_ros.face.flame import FlameModel
from contextface_ros.face.open_head import OpenHead
from tests.flame_like import FlameLike, flame_like

JAW_OPEN = ARKIT_NAMES.index("jawOpen")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def some_weights(known: np.ndarray, count: int = 40) -> np.ndarray:
    """Weights of faces: a few units each."""
    rng = np.random.default_rng(5)
    shape = (count, len(ARKIT_NAMES))
    return rng.random(shape) * (rng.random(shape) < 0.15) * known


def test_the_skin_moves_as_the_whole_model_does(flame: FlameModel) -> None:
    rng = np.random.default_rng(1)
    offsets = 1e-3 * rng.standard_normal(flame.pose_directions.shape).astype(np.float32)
    flame = replace(flame, pose_directions=offsets)
    vertices = np.arange(0, len(flame.template), 7)
    faces, jaws = rng.standard_normal((3, 100)), 0.2 * rng.standard_normal((3, 3))
    moved = FlameSkin.of(flame, vertices).displacements(faces, jaws).reshape(3, -1, 3)
    for face, jaw, got in zip(faces, jaws, moved, strict=True):
        pose = np.zeros((5, 3))
        pose[2] = jaw
        whole = flame.vertices(face, pose) - flame.template
        np.testing.assert_allclose(got, whole[vertices], atol=2e-6)


def test_known_coefficients_are_found(like: FlameLike, calibration: Calibration) -> None:
    found, true = calibration.coefficients[:, like.known], like.coefficients[:, like.known]
    along = (found * true).sum(axis=0)
    cosine = along / np.linalg.norm(found, axis=0) / np.linalg.norm(true, axis=0)
    assert np.median(cosine) > 0.98
    assert cosine.min() > 0.9
    assert np.abs(calibration.coefficients[44:]).max() < 1e-4, "these components move nothing"


def test_on_the_open_head_itself_they_are_found_closely(head: OpenHead) -> None:
    like = flame_like(head, seed=2, proportions=False)
    found = calibrate(
        head,
        FlameModel._from_fields(like.fields),
        basis="flame2020",
        source="0" * 64,
        flame_file="",
    )
    off = np.linalg.norm(found.coefficients - like.coefficients, axis=0)[like.known]
    assert np.median(off / np.linalg.norm(like.coefficients, axis=0)[like.known]) < 0.05


def test_the_residual_is_what_is_left(
    head: OpenHead, like: FlameLike, flame: FlameModel, calibration: Calibration
) -> None:
    assert (calibration.left_mm <= calibration.moved_mm + 1e-9).all()
    relative = calibration.left_mm[like.known] / calibration.moved_mm[like.known]
    assert relative.max() < 0.12, "the basis holds these units"
    # The jaw opens by its joint, which goes most of the way that the unit goes.
    assert calibration.jaw_pose[0, JAW_OPEN] > 0.2
    assert calibration.left_mm[JAW_OPEN] < 0.2 * calibration.moved_mm[JAW_OPEN]
    tongue, gaze = (ARKIT_NAMES.index(name) for name in ("tongueOut", "eyeLookUpLeft"))
    assert not calibration.coefficients[:, [tongue, gaze]].any()


def test_the_residual_told_is_that_of_the_whole_model(
    like: FlameLike, flame: FlameModel, calibration: Calibration
) -> None:
    """Against the truth, through the other implementation: no unit is further off than it says."""
    pose = np.zeros((5, 3))
    for k in np.flatnonzero(like.known)[::6]:
        face = flame.vertices(calibration.coefficients[:, k], pose) - flame.template
        off = 1e3 * np.linalg.norm(face - like.units[k], axis=1)
        assert np.sqrt((off**2).mean()) < calibration.left_mm[k] + 0.1 * calibration.moved_mm[k]


def test_weights_come_back(like: FlameLike, calibration: Calibration) -> None:
    weights = some_weights(calibration.moved_mm > 0.1)
    back = calibration.decode(*calibration.encode(weights))
    assert np.abs(back - weights).max() < 0.05
    assert back.min() >= 0 and back.max() <= 1


def test_true_faces_become_the_weights_they_were_made_of(
    like: FlameLike, calibration: Calibration
) -> None:
    weights = some_weights(like.known)
    back = calibration.decode(weights @ like.coefficients.T, np.zeros((len(weights), 3)))
    off = np.abs(back - weights)[:, like.known]
    assert off.mean() < 0.03
    assert np.percentile(off, 99) < 0.2


def test_a_jaw_that_opens_opens_the_jaw(calibration: Calibration) -> None:
    jaw = np.linspace(0, 1, 9)[:, None] * calibration.jaw_pose[:, JAW_OPEN]
    weights = calibration.decode(np.zeros((9, 100)), jaw)[:, JAW_OPEN]
    assert (np.diff(weights) > 0.02).all()
    assert weights[0] == 0 and weights[-1] > 0.5


def test_every_error_told_is_the_distance_of_the_vertices(calibration: Calibration) -> None:
    rng = np.random.default_rng(2)
    faces, jaw = rng.standard_normal((3, 100)), np.array([[0.1, 0, 0], [0, 0, 0], [0.2, 0.05, 0]])
    ((weights, error, moved),) = calibration.decoded(faces, jaw)
    wanted = calibration.skin.displacements(faces, jaw).reshape(3, -1, 3)
    shown = calibration.skin.displacements(*calibration.encode(weights)).reshape(3, -1, 3)
    np.testing.assert_allclose(error, 1e3 * np.linalg.norm(wanted - shown, axis=2), atol=1e-3)
    nothing = 1e3 * np.linalg.norm(wanted, axis=2)
    np.testing.assert_allclose(moved, nothing, atol=1e-3)
    assert (np.sqrt((error**2).mean(1)) <= np.sqrt((nothing**2).mean(1))).all()


def test_a_sequence_is_its_frames(calibration: Calibration) -> None:
    faces = np.random.default_rng(3).standard_normal((300, 100))  # more than one part
    jaw = np.tile([0.1, 0.0, 0.0], (300, 1))
    whole = calibration.decode(faces, jaw)
    np.testing.assert_allclose(whole[290:], calibration.decode(faces[290:], jaw[290:]), atol=1e-5)
    assert calibration.decode(faces[:0], jaw[:0]).shape == (0, 52)


def test_a_jaw_is_never_broken(calibration: Calibration) -> None:
    _, jaw = calibration.encode(np.ones((1, 52)))
    assert (np.abs(jaw[0]) <= np.float32(LARGEST_JAW_RAD)).all()
    with pytest.raises(BadInput, match="blendshapes go from 0"):
        calibration.encode(np.full(52, np.nan))


def test_without_a_jaw_the_mouth_opens_by_expressions(head: OpenHead) -> None:
    like = flame_like(head, seed=3, jaw_in_basis=True)
    flame = FlameModel._from_fields(like.fields)
    found = calibrate(head, flame, basis="flame2023_no_jaw", source="0" * 64, flame_file="")
    assert not found.jaw_pose.any()
    assert found.left_mm[JAW_OPEN] < 0.1 * found.moved_mm[JAW_OPEN]


# --- the file -------------------------------------------------------------------------------------


def test_it_is_kept_and_found_again(cache: Path, calibration: Calibration) -> None:
    calibration.save()
    again = load_calibration("flame2020")
    assert (again.basis, again.source) == ("flame2020", calibration.source)
    weights = some_weights(calibration.moved_mm > 0)
    for one, other in zip(again.encode(weights), calibration.encode(weights), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not list(cache.rglob("*.[0-9]*.npz")), "no draft is left"


def test_the_newest_counts(cache: Path, calibration: Calibration) -> None:
    calibration.save()
    os.utime(calibration.path, (1, 1))
    newer = replace(calibration, source="cd" * 32)
    newer.save()
    assert len(calibration_files("flame2020")) == 2
    assert load_calibration("flame2020").source == newer.source
    assert not calibration_files("flame2023")


@pytest.mark.parametrize("basis", ["flame2023", "flame2023_no_jaw"])
def test_not_calibrated_yet(cache: Path, calibration: Calibration, basis: str) -> None:
    if basis == "flame2023":  # a longer name is another basis
        replace(calibration, basis="flame2023_no_jaw").save()
    with pytest.raises(BadInput, match=f"contextface calibrate --flame FILE --name {basis} "):
        load_calibration(basis)


@pytest.mark.parametrize("basis", ["open-1", "flame1999", "../../etc/passwd", ""])
def test_no_basis_of_flame(cache: Path, basis: str) -> None:
    with pytest.raises(BadInput, match="is no basis of FLAME"):
        load_calibration(basis)


def test_a_broken_calibration(cache: Path, calibration: Calibration) -> None:
    calibration.save()
    whole = calibration.path.read_bytes()
    for content in (b"", b"PK\x03\x04", whole[: len(whole) // 2]):
        calibration.path.write_bytes(content)
        with pytest.raises(BadBundle, match="run contextface calibrate again"):
            load_calibration("flame2020")
