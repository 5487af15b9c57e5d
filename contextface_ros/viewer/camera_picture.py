"""What the camera sees, small, with a red box round the person who is meant."""

from __future__ import annotations

import cv2

from contextface_ros.errors import ContextFaceError
from contextface_ros.types import UInt8Array
from contextface_ros.vision.detectors import Box, open_detector
from contextface_ros.vision.target import TargetFinder, TargetRule, draw_red_box

_LONGEST_SIDE = 400  # pixels
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 75)


class CameraPicture:
    """Makes the pictures. Used by one thread.

    Attributes:
        note: a sentence about the last picture, or "".
    """

    def __init__(self, face_detector: str, rule: str) -> None:
        """Load the detector; without one, pictures have no box.

        Args:
            face_detector: as the agent's parameter; "" for none.
            rule: whose face is meant where there are several.
        """
        self.note = "No face detector is set, so nobody is marked."
        self._finder: TargetFinder | None = None
        if not face_detector:
            return
        try:
            self._finder = TargetFinder(open_detector(face_detector), TargetRule(rule))
            self.note = ""
        except ContextFaceError as error:
            self.note = f"Nobody is marked: {error}"

    def jpeg(self, picture: UInt8Array, region: Box | None) -> bytes:
        """One picture.

        Args:
            picture: (H, W, 3) uint8 RGB.
            region: where the person is looked for, in its pixels; None for anywhere.
        """
        height, width, _ = picture.shape
        scale = min(1.0, _LONGEST_SIDE / max(height, width))
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        small: UInt8Array = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        if self._finder is not None:
            small = self._marked(self._finder, small, region, scale)
        return bytes(cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), _JPEG)[1])

    def _marked(
        self, finder: TargetFinder, small: UInt8Array, region: Box | None, scale: float
    ) -> UInt8Array:
        finder.region = region and Box(
            region.x * scale, region.y * scale, region.width * scale, region.height * scale
        )
        person = finder.find(small)
        self.note = "" if person is not None else "Nobody is seen."
        return draw_red_box(small, person.box) if person is not None else small
