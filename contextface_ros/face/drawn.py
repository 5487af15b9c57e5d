"""The drawn face: flat and clear, for a robot with a screen, at any size.

    52 weights --drawn_shapes--> points --curves--> outlines --canvas--> picture

The points move linearly with the weights, but for what would be wrong so: some units together are
more than their sum, a lid closes onto the other wherever that is, lips that are shut stay together
on a jaw that opens, and neither lids nor lips pass through each other.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from contextface_ros.errors import BadInput
from contextface_ros.face import drawn_shapes as shapes
from contextface_ros.face.blendshapes import ARKIT_NAMES, named
from contextface_ros.face.canvas import Array, Canvas, curve, mixed
from contextface_ros.face.drawn_themes import THEMES
from contextface_ros.types import UInt8Array

_OVERSAMPLING = 2  # each pixel is the mean of 2 x 2: OpenCV's own smooth edges are rough
_VIEW = (108.0, 112.0)  # width and height that are always seen, in the face's units
_LOWEST = -54.0  # what lies in the middle of the lower edge
_OPEN = 0.5  # between lids, or lips, from which on something is seen between them
_THINNEST = 0.12  # stroke that is drawn
_BROW_HALF = (2.2, 2.6, 2.3, 0.9)

_UNIT = {name: k for k, name in enumerate(ARKIT_NAMES)}
_UPPER_LID, _LOWER_LID = (tuple(f"lid{lid}{k}" for k in (1, 2, 3)) for lid in ("Upper", "Lower"))
_HEAD = ("headTop1", "headTop2", "headSide1", "headSide2", "headJaw1", "headJaw2")


class DrawnFace:
    """Draws faces. It keeps nothing between pictures, so the same face is the same picture."""

    def __init__(self, *, width: int = 512, height: int = 512, theme: str = "sky") -> None:
        """Prepare a screen.

        Args:
            width: of the pictures, in pixels, 32 to 2048.
            height: of the pictures, in pixels, 32 to 2048.
            theme: its colours, one of THEMES.

        Raises:
            BadInput: a size out of range, or an unknown theme.
        """
        if not (32 <= width <= 2048 and 32 <= height <= 2048):
            raise BadInput(f"a picture of {width} x {height} pixels: give 32 to 2048 for each side")
        if theme not in THEMES:
            raise BadInput(f"the theme {theme[:40]!r} is not known: use one of {', '.join(THEMES)}")
        self._theme = THEMES[theme]
        self._size = width, height
        self._rest, self._moves, self._together = shapes.rest(), shapes.moves(), shapes.together()
        self._creases = shapes.creases()
        lips = [k for k, name in enumerate(shapes.POINTS) if name.startswith(("lip", "corner"))]
        self._jaw_of_lips = np.zeros_like(self._rest)
        self._jaw_of_lips[lips] = self._moves[_UNIT["jawOpen"], lips]

    def picture(self, weights: Mapping[str, float] | npt.ArrayLike) -> UInt8Array:
        """Draw one face.

        Args:
            weights: (52,) in 0..1, in the order of ARKIT_NAMES, or {"jawOpen": 0.5, ...}.

        Returns:
            (height, width, 3) uint8 RGB.

        Raises:
            BadInput: an unknown name, a wrong width, or a weight outside 0..1.
        """
        values = named(weights, ARKIT_NAMES, "blendshape")
        if values.shape != (len(ARKIT_NAMES),):
            raise BadInput(f"weights of shape {values.shape} are no face: give {len(ARKIT_NAMES)}")
        points = self._points(values)
        canvas = self._blank()
        self._draw_head(canvas, points)
        self._draw_cheeks(canvas, points, values)
        self._draw_creases(canvas, points, values)
        for side in shapes.SIDES:
            self._draw_eye(canvas, points, side)
            self._draw_brow(canvas, points, side)
        self._draw_mouth(canvas, points, float(values[_UNIT["tongueOut"]]))
        return np.asarray(cv2.resize(canvas.pixels, self._size, interpolation=cv2.INTER_AREA))

    def close(self) -> None:
        """Nothing is held; here because other faces hold a scene."""

    def _blank(self) -> Canvas:
        width, height = (_OVERSAMPLING * side for side in self._size)
        pixels = np.empty((height, width, 3), np.uint8)
        pixels[:] = self._theme.background
        scale = min(width / _VIEW[0], height / _VIEW[1])
        return Canvas(pixels, scale, (width / 2, height / 2 + scale * (_LOWEST + _VIEW[1] / 2)))

    def _points(self, weights: Array) -> dict[str, Array]:
        """Where the points are, by name."""
        places = self._rest + np.tensordot(weights, self._moves, axes=1)
        for one, other, ways in self._together:
            places += weights[one] * weights[other] * ways
        places -= weights[_UNIT["mouthClose"]] * weights[_UNIT["jawOpen"]] * self._jaw_of_lips
        points = dict(zip(shapes.POINTS, places, strict=True))
        for side in shapes.SIDES:
            blink = weights[_UNIT[f"eyeBlink{side}"]]
            for upper, lower in zip(_UPPER_LID, _LOWER_LID, strict=True):
                up, low = points[f"{upper}{side}"], points[f"{lower}{side}"]
                up[1] = max(up[1] + blink * (low[1] - up[1]), low[1])
        return points

    def _draw_head(self, canvas: Canvas, points: dict[str, Array]) -> None:
        for side in (-1.0, 1.0):
            canvas.disc((side * 46.5, 2.0), (5.6, 10.5), self._theme.ear)
        left = [points[f"{name}Left"] for name in _HEAD]
        right = [points[f"{name}Right"] for name in reversed(_HEAD)]
        outline = curve([points["headTop"], *left, points["headChin"], *right], closed=True)
        canvas.fill(outline, self._theme.skin)

    def _draw_cheeks(self, canvas: Canvas, points: dict[str, Array], weights: Array) -> None:
        puff = float(weights[_UNIT["cheekPuff"]])
        for side in shapes.SIDES:
            squint, smile = (weights[_UNIT[f"{u}{side}"]] for u in ("cheekSquint", "mouthSmile"))
            raised = float(max(squint, smile))
            colour = mixed(
                self._theme.skin, self._theme.blush, min(0.3 + 0.45 * raised + 0.25 * puff, 1.0)
            )
            radius = np.array([7.4, 5.2]) * (1.0 + 0.12 * raised + 0.45 * puff)
            canvas.disc(points[f"cheek{side}"], radius, colour)

    def _draw_creases(self, canvas: Canvas, points: dict[str, Array], weights: Array) -> None:
        for line, shares, width in self._creases:
            half = 0.5 * width * min(float(shares @ weights), 1.2)
            if half > _THINNEST / 2:
                spline = curve(line)
                taper = np.sin(np.pi * np.linspace(0.08, 0.92, len(spline)))
                canvas.stroke(spline, half * taper, self._theme.crease)
        nose = curve([points["noseRight"], points["noseTip"], points["noseLeft"]])
        canvas.stroke(nose, 0.8, self._theme.crease)
        chin = curve([points["chinRight"], points["chinMiddle"], points["chinLeft"]])
        canvas.stroke(chin, 0.45, mixed(self._theme.skin, self._theme.crease, 0.6))

    def _draw_eye(self, canvas: Canvas, points: dict[str, Array], side: str) -> None:
        theme, iris = self._theme, points[f"iris{side}"]
        inner, outer = points[f"eyeInner{side}"], points[f"eyeOuter{side}"]
        upper, lower = (
            curve([inner, *(points[f"{name}{side}"] for name in lid), outer])
            for lid in (_UPPER_LID, _LOWER_LID)
        )
        upper[:, 1] = np.maximum(upper[:, 1], lower[:, 1])
        if (upper - lower)[:, 1].max() > _OPEN:
            with canvas.within(np.concatenate([upper, lower[::-1]])) as eye:
                eye.pixels[:] = theme.white
                eye.disc(iris, 7.8, theme.iris)
                eye.disc(np.add(iris, (0.0, -2.6)), (4.9, 4.0), theme.iris_light)
                eye.disc(iris, 4.4, theme.pupil)
                eye.disc(np.add(iris, (2.6, 3.0)), 2.0, theme.white)
                eye.disc(np.add(iris, (-2.5, -3.0)), 0.9, theme.white)
        lashes = np.linspace(0.5, 1.3, len(upper))
        canvas.stroke(lower, 0.35, theme.crease)
        canvas.stroke(upper, lashes, theme.line)

    def _draw_brow(self, canvas: Canvas, points: dict[str, Array], side: str) -> None:
        line = curve([points[f"brow{k}{side}"] for k in (1, 2, 3, 4)])
        half = np.interp(np.linspace(0, 3, len(line)), range(4), _BROW_HALF)
        canvas.stroke(line, half, self._theme.brow)

    def _draw_mouth(self, canvas: Canvas, points: dict[str, Array], tongue: float) -> None:
        theme = self._theme
        upper_out, upper_in, lower_in, lower_out = (
            _across(points, name) for name in ("UpperOut", "UpperIn", "LowerIn", "LowerOut")
        )
        lower_in[:, 1] = np.minimum(lower_in[:, 1], upper_in[:, 1])
        upper_out[:, 1] = np.maximum(upper_out[:, 1], upper_in[:, 1] + 0.15)
        lower_out[:, 1] = np.minimum(lower_out[:, 1], lower_in[:, 1] - 0.15)
        whole = np.concatenate([upper_out, lower_out[::-1]])
        canvas.stroke(np.concatenate([whole, whole[:1]]), 0.35, theme.lip)
        canvas.fill(whole, theme.lip)
        canvas.fill(np.concatenate([lower_in, lower_out[::-1]]), theme.lip_light)
        if (upper_in - lower_in)[:, 1].max() > _OPEN:
            with canvas.within(np.concatenate([upper_in, lower_in[::-1]])) as inside:
                self._draw_inside(inside, upper_in, lower_in)
        else:
            canvas.stroke((upper_in + lower_in) / 2, 0.45, theme.mouth)
        if tongue > 0.02:
            self._draw_tongue(canvas, points, tongue)

    def _draw_inside(self, inside: Canvas, upper: Array, lower: Array) -> None:
        theme, middle = self._theme, len(upper) // 2
        inside.pixels[:] = theme.mouth
        depth = (upper[middle] - lower[middle])[1]
        inside.disc(lower[middle] + (0.0, min(0.0, depth / 2 - 5.5)), (8.5, 6.5), theme.tongue)
        # Teeth hang from the upper jaw, which does not move, and stand on the lower, which does.
        for lip, sign, height in ((upper, 1.0, 3.6), (lower, -1.0, 1.6)):
            shown = np.minimum(height, 0.42 * (upper - lower)[:, 1])
            edge = lip - np.stack([np.zeros(len(lip)), sign * shown], axis=1)
            inside.fill(np.concatenate([lip, edge[::-1]]), theme.teeth)

    def _draw_tongue(self, canvas: Canvas, points: dict[str, Array], out: float) -> None:
        root = (points["lipUpperIn0"] + points["lipLowerIn0"]) / 2
        tip = points["lipLowerOut0"] + (0.0, 2.0 - 8.0 * out)
        half = 2.0 + 3.4 * out
        line = np.linspace(root, tip, 8)
        canvas.stroke(line, np.linspace(0.9 * half, half, 8), self._theme.tongue)
        groove = np.linspace(root, np.add(tip, (0.0, 1.0)), 8)
        canvas.stroke(groove, 0.4, mixed(self._theme.tongue, self._theme.mouth, 0.4))


def _across(points: dict[str, Array], name: str) -> Array:
    """One line of a lip, from the person's right corner of the mouth to the left one."""
    right = [points["cornerRight"], *(points[f"lip{name}{k}Right"] for k in (2, 1))]
    left = [*(points[f"lip{name}{k}Left"] for k in (1, 2)), points["cornerLeft"]]
    return curve([*right, points[f"lip{name}0"], *left])
