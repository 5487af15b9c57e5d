"""A head that moves: pictures of the open head, or of the user's own FLAME head, from weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import ARKIT_NAMES, named
from contextface_ros.face.calibration import FLAME_BASES, calibration_files, load_calibration
from contextface_ros.face.flame_picture import FlamePainter, flame_of, posed
from contextface_ros.face.open_head import OpenHead
from contextface_ros.face.render import FaceRenderer
from contextface_ros.types import OPEN_BASIS, UInt8Array

LIVE_BASES = ("auto", OPEN_BASIS, *FLAME_BASES)
"""Whose head is shown: `auto` is that of the newest calibration, or else the open head."""

_LARGEST_GAZE_RAD = (0.55, 0.45)  # to a side, and up or down, of eyes at weight 1
_UNIT = {name: k for k, name in enumerate(ARKIT_NAMES)}


class LiveHead:
    """Draws a head, fast enough to move without a GPU. Usable from the thread that made it."""

    def __init__(self, *, width: int = 512, height: int = 512, basis: str = "auto") -> None:
        """Set the scene up; takes about a second.

        Args:
            width: of the pictures, in pixels, 32 to 2048.
            height: of the pictures, in pixels, 32 to 2048.
            basis: one of LIVE_BASES.

        Raises:
            BadInput: a size out of range, an unknown basis, one that is not calibrated here, or
                whose FLAME file is gone.
            BadBundle: the calibration or the FLAME file is broken.
            MissingDependency: pyvista, a software OpenGL or the shape of the head is not installed.
        """
        if basis not in LIVE_BASES:
            raise BadInput(f"the basis {basis[:40]!r} is no head's: use {', '.join(LIVE_BASES)}")
        self.basis = newest_basis() if basis == "auto" else basis
        self._painter: FlamePainter | FaceRenderer
        if self.basis == OPEN_BASIS:
            self._head = OpenHead.load()
            self._painter = FaceRenderer(self._head, width=width, height=height, fine=False)
        else:
            self._calibration = load_calibration(self.basis)
            model = flame_of(self._calibration)
            self._painter = FlamePainter(
                model, self._calibration, width=width, height=height, fine=False
            )

    def picture(self, weights: npt.ArrayLike) -> UInt8Array:
        """Draw one face.

        Args:
            weights: (52,) in 0..1, in the order of ARKIT_NAMES.

        Returns:
            (height, width, 3) uint8 RGB.

        Raises:
            BadInput: a wrong width, or a weight outside 0..1.
        """
        values = named(weights, ARKIT_NAMES, "blendshape")
        if isinstance(self._painter, FaceRenderer):
            return self._painter.picture(self._head.encode(values), gaze_of(values))
        coefficients, jaw = self._calibration.encode(values)
        return self._painter.picture(posed(self._painter.model, coefficients, jaw))

    def close(self) -> None:
        """Free the memory of the scene. Safe to call twice."""
        self._painter.close()


def newest_basis() -> str:
    """The basis that was calibrated last, or the open one."""
    files = [path for basis in FLAME_BASES for path in calibration_files(basis)]
    if not files:
        return OPEN_BASIS
    newest = max(files, key=lambda path: path.stat().st_mtime)
    return max((b for b in FLAME_BASES if newest.name.startswith(f"{b}-")), key=len)


def gaze_of(weights: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Where both eyes turn, in rad to the person's left and up, for weights (52,)."""

    def mean(*units: str) -> float:
        return float(np.mean([weights[_UNIT[unit]] for unit in units]))

    left = mean("eyeLookOutLeft", "eyeLookInRight") - mean("eyeLookInLeft", "eyeLookOutRight")
    up = mean("eyeLookUpLeft", "eyeLookUpRight") - mean("eyeLookDownLeft", "eyeLookDownRight")
    return left * _LARGEST_GAZE_RAD[0], up * _LARGEST_GAZE_RAD[1]
