"""The colours of the open head: skin, hair and mouth by vertex, what is drawn on the skin by image.

Drawn on the skin are brows, lips and lid lines. They are given as outlines in mm as seen from the
front (x to the person's left, y up; one side, the other is its mirror) and drawn on a sheet that is
laid over the face from the front; the colours of the skin are multiplied by it.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Colour = tuple[float, float, float]

SKIN: Colour = (0.86, 0.65, 0.53)
FLUSH: Colour = (0.87, 0.50, 0.42)
SHADE: Colour = (0.62, 0.40, 0.34)
HAIR: Colour = (0.19, 0.13, 0.10)
MOUTH: Colour = (0.20, 0.05, 0.05)
PARTS: dict[str, Colour] = {
    "lashes": (0.13, 0.09, 0.07),
    "upper_teeth": (0.95, 0.93, 0.88),
    "lower_teeth": (0.88, 0.86, 0.80),
    "tongue": (0.44, 0.17, 0.17),
}
IRIS: Colour = (0.34, 0.21, 0.10)
IRIS_LIGHT: Colour = (0.56, 0.37, 0.18)
IRIS_RIM: Colour = (0.12, 0.07, 0.04)
SCLERA: Colour = (0.95, 0.94, 0.92)
_IRIS_RAD, _PUPIL_RAD = 0.44, 0.19
CATCHLIGHT = np.array((-0.17, 0.17, 0.971))  # unit vector

# What a colour on the sheet multiplies the skin by.
_LIP: Colour = (0.90, 0.70, 0.73)
_BROW: Colour = (0.20, 0.17, 0.16)
_LINE: Colour = (0.45, 0.30, 0.28)

SHEET_LEFT_MM, SHEET_BOTTOM_MM = -60.0, -70.0
SHEET_WIDTH_MM, SHEET_HEIGHT_MM = 120.0, 170.0
_PIXELS_PER_MM = 6

_LIPS_UPPER = ((0, -29.9), (4, -28.9), (8, -29.4), (15.5, -31.8), (21, -34.0), (26.4, -36.6))
_LIPS_LOWER = ((26.4, -36.8), (21, -41.4), (15, -44.4), (8, -46.6), (0, -47.3))
_LIPS_MEET = ((-25, -36.6), (-10, -36.3), (0, -36.8), (10, -36.3), (25, -36.6))
_UPPER_LID = ((19.5, 31.0), (23.5, 34.0), (28, 35.7), (34, 36.2), (40, 34.6), (46.0, 31.0))
_BROW_LINE = ((8.5, 43.2), (14, 45.0), (21, 46.8), (28, 48.2), (35, 48.6), (42, 47.0), (49, 43.2))
_BROW_HALF = (2.3, 2.9, 2.9, 2.7, 2.3, 1.6, 0.5)
_HAIRS = 420


def smoothstep(low: float, high: float, value: Array) -> Array:
    """0 below `low`, 1 above `high`, smooth in between; the other way where `low` is larger."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def blend(colours: Array, colour: Colour, share: Array) -> None:
    """Mix a colour into `colours` (..., 3), in place, by its share (...) in 0..1."""
    colours += share[..., np.newaxis] * (np.array(colour) - colours)


def skin_colours(rest: Array, interior: Array) -> Array:
    """Colour the skin.

    Args:
        rest: (N, 3) vertices of the skin at rest, in m.
        interior: (N,) 0 on the outside to 1 within the mouth.

    Returns:
        (N, 3) RGB in 0..1.
    """
    x, y, z = (rest * (1000.0, 1000.0, 1000.0)).T
    x = np.abs(x)
    colours = np.tile(np.array(SKIN), (len(rest), 1))
    # Blood under cheeks, nose and ears; a little shade round the eyes.
    cheek = np.exp(-(((x - 40) / 16) ** 2) - ((y - 0) / 14) ** 2) * smoothstep(10, 30, z)
    nose = np.exp(-((x / 11) ** 2) - ((y + 5) / 10) ** 2) * smoothstep(55, 65, z)
    blend(colours, FLUSH, 0.36 * cheek + 0.28 * nose + 0.35 * smoothstep(76, 84, x))
    socket = np.exp(-(((x - 31) / 17) ** 2) - ((y - 33) / 10) ** 2) * smoothstep(10, 30, z)
    blend(colours, SHADE, 0.35 * socket)
    blend(colours, HAIR, 0.93 * scalp(rest))
    blend(colours, MOUTH, interior)
    return colours


def scalp(rest: Array) -> Array:
    """How much hair grows at points (N, 3) of the head at rest, (N,) in 0..1."""
    x, y, z = (rest * (1000.0, 1000.0, 1000.0)).T
    # Height of the hairline by the angle round the head, 0 in front.
    angle = np.degrees(np.arctan2(np.abs(x), z + 25))
    around = (0, 20, 35, 48, 58, 66, 72, 100, 115, 130, 180)
    height = (89, 88, 82, 62, 42, 34, 42, 42, 0, -35, -45)
    ear = smoothstep(75, 78, np.abs(x)) * smoothstep(52, 44, y)
    return smoothstep(-4.0, 6.0, y - np.interp(angle, around, height)) * (1.0 - ear)


def eye_colours(ball: Array, turned: Array) -> Array:
    """Colour an eyeball, with the light on it.

    Args:
        ball: (N, 3) points of the unit sphere that looks along +z.
        turned: the same points after the eye has turned.

    Returns:
        (N, 3) RGB in 0..1.
    """
    colours = eyeball_colours(ball)
    round_off = 0.62 + 0.36 * np.clip(turned[:, 2], 0.0, 1.0)
    shade = 0.45 * smoothstep(0.05, 0.6, turned[:, 1])  # of the upper lid
    colours *= (round_off * (1.0 - shade))[:, np.newaxis]
    # The key light in it, where the ball and not where the gaze is.
    away = np.linalg.norm(turned - CATCHLIGHT, axis=1)
    blend(colours, (1.0, 1.0, 1.0), 0.95 * smoothstep(0.12, 0.06, away))
    return colours


def eyeball_colours(ball: Array) -> Array:
    """White, iris and pupil at points (N, 3) of the unit sphere that looks along +z: (N, 3) RGB."""
    angle = np.arccos(np.clip(ball[:, 2], -1.0, 1.0))
    around = np.arctan2(ball[:, 1], ball[:, 0])
    streaks = 0.5 + 0.5 * np.sin(23 * around) * np.sin(9 * around + 1)
    colours = np.tile(np.array(SCLERA), (len(ball), 1))
    blend(colours, (0.85, 0.62, 0.58), 0.5 * smoothstep(0.6, 1.2, angle))
    blend(colours, IRIS_RIM, smoothstep(_IRIS_RAD + 0.03, _IRIS_RAD - 0.02, angle))
    blend(colours, IRIS, smoothstep(_IRIS_RAD - 0.02, _IRIS_RAD - 0.12, angle))
    blend(colours, IRIS_LIGHT, 0.6 * streaks * smoothstep(0.36, 0.24, angle))
    blend(colours, (0.02, 0.02, 0.02), smoothstep(_PUPIL_RAD + 0.02, _PUPIL_RAD - 0.01, angle))
    return colours


def sheet_coordinates(rest: npt.NDArray[np.floating]) -> Array:
    """Where on the sheet points (N, 3) of the head at rest lie: (N, 2) in 0..1, right and up."""
    mm = np.asarray(rest, dtype=np.float64)[:, :2] * 1000.0
    return (mm - (SHEET_LEFT_MM, SHEET_BOTTOM_MM)) / (SHEET_WIDTH_MM, SHEET_HEIGHT_MM)


def sheet_points() -> Array:
    """The pixels of the sheet in mm, (H, W, 2); the first row is the lowest."""
    step = 1.0 / _PIXELS_PER_MM
    x = SHEET_LEFT_MM + step * (0.5 + np.arange(round(SHEET_WIDTH_MM / step)))
    y = SHEET_BOTTOM_MM + step * (0.5 + np.arange(round(SHEET_HEIGHT_MM / step)))
    return np.stack(np.meshgrid(x, y), axis=-1)


def sheet() -> Array:
    """Draw lips, lid lines and brows: (H, W, 3) factors of the skin's colour in 0..1."""
    image = np.ones((*sheet_points().shape[:2], 3))
    _draw_lips(image)
    for side in (-1.0, 1.0):
        mirror = np.array([side, 1.0])
        lid = stroke(np.array(_UPPER_LID) * mirror, 0.9)
        blend(image, _LINE, 0.8 * lid)
        _draw_brow(image, mirror)
    return image


def _draw_lips(image: Array) -> None:
    points = sheet_points()
    outline = np.array(_LIPS_UPPER + _LIPS_LOWER, float)
    ring = np.concatenate([outline, outline[::-1] * (-1.0, 1.0)])
    box = _box(ring, 3.0)
    near = points[box]
    away, _ = distance_to_line(near, np.concatenate([ring, ring[:1]]))
    away = np.where(_inside(near, ring), -away, away)
    blend(image[box], _LIP, smoothstep(0.7, -1.2, away))
    blend(image, _LINE, 0.75 * stroke(np.array(_LIPS_MEET, float), 0.7))


def _draw_brow(image: Array, mirror: Array) -> None:
    """A soft ground, and hairs that rise near the nose and lie along the brow further out."""
    points = sheet_points()
    line = np.array(_BROW_LINE, float)
    box = _box(line * mirror, 6.0)
    away, place = distance_to_line(points[box], line * mirror)
    half = np.interp(place, range(len(line)), _BROW_HALF)
    ground = smoothstep(1.25, 0.35, away / half) * smoothstep(0.0, 0.8, place)
    blend(image[box], _BROW, 0.55 * ground)

    # A fixed pattern without clumps: multiples of irrational steps.
    count = np.arange(_HAIRS)
    along = (count * 0.6180339887) % 1.0 * (len(line) - 1.001)
    across = (count * 0.7548776662) % 1.0 * 2.0 - 1.0
    root = np.stack([np.interp(along, range(len(line)), column) for column in line.T], axis=1)
    segment = np.diff(line, axis=0)[along.astype(int)]
    heading = segment / np.linalg.norm(segment, axis=1, keepdims=True)
    upward = np.c_[-heading[:, 1], heading[:, 0]]
    root += upward * (across * np.interp(along, range(len(line)), _BROW_HALF))[:, np.newaxis]
    rise = np.interp(along, (0.0, 1.0, 2.5, 6.0), (1.3, 0.7, 0.25, 0.0)) - 0.3 * across
    direction = heading + upward * rise[:, np.newaxis]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = np.interp(along, (0.0, 1.5, 6.0), (4.0, 6.0, 4.0))[:, np.newaxis]
    for a, b in zip(root - 0.4 * length * direction, root + 0.6 * length * direction, strict=True):
        hair = np.array([a, b]) * mirror
        box = _box(hair, 1.0)
        blend(image[box], _BROW, 0.75 * _taper(points[box], hair, 0.28))


def stroke(line: Array, width: float) -> Array:
    """A soft line on the sheet, `width` mm wide at half its strength, with fading ends: (H, W)."""
    share = np.zeros(sheet_points().shape[:2])
    box = _box(line, 2.0 * width)
    away, place = distance_to_line(sheet_points()[box], line)
    ends = np.minimum(place, len(line) - 1 - place)
    share[box] = np.exp(-0.69 * (2.0 * away / width) ** 2) * smoothstep(0.0, 0.6, ends)
    return share


def distance_to_line(points: Array, line: Array) -> tuple[Array, Array]:
    """Distance of points (..., 2) to a line through corners (M, 2), and where the nearest place is.

    Returns:
        (...) distance and (...) position in 0..M-1: 1.5 is halfway between corners 1 and 2.
    """
    best = np.full(points.shape[:-1], np.inf)
    place = np.zeros(points.shape[:-1])
    for k, (start, end) in enumerate(itertools.pairwise(line)):
        step = end - start
        along = np.clip(((points - start) @ step) / max(step @ step, 1e-12), 0.0, 1.0)
        away = np.linalg.norm(points - start - along[..., np.newaxis] * step, axis=-1)
        nearer = away < best
        best[nearer] = away[nearer]
        place[nearer] = k + along[nearer]
    return best, place


def _taper(points: Array, hair: Array, half_width: float) -> Array:
    away, place = distance_to_line(points, hair)
    return smoothstep(1.0, 0.2, away / (half_width * (1.15 - place)))


def _inside(points: Array, ring: Array) -> npt.NDArray[np.bool_]:
    """Whether points (..., 2) lie in a polygon (M, 2), by the crossing rule."""
    odd = np.zeros(points.shape[:-1], bool)
    x, y = points[..., 0], points[..., 1]
    for (ax, ay), (bx, by) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if ay != by:
            odd ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) / (by - ay) * (bx - ax))
    return odd


def _box(line: Array, margin: float) -> tuple[slice, slice]:
    """The part of the sheet around a line, as rows and columns."""
    origin = np.array([SHEET_LEFT_MM, SHEET_BOTTOM_MM])
    low = np.floor((line.min(axis=0) - margin - origin) * _PIXELS_PER_MM).astype(int)
    high = np.ceil((line.max(axis=0) + margin - origin) * _PIXELS_PER_MM).astype(int)
    low = np.maximum(low, 0)
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
