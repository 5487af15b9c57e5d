from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from contextface_ros.errors import BadInput
from contextface_ros.face import makehuman
from contextface_ros.face.blendshapes import (
    ACTION_UNITS,
    ARKIT_NAMES,
    AU_TO_ARKIT,
    action_units_to_blendshapes,
    blendshapes_to_action_units,
)

strengths = arrays(np.float64, len(ACTION_UNITS), elements=st.floats(0, 1))


def test_names_are_those_of_arkit() -> None:
    units = makehuman.find_files() / "data/faceunits01/targets/faceunits"
    assert len(ARKIT_NAMES) == 52
    assert set(ARKIT_NAMES) == {file.stem for file in units.glob("*.target")}
    assert ARKIT_NAMES[0] == "eyeBlinkLeft" and ARKIT_NAMES[-1] == "tongueOut"


def test_every_action_unit_has_a_row_of_known_shapes() -> None:
    assert tuple(AU_TO_ARKIT) == ACTION_UNITS
    assert len(set(ACTION_UNITS)) == 23
    for row in AU_TO_ARKIT.values():
        assert row and set(row) <= set(ARKIT_NAMES)
        assert all(0 < strength <= 1 for strength in row.values())


@given(strengths)
def test_both_sides_of_the_face_move_alike(units: np.ndarray) -> None:
    weights = dict(zip(ARKIT_NAMES, action_units_to_blendshapes(units), strict=True))
    for name, weight in weights.items():
        if name.endswith("Left") and name not in ("jawLeft", "mouthLeft"):
            assert weight == weights[name.replace("Left", "Right")]


def test_a_smile_and_a_shout_by_name() -> None:
    smile = action_units_to_blendshapes({"AU12": 0.6})
    assert smile.dtype == np.float32 and smile.shape == (52,)
    assert smile[ARKIT_NAMES.index("mouthSmileLeft")] == np.float32(0.6)
    assert np.count_nonzero(smile) == 2
    # The two units that open the jaw add up, and end at 1.
    shout = action_units_to_blendshapes({"AU26": 1.0, "AU27": 0.9})
    assert shout[ARKIT_NAMES.index("jawOpen")] == 1.0


@given(strengths)
def test_the_units_found_again_move_the_same_shapes(units: np.ndarray) -> None:
    weights = action_units_to_blendshapes(units)
    found = blendshapes_to_action_units(weights)
    assert found.min() >= 0 and found.max() <= 1
    assert np.abs(action_units_to_blendshapes(found) - weights).max() < 0.01


@pytest.mark.parametrize("unit", [unit for unit in ACTION_UNITS if unit != "AU27"])
def test_a_unit_alone_is_found_again(unit: str) -> None:
    found = blendshapes_to_action_units(action_units_to_blendshapes({unit: 0.5}))
    assert found[ACTION_UNITS.index(unit)] == pytest.approx(0.5, abs=0.03)
    assert np.delete(found, ACTION_UNITS.index(unit)).max() < 0.04


def test_a_jaw_wider_than_it_drops_is_a_mouth_stretch() -> None:
    found = blendshapes_to_action_units({"jawOpen": 0.9})
    assert found[ACTION_UNITS.index("AU26")] == pytest.approx(1.0, abs=0.01)
    assert found[ACTION_UNITS.index("AU27")] == pytest.approx(0.4, abs=0.01)


def test_many_faces_at_once_are_the_faces_one_by_one() -> None:
    units = np.random.default_rng(1).random((2, 5, 23))
    weights = action_units_to_blendshapes(units)
    found = blendshapes_to_action_units(weights)
    assert weights.shape == (2, 5, 52) and found.shape == (2, 5, 23)
    assert (weights[1, 2] == action_units_to_blendshapes(units[1, 2])).all()
    assert (found[1, 2] == blendshapes_to_action_units(weights[1, 2])).all()


@pytest.mark.parametrize(
    ("units", "says"),
    [
        ({"AU3": 0.5}, "unknown action unit 'AU3'"),
        ({"AU12": 1.01}, "action units go from 0 .* not 1.01"),
        ({"AU12": -0.1}, "not -0.1"),
        ({"AU12": float("nan")}, "not nan"),
        (np.zeros(52), r"\(52,\)"),
        (0.5, r"\(\)"),
    ],
)
def test_what_is_no_face_is_refused(units: object, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        action_units_to_blendshapes(units)  # type: ignore[arg-type]
