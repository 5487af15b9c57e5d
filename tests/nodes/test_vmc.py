"""vmc as a process of its own: poses over DDS in, python-osc's own server at the other end."""

from __future__ import annotations

import math
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import BlockingOSCUDPServer

from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.prototypes import prototype_faces
from contextface_ros.msg import Blendshapes
from contextface_ros.nodes import qos
from tests.nodes.robot import Process, Robot, running


class Avatar:
    """Keeps what it is told, and shows it at each Apply."""

    def __init__(self, port: int = 0) -> None:
        self.shown: list[dict[str, float]] = []
        self.loaded: set[int] = set()
        self._told: dict[str, float] = {}
        dispatcher = Dispatcher()
        dispatcher.map("/VMC/Ext/OK", lambda _, loaded: self.loaded.add(loaded))
        dispatcher.map("/VMC/Ext/Blend/Val", self._tell)
        dispatcher.map("/VMC/Ext/Blend/Apply", lambda _: self._show())
        self._server = BlockingOSCUDPServer(("127.0.0.1", port), dispatcher)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def _tell(self, _: str, name: str, value: float) -> None:
        self._told[name] = value

    def _show(self) -> None:
        self.shown.append(self._told)
        self._told = {}

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def avatar_at(port: int = 0) -> Iterator[Avatar]:
    avatar = Avatar(port)
    try:
        yield avatar
    finally:
        avatar.close()


def command(prefix: Path, **parameters: object) -> list[str]:
    program = prefix / "lib" / "contextface_ros" / "vmc"
    given = [part for name, v in parameters.items() for part in ("-p", f"{name}:={v}")]
    return [sys.executable, str(program), "--ros-args", *given]


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as place:
        place.bind(("127.0.0.1", 0))
        port: int = place.getsockname()[1]
        return port


def test_an_avatar_follows_the_face_and_comes_to_rest(
    ros_domain_id: int, prefix: Path, tmp_path: Path
) -> None:
    with avatar_at() as avatar, Robot() as robot:
        started = command(prefix, port=avatar.port, rate_hz=50.0, hold_s=0.3)
        with running(started, tmp_path / "log") as process:
            poses = robot.node.create_publisher(Blendshapes, "face/blendshapes", qos.POSE)
            robot.until(lambda: poses.get_subscription_count() and avatar.shown, "a face at rest")
            assert avatar.loaded == {1}
            assert len(avatar.shown[-1]) == 52 and not any(avatar.shown[-1].values())

            def smiles() -> bool:
                poses.publish(Blendshapes(names=["mouthSmileLeft", "jawOpen"], weights=[0.7, 1.5]))
                # What is wrong is left out, and breaks nothing.
                poses.publish(Blendshapes(names=["mouthSmileLeft"], weights=[math.nan]))
                poses.publish(Blendshapes(names=["noSuchUnit"], weights=[0.5]))
                poses.publish(Blendshapes(names=["jawOpen"], weights=[]))
                shown = avatar.shown[-1]
                return bool(shown) and set(shown) == {"MouthSmileLeft", "JawOpen"}

            # Units that are not named are another animator's: nothing is said about them.
            robot.until(smiles, "a smile")
            assert avatar.shown[-1] == pytest.approx({"MouthSmileLeft": 0.7, "JawOpen": 1.0})
            assert process.log.count("is left out") == 1

            robot.until(lambda: not any(avatar.shown[-1].values()), "rest after silence")
            poses.publish(Blendshapes(names=["jawOpen"], weights=[1.0]))
            robot.until(lambda: avatar.shown[-1] == {"JawOpen": 1.0}, "an open mouth")
            code, _ = process.end()
            assert code == 0, process.log
            robot.until(lambda: avatar.shown[-1] == {"JawOpen": 0.0}, "rest at the end")
            assert process.log.count("WARN") == 1


@pytest.mark.parametrize(("names", "joy"), [("vrm0", "Joy"), ("vrm1", "happy")])
def test_presets_are_sent_where_they_are_asked_for_and_at_no_higher_rate(
    ros_domain_id: int, prefix: Path, tmp_path: Path, names: str, joy: str
) -> None:
    happy = Blendshapes(names=list(ARKIT_NAMES), weights=prototype_faces()["Happy"])
    with (
        avatar_at() as avatar,
        Robot() as robot,
        running(
            command(prefix, port=avatar.port, names=names, rate_hz=20.0), tmp_path / "log"
        ) as process,
    ):
        poses = robot.node.create_publisher(Blendshapes, "face/blendshapes", qos.POSE)
        robot.until(poses.get_subscription_count, "the node")

        def laughs() -> bool:
            poses.publish(happy)
            return bool(avatar.shown) and avatar.shown[-1].get(joy, 0.0) > 0.8

        robot.until(laughs, "joy")
        avatar.shown.clear()
        start_s = time.monotonic()
        for _ in range(300):
            poses.publish(happy)
            robot.spin(0.003)
        most = 20.0 * (time.monotonic() - start_s)
        assert 1 <= len(avatar.shown) <= most + 3
        assert process.end()[0] == 0


def test_an_application_that_starts_late_is_found_after_one_warning(
    ros_domain_id: int, prefix: Path, tmp_path: Path
) -> None:
    port = free_port()
    with running(command(prefix, port=port, rate_hz=60.0), tmp_path / "log") as process:
        process.wait_for("nobody listens there")
        with avatar_at(port) as avatar, Robot() as robot:
            robot.until(lambda: len(avatar.shown) > 5, "poses")
        with Robot() as robot:
            robot.spin(0.3)
        assert len(process.lines("is not reached")) == 1
        assert process.end()[0] == 0


def test_a_host_that_is_not_there_is_named_once_and_the_node_lives_on(
    ros_domain_id: int, prefix: Path, tmp_path: Path
) -> None:
    started = command(prefix, host="no-such-host.invalid")
    with running(started, tmp_path / "log") as process:
        assert "no-such-host.invalid" in process.wait_for("is not reached")
        with Robot() as robot:
            robot.spin(0.5)
        assert len(process.lines("is not reached")) == 1
        assert process.end()[0] == 0
        assert "Traceback" not in process.log


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"port": 0}, "'port' must be an integer from 1 to 65535"),
        ({"port": 70000}, "'port' must be an integer from 1 to 65535"),
        ({"names": "vrm2"}, "'names' must be one of perfect_sync, vrm0, vrm1"),
        ({"host": "''"}, "no host is given"),
    ],
)
def test_what_cannot_be_meant_ends_in_a_sentence(
    ros_domain_id: int,
    prefix: Path,
    tmp_path: Path,
    parameters: dict[str, object],
    sentence: str,
) -> None:
    process = Process(command(prefix, **parameters), tmp_path / "log")
    assert process.popen.wait(20) == 2
    assert sentence in process.log
    assert "Traceback" not in process.log
