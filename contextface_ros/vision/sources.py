"""Where camera frames come from: a camera, a video file, pictures. All as (H, W, 3) uint8 RGB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import cv2

from contextface_ros.errors import BadInput
from contextface_ros.folders import expand
from contextface_ros.types import UInt8Array
from contextface_ros.vision.image import MAX_PIXELS, decode_compressed

DEMO = "demo"
"""The name of the pictures that the package ships, as a source."""

DEMO_FOLDER = Path(__file__).parent / "data" / "demo"

_PICTURES = {".jpg", ".jpeg", ".png"}
_PICTURES_RATE_HZ = 1.0
_VIDEO_RATE_HZ = 30.0  # of a file that does not know its own
_STREAM_TIMEOUT_MS = 5000


class SourceLost(BadInput):
    """The source gives no frames now. Opening it again may help, where `BadInput` is one frame."""


class FrameSource(Protocol):
    """Frames, one after another.

    Attributes:
        rate_hz: frames a second at which they are meant to be seen. None for a live source, whose
            frames come when they come: `read` waits for them.
    """

    rate_hz: float | None

    def read(self) -> UInt8Array | None:
        """The next frame, (H, W, 3) uint8 RGB, or None after the last.

        Raises:
            BadInput: this frame cannot be used; the next one may be.
            SourceLost: there are no more frames, and there should be.
        """

    def close(self) -> None:
        """Let the device or file go."""


@contextmanager
def open_source(name: str, width: int = 0, height: int = 0) -> Iterator[FrameSource]:
    """Open a source of frames.

    Args:
        name: "demo" for the pictures of the package; a folder of JPEG and PNG pictures, or one such
            picture; a video file; a camera by its device file or number (/dev/video0, 0); the URL
            of a stream.
        width: pixels a row that a camera is asked for; 0 leaves it to the camera.
        height: rows that a camera is asked for; 0 leaves it to the camera.

    Raises:
        SourceLost: it is not there or cannot be read now; says what to do.
    """
    path = DEMO_FOLDER if name == DEMO else expand(name)
    source: FrameSource
    if is_live(name):
        source = Camera(name, width, height)
    elif path.is_dir() or path.suffix.lower() in _PICTURES:
        source = Pictures(path)
    else:
        source = Video(path)
    try:
        yield source
    finally:
        source.close()


def is_live(name: str) -> bool:
    """Whether a source is one that comes and goes: a camera or a stream, no file."""
    return name.isdecimal() or name.startswith("/dev/") or "://" in name


class Pictures:
    """The pictures of a folder in the order of their names, or one picture. See FrameSource."""

    rate_hz: float | None = _PICTURES_RATE_HZ

    def __init__(self, path: Path) -> None:
        files = path.iterdir() if path.is_dir() else [path] if path.is_file() else []
        self._paths = iter(sorted(p for p in files if p.suffix.lower() in _PICTURES))
        self._next = next(self._paths, None)
        if self._next is None:
            raise SourceLost(
                f"source {str(path)!r} has no pictures: give a file or folder with names in"
                f" {', '.join(sorted(_PICTURES))}"
            )

    def read(self) -> UInt8Array | None:
        """See FrameSource."""
        if self._next is None:
            return None
        path, self._next = self._next, next(self._paths, None)
        try:
            return decode_compressed(path.read_bytes())
        except OSError as error:
            if not path.parent.is_dir():
                raise _missing(path.parent) from error
            raise BadInput(f"picture {path} cannot be read ({error.strerror}): left out") from error
        except BadInput as error:
            raise BadInput(f"picture {path} is left out: {error}") from error

    def close(self) -> None:
        """See FrameSource."""


class Video:
    """A video file. See FrameSource."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise _missing(path)
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise SourceLost(
                f"source {str(path)!r} is no video that OpenCV can read: convert it to MP4 or AVI"
            )
        _check_size(self._capture, str(path))
        rate_hz = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate_hz: float | None = rate_hz if 0.1 <= rate_hz <= 240 else _VIDEO_RATE_HZ
        self._seen = False
        self._path = path

    def read(self) -> UInt8Array | None:
        """See FrameSource."""
        flag, bgr = self._capture.read()
        if flag:
            self._seen = True
            return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]
        if not self._seen:
            raise SourceLost(f"video {self._path} has no frame that can be read: convert it anew")
        return None

    def close(self) -> None:
        """See FrameSource."""
        self._capture.release()


class Camera:
    """A camera of this machine (Video4Linux), or a stream from the network. See FrameSource."""

    rate_hz: float | None = None

    def __init__(self, name: str, width: int = 0, height: int = 0) -> None:
        self._name = name
        if "://" in name:
            timeouts = cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC
            options = [number for key in timeouts for number in (key, _STREAM_TIMEOUT_MS)]
            self._capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, options)
        else:
            self._name = device = f"/dev/video{name}" if name.isdecimal() else name
            if not Path(device).exists():  # OpenCV would write a page about it
                raise SourceLost(f"camera {device} is not there: plug it in, or set `source`")
            self._capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not a queue of them
        if not self._capture.isOpened():
            raise SourceLost(
                f"camera {self._name} cannot be opened: end what else uses it, check the rights to"
                " it (group video), or set `source`"
            )
        if width:
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        if height:
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        _check_size(self._capture, self._name)

    def read(self) -> UInt8Array | None:
        """See FrameSource."""
        flag, bgr = self._capture.read()
        if not flag:
            raise SourceLost(f"camera {self._name} gives no more frames: check its cable")
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]

    def close(self) -> None:
        """See FrameSource."""
        self._capture.release()


def _missing(path: Path) -> SourceLost:
    return SourceLost(
        f"source {str(path)!r} does not exist: give a camera (/dev/video0), a video file, a folder"
        f" of pictures, or '{DEMO}'"
    )


def _check_size(capture: cv2.VideoCapture, name: str) -> None:
    width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        capture.release()
        raise SourceLost(
            f"frames of {name} have {width} x {height} pixels, more than {MAX_PIXELS}: scale them"
        )
