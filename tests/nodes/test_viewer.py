"""The viewer as a process of its own, looked at as a browser does."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import numpy as np
import pytest

from contextface_ros.msg import Emotion, Expression
from contextface_ros.nodes import qos
from contextface_ros.types import UInt8Array
from contextface_ros.vision.image import decode_compressed
from tests.nodes.robot import Process, Robot, running

pytest.importorskip("pyvista", reason="pictures of the face need the extra [render]")


@pytest.fixture(scope="module")
def viewer(
    module_ros_domain_id: int, tmp_path_factory: pytest.TempPathFactory, prefix: Path
) -> Iterator[Process]:
    command = [sys.executable, str(prefix / "lib" / "contextface_ros" / "viewer")]
    log = tmp_path_factory.mktemp("viewer") / "log"
    with running([*command, "--ros-args", "-p", "port:=0"], log) as process:
        yield process


@pytest.fixture(scope="module")
def robot(viewer: Process) -> Iterator[Robot]:
    with Robot() as robot:
        robot.face = robot.node.create_publisher(Expression, "expression", qos.LAST_ANSWER)  # type: ignore[attr-defined]
        robot.feeling = robot.node.create_publisher(Emotion, "emotion", qos.LAST_ANSWER)  # type: ignore[attr-defined]
        yield robot


def get(viewer: Process, path: str) -> HTTPResponse:
    found = re.search(r"http://127\.0\.0\.1:(\d+)/", viewer.wait_for("shown at"))
    assert found is not None
    connection = HTTPConnection("127.0.0.1", int(found[1]), timeout=60)
    connection.request("GET", path)
    return connection.getresponse()


def next_face(stream: HTTPResponse) -> UInt8Array:
    """The next picture of the stream."""
    while not (line := stream.readline()).startswith(b"Content-Length"):
        assert line, "the stream ended"
    stream.readline()
    return decode_compressed(stream.read(int(line.split(b":")[1])))


def test_the_page_shows_the_face_and_what_was_said(viewer: Process, robot: Robot) -> None:
    page = get(viewer, "/").read().decode()
    assert 'src="/face"' in page and '"/words"' in page
    faces = get(viewer, "/face")
    at_rest = next_face(faces)
    strong = np.zeros(100, np.float32)
    strong[:3] = 3.0
    robot.face.publish(Expression(basis="open-1", expression=strong))  # type: ignore[attr-defined]
    shown = at_rest
    for _ in range(10):
        if not np.array_equal(shown, at_rest):
            break
        shown = next_face(faces)
    assert np.abs(shown.astype(int) - at_rest).max() > 50

    words = get(viewer, "/words")
    said = '<script>alert("1")</script> "quoted" 😀'
    robot.feeling.publish(Emotion(label="Happy", quote=said))  # type: ignore[attr-defined]
    line = words.readline()
    assert json.loads(line.removeprefix(b"data: ")) == {"label": "Happy", "quote": said}
    assert b"<script>alert" not in get(viewer, "/").read()


def test_what_it_cannot_draw_is_told_and_the_next_face_is_drawn(
    viewer: Process, robot: Robot
) -> None:
    faces = get(viewer, "/face")
    next_face(faces)
    for basis, value in ("flame2020", 1.0), ("open-1", float("nan")):
        face = Expression(basis=basis, expression=np.full(100, value, np.float32))
        robot.face.publish(face)  # type: ignore[attr-defined]
        robot.spin(0.3)
    assert viewer.wait_for("flame2020' is not drawn")
    assert viewer.wait_for("a face is not drawn: ")
    robot.face.publish(Expression(basis="open-1"))  # type: ignore[attr-defined]
    assert next_face(faces).shape == (560, 480, 3)


def test_there_is_nothing_else_to_be_had(viewer: Process) -> None:
    for path in "/../../etc/passwd", "/favicon.ico", "/face/":
        assert get(viewer, path).status == 404


def test_a_port_in_use_is_told_in_one_sentence(
    viewer: Process, prefix: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, str(prefix / "lib" / "contextface_ros" / "viewer")]
        arguments = ["--ros-args", "-p", f"port:={port}"]
        with running([*command, *arguments], tmp_path / "log") as second:
            assert second.popen.wait(30) == 2
            assert len(second.lines(f"cannot start: no page at 127.0.0.1:{port}")) == 1
            assert "Traceback" not in second.log


def test_it_ends_cleanly_while_browsers_look(viewer: Process) -> None:
    faces, words = get(viewer, "/face"), get(viewer, "/words")
    next_face(faces)
    code, seconds = viewer.end()
    assert (code, viewer.lines("Traceback")) == (0, [])
    assert seconds < 2.0
    words.close()
