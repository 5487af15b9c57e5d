"""Face detectors: a picture in, the faces on it out.

Both shrink the picture first, to the size at which a face across a table is still found, and both
run YuNet (Wu, Peng & Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023): `Yuface` with the
weights that a package brings, `YuNet` with a file of the user's.
"""

from __future__ import annotations

import ctypes
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from contextface_ros.errors import BadInput, MissingDependency
from contextface_ros.folders import expand
from contextface_ros.types import UInt8Array

LONGEST_SIDE = 320
"""Pixels that the longer side of a picture is shrunk to before faces are looked for."""

YUFACE = "yuface"
"""The name that chooses `Yuface`; any other is the path of a YuNet file."""

_AVX2 = 11  # CV_CPU_AVX2
_NEEDS_YUFACE = (
    "pip install yuface==2023.5.1 (x86_64 with AVX2 and Python 3.10 or 3.11); elsewhere download"
    " face_detection_yunet_2023mar.onnx from the OpenCV Zoo and give its path as face detector"
)


@dataclass(frozen=True)
class Box:
    """A rectangle in a picture, in pixels. It may reach over the picture's edge.

    Attributes:
        x: its left side.
        y: its upper side.
        width: from left to right.
        height: from top to bottom.
    """

    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """Square pixels."""
        return self.width * self.height

    @property
    def center(self) -> tuple[float, float]:
        """X and y of the middle."""
        return self.x + self.width / 2, self.y + self.height / 2

    def contains(self, point: tuple[float, float]) -> bool:
        """Whether the point (x, y) lies inside or on the edge."""
        x, y = point
        return self.x <= x <= self.x + self.width and self.y <= y <= self.y + self.height

    def overlap(self, other: Box) -> float:
        """Intersection over union: 0 (apart) to 1 (the same)."""
        wide = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        high = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        shared = max(wide, 0) * max(high, 0)
        return shared / (self.area + other.area - shared) if shared else 0.0


@dataclass(frozen=True)
class Face:
    """A face that was found.

    Attributes:
        box: from brow to chin, and from cheek to cheek.
        confidence: 0 to 1.
    """

    box: Box
    confidence: float


class FaceDetector(Protocol):
    """Finds faces. Usable from one thread at a time."""

    def detect(self, image: UInt8Array) -> list[Face]:
        """The faces of an (H, W, 3) uint8 RGB picture, in no order. Empty where there is none."""


def open_detector(name: str = YUFACE, min_confidence: float = 0.6) -> FaceDetector:
    """The face detector that a parameter names.

    Args:
        name: "yuface", or the path of a YuNet file (*.onnx).
        min_confidence: faces below it, from 0 to 1, are left out.

    Raises:
        BadInput: the file is missing or is not YuNet.
        MissingDependency: yuface does not run here; says what does.
    """
    return Yuface(min_confidence) if name == YUFACE else YuNet(expand(name), min_confidence)


class Yuface:
    """The detector of the package `yuface` (libfacedetection, BSD-3-Clause), weights included.

    Its library is called here and not through its Python binding, which keeps 36 kB of memory at
    every call for ever: at 10 frames a second, 1.3 GB an hour.
    """

    # int* facedetect_cnn(unsigned char* results, unsigned char* bgr, int width, height, step)
    _SYMBOL = "_Z14facedetect_cnnPhS_iii"
    _RESULTS_SIZE = 0x9000  # what the library asks for: a count, and 1024 faces of 16 int16

    def __init__(self, min_confidence: float = 0.6) -> None:
        spec = importlib.util.find_spec("yuface")
        if spec is None or not spec.submodule_search_locations or not _has_avx2():
            raise MissingDependency(_NEEDS_YUFACE)
        try:
            path = Path(spec.submodule_search_locations[0]) / "libfacedetection.so"
            library = ctypes.CDLL(str(path))
            self._detect = library[self._SYMBOL]
            self._set_threads = library["omp_set_num_threads"]
        except (OSError, AttributeError) as error:
            raise MissingDependency(f"{_NEEDS_YUFACE} ({error})") from error
        pointer, number = ctypes.c_void_p, ctypes.c_int
        self._detect.argtypes = (pointer, pointer, number, number, number)
        self._detect.restype = ctypes.c_void_p
        self._results = np.zeros(self._RESULTS_SIZE, np.uint8)
        self._min_confidence = min_confidence

    def detect(self, image: UInt8Array) -> list[Face]:
        """See FaceDetector."""
        bgr, scale = _shrink(image)
        height, width, _ = bgr.shape
        # Its threads wait for each other in a busy loop: beside a language model on the same cores
        # two of them take 20 times as long as one. The setting belongs to the calling thread.
        self._set_threads(1)
        self._detect(self._results.ctypes.data, bgr.ctypes.data, width, height, bgr.strides[0])
        count = int(self._results[:4].view(np.int32)[0])
        rows = self._results[4 : 4 + 32 * count].view(np.int16).reshape(count, 16)
        return [
            Face(_box(row[1:5], scale), confidence)
            for row in rows  # confidence in percent, x, y, width, height, five landmarks
            if (confidence := float(row[0]) / 100) >= self._min_confidence
        ]


class YuNet:
    """OpenCV's FaceDetectorYN with a YuNet file, such as face_detection_yunet_2023mar.onnx."""

    def __init__(self, path: Path, min_confidence: float = 0.6) -> None:
        if not path.is_file():
            raise BadInput(
                f"face detector {str(path)!r} does not exist: give '{YUFACE}', or the path of a"
                " YuNet file (face_detection_yunet_2023mar.onnx of the OpenCV Zoo)"
            )
        try:
            self._detector = cv2.FaceDetectorYN.create(
                str(path), "", (LONGEST_SIDE, LONGEST_SIDE), score_threshold=min_confidence
            )
            self.detect(np.zeros((LONGEST_SIDE, LONGEST_SIDE, 3), np.uint8))
        except cv2.error as error:
            raise BadInput(
                f"face detector {str(path)!r} is not a YuNet file that OpenCV {cv2.__version__} can"
                " run: download face_detection_yunet_2023mar.onnx from the OpenCV Zoo"
            ) from error

    def detect(self, image: UInt8Array) -> list[Face]:
        """See FaceDetector."""
        bgr, scale = _shrink(image)
        self._detector.setInputSize((bgr.shape[1], bgr.shape[0]))
        _, rows = self._detector.detect(bgr)
        found = [] if rows is None else rows  # OpenCV's stubs leave None out
        return [Face(_box(row[:4], scale), min(float(row[-1]), 1.0)) for row in found]


def _shrink(image: UInt8Array) -> tuple[UInt8Array, float]:
    """The picture in BGR, no side longer than LONGEST_SIDE, and pixels of `image` a pixel of it."""
    height, width, _ = image.shape
    scale = max(max(height, width) / LONGEST_SIDE, 1.0)
    if scale > 1.0:
        size = max(round(width / scale), 1), max(round(height / scale), 1)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return cv2.cvtColor(image, cv2.COLOR_RGB2BGR), scale  # type: ignore[return-value]


def _box(row: np.ndarray, scale: float) -> Box:
    x, y, width, height = (float(number) * scale for number in row)
    return Box(x, y, width, height)


def _has_avx2() -> bool:
    return bool(cv2.checkHardwareSupport(_AVX2))
