"""What the annotator sees of an image: scaled down, with the target person in a red box."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from contextface_ros.types import UInt8Array
from contextface_ros.vision.detectors import Box, FaceDetector, open_detector
from contextface_ros.vision.image import decode_compressed
from contextface_ros.vision.target import choose_target, draw_red_box

NO_DETECTOR = "none"
NOTHING = "nothing"
"""The names of the two ways to see that need no face detector: see `Sight`."""

_JPEG_QUALITY = 90


@dataclass(frozen=True)
class Picture:
    """What is sent of one image.

    Attributes:
        jpeg: the bytes of the picture; None where the annotator is shown nothing.
        box: the face in the image, (x, y, width, height) in pixels before scaling; None for none.
    """

    jpeg: bytes | None
    box: tuple[int, int, int, int] | None


class Sight:
    """Images into pictures. Usable from one thread at a time.

    Attributes:
        name: how it sees. A face detector ("yuface", or the path of a YuNet file) boxes the largest
            face; "none" shows the whole picture without a box; "nothing" shows no picture, for
            language models that cannot see.
        longest_side: pixels that the longer side of a picture is scaled down to.
    """

    def __init__(self, name: str, longest_side: int) -> None:
        """Raises what `open_detector` raises."""
        self.name = name
        self.longest_side = longest_side
        self._detector: FaceDetector | None = None
        if name not in (NO_DETECTOR, NOTHING):
            self._detector = open_detector(name)

    def look(self, raw: bytes) -> Picture:
        """The picture of an image file. Raises BadInput for one that does not decode."""
        image = decode_compressed(raw)
        if self.name == NOTHING:
            return Picture(None, None)
        box = self._face(image)
        scale = min(1.0, self.longest_side / max(image.shape[:2]))
        if scale < 1.0:
            height, width = (max(round(scale * size), 1) for size in image.shape[:2])
            image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
        if box is not None:
            image = draw_red_box(image, Box(*(scale * side for side in box)))
        _, jpeg = cv2.imencode(
            ".jpg",
            cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
            [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY],
        )
        return Picture(jpeg.tobytes(), box)

    def _face(self, image: UInt8Array) -> tuple[int, int, int, int] | None:
        """The largest face in whole pixels, inside of the image."""
        if self._detector is None:
            return None
        height, width, _ = image.shape
        face = choose_target(self._detector.detect(image), (height, width))
        if face is None:
            return None
        left, top = max(round(face.box.x), 0), max(round(face.box.y), 0)
        right = min(round(face.box.x + face.box.width), width)
        bottom = min(round(face.box.y + face.box.height), height)
        if left >= right or top >= bottom:
            return None
        return left, top, right - left, bottom - top
