"""What a face does when nothing happens: it breathes, blinks, and looks about a little.

Pure functions of time and a seed: any moment can be asked for, in any order, and nothing is kept.
Time is cut into cells, and a hash of (seed, cell) says what happens in each and when, so that the
rhythm is irregular, as a living one is, and yet the same whenever it is asked for.

Times and rates of blinks: 17 a minute at rest (Bentivoglio et al., "Analysis of blink rate patterns
in normal subjects", Movement Disorders 12(6), 1997); a lid falls faster than it rises (Evinger,
Manning & Sibony, "Eyelid movements", Investigative Ophthalmology & Visual Science 32(2), 1991). It
stays shut for three frames of 60 Hz, so that none of them misses it. Amplitudes are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contextface_ros.face.blendshapes import ARKIT_NAMES

Float64Array = npt.NDArray[np.float64]

BLINKS_PER_MINUTE = 17.0
CLOSING_S, SHUT_S, OPENING_S = 0.09, 0.05, 0.18

_BREATH_S = 4.3  # from one to the next, 14 a minute
_BREATH = {"jawOpen": 0.02, "noseSneerLeft": 0.02, "noseSneerRight": 0.02, "browInnerUp": 0.015}
_GLANCE_S = 1.9  # mean stay of the eyes in one place
_GLANCE = 0.09  # furthest, as a weight of eyeLook
_SACCADE_S = 0.07
_ROUND = 0.01  # over which a look to one side turns into a look to the other

_PLACE = {name: i for i, name in enumerate(ARKIT_NAMES)}
_BREATHING = np.array([_BREATH.get(name, 0.0) for name in ARKIT_NAMES])
_LIDS = [_PLACE["eyeBlinkLeft"], _PLACE["eyeBlinkRight"]]
_LEFT = [_PLACE["eyeLookOutLeft"], _PLACE["eyeLookInRight"]]
_RIGHT = [_PLACE["eyeLookInLeft"], _PLACE["eyeLookOutRight"]]
_UP = [_PLACE["eyeLookUpLeft"], _PLACE["eyeLookUpRight"]]
_DOWN = [_PLACE["eyeLookDownLeft"], _PLACE["eyeLookDownRight"]]


@dataclass(frozen=True)
class Idle:
    """Breath, blinks and small gaze.

    Attributes:
        seed: of all that is irregular.
    """

    seed: int

    def at(self, time_s: float) -> Float64Array:
        """The weights, (52,) float64 in 0..1, in the order of ARKIT_NAMES."""
        pose: Float64Array = self.breath(time_s) * _BREATHING
        pose[_LIDS] = self.lids(time_s)
        across, up = self.gaze(time_s)
        pose[_LEFT], pose[_RIGHT] = _above(across), _above(-across)
        pose[_UP], pose[_DOWN] = _above(up), _above(-up)
        return pose

    def breath(self, time_s: float) -> float:
        """How far breathed in, 0..1. Two rhythms that never meet keep it from being a clock's."""
        phase = 2.0 * math.pi * (time_s / _BREATH_S + _hash(self.seed, 0, 0))
        return 0.5 - 0.35 * math.cos(phase) - 0.15 * math.cos(0.381966 * phase)

    def lids(self, time_s: float) -> float:
        """How far the lids are shut, 0..1. One blink in each cell, away from the cell's edges."""
        length_s = 60.0 / BLINKS_PER_MINUTE
        cell = math.floor(time_s / length_s)
        begin_s = (cell + 0.05 + 0.8 * _hash(self.seed, 1, cell)) * length_s
        since_s = time_s - begin_s
        closing = _ease(since_s / CLOSING_S)
        opening = _ease((since_s - CLOSING_S - SHUT_S) / OPENING_S)
        return closing - opening

    def gaze(self, time_s: float) -> tuple[float, float]:
        """Where the eyes look, to the person's left and up, each about -0.1..0.1."""
        cell = math.floor(time_s / _GLANCE_S)
        leave_s = (cell + 0.8 * _hash(self.seed, 2, cell)) * _GLANCE_S
        step = _ease((time_s - leave_s) / _SACCADE_S)
        (x, y), (next_x, next_y) = self._place(cell - 1), self._place(cell)
        return x + step * (next_x - x), y + step * (next_y - y)

    def _place(self, cell: int) -> tuple[float, float]:
        """Where the eyes are after the glance of a cell: mostly straight ahead, less up or down."""
        x, y = _hash(self.seed, 3, cell), _hash(self.seed, 4, cell)
        return _GLANCE * (2.0 * x - 1.0) ** 3, 0.5 * _GLANCE * (2.0 * y - 1.0) ** 3


def _ease(x: float) -> float:
    """From 0 at 0 to 1 at 1, without velocity or acceleration at either end."""
    x = min(max(x, 0.0), 1.0)
    return x * x * x * (x * (6.0 * x - 15.0) + 10.0)


def _above(x: float) -> float:
    """The positive part of x, rounded at 0."""
    return 0.5 * (x + math.sqrt(x * x + _ROUND * _ROUND))


def _hash(seed: int, channel: int, cell: int) -> float:
    """A number in [0, 1) that looks random: the finaliser of SplitMix64.

    Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    mask = 0xFFFFFFFFFFFFFFFF
    z = 0
    for part in (seed, channel, cell):
        z = (z + part + 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        z ^= z >> 31
    return (z >> 11) / float(1 << 53)
