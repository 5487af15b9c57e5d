"""What the model is shown of a camera frame."""

from __future__ import annotations

from sensor_msgs.msg import CompressedImage, Image

from contextface_ros.nodes import convert
from contextface_ros.types import UInt8Array
from contextface_ros.vision.detectors import Box, open_detector
from contextface_ros.vision.target import TargetFinder, TargetRule, draw_red_box


class Sight:
    """A frame, decoded, with a red box round the target person. Used on the model's thread."""

    def __init__(self, face_detector: str, rule: str) -> None:
        """Load the face detector.

        Raises:
            ContextFaceError: it is not there; says what to install.
        """
        self._finder = TargetFinder(open_detector(face_detector), TargetRule(rule))

    def of(self, frame: Image | CompressedImage, region: Box | None) -> UInt8Array | None:
        """What the model sees, or None where nobody is on the frame.

        Args:
            frame: as the camera published it.
            region: only a person whose face lies in it is meant, in pixels.

        Raises:
            BadInput: the frame is damaged.
        """
        picture = convert.rgb(frame)  # (H, W, 3)
        self._finder.region = region
        person = self._finder.find(picture)
        return draw_red_box(picture, person.box) if person is not None else None
