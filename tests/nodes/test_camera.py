"""The camera node as a process of its own, watched over ROS."""

from __future__ import annotations

import itertools
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from contextface_ros.nodes import convert
from contextface_ros.nodes.camera import next_deadline
from contextface_ros.types import UInt8Array
from contextface_ros.vision.image import decode_compressed
from contextface_ros.vision.sources import DEMO_FOLDER
from tests.cameras import camera_on_the_network, write_video
from tests.nodes.robot import Process, Robot, running

DEMO = [decode_compressed(path.read_bytes()) for path in sorted(DEMO_FOLDER.glob("*.jpg"))]


class Watcher(Robot):
    """A robot that looks at `image` and turns the camera's knobs."""

    def __init__(self, kind: type = Image) -> None:
        super().__init__(camera=None)
        self.frames: list[Any] = []
        self.subscribe(kind, "image", qos_profile_sensor_data, self.frames)
        self._parameters = self.node.create_client(SetParameters, "/camera/set_parameters")

    def __enter__(self) -> Watcher:
        return self

    def see(self, count: int) -> list[Any]:
        """The next frames."""
        self.frames.clear()
        self.until(lambda: len(self.frames) >= count, f"{count} frames")
        return list(self.frames)

    def set(self, **values: Any) -> list[tuple[bool, str]]:
        """Set parameters of the camera."""
        self.until(self._parameters.service_is_ready, "the camera's parameters")
        messages = [Parameter(k, value=v).to_parameter_msg() for k, v in values.items()]
        future = self._parameters.call_async(SetParameters.Request(parameters=messages))
        return [(r.successful, r.reason) for r in self.result(future, "set_parameters").results]


@contextmanager
def camera(prefix: Path, log: Path, **parameters: Any) -> Iterator[Process]:
    """The installed executable."""
    with running(command(prefix, **parameters), log / "camera.log") as process:
        yield process


def command(prefix: Path, **parameters: Any) -> Sequence[str]:
    script = prefix / "lib" / "contextface_ros" / "camera"
    arguments = itertools.chain(*(("-p", f"{k}:={v}") for k, v in parameters.items()))
    return [sys.executable, str(script), "--ros-args", *arguments]


def which(frame: UInt8Array, atol: int = 0) -> int:
    """Which of the demo pictures a frame is."""
    (number,) = (
        n for n, demo in enumerate(DEMO) if np.abs(frame.astype(int) - demo).mean() <= atol
    )
    return number


def stamps_s(frames: list[Any]) -> list[float]:
    return [f.header.stamp.sec + f.header.stamp.nanosec * 1e-9 for f in frames]


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "jpeg"])
def test_pictures_in_every_encoding(prefix: Path, tmp_path: Path, encoding: str) -> None:
    parameters = {"source": "demo", "rate_hz": 20.0, "encoding": encoding, "frame_id": "head"}
    with camera(prefix, tmp_path, **parameters) as process:
        with Watcher(CompressedImage if encoding == "jpeg" else Image) as watcher:
            frames = watcher.see(13)
        if encoding == "jpeg":
            assert {f.format for f in frames} == {"jpeg"}
        else:
            shapes = {(f.encoding, f.height, f.width, f.step, f.is_bigendian) for f in frames}
            assert shapes == {(encoding, 240, 320, 960, 0)}
        played = [which(convert.rgb(f), atol=4 if encoding == "jpeg" else 0) for f in frames]
        assert set(played) == set(range(6))
        assert np.median(np.diff(played) % 6) == 1, played  # best effort: one may be lost
        assert {f.header.frame_id for f in frames} == {"head"}
        stamps = stamps_s(frames)
        assert stamps == sorted(stamps) and abs(stamps[-1] - time.time()) < 10
        assert len(process.lines("demo is published on /image")) == 1, process.log


def test_parameters_that_change(prefix: Path, tmp_path: Path) -> None:
    parameters = {"source": "demo", "rate_hz": 0.01}
    with camera(prefix, tmp_path, **parameters) as process, Watcher() as watcher:
        process.wait_for("demo is published")
        assert watcher.set(rate_hz=30.0) == [(True, "")]  # does not wait out the 100 s
        watcher.see(4)
        near = DEMO_FOLDER / "5_near.jpg"
        assert watcher.set(source=str(near), frame_id="eye") == 2 * [(True, "")]
        watcher.until(lambda: watcher.frames[-1].header.frame_id == "eye", "the new frame id")
        assert {which(convert.rgb(f)) for f in watcher.see(5)} == {4}
        for change, reason in (
            ({"rate_hz": 1000.0}, "rate_hz"),
            ({"encoding": "h264"}, "encoding must be one of rgb8, bgr8, jpeg"),
            ({"encoding": "jpeg"}, "start it anew"),
        ):
            ((flag, words),) = watcher.set(**change)
            assert not flag and reason in words
        assert {which(convert.rgb(f)) for f in watcher.see(5)} == {4}
        assert watcher.set(source="/nowhere.mp4") == [(True, "")]
        process.wait_for("'/nowhere.mp4' does not exist")
        assert watcher.set(source="demo") == [(True, "")]
        watcher.see(4)


def test_absolute_deadlines(prefix: Path, tmp_path: Path) -> None:
    with camera(prefix, tmp_path, source="demo", rate_hz=25.0), Watcher() as watcher:
        frames = watcher.see(60)
    stamps = np.array(stamps_s(frames))
    # Every stamp lies just after a multiple of the period, however many frames came before it:
    # with pauses in place of deadlines the lateness would add up.
    phase = ((stamps - stamps[0] + 0.02) % 0.04) - 0.02
    assert np.median(np.abs(phase - np.median(phase))) < 0.004
    assert abs(np.median(phase[:15]) - np.median(phase[-15:])) < 0.008


def test_video_once_at_its_own_rate(prefix: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "scene.avi", count=12, rate_hz=4.0)
    with Watcher() as watcher, camera(prefix, tmp_path, source=video, loop="false") as process:
        watcher.until(lambda: process.lines("scene.avi has ended"), "the end")
        watcher.spin(1.5)
        frames = watcher.frames
        shown = [round(float(convert.rgb(f)[:, 40:].mean()) / 20) for f in frames]
        assert shown == list(range(shown[0], 12))  # the first may come before we listen
        assert len(shown) > 4
        stamps = stamps_s(frames)
        assert np.median(np.diff(stamps)) == pytest.approx(0.25, abs=0.02)

        assert watcher.set(loop=True) == [(True, "")]  # alive, and it plays on
        watcher.until(lambda: len(watcher.frames) > len(shown) + 3, "more frames")
        assert process.end(signal.SIGINT)[0] == 0


def test_a_folder_that_comes_and_goes(prefix: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    shutil.copytree(DEMO_FOLDER, folder)
    (folder / "0_bad.jpg").write_bytes(b"not a picture")
    with camera(prefix, tmp_path, source=folder, rate_hz=10.0) as process, Watcher() as watcher:
        watcher.see(8)
        shutil.rmtree(folder)
        process.wait_for("does not exist: .*; trying again every 1 s")
        watcher.spin(2.5)
        assert len(process.lines("WARN.*does not exist")) == 1, process.log
        watcher.frames.clear()
        watcher.spin(1.0)
        assert not watcher.frames

        shutil.copytree(DEMO_FOLDER, folder)
        watcher.see(8)
        assert len(process.lines("is published on /image")) == 2
        assert len(process.lines(r"0_bad\.jpg is left out")) == 1
        assert process.end()[0] == 0


def test_a_live_camera_that_comes_late_and_vanishes(prefix: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/camera.mjpg"
    with camera(prefix, tmp_path, source=url, rate_hz=10.0) as process, Watcher() as watcher:
        process.wait_for("cannot be opened: .*; trying again every 1 s")
        with camera_on_the_network(port):  # 50 frames a second
            frames = watcher.see(20)
        stamps = stamps_s(frames)
        assert np.median(np.diff(stamps)) == pytest.approx(0.1, abs=0.03)
        process.wait_for("gives no more frames: check its cable; trying again")
        watcher.spin(2.5)
        with camera_on_the_network(port):
            watcher.see(5)
            assert len(process.lines("is published on /image")) == 2
            assert len(process.lines("trying again")) == 2  # one line a time, however long
        assert process.end()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_while_hardware_hangs(prefix: Path, tmp_path: Path, number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes the call and says nothing
        mute.settimeout(30)
        source = f"http://127.0.0.1:{mute.getsockname()[1]}/camera.mjpg"
        with camera(prefix, tmp_path, source=source) as process:
            connection, _ = mute.accept()
            with connection:
                code, seconds = process.end(number)
            assert code == 0 and seconds < 2.5, process.log


def test_a_device_that_is_not_there(prefix: Path, tmp_path: Path) -> None:
    with camera(prefix, tmp_path, source="/dev/video97") as process:
        process.wait_for("camera /dev/video97 is not there: plug it in, or set `source`; trying")
        time.sleep(2.5)
        assert len(process.log.splitlines()) == 1, process.log
        code, seconds = process.end(signal.SIGTERM)
        assert code == 0 and seconds < 2


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"source": "/nowhere/scene.mp4"}, "source '/nowhere/scene.mp4' does not exist: give a"),
        ({"source": "demo", "encoding": "h264"}, "encoding.*one of rgb8, bgr8, jpeg"),
        ({"source": "demo", "jpeg_quality": 0}, "jpeg_quality.*an integer from 1 to 100"),
        ({"source": 3}, "source.*must be a text"),
    ],
)
def test_what_cannot_work_is_told_at_the_start(
    prefix: Path, tmp_path: Path, parameters: dict[str, Any], sentence: str
) -> None:
    process = Process(command(prefix, **parameters), tmp_path / "log")
    assert process.popen.wait(30) == 2
    (line,) = process.log.splitlines()
    assert process.lines(sentence), line


@given(st.floats(0, 1e6), st.floats(0.001, 10), st.floats(-10, 1000))
def test_next_deadline(due: float, period: float, late: float) -> None:
    now = due + late
    following = next_deadline(due, period, now)
    periods = (following - due) / period
    assert periods == pytest.approx(round(periods), abs=1e-3) and round(periods) >= 1
    assert following >= now - 1e-6  # no burst to catch up
    assert following - period < max(now, due) + 1e-6  # and none left out that could be met


def test_live_frames_are_always_due() -> None:
    assert next_deadline(3.0, 0.0, 7.0) == 7.0
