"""The agent and the face_player in a basis of FLAME, calibrated on a head made here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from lifecycle_msgs.msg import State, Transition

from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.calibration import Calibration, calibrate
from contextface_ros.face.flame import FlameModel
from contextface_ros.face.open_head import OpenHead
from contextface_ros.interpreter import python_command
from contextface_ros.msg import Blendshapes, Expression
from contextface_ros.nodes import qos
from tests.flame_like import flame_like
from tests.nodes.robot import STAND_IN, Process, Robot, running

HEAD = OpenHead.load()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def calibration(cache: Path) -> Calibration:
    flame = FlameModel._from_fields(flame_like(HEAD).fields)
    found = calibrate(HEAD, flame, basis="flame2023", source="ab" * 32, flame_file="flame2023.pkl")
    found.save()
    return found


def test_the_face_player_shows_a_face_of_flame(
    module_ros_domain_id: int, calibration: Calibration, tmp_path: Path
) -> None:
    """Before there is an agent, whose last answer would be shown too."""
    weights = np.zeros(len(ARKIT_NAMES))
    smile = [ARKIT_NAMES.index(f"mouthSmile{side}") for side in ("Left", "Right")]
    weights[smile] = 0.8
    coefficients, jaw = calibration.encode(weights)
    poses: list[Blendshapes] = []
    player = python_command("contextface_ros.nodes.face_player")
    with running(player, tmp_path / "log") as process, Robot() as robot:
        robot.subscribe(Blendshapes, "face/blendshapes", qos.POSE, poses)
        publisher = robot.node.create_publisher(Expression, "expression", qos.LAST_ANSWER)
        robot.until(publisher.get_subscription_count, "the face_player")
        robot.until(lambda: poses, "poses")

        def smiles() -> bool:
            last = dict(zip(poses[-1].names, poses[-1].weights, strict=True))
            return min(last[ARKIT_NAMES[k]] for k in smile) > 0.6

        publisher.publish(Expression(basis="flame2020", expression=coefficients, jaw_pose=jaw))
        process.wait_for("contextface calibrate --flame FILE --name flame2020")
        assert not smiles()
        publisher.publish(Expression(basis="flame2023", expression=coefficients, jaw_pose=jaw))
        robot.until(smiles, "a smile")


@pytest.fixture(scope="module")
def agent(
    module_ros_domain_id: int, calibration: Calibration, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    log = tmp_path_factory.mktemp("agent") / "log"
    with running([*STAND_IN, "--ros-args", "-p", "basis:=flame2023"], log) as process:
        yield process


def test_the_agent_answers_in_flame(agent: Process, calibration: Calibration) -> None:
    with Robot() as robot:
        robot.bring_up()
        text = "what a happy day"
        face = robot.expression_of(robot.answer_to(text))
    assert face.basis == "flame2023"
    # What the stand-in answers in the open basis, by way of its weights.
    weights = HEAD.decode(np.full(100, len(text) / 100))
    coefficients, jaw = calibration.encode(weights)
    np.testing.assert_allclose(face.expression, coefficients, atol=1e-5)
    np.testing.assert_allclose(face.jaw_pose, jaw, atol=1e-6)
    assert np.abs(coefficients).max() > 0.01


def test_without_a_calibration_the_agent_says_the_command(
    agent: Process, calibration: Calibration
) -> None:
    """In another process of the same machine a basis that was not calibrated is refused."""
    log = calibration.path.parent / "log"
    arguments = ["--ros-args", "-r", "__ns:=/other", "-p", "basis:=flame2020"]
    with running([*STAND_IN, *arguments], log) as process, Robot("/other/agent") as robot:
        robot.wait_for_agent()
        assert not robot.change(Transition.TRANSITION_CONFIGURE)
        assert robot.state() == State.PRIMARY_STATE_UNCONFIGURED
        process.wait_for("contextface calibrate --flame FILE --name flame2020")
