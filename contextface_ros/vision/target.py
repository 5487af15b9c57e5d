"""The target person: the one on the picture whose feeling is asked for.

    frame -> faces (detectors) -> choose_target -> draw_red_box -> what f_phi sees

The paper marks that person with a red box on the picture (Sec. 3.2) and says no more about it.
Whose face is boxed, how far the box reaches and how thick it is are decided here, once for
training and for the robot: a model sees at run time what it was trained on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum

from contextface_ros.errors import BadInput
from contextface_ros.types import UInt8Array
from contextface_ros.vision.detectors import Box, Face, FaceDetector

RED = (255, 0, 0)

HEAD_MARGIN = 0.3
"""What the red box leaves on each side of a face, in sizes of the face: hair, ears and chin."""

_LOYALTY = 1.4  # how much more another face must weigh to take over from the last target
_SAME_FACE = 0.3  # overlap from which a face counts as the one of the frame before


class TargetRule(str, Enum):
    """Which face is meant where there are several."""

    LARGEST = "largest"
    CENTRAL = "central"


def choose_target(
    faces: Sequence[Face],
    frame_size: tuple[int, int],
    rule: TargetRule = TargetRule.LARGEST,
    region: Box | None = None,
    last: Face | None = None,
) -> Face | None:
    """The face that is meant.

    Args:
        faces: all faces of a frame.
        frame_size: its height and width in pixels.
        rule: the largest face (the nearest person), or the one nearest to the middle of the frame.
        region: only faces whose centre lies in it count.
        last: the target of the frame before. It stays the target where it still is one of the
            faces, until another weighs clearly more; so two people side by side do not alternate.

    Returns:
        One of `faces`, or None where no face counts.
    """
    height, width = frame_size

    def weight(face: Face) -> float:
        if rule is TargetRule.LARGEST:
            value = face.box.area
        else:
            x, y = face.box.center
            value = 1 / (1 + math.hypot(x - width / 2, y - height / 2))
        stays = last is not None and face.box.overlap(last.box) >= _SAME_FACE
        return value * (_LOYALTY if stays else 1.0)

    counting = [face for face in faces if region is None or region.contains(face.box.center)]
    return max(counting, key=weight, default=None)


class TargetFinder:
    """Finds the target person in frame after frame. Usable from one thread at a time.

    Attributes:
        rule: which face is meant where there are several.
        region: where the person is to be looked for, in pixels; None for anywhere.
    """

    def __init__(
        self,
        detector: FaceDetector,
        rule: TargetRule = TargetRule.LARGEST,
        region: Box | None = None,
    ) -> None:
        self.rule = rule
        self.region = region
        self._detector = detector
        self._last: Face | None = None

    def find(self, image: UInt8Array) -> Face | None:
        """The target on a picture.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            Its face, or None where there is none. A target that is lost for some frames (someone
            looks away) is still preferred when it comes back to its place.
        """
        faces = self._detector.detect(image)
        size = (image.shape[0], image.shape[1])
        target = choose_target(faces, size, self.rule, self.region, self._last)
        self._last = target or self._last
        return target


def draw_red_box(image: UInt8Array, face: Box, margin: float = HEAD_MARGIN) -> UInt8Array:
    """A copy of the picture with a red box round one person's head.

    The line is as thick as 1/112 of the shorter side, at least 2 pixels: 3 pixels on the 336 that
    CLIP ViT-L/14-336 sees. It lies inside of the picture, also where the head reaches over its
    edge. Plain array writes: the same bytes on every machine.

    Args:
        image: (H, W, 3) uint8 RGB; stays as it is.
        face: box of the face.
        margin: what to leave on each side of it, in sizes of the face.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        BadInput: the box lies outside of the picture.
    """
    height, width, _ = image.shape
    left = max(round(face.x - margin * face.width), 0)
    top = max(round(face.y - margin * face.height), 0)
    right = min(round(face.x + (1 + margin) * face.width), width)
    bottom = min(round(face.y + (1 + margin) * face.height), height)
    if left >= right or top >= bottom:
        raise BadInput(
            f"the box {face} lies outside of the picture of {width} x {height} pixels: give a face"
            " of this picture"
        )
    line = max(round(min(height, width) / 112), 2)
    marked: UInt8Array = image.copy()
    inside = marked[top:bottom, left:right]
    inside[:line], inside[-line:] = RED, RED
    inside[:, :line], inside[:, -line:] = RED, RED
    return marked
