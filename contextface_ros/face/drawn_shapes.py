"""The drawn face as numbers: its points at rest, and how far each face unit moves them.

Places are in hundredths of the face's height, x to the person's left (to the right of the picture)
and y up, from the middle of the face. One side is written down; the other is its mirror.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contextface_ros.face.blendshapes import ARKIT_NAMES

Array = npt.NDArray[np.float64]
Point = tuple[float, float]

SIDES = ("Left", "Right")

# Points of the left side. Where x is 0 the point is in the middle, and there is one.
_REST: Mapping[str, Point] = {
    "eyeInner": (9.5, 5.5), "eyeOuter": (32.5, 8.0),
    "lidUpper1": (13.0, 12.6), "lidUpper2": (20.5, 15.6), "lidUpper3": (28.8, 13.4),
    "lidLower1": (14.0, 0.9), "lidLower2": (21.5, -1.0), "lidLower3": (29.0, 1.8),
    "iris": (20.6, 7.6),
    "brow1": (8.0, 24.6), "brow2": (15.5, 27.4), "brow3": (25.0, 28.0), "brow4": (34.0, 23.8),
    "nose": (4.2, -12.0), "noseTip": (0.0, -13.6),
    "cheek": (34.0, -12.5),
    "corner": (14.5, -27.0),
    "lipUpperOut0": (0.0, -25.0), "lipUpperOut1": (4.2, -24.3), "lipUpperOut2": (9.5, -25.3),
    "lipUpperIn0": (0.0, -27.3), "lipUpperIn1": (4.8, -27.0), "lipUpperIn2": (10.0, -27.0),
    "lipLowerIn0": (0.0, -27.3), "lipLowerIn1": (4.8, -27.0), "lipLowerIn2": (10.0, -27.0),
    "lipLowerOut0": (0.0, -30.8), "lipLowerOut1": (5.0, -30.4), "lipLowerOut2": (10.0, -29.1),
    "chin": (4.0, -36.6), "chinMiddle": (0.0, -37.4),
    "headTop": (0.0, 49.0), "headTop1": (22.0, 46.0), "headTop2": (39.5, 34.5),
    "headSide1": (46.5, 14.0), "headSide2": (46.0, -8.0), "headJaw1": (40.5, -28.0),
    "headJaw2": (24.0, -42.5), "headChin": (0.0, -46.5),
}  # fmt: skip

# Which points each unit moves, and how far at weight 1. Of a unit with sides the left is written; a
# point in the middle then gets a share of either side.
_MOVES: Mapping[str, Mapping[str, Point]] = {
    "eyeLookDown": {
        "iris": (0, -6), "lidUpper1": (0, -3.4), "lidUpper2": (0, -4.6), "lidUpper3": (0, -3.6),
        "lidLower2": (0, -0.8),
    },
    "eyeLookUp": {
        "iris": (0, 5.4), "lidUpper1": (0, 0.8), "lidUpper2": (0, 1.6), "lidUpper3": (0, 0.8),
        "lidLower2": (0, 0.6),
    },
    "eyeLookIn": {
        "iris": (-5.6, 0),
    },
    "eyeLookOut": {
        "iris": (6, 0),
    },
    "eyeSquint": {
        "lidLower1": (0, 3.4), "lidLower2": (0, 5.4), "lidLower3": (0, 4.6),
        "lidUpper1": (0, -1.6), "lidUpper2": (0, -3.2), "lidUpper3": (0, -2.8),
    },
    "eyeWide": {
        "lidUpper1": (-0.6, 3.4), "lidUpper2": (0, 4.8), "lidUpper3": (0.8, 3.8),
        "lidLower1": (0, -1), "lidLower2": (0, -2), "lidLower3": (0, -1.4),
    },
    "jawOpen": {
        "lipLowerIn0": (0, -17), "lipLowerIn1": (0.6, -16.2), "lipLowerIn2": (0.6, -11.5),
        "lipLowerOut0": (0, -15.6), "lipLowerOut1": (0.4, -15.4), "lipLowerOut2": (0.2, -12.5),
        "lipUpperIn0": (0, 1.2), "lipUpperIn1": (0, 1), "lipUpperIn2": (0, 0.4),
        "lipUpperOut0": (0, 0.6), "lipUpperOut1": (0, 0.6), "corner": (-1.2, -4.8),
        "chin": (0, -12), "chinMiddle": (0, -12), "headChin": (0, -6), "headJaw2": (-1, -5),
        "headJaw1": (-1.6, -2),
    },
    "eyeBlink": {
        "lidLower1": (0, 0.8), "lidLower2": (0, 1.6), "lidLower3": (0, 0.8),
    },
    "mouthClose": {
        "lipUpperOut0": (0, -0.8), "lipUpperOut1": (0, -0.9), "lipUpperOut2": (0, -0.4),
        "lipLowerOut0": (0, 1.1), "lipLowerOut1": (0, 1), "lipLowerOut2": (0, 0.5),
    },
    "jawForward": {
        "lipLowerIn0": (0, 0.6), "lipLowerOut0": (0, -1.6), "lipLowerOut1": (1, -1.6),
        "lipLowerOut2": (1.2, -1), "chin": (1.4, -1.4), "chinMiddle": (0, -1.8),
        "headJaw2": (3, -1), "headChin": (0, -1.4),
    },
    "mouthFunnel": {
        "corner": (-5.8, 0), "lipUpperOut0": (0, 3.6), "lipUpperOut1": (-0.6, 3.2),
        "lipUpperOut2": (-3.2, 2), "lipUpperIn0": (0, 3.4), "lipUpperIn1": (-0.8, 2.8),
        "lipUpperIn2": (-3.6, 1.2), "lipLowerIn0": (0, -4.4), "lipLowerIn1": (-0.8, -3.8),
        "lipLowerIn2": (-3.6, -1.8), "lipLowerOut0": (0, -5), "lipLowerOut1": (-0.6, -4.4),
        "lipLowerOut2": (-3.2, -2.6),
    },
    "mouthPucker": {
        "corner": (-7.6, 0), "lipUpperOut0": (0, 1.2), "lipUpperOut1": (-1.6, 1.8),
        "lipUpperOut2": (-4.6, 1.4), "lipUpperIn1": (-2.2, 0), "lipUpperIn2": (-5.2, 0),
        "lipLowerIn1": (-2.2, 0), "lipLowerIn2": (-5.2, 0), "lipLowerOut0": (0, -1.2),
        "lipLowerOut1": (-1.8, -1.2), "lipLowerOut2": (-4.8, -1.2), "cheek": (-1.6, 0),
    },
    "mouthSmile": {
        "corner": (5.4, 7.6), "lipUpperOut0": (0, 0.3), "lipUpperOut1": (1, 0.6),
        "lipUpperOut2": (3.2, 2.9), "lipUpperIn0": (0, -0.2), "lipUpperIn1": (1, 0.2),
        "lipUpperIn2": (3.2, 2.4), "lipLowerIn0": (0, -0.5), "lipLowerIn1": (1.2, 0),
        "lipLowerIn2": (3.4, 2), "lipLowerOut0": (0, -0.3), "lipLowerOut1": (1.6, 0),
        "lipLowerOut2": (4, 2), "cheek": (0.6, 3.4), "headJaw1": (1.2, 0.6),
        "lidLower2": (0, 0.8), "lidLower3": (0, 0.8),
    },
    "mouthFrown": {
        "corner": (0.8, -6.6), "lipUpperOut2": (0.4, -2.6), "lipUpperIn2": (0.4, -2.9),
        "lipLowerIn2": (0.4, -2.9), "lipLowerOut2": (0.8, -2.6), "lipUpperOut0": (0, 0.5),
        "lipUpperIn0": (0, 0.6), "lipLowerIn0": (0, 0.6), "lipUpperIn1": (0, -0.4),
        "lipLowerIn1": (0, -0.4), "lipLowerOut0": (0, 0.6),
    },
    "mouthDimple": {
        "corner": (3.4, 0.9), "lipUpperIn2": (1.2, 0.4), "lipLowerIn2": (1.2, 0.4),
        "lipUpperOut2": (1.2, 0), "lipLowerOut2": (1.2, 0.4),
    },
    "mouthStretch": {
        "corner": (6.4, -2.2), "lipUpperOut1": (0.8, -0.4), "lipUpperOut2": (3.2, -1),
        "lipUpperIn2": (3.4, -0.8), "lipLowerIn1": (0.8, -0.5), "lipLowerIn2": (3.8, -1.8),
        "lipLowerOut0": (0, 0.3), "lipLowerOut1": (1.4, 0.2), "lipLowerOut2": (4.4, -1.4),
    },
    "mouthRollLower": {
        "lipLowerOut0": (0, 2.6), "lipLowerOut1": (0, 2.5), "lipLowerOut2": (0, 1.5),
    },
    "mouthRollUpper": {
        "lipUpperOut0": (0, -1.6), "lipUpperOut1": (0, -2.1), "lipUpperOut2": (0, -1.4),
    },
    "mouthShrugLower": {
        "lipLowerIn0": (0, 3.2), "lipLowerIn1": (0, 2.6), "lipLowerIn2": (0, 1),
        "lipUpperIn0": (0, 2), "lipUpperIn1": (0, 1.6), "lipUpperIn2": (0, 0.5),
        "lipUpperOut0": (0, 1.2), "lipUpperOut1": (0, 1.2), "lipLowerOut0": (0, 2),
        "lipLowerOut1": (0, 1.8), "lipLowerOut2": (0, 0.6), "chin": (0, 2.2),
        "chinMiddle": (0, 2.8),
    },
    "mouthShrugUpper": {
        "lipUpperOut0": (0, 2.6), "lipUpperOut1": (0, 2.5), "lipUpperOut2": (0, 1.2),
        "lipUpperIn0": (0, 1.4), "lipUpperIn1": (0, 1.2), "lipUpperIn2": (0, 0.5),
        "lipLowerIn0": (0, 1.2), "lipLowerIn1": (0, 1), "lipLowerIn2": (0, 0.4),
    },
    "mouthPress": {
        "corner": (1.2, 0.2), "lipUpperOut1": (0, -0.9), "lipUpperOut2": (0, -1),
        "lipUpperOut0": (0, -0.5), "lipLowerOut0": (0, 0.6), "lipLowerOut1": (0, 1.2),
        "lipLowerOut2": (0, 1.2),
    },
    "mouthLowerDown": {
        "lipLowerIn0": (0, -2.5), "lipLowerIn1": (0, -5.2), "lipLowerIn2": (0.8, -3.6),
        "lipLowerOut0": (0, -2.2), "lipLowerOut1": (0, -4.6), "lipLowerOut2": (1, -3.4),
    },
    "mouthUpperUp": {
        "lipUpperIn0": (0, 2.2), "lipUpperIn1": (0, 4.8), "lipUpperIn2": (0.6, 3.6),
        "lipUpperOut0": (0, 1.9), "lipUpperOut1": (0, 3.9), "lipUpperOut2": (0.6, 3.4),
        "nose": (0.4, 0.8),
    },
    "browDown": {
        "brow1": (-2.6, -6.6), "brow2": (-1.8, -6.2), "brow3": (-0.6, -3.4), "brow4": (0, 0.4),
        "lidUpper1": (0, -3.4), "lidUpper2": (0, -2.2), "lidUpper3": (0, -0.4),
    },
    "browInnerUp": {
        "brow1": (1, 7.6), "brow2": (0.4, 4.6), "brow3": (0, 0.8), "brow4": (0, -2.2),
        "lidUpper1": (0, 1.4), "lidUpper3": (0, -1.6),
    },
    "browOuterUp": {
        "brow1": (0, 1.2), "brow2": (0, 4.4), "brow3": (0, 7), "brow4": (0.4, 5.6),
        "lidUpper3": (0, 0.6),
    },
    "cheekPuff": {
        "cheek": (1.6, -1), "headSide2": (2.2, 0), "headJaw1": (6, -0.6), "headJaw2": (2.4, 0),
        "corner": (-1.6, 0), "lipUpperIn2": (-1, 0), "lipLowerIn2": (-1, 0),
    },
    "cheekSquint": {
        "lidLower1": (0, 1.8), "lidLower2": (0, 4.4), "lidLower3": (0, 4.4),
        "lidUpper3": (0, -1.2), "cheek": (-0.6, 4.2),
    },
    "noseSneer": {
        "nose": (1.2, 3), "noseTip": (0, 0.7), "brow1": (-0.8, -2.2), "brow2": (0, -1.4),
        "lidLower1": (0, 3), "lidLower2": (0, 3.2), "lidLower3": (0, 1.6), "lidUpper1": (0, -1.8),
        "lidUpper2": (0, -1.8), "lipUpperOut1": (0, 1.6), "lipUpperOut2": (0, 1.4),
        "lipUpperIn1": (0, 1.4), "lipUpperIn2": (0, 1),
    },
    "tongueOut": {
        "lipLowerIn0": (0, -5), "lipLowerIn1": (0, -4.6), "lipLowerIn2": (0, -2.2),
        "lipLowerOut0": (0, -4.2), "lipLowerOut1": (0, -4), "lipLowerOut2": (0, -2.4),
    },
}  # fmt: skip

# Units that move a part of the face to one side, without a mirror.
_SHIFTS: Mapping[str, tuple[tuple[str, ...], float]] = {
    "jawLeft": (("lipLower", "chin", "headChin", "headJaw2"), 5.0),
    "jawRight": (("lipLower", "chin", "headChin", "headJaw2"), -5.0),
    "mouthLeft": (("corner", "lip", "chin"), 6.0),
    "mouthRight": (("corner", "lip", "chin"), -6.0),
}
# Two units together are more than their sum: brows that are raised and drawn together at once (FACS
# 1+4) slant, high within and low without, and the lids follow.
_TOGETHER: Mapping[tuple[str, str], Mapping[str, Point]] = {
    ("browInnerUp", "browDown"): {
        "brow1": (0.6, 6.4), "brow2": (0, 3.0), "brow3": (0, -2.0), "brow4": (0, -4.4),
        "lidUpper1": (0, 3.6), "lidUpper2": (0, 0.6), "lidUpper3": (0, -2.6),
    },
}  # fmt: skip
_SHARED = 0.5  # of a middle point's way, for either side of a unit with sides


@dataclass(frozen=True)
class Crease:
    """A line that units draw on the skin; `units` says how much of its width each is worth.

    A name without a side stands for that side's unit on either side.
    """

    line: tuple[Point, ...]
    units: Mapping[str, float]
    width: float = 1.0


CREASES = (
    Crease(((3.4, 17.5), (4.6, 22.0), (3.8, 27.0)), {"browDown": 0.9, "noseSneer": 0.25}, 1.1),
    Crease(((3.0, 36.4), (12.0, 37.6), (20.0, 36.6)), {"browInnerUp": 0.9, "browOuterUp": 0.2}),
    Crease(((18.0, 40.6), (26.0, 40.2), (33.0, 36.4)), {"browOuterUp": 0.9}),
    Crease(((12.5, -4.6), (20.5, -8.0), (29.5, -5.6)), {"cheekSquint": 0.9, "eyeSquint": 0.3}, 0.9),
    Crease(((36.0, 9.5), (39.6, 11.6)), {"cheekSquint": 0.8}, 0.9),
    Crease(((36.2, 5.8), (39.8, 5.0)), {"cheekSquint": 0.8}, 0.9),
    Crease(((3.4, 4.6), (6.2, 1.6)), {"noseSneer": 1.0}),
    Crease(((3.0, 0.4), (6.0, -2.6)), {"noseSneer": 1.0}),
    Crease(
        ((8.4, -10.0), (13.4, -14.6), (17.6, -20.0)),
        {"noseSneer": 0.8, "mouthUpperUp": 0.45, "mouthSmile": 0.3},
    ),
    Crease(((25.0, -17.4), (26.6, -21.0), (25.6, -25.0)), {"mouthSmile": 0.5, "mouthDimple": 0.4}),
    Crease(((20.4, -23.6), (21.8, -26.4), (20.6, -29.2)), {"mouthDimple": 1.0}, 1.1),
    Crease(((16.6, -30.4), (18.8, -34.6)), {"mouthFrown": 0.7, "mouthStretch": 0.5}),
    Crease(((17.6, -24.6), (19.2, -27.0), (17.6, -29.6)), {"mouthPress": 0.9}),
    Crease(((1.6, -39.4), (3.6, -40.6)), {"mouthShrugLower": 1.0}),
    Crease(((3.6, -18.6), (3.0, -21.0)), {"mouthShrugUpper": 0.8, "mouthPucker": 0.5}),
)  # fmt: skip


def _names() -> tuple[str, ...]:
    sided = [f"{name}{side}" for name, (x, _) in _REST.items() if x for side in SIDES]
    return (*sided, *(name for name, (x, _) in _REST.items() if not x))


POINTS = _names()
"""The points by name: those with a side end in Left or Right."""

INDEX: Mapping[str, int] = {name: k for k, name in enumerate(POINTS)}


def mirrored(point: Point, side: str) -> Point:
    """A place or a way of the left side, as it is on `side`."""
    return point if side == "Left" else (-point[0], point[1])


def rest() -> Array:
    """The points of the face at rest, (N, 2)."""
    points = np.zeros((len(POINTS), 2))
    for name, place in _REST.items():
        for side in SIDES:
            points[_index(name, side)] = mirrored(place, side)
    return points


def moves() -> Array:
    """How far each of the 52 units moves each point at weight 1: (52, N, 2)."""
    ways = np.zeros((len(ARKIT_NAMES), len(POINTS), 2))
    for unit, moved in _MOVES.items():
        for name, way in moved.items():
            for side in SIDES:
                row = _unit(unit, side)
                share = _SHARED if not _REST[name][0] else 1.0
                ways[row, _index(name, side)] += share * np.array(mirrored(way, side))
    for unit, (stems, x) in _SHIFTS.items():
        moved_points = [k for k, name in enumerate(POINTS) if name.startswith(stems)]
        ways[ARKIT_NAMES.index(unit), moved_points, 0] += x
    return ways


def together() -> tuple[tuple[int, int, Array], ...]:
    """Pairs of units, and how far their product moves each point (N, 2)."""
    pairs = []
    for (one, other), moved in _TOGETHER.items():
        for side in SIDES:
            ways = np.zeros((len(POINTS), 2))
            for name, way in moved.items():
                ways[_index(name, side)] = mirrored(way, side)
            pairs.append((_unit(one, side), _unit(other, side), ways))
    return tuple(pairs)


def _unit(name: str, side: str) -> int:
    """Place of a unit, or of its side."""
    sided = f"{name}{side}"
    return ARKIT_NAMES.index(sided if sided in ARKIT_NAMES else name)


def _index(name: str, side: str) -> int:
    return INDEX[f"{name}{side}" if _REST[name][0] else name]


def creases() -> tuple[tuple[Array, Array, float], ...]:
    """For each crease of either side: its line (K, 2), the units' shares (52,), its full width."""
    drawn = []
    for crease in CREASES:
        for side in SIDES:
            shares = np.zeros(len(ARKIT_NAMES))
            for unit, share in crease.units.items():
                shares[_unit(unit, side)] = share
            line = np.array([mirrored(point, side) for point in crease.line])
            drawn.append((line, shares, crease.width))
    return tuple(drawn)
