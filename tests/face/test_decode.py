from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contextface_ros.errors import BadInput
from contextface_ros.face import decode
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.calibration import Calibration
from contextface_ros.face.decode import blendshapes_of, check_basis, in_basis
from contextface_ros.face.open_head import OpenHead
from contextface_ros.types import OPEN_BASIS, Expression

HEAD = OpenHead.load()
SMILE = {"mouthSmileLeft": 0.7, "mouthSmileRight": 0.7, "cheekSquintLeft": 0.4, "jawOpen": 0.3}
WEIGHTS = np.array([SMILE.get(name, 0.0) for name in ARKIT_NAMES])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    decode._calibration.cache_clear()
    yield tmp_path
    decode._calibration.cache_clear()


def smile() -> Expression:
    return Expression(OPEN_BASIS, HEAD.encode(WEIGHTS), np.zeros(3, np.float32), 0.6)


def test_a_face_of_the_open_basis_in_flame_and_back(cache: Path, calibration: Calibration) -> None:
    calibration.save()
    face = in_basis(smile(), "flame2020")
    assert (face.basis, face.intensity) == ("flame2020", 0.6)
    assert face.coefficients.shape == (100,) and face.coefficients.dtype == np.float32
    assert face.jaw_pose.shape == (3,) and face.jaw_pose[0] > 0.03
    np.testing.assert_allclose(blendshapes_of(face), WEIGHTS, atol=0.03)
    back = in_basis(face, OPEN_BASIS)
    assert back.basis == OPEN_BASIS and not back.jaw_pose.any()
    np.testing.assert_allclose(blendshapes_of(back), WEIGHTS, atol=0.03)


def test_from_one_flame_to_another(cache: Path, calibration: Calibration) -> None:
    calibration.save()
    other = replace(calibration, basis="flame2023", coefficients=calibration.coefficients * 0.5)
    other.save()
    face = in_basis(in_basis(smile(), "flame2020"), "flame2023")
    np.testing.assert_allclose(blendshapes_of(face), WEIGHTS, atol=0.05)


def test_a_face_at_rest_is_one_in_every_basis(cache: Path, calibration: Calibration) -> None:
    calibration.save()
    rest = Expression(OPEN_BASIS, np.zeros(100, np.float32), np.zeros(3, np.float32), 0.0)
    face = in_basis(rest, "flame2020")
    assert not face.coefficients.any() and not face.jaw_pose.any()
    assert not blendshapes_of(face).any()


def test_its_own_basis_changes_nothing() -> None:
    face = smile()
    assert in_basis(face, OPEN_BASIS) is face


def test_calibrated_while_the_process_runs(cache: Path, calibration: Calibration) -> None:
    with pytest.raises(BadInput, match="contextface calibrate"):
        in_basis(smile(), "flame2020")
    calibration.save()
    assert in_basis(smile(), "flame2020").coefficients.any()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"basis": "flame1999"}, "'flame1999' is not known here: use one of open-1, flame2020"),
        ({"basis": "flame2023"}, "contextface calibrate --flame FILE --name flame2023"),
        ({"coefficients": np.zeros(50, np.float32)}, "send 100"),
        ({"coefficients": np.full(100, np.nan, np.float32)}, "coefficient 0 is nan"),
        ({"coefficients": np.full(100, 11, np.float32)}, "within 10 standard deviations"),
        ({"jaw_pose": np.zeros(4, np.float32)}, "send 3"),
        ({"jaw_pose": np.array([0, np.inf, 0], np.float32)}, "jaw angle 1 is inf"),
        ({"jaw_pose": np.array([3, 0, 0], np.float32)}, "within 1 rad"),
    ],
)
def test_what_is_no_face(
    cache: Path, calibration: Calibration, change: dict[str, object], says: str
) -> None:
    calibration.save()
    face = in_basis(smile(), "flame2020")
    with pytest.raises(BadInput, match=says):
        blendshapes_of(replace(face, **change))  # type: ignore[arg-type]


def test_a_basis_is_checked_before_it_is_needed(cache: Path, calibration: Calibration) -> None:
    check_basis(OPEN_BASIS)
    with pytest.raises(BadInput, match="contextface calibrate"):
        check_basis("flame2020")
    calibration.save()
    check_basis("flame2020")
