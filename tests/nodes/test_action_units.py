"""The face by the codes of FACS, and as the real message where hri_msgs is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rclpy.serialization import deserialize_message, serialize_message

from contextface_ros.face.blendshapes import (
    ACTION_UNITS,
    ARKIT_NAMES,
    action_units_to_blendshapes,
)
from contextface_ros.face.open_head import OpenHead
from contextface_ros.face.regions import Region, units_of
from contextface_ros.msg import Expression
from contextface_ros.nodes import qos
from contextface_ros.nodes.action_units import by_code
from contextface_ros.types import OPEN_BASIS
from tests.nodes.robot import Robot, running

ALL = np.ones(len(ARKIT_NAMES), dtype=bool)
CODES = {int(unit[2:]) for unit in ACTION_UNITS}
faces = arrays(np.float32, len(ARKIT_NAMES), elements=st.floats(0, 1, width=32))


def test_a_smile_is_unit_12_and_a_frown_unit_4() -> None:
    intensity, confidence = by_code(action_units_to_blendshapes({"AU12": 0.8, "AU4": 0.3}), ALL)
    assert intensity.shape == confidence.shape == (99,)
    assert intensity[12] == pytest.approx(0.8, abs=0.02)
    assert intensity[4] == pytest.approx(0.3, abs=0.02)
    assert np.delete(intensity, [4, 12]).max() < 0.02
    assert set(np.flatnonzero(confidence)) == CODES


@given(faces, st.frozensets(st.sampled_from(Region)))
def test_what_is_not_known_has_no_confidence(pose: np.ndarray, lent: frozenset[Region]) -> None:
    played = ~units_of(lent)
    intensity, confidence = by_code(pose, played)
    assert intensity.dtype == confidence.dtype == np.float32
    assert 0 <= intensity.min() and intensity.max() <= 1
    assert set(np.unique(confidence)) <= {0, 1}
    assert not intensity[confidence == 0].any()
    assert set(np.flatnonzero(confidence)) <= CODES
    if Region.MOUTH in lent:
        assert confidence[12] == confidence[25] == 0
    if not lent:
        assert set(np.flatnonzero(confidence)) == CODES


@pytest.fixture(scope="module")
def facs() -> Any:
    messages = pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not installed: optional")
    return messages.FacialActionUnits


def test_the_message_has_a_place_for_every_code(facs: Any) -> None:
    intensity, confidence = by_code(action_units_to_blendshapes({"AU12": 0.8}), ALL)
    sent = facs(intensity=intensity, confidence=confidence)
    got = deserialize_message(serialize_message(sent), facs)
    np.testing.assert_array_equal(got.intensity, intensity)
    np.testing.assert_array_equal(got.confidence, confidence)
    names = {"LIP_CORNER_PULLER": 12, "BROW_LOWERER": 4, "LIPS_PART": 25, "EYES_CLOSED": 43}
    assert {name: getattr(facs, name) for name in names} == names


def test_the_face_that_is_shown_is_heard_as_action_units(
    facs: Any, ros_domain_id: int, prefix: Path, tmp_path: Path
) -> None:
    program = prefix / "lib" / "contextface_ros" / "face_player"
    idle = ["--ros-args", "-p", "idle:=false"]
    with running([sys.executable, str(program), *idle], tmp_path / "log") as process, Robot() as r:
        heard: list[Any] = []
        r.subscribe(facs, "robot_face/facs", qos.POSE, heard)
        r.until(lambda: len(heard) > 3, "action units")
        assert heard[-1].intensity.max() < 0.05
        smile = OpenHead.load().encode(action_units_to_blendshapes({"AU12": 0.9, "AU6": 0.6}))
        expression = Expression(basis=OPEN_BASIS, expression=smile, intensity=0.8)
        wishes = r.node.create_publisher(Expression, "expression", qos.LAST_ANSWER)
        wishes.publish(expression)
        r.until(lambda: heard[-1].intensity[facs.LIP_CORNER_PULLER] > 0.5, "a smile")
        assert heard[-1].confidence[facs.LIP_CORNER_PULLER] == 1
        assert heard[-1].header.stamp.sec > 0
        heard.clear()
        r.spin(2.0)
        assert 30 < len(heard) <= 70
        assert process.end()[0] == 0
