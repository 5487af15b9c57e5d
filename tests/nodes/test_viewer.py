"""The viewer as a process of its own, among real nodes, looked at by a real browser."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.open_head import OpenHead
from contextface_ros.msg import Blendshapes, Emotion, Expression
from contextface_ros.nodes import convert, qos
from contextface_ros.types import OPEN_BASIS
from contextface_ros.vision.sources import open_source
from tests.chromium import Tab, chromium
from tests.nodes.robot import STAND_IN, Process, Robot, running


def executable(prefix: Path, name: str) -> list[str]:
    return [sys.executable, str(prefix / "lib" / "contextface_ros" / name), "--ros-args"]


@pytest.fixture(scope="module")
def viewer(
    module_ros_domain_id: int, tmp_path_factory: pytest.TempPathFactory, prefix: Path
) -> Iterator[Process]:
    command = executable(prefix, "viewer")
    parameters = ["-p", "port:=0", "-p", "answer_timeout_s:=2.0"]
    with running([*command, *parameters], tmp_path_factory.mktemp("viewer") / "log") as process:
        yield process


@pytest.fixture(scope="module")
def robot(viewer: Process) -> Iterator[Robot]:
    with Robot() as robot:
        yield robot


def url(viewer: Process) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+/", viewer.wait_for("shown at"))
    assert found is not None
    return found[0]


def heard(
    viewer: Process, robot: Robot, wanted: Callable[[dict[str, Any], np.ndarray | None], bool]
) -> None:
    """Watch, as a browser does, until a status and the newest weights are as wanted."""

    async def watch() -> None:
        page, status, weights = url(viewer), {}, None
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{page}link", headers={"Origin": page.rstrip("/")}) as link,
        ):
            while not wanted(status, weights):
                try:
                    received = await link.receive(timeout=0.02)
                except asyncio.TimeoutError:
                    robot.spin(0.0)
                    continue
                if received.type is aiohttp.WSMsgType.TEXT:
                    content = json.loads(received.data)
                    status = content if content["type"] == "status" else status
                elif received.data[0] == 1:
                    weights = np.frombuffer(received.data, "<u2", offset=8) / 65535

    asyncio.run(asyncio.wait_for(watch(), 30))


def expression(**weights: float) -> Expression:
    return Expression(basis=OPEN_BASIS, expression=OpenHead.load().encode(weights))


def test_without_a_player_the_expression_is_shown_as_it_is(viewer: Process, robot: Robot) -> None:
    faces = robot.node.create_publisher(Expression, "expression", qos.LAST_ANSWER)
    faces.publish(expression(jawOpen=0.5))
    jaw = ARKIT_NAMES.index("jawOpen")

    def shown(status: dict[str, Any], weights: np.ndarray | None) -> bool:
        still = status.get("face") == "still" and "No face_player" in status["face_note"]
        return still and weights is not None and abs(weights[jaw] - 0.5) < 0.02

    heard(viewer, robot, shown)

    faces.publish(Expression(basis="flame2020"))
    heard(viewer, robot, lambda status, _: "flame2020" in status.get("face_note", ""))
    faces.publish(Expression(basis=OPEN_BASIS, expression=np.full(100, np.nan)))
    heard(viewer, robot, lambda status, _: "finite" in status.get("face_note", ""))
    assert len(viewer.lines("WARN")) <= 2

    poses = robot.node.create_publisher(Blendshapes, "face/blendshapes", qos.POSE)

    def moved(status: dict[str, Any], weights: np.ndarray | None) -> bool:
        poses.publish(Blendshapes(names=["mouthPucker", "jawOpen"], weights=[0.25, 0.75]))
        poses.publish(Blendshapes(names=["mouthPucker"], weights=[float("nan")]))
        poses.publish(Blendshapes(names=["noSuchUnit"], weights=[0.9]))
        robot.spin(0.01)
        moving = status.get("face") == "moving" and not status["face_note"]
        return moving and weights is not None and abs(weights[jaw] - 0.75) < 0.001

    heard(viewer, robot, moved)
    for publisher in faces, poses:
        robot.node.destroy_publisher(publisher)


def test_the_camera_is_watched_only_as_long_as_somebody_watches(
    viewer: Process, robot: Robot
) -> None:
    robot.until(lambda: robot.image.get_subscription_count() == 0, "nobody subscribes")
    with open_source("demo") as source:
        frame = source.read()
    assert frame is not None

    def seen(status: dict[str, Any], _: object) -> bool:
        stamp = robot.node.get_clock().now().to_msg()
        robot.image.publish(convert.image(frame, "rgb8", stamp, "camera"))
        robot.spin(0.02)
        return bool(status.get("camera"))

    heard(viewer, robot, seen)
    robot.until(lambda: robot.image.get_subscription_count() == 0, "nobody subscribes")


@pytest.mark.timeout(240)
def test_a_page_in_a_browser(
    viewer: Process, robot: Robot, prefix: Path, tmp_path: Path, module_ros_domain_id: int
) -> None:
    """All of it: the page, an agent and a face_player, from typed words to changed pixels."""
    with chromium() as browser:
        tab = Tab(browser, url(viewer), 880, 480)  # without a GPU, pixels are dear
        tab.wait_for_head()
        tab.ask("Is anybody there?")
        tab.wait_for_text("#trouble", "no agent to answer")
        with (
            running(executable(prefix, "face_player"), tmp_path / "player"),
            running(STAND_IN, tmp_path / "agent"),
        ):
            robot.wait_for_agent()
            tab.wait_for_text("#face", "face, moving")
            tab.wait_for_text("#agent", "agent")
            tab.page.wait_for_timeout(1000)
            tab.ask("Are you awake?")
            tab.wait_for_text("#trouble", "not active")
            robot.bring_up()

            at_rest = tab.head()
            tab.page.wait_for_timeout(400)
            idle = np.abs(tab.head() - at_rest).mean()  # it breathes, and may blink
            tab.ask("I am <b>happy</b> to be here, and I say so in " + "very " * 30 + "many words")
            tab.wait_for_text("#label", "Happy")
            tab.page.wait_for_selector("#ask:not(.busy)")
            assert tab.text("#trouble") == ""
            assert re.fullmatch(r"answered in \d+(\.\d)? m?s", tab.text("#latency"))
            assert "I am <b>happy</b>" in tab.text("#transcript li:first-child")
            assert tab.text("#bars .first").split() == ["Happy", "70", "%"]
            tab.page.wait_for_timeout(900)
            changed = np.abs(tab.head() - at_rest).mean()
            assert changed > 1.5 and changed > 2 * idle, (changed, idle)

            tab.page.check("input[value=situation]", force=True)
            tab.page.check("input[value=listener]", force=True)
            tab.ask("Something sad happens.")
            tab.wait_for_text("#label", "Sad")
            assert "listener's face" in tab.text("#transcript li:first-child")

            tab.ask("think 9")
            tab.page.wait_for_selector("#ask.busy")
            tab.wait_for_text("#agent", "agent, thinking")
            tab.wait_for_text("#trouble", "has not answered within 2 s")

        tab.page.close()
        phone = Tab(browser, url(viewer), 360, 740)
        phone.wait_for_head()
        phone.wait_for_text("#transcript", "Something sad happens.")
        assert phone.overflow() <= 0
        assert (tab.faults, phone.faults) == ([], [])


def test_the_face_of_an_agent_that_spoke_before_is_known(viewer: Process, robot: Robot) -> None:
    feelings = robot.node.create_publisher(Emotion, "emotion", qos.LAST_ANSWER)
    said = '<script>alert("1")</script> "quoted" 😀'
    feelings.publish(Emotion(label="Fear", quote=said))
    with chromium() as browser:
        tab = Tab(browser, url(viewer))
        tab.wait_for_text("#transcript", said)
        assert tab.text("#latency") == ""  # its stamp says nothing
        assert tab.faults == []


def test_a_port_in_use_is_told_in_one_sentence(
    module_ros_domain_id: int, prefix: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = [str(prefix / "bin" / "contextface"), "viewer", "--port", str(port)]
        with running([sys.executable, *program], tmp_path / "log") as second:
            assert second.popen.wait(30) == 2
            assert len(second.lines(f"cannot start: no page at 127.0.0.1:{port}")) == 1
            assert "Traceback" not in second.log


def test_it_ends_cleanly_while_browsers_look(viewer: Process, robot: Robot) -> None:
    async def look() -> None:
        page = url(viewer)
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{page}link", headers={"Origin": page.rstrip("/")}),
        ):
            code, seconds = await asyncio.to_thread(viewer.end)
            assert (code, viewer.lines("Traceback")) == (0, [])
            assert seconds < 2.0

    asyncio.run(look())
