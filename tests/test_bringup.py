"""What is started, and that it stays: `contextface up`, and the launch file where launch is."""

from __future__ import annotations

import importlib.util
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contextface_ros import bringup
from contextface_ros.bringup import Options
from contextface_ros.errors import BadInput
from tests.nodes.robot import Process, Robot, running

RESPAWN_S = 5.0
"""Time after which an agent that was killed is active again."""


def test_agent_and_face_are_started_without_further_wishes() -> None:
    agent, face = bringup.describe(Options())
    assert (agent.name, agent.path, agent.managed) == ("agent", "/agent", True)
    assert (face.name, face.path, face.managed) == ("face_player", "/face_player", False)
    assert "-p" not in agent.ros_arguments, "nothing overrides the params file"


def test_the_face_can_be_left_out() -> None:
    (agent,) = bringup.describe(Options(face=False))
    assert agent.name == "agent"


def test_what_is_asked_for_is_started_and_connected() -> None:
    options = Options(
        model="7b",
        camera="0",
        robot="/my_head.yaml",
        screen="drawn",
        vmc="studio.local:39540",
        viewer=True,
        namespace="robot1",
        params_file="/my.yaml",
        image="/eye/image",
    )
    specs = bringup.describe(options)
    names = ["agent", "face_player", "camera", "robot_face", "face_image", "vmc", "viewer"]
    assert [spec.path for spec in specs] == [f"/robot1/{name}" for name in names]
    assert [spec.managed for spec in specs] == [True, *[False] * 6]
    agent, _, camera, head, screen, avatar, _ = specs
    for spec in specs:
        text = shlex.join(spec.ros_arguments)
        assert "__ns:=/robot1" in text
        assert "image:=/eye/image" in text
        assert "--params-file /my.yaml" in text
    assert 'bundle:="7b"' in agent.ros_arguments
    assert 'robot:="/my_head.yaml"' in head.ros_arguments
    assert 'face:="drawn"' in screen.ros_arguments
    assert {'host:="studio.local"', "port:=39540"} <= set(avatar.ros_arguments)
    assert 'source:="0"' in camera.ros_arguments  # a text, though it looks like a number


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("127.0.0.1", ['host:="127.0.0.1"']),
        ("studio:1", ['host:="studio"', "port:=1"]),
        ("[::1]:65535", ['host:="::1"', "port:=65535"]),
    ],
)
def test_an_avatar_is_found_by_host_and_port(text: str, arguments: list[str]) -> None:
    avatar = bringup.describe(Options(vmc=text))[-1]
    assert [part for part in avatar.ros_arguments if part.startswith(("host", "port"))] == arguments


@pytest.mark.parametrize(
    "text", [":39539", "studio:", "studio:0", "studio:65536", "studio:port", "::1:39539", "a:1:2"]
)
def test_an_avatar_without_a_host_or_with_a_wrong_port_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="write HOST:PORT"):
        bringup.describe(Options(vmc=text))


@pytest.mark.parametrize(("text", "respawn"), [("true", True), ("False", False)])
def test_options_are_read_from_a_command_line(text: str, respawn: bool) -> None:
    assert Options.of({"model": "nano", "respawn": text}) == Options("nano", respawn=respawn)


@given(st.text().filter(lambda text: text.lower() not in ("true", "false")))
def test_a_switch_is_true_or_false(text: str) -> None:
    with pytest.raises(BadInput, match="write true or false"):
        Options.of({"respawn": text})


def up(prefix: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(prefix / "bin" / "contextface"), "up", *arguments]


def launch(_: Path, *arguments: str) -> list[str]:
    """The true `ros2 launch contextface_ros agent.launch.py`."""
    for module in "launch_ros", "ros2cli", "ros2launch":
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: it comes with a ROS 2 install only")
    values = [a.lstrip("-").replace("=", ":=", 1) if "=" in a else a for a in arguments]
    command = "import sys; from ros2cli.cli import main; sys.exit(main())"
    return [
        *(sys.executable, "-u", "-c", command),
        *("launch", "contextface_ros", "agent.launch.py", *values),
    ]


Start = Callable[..., list[str]]
both = pytest.mark.parametrize("start", [up, launch])


def agents(process: Process) -> list[psutil.Process]:
    """The agents among the children."""
    children = psutil.Process(process.popen.pid).children(recursive=True)
    return [c for c in children if "agent" in " ".join(c.cmdline()).partition("--ros-args")[0]]


def wait_for_activation(process: Process, times: int) -> None:
    deadline = time.monotonic() + 60
    while len(process.lines("/agent is active")) < times:
        assert process.popen.poll() is None, process.log
        assert time.monotonic() < deadline, process.log
        time.sleep(0.02)


@both
def test_an_agent_that_is_killed_is_active_again(
    ros_domain_id: int, prefix: Path, tmp_path: Path, start: Start
) -> None:
    with running(start(prefix), tmp_path / "log") as process, Robot() as robot:
        wait_for_activation(process, 1)
        robot.wait_for_ears()
        robot.answer_to("Good morning.")
        took_s = []
        for times in 2, 3:
            (agent,) = agents(process)
            agent.send_signal(signal.SIGKILL)
            killed = time.monotonic()
            wait_for_activation(process, times)
            took_s.append(time.monotonic() - killed)
        assert min(took_s) < RESPAWN_S  # of two, since other work may hold one of them up
        wait_for_answer(robot, "Still here?")
        (agent,) = agents(process)
        code, seconds = process.end()
        assert code == 0, process.log
        assert seconds < 4.0
        assert not agent.is_running()


def wait_for_answer(robot: Robot, text: str) -> None:
    """Say it until it is heard: the graph holds the killed one, whose ears look as good."""

    def answered() -> bool:
        robot.say(text)
        robot.spin(0.2)
        return any(e.quote == text for e in robot.emotions)

    robot.until(answered, "an answer")


@both
def test_it_starts_in_a_namespace_with_other_topics_and_a_camera(
    ros_domain_id: int, prefix: Path, tmp_path: Path, start: Start
) -> None:
    from contextface_ros.vision.sources import DEMO_FOLDER

    arguments = ["--namespace=robot7", "--speech=/ears/speech", f"--camera={DEMO_FOLDER}"]
    with running(start(prefix, *arguments), tmp_path / "log") as process:
        process.wait_for("/robot7/agent is active")
        with Robot("/robot7/agent", camera=None) as robot:
            robot.until(lambda: robot.node.count_subscribers("/ears/speech"), "its ears")
            robot.until(lambda: robot.diagnosis()["frame age (s)"] != "-", "frames")
        assert process.end()[0] == 0


@both
def test_an_agent_that_refuses_its_bundle_stays_and_says_why(
    ros_domain_id: int, prefix: Path, tmp_path: Path, start: Start
) -> None:
    with running(start(prefix, f"--model={tmp_path}"), tmp_path / "log") as process:
        process.wait_for("/agent refused to configure")
        assert len(process.lines("Cannot configure: ")) == 1
        assert len(agents(process)) == 1
        assert process.end()[0] == 0


def test_up_does_not_repeat_what_cannot_start(
    ros_domain_id: int, prefix: Path, tmp_path: Path
) -> None:
    with running(up(prefix, "--no-face", "--params-file=/none.yaml"), tmp_path / "log") as process:
        assert process.popen.wait(30) == bringup.CANNOT_START
        assert len(process.lines("The node cannot start")) == 1


def test_up_ends_with_its_agent_if_it_is_not_to_be_respawned(
    ros_domain_id: int, prefix: Path, tmp_path: Path
) -> None:
    with running(up(prefix, "--no-face", "--no-respawn"), tmp_path / "log") as process:
        wait_for_activation(process, 1)
        (agent,) = agents(process)
        agent.send_signal(signal.SIGKILL)
        assert process.popen.wait(30) == signal.SIGKILL


def test_the_launch_file_has_an_argument_for_every_option(
    ros_domain_id: int, prefix: Path, tmp_path: Path
) -> None:
    with running(launch(prefix, "--show-args"), tmp_path / "log") as process:
        assert process.popen.wait(60) == 0, process.log
        for option in fields(Options):
            assert f"'{option.name}':" in process.log
            assert option.metadata["description"] in process.log


def test_a_terminal_that_closes_takes_everything_with_it(
    ros_domain_id: int, prefix: Path, tmp_path: Path
) -> None:
    with running(up(prefix), tmp_path / "log") as process:
        wait_for_activation(process, 1)
        (agent,) = agents(process)
        os.kill(process.popen.pid, signal.SIGHUP)
        process.popen.wait(20)
        agent.wait(20)
