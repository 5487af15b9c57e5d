"""Frames from pictures, videos and streams."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from contextface_ros.errors import BadInput
from contextface_ros.types import UInt8Array
from contextface_ros.vision import sources
from contextface_ros.vision.sources import DEMO_FOLDER, SourceLost, is_live, open_source
from tests.cameras import camera_on_the_network, write_video


def frames_of(name: str | Path) -> list[UInt8Array]:
    with open_source(str(name)) as source:
        played = []
        while (frame := source.read()) is not None:
            played.append(frame)
        return played


def test_demo_pictures_in_the_order_of_their_names(frames: dict[str, UInt8Array]) -> None:
    played = frames_of("demo")
    assert len(played) == len(frames) == 6
    for expected, frame in zip(sorted(frames), played, strict=True):
        np.testing.assert_array_equal(frame, frames[expected])


def test_the_demo_says_where_it_is_from() -> None:
    text = (DEMO_FOLDER / "LICENSE.md").read_text()
    assert all(path.name in text for path in DEMO_FOLDER.glob("*.jpg"))
    assert sum(path.stat().st_size for path in DEMO_FOLDER.iterdir()) < 200_000


def test_one_picture(frames: dict[str, UInt8Array]) -> None:
    (frame,) = frames_of(DEMO_FOLDER / "5_near.jpg")
    np.testing.assert_array_equal(frame, frames["5_near"])


def test_a_bad_picture_does_not_end_the_folder(tmp_path: Path) -> None:
    shutil.copy(DEMO_FOLDER / "1_far.jpg", tmp_path / "a.JPG")
    (tmp_path / "b.png").write_bytes(b"no picture")
    (tmp_path / "c.jpeg").symlink_to(tmp_path / "gone.jpeg")
    shutil.copy(DEMO_FOLDER / "5_near.jpg", tmp_path / "d.jpg")
    (tmp_path / "notes.txt").write_text("not a picture")
    with open_source(str(tmp_path)) as source:
        assert source.rate_hz == 1.0
        assert source.read() is not None
        with pytest.raises(BadInput, match=r"b\.png is left out: .*neither JPEG nor PNG"):
            source.read()
        with pytest.raises(BadInput, match=r"c\.jpeg cannot be read"):
            source.read()
        assert source.read() is not None
        assert source.read() is None


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    shutil.copytree(DEMO_FOLDER, tmp_path / "pictures")
    with open_source(str(tmp_path / "pictures")) as source:
        source.read()
        shutil.rmtree(tmp_path / "pictures")
        with pytest.raises(SourceLost, match="pictures' does not exist"):
            source.read()


def test_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "scene.avi")
    with open_source(str(path)) as source:
        assert source.rate_hz == pytest.approx(25.0)
    played = frames_of(path)
    assert len(played) == 12
    for number, frame in enumerate(played):
        assert frame.shape == (48, 64, 3)
        np.testing.assert_allclose(frame[:, 40:], 20 * number, atol=8)
    assert played[0][24, 8, 0] > 200 and played[0][24, 8, 2] < 60  # red, not blue


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.mp4", "does not exist: give a camera"),
        ("nowhere.jpg", "has no pictures: give a file or folder"),
        ("nowhere", "does not exist: give a camera"),
        ("empty", "has no pictures"),
        ("text.mp4", "is no video that OpenCV can read: convert it"),
        ("/dev/video97", "camera /dev/video97 is not there: plug it in"),
        ("97", "camera /dev/video97 is not there: plug it in"),
        ("/dev/null", "camera /dev/null cannot be opened"),
        ("http://127.0.0.1:9/stream", "camera http://127.0.0.1:9/stream cannot be opened"),
    ],
)
def test_sources_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(SourceLost, match=message) as error, open_source(name):
        pass
    assert "\n" not in str(error.value)


def test_a_video_of_huge_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_PIXELS", 1000)
    with (
        pytest.raises(SourceLost, match="64 x 48 pixels, more than 1000"),
        open_source(str(write_video(tmp_path / "scene.avi"))),
    ):
        pass


def test_what_is_live() -> None:
    assert all(map(is_live, ("0", "/dev/video2", "rtsp://robot/head", "http://robot/x.mjpg")))
    assert not any(map(is_live, ("demo", "scene.mp4", "/data/pictures", "~/dev/0.avi")))


def test_stream(frames: dict[str, UInt8Array]) -> None:
    with camera_on_the_network() as url, open_source(url) as source:
        assert source.rate_hz is None
        for _ in range(3):
            frame = source.read()
            assert frame is not None
            difference = frame.astype(int) - frames["1_far"]  # another JPEG decoder
            assert np.abs(difference).mean() < 3


def test_a_stream_that_breaks_off() -> None:
    with ExitStack() as stack:
        with camera_on_the_network() as url:
            source = stack.enter_context(open_source(url))
            assert source.read() is not None
        with pytest.raises(SourceLost, match="gives no more frames: check its cable"):
            for _ in range(1000):  # what was sent before comes first
                source.read()
