"""robot_face as a process of its own, over DDS."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from contextface_ros.msg import Blendshapes
from contextface_ros.nodes import qos
from contextface_ros.robots.description import read_robot
from tests.nodes.robot import Process, Robot, running

ROBOTS = Path(__file__).resolve().parents[2] / "config" / "robots"


def command(prefix: Path, file: Path) -> list[str]:
    program = prefix / "lib" / "contextface_ros" / "robot_face"
    arguments = ["--ros-args", "-p", f"robot:='{file}'", "-p", "hold_s:=0.5"]
    return [sys.executable, str(program), *arguments]


@pytest.fixture(scope="module", params=["servo_head", "led_face"])
def head(
    request: pytest.FixtureRequest,
    module_ros_domain_id: int,
    tmp_path_factory: pytest.TempPathFactory,
    prefix: Path,
) -> Iterator[tuple[str, Process]]:
    log = tmp_path_factory.mktemp("robot") / "log"
    with running(command(prefix, ROBOTS / f"{request.param}.yaml"), log) as process:
        yield request.param, process


@pytest.fixture(scope="module")
def robot(head: tuple[str, Process]) -> Iterator[Robot]:
    with Robot() as robot:
        yield robot


def test_commands_follow_the_face_and_stay_within_limits(
    head: tuple[str, Process], robot: Robot
) -> None:
    name, process = head
    description = read_robot(ROBOTS / f"{name}.yaml")
    process.wait_for("channels on")
    received: list[list[float]] = []
    if name == "servo_head":

        def trajectory(message: JointTrajectory) -> None:
            assert message.joint_names == [channel.name for channel in description.channels]
            received.append(list(message.points[0].positions))

        robot.node.create_subscription(JointTrajectory, description.topic, trajectory, qos.POSE)
    else:
        robot.node.create_subscription(
            Float64MultiArray, description.topic, lambda m: received.append(list(m.data)), qos.POSE
        )
    poses = robot.node.create_publisher(Blendshapes, "face/blendshapes", qos.POSE)
    robot.until(
        lambda: len(received) > 5 and poses.get_subscription_count() > 0, "commands at rest"
    )
    neutral = [channel.neutral for channel in description.channels]
    assert received[-1] == pytest.approx(neutral)

    jaw = next(k for k, c in enumerate(description.channels) if "jawOpen" in c.weights)
    names = ["jawOpen", "mouthSmileLeft", "mouthSmileRight", "browInnerUp"]
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        poses.publish(Blendshapes(names=names, weights=[1.0, 1.0, 1.0, 1.0]))
        # What is wrong is left out, and breaks nothing.
        poses.publish(Blendshapes(names=["jawOpen"], weights=[math.nan]))
        poses.publish(Blendshapes(names=["jawOpen", "noSuchUnit"], weights=[0.0, 1.0]))
        poses.publish(Blendshapes(names=["jawOpen"], weights=[]))
        robot.spin(0.005)
    opened = max(row[jaw] for row in received)
    assert opened == pytest.approx(description.channels[jaw].upper, abs=0.02)
    for row in received:
        for channel, value in zip(description.channels, row, strict=True):
            assert channel.lower <= value <= channel.upper

    received.clear()
    robot.until(lambda: bool(received) and received[-1] == pytest.approx(neutral), "neutral")
    assert process.log.count("is left out") == 1


def test_a_missing_or_wrong_description_ends_in_a_sentence(
    tmp_path: Path, prefix: Path, module_ros_domain_id: int
) -> None:
    crossed = (
        (ROBOTS / "servo_head.yaml").read_text().replace("lower: 0.0, upper", "lower: 9, upper")
    )
    (tmp_path / "crossed.yaml").write_text(crossed)
    for file, sentence in (
        (tmp_path / "none.yaml", "cannot be read"),
        (tmp_path / "crossed.yaml", "its limits are crossed"),
    ):
        with running(command(prefix, file), tmp_path / "log") as process:
            process.wait_for(sentence)
            assert process.popen.wait(20) == 2
            assert "Traceback" not in process.log
