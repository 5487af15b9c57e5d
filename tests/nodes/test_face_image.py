"""face_image as a process of its own, over DDS."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from sensor_msgs.msg import CompressedImage, Image

from contextface_ros.msg import Blendshapes
from contextface_ros.nodes import qos
from tests.nodes.robot import Process, Robot, running

SIZE = 160
SMILE = {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0, "jawOpen": 0.4, "browInnerUp": 1.0}


def command(prefix: Path, **parameters: object) -> list[str]:
    program = prefix / "lib" / "contextface_ros" / "face_image"
    given = {"width": SIZE, "height": SIZE, "hold_s": 0.5} | parameters
    pairs = [pair for name, value in given.items() for pair in ("-p", f"{name}:={value}")]
    return [sys.executable, str(program), "--ros-args", *pairs]


@pytest.fixture(scope="module", params=["head", "drawn"])
def screen(
    request: pytest.FixtureRequest,
    module_ros_domain_id: int,
    tmp_path_factory: pytest.TempPathFactory,
    prefix: Path,
) -> Iterator[Process]:
    log = tmp_path_factory.mktemp("screen") / "log"
    with running(command(prefix, face=request.param), log) as process:
        process.wait_for("pixels, 30 times a second on /face/image")
        yield process


@pytest.fixture
def robot(screen: Process) -> Iterator[Robot]:
    with Robot() as robot:
        yield robot


def pixels(message: Image) -> np.ndarray:
    return np.asarray(message.data, np.uint8).reshape(message.height, message.width, 3).astype(int)


def test_the_picture_follows_the_face_and_fades_when_nobody_plays_it(
    screen: Process, robot: Robot
) -> None:
    pictures: list[Image] = []
    robot.subscribe(Image, "face/image", qos.NEWEST_FRAME, pictures)
    poses = robot.node.create_publisher(Blendshapes, "face/blendshapes", qos.POSE)
    robot.until(lambda: pictures and poses.get_subscription_count(), "a picture at rest")
    rest = pictures[-1]
    assert (rest.height, rest.width, rest.encoding) == (SIZE, SIZE, "rgb8")
    assert rest.header.frame_id == "face" and rest.header.stamp.sec > 0
    assert pixels(rest).std() > 10  # something is drawn

    sent = itertools.cycle(
        [
            Blendshapes(names=list(SMILE), weights=list(SMILE.values())),
            # What is wrong is left out, and breaks nothing.
            Blendshapes(names=["jawOpen"], weights=[math.inf]),
            Blendshapes(names=["noSuchUnit"], weights=[1.0]),
        ]
    )

    def smiles() -> bool:
        poses.publish(next(sent))  # one at a time: only the newest of a moment is received
        change = np.abs(pixels(pictures[-1]) - pixels(rest)).max(axis=2)
        return bool((change > 40).mean() > 0.005)

    robot.until(lambda: smiles() and screen.lines("is left out"), "a smile, and a warning")

    robot.until(
        lambda: np.abs(pixels(pictures[-1]) - pixels(rest)).max() == 0, "the face at rest again"
    )
    assert len(screen.lines("is left out")) == 1


def test_nothing_is_drawn_while_nobody_looks(screen: Process, robot: Robot) -> None:
    process = psutil.Process(screen.popen.pid)
    pictures: list[Image] = []
    robot.spin(0.5)

    def used_s(seconds: float) -> float:
        before = sum(process.cpu_times()[:2])
        robot.spin(seconds)
        return float(sum(process.cpu_times()[:2]) - before)

    unseen_s = used_s(1.0)
    looking = robot.subscribe(Image, "face/image", qos.NEWEST_FRAME, pictures)
    robot.until(lambda: pictures, "a picture")
    assert unseen_s < 0.5 * used_s(1.0)
    robot.node.destroy_subscription(looking)


def test_screens_that_want_them_get_jpegs(ros_domain_id: int, tmp_path: Path, prefix: Path) -> None:
    arguments = command(prefix, face="drawn", theme="night", encoding="jpeg", width=64)
    with running(arguments, tmp_path / "log") as screen, Robot() as robot:
        pictures: list[CompressedImage] = []
        robot.subscribe(CompressedImage, "face/image", qos.NEWEST_FRAME, pictures)
        robot.until(lambda: pictures, "a picture")
        assert pictures[0].format == "jpeg"
        data = np.frombuffer(pictures[0].data, np.uint8)
        assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape == (SIZE, 64, 3)
        code, seconds = screen.end()
        assert code == 0 and seconds < 2.0


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"face": "mask"}, "'face' must be one of head, drawn"),
        ({"width": 9}, "width"),
        ({"basis": "flame2020"}, "contextface calibrate"),
    ],
)
def test_what_cannot_be_drawn_ends_it_with_one_sentence(
    ros_domain_id: int,
    tmp_path: Path,
    prefix: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: dict[str, object],
    complaint: str,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # no calibration of who runs the tests
    with running(command(prefix, **wrong), tmp_path / "log") as screen:
        assert screen.popen.wait(20) == 2
        (line,) = screen.lines("cannot start")
        assert complaint in line
        assert "Traceback" not in screen.log
