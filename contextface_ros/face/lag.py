"""How anything on the face changes: smoothly, from where it is, to where it is to be.

A goal is passed through three equal first-order lags, one behind the other. Their answer to a step
is an S: it starts without velocity and acceleration and settles without overshoot. What is shown
is always a mix of the goals that were set, so nothing that comes, however often and whenever, can
carry it past their bounds; a polynomial from pose to pose, begun at the displayed velocity, can.

For a goal g, time constants passed s, and stages y1, y2, y3 that start with offsets o1, o2, o3:

    y3 = g + exp(-s) (o3 + o2 s + o1 s^2 / 2)

which is the impulse response of the Erlang (gamma) distribution of order three, integrated. The
rate ds/dt glides too, or the velocity would jump where a slow change gives way to a fast one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

STAGES = 3

DONE = 6.296
"""Time constants until 95 % of a step are done: 1 - exp(-s) (1 + s + s^2 / 2) = 0.95."""

FASTEST_PER_S = 100.0
"""Bound on the rate: no weight moves by more than this in a second, whatever is asked for."""

_GLIDE_PER_S = 50.0  # the rate settles with a time constant of 20 ms, a frame or so
_STILL = 1e-5  # between stages: what moves so little has no velocity to keep


@dataclass(frozen=True)
class Lag:
    """One change towards one goal. A pure function of time from `start_s` on.

    Attributes:
        goal: (N,) where it goes.
        offsets: (3, N) how far the stages are from the goal at the start; the last one is shown.
        start_s: when it begins.
        rate_per_s: the rate that it settles at.
        start_rate_per_s: the rate at the start.
    """

    goal: Float64Array
    offsets: Float64Array
    start_s: float
    rate_per_s: float
    start_rate_per_s: float

    @classmethod
    def resting(cls, value: Float64Array) -> Lag:
        """Always the same (N,) value."""
        return cls(value, np.zeros((STAGES, len(value))), 0.0, 1.0, 1.0)

    def at(self, time_s: float) -> Float64Array:
        """What is shown, (N,)."""
        s = self._passed(time_s)
        shown: Float64Array = self.goal + math.exp(-s) * (
            np.array((0.5 * s * s, s, 1.0)) @ self.offsets
        )
        return shown

    def velocity(self, time_s: float) -> Float64Array:
        """Its derivative, (N,) per second."""
        stages = self._stages(time_s)
        velocity: Float64Array = self._rate_per_s(time_s) * (stages[1] - stages[2])
        return velocity

    def towards(self, goal: Float64Array, time_s: float, duration_s: float) -> Lag:
        """Go elsewhere from `time_s` on.

        Args:
            goal: (N,) where to.
            time_s: when this begins.
            duration_s: until 95 % of a step would be done.
        """
        rate_per_s = min(DONE / max(duration_s, 1e-9), FASTEST_PER_S)
        stages = self._stages(time_s)
        at_rest = bool(np.abs(stages[1] - stages[2]).max() < _STILL)
        start_rate_per_s = rate_per_s if at_rest else self._rate_per_s(time_s)
        return Lag(goal, stages - goal, time_s, rate_per_s, start_rate_per_s)

    def _stages(self, time_s: float) -> Float64Array:
        """The three stages, (3, N)."""
        s = self._passed(time_s)
        mix = np.array(((1.0, 0.0, 0.0), (s, 1.0, 0.0), (0.5 * s * s, s, 1.0)))
        stages: Float64Array = self.goal + math.exp(-s) * (mix @ self.offsets)
        return stages

    def _rate_per_s(self, time_s: float) -> float:
        age_s = max(0.0, time_s - self.start_s)
        surplus = self.start_rate_per_s - self.rate_per_s
        return self.rate_per_s + surplus * math.exp(-_GLIDE_PER_S * age_s)

    def _passed(self, time_s: float) -> float:
        """Time constants since the start: the integral of the rate."""
        age_s = max(0.0, time_s - self.start_s)
        surplus = self.start_rate_per_s - self.rate_per_s
        glided = -math.expm1(-_GLIDE_PER_S * age_s) / _GLIDE_PER_S
        return self.rate_per_s * age_s + surplus * glided


@dataclass(frozen=True)
class Course:
    """Changes one after the other, of which some may lie ahead. A pure function of time.

    Attributes:
        lags: in the order of their starts, each beginning where the one before it then is.
    """

    lags: tuple[Lag, ...]

    @classmethod
    def resting(cls, value: Float64Array) -> Course:
        """Always the same (N,) value."""
        return cls((Lag.resting(value),))

    def at(self, time_s: float) -> Float64Array:
        """What is shown, (N,)."""
        return self._current(time_s).at(time_s)

    def velocity(self, time_s: float) -> Float64Array:
        """Its derivative, (N,) per second."""
        return self._current(time_s).velocity(time_s)

    def then(self, goal: Float64Array, time_s: float, duration_s: float) -> Course:
        """The same up to `time_s`, and towards another goal from then on.

        Args:
            goal: (N,) where to.
            time_s: when that begins.
            duration_s: until 95 % of a step would be done.
        """
        before = tuple(lag for lag in self.lags if lag.start_s <= time_s) or self.lags[:1]
        return Course((*before, before[-1].towards(goal, time_s, duration_s)))

    def since(self, time_s: float) -> Course:
        """The same from `time_s` on, without what was over by then."""
        current = self._current(time_s)
        return Course((current, *(lag for lag in self.lags if lag.start_s > time_s)))

    def _current(self, time_s: float) -> Lag:
        for lag in reversed(self.lags):
            if lag.start_s <= time_s:
                return lag
        return self.lags[0]
