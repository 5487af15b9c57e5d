"""A clock of absolute deadlines: what comes late once does not put off all that follows."""

from __future__ import annotations

import math
import time
from collections import deque

import numpy as np


def next_deadline(due_s: float, period_s: float, now_s: float) -> float:
    """The deadline after `due_s`, whole periods later: what was missed is left out, not caught up.

    Args:
        due_s: the deadline that was just met, or missed.
        period_s: from one deadline to the next; 0 for frames that are due at any time.
        now_s: the time.
    """
    if period_s == 0:
        return now_s
    return due_s + period_s * max(1, math.ceil((now_s - due_s) / period_s))


class Pace:
    """Waits for one deadline after the other, and keeps count of how they are met.

    Used by one thread; the figures may be read by others.

    Attributes:
        due_s: the deadline that was met last (time.monotonic).
        met: how many were met.
        missed: how many were left out, since the one before took too long.
    """

    def __init__(self, rate_hz: float) -> None:
        """Begin now.

        Args:
            rate_hz: deadlines a second.
        """
        self.due_s = time.monotonic()
        self.met = 0
        self.missed = 0
        self._period_s = 1.0 / rate_hz
        self._late_s: deque[float] = deque(maxlen=round(10 * rate_hz))

    def wait(self) -> float:
        """Sleep until the next deadline. Returns it."""
        before_s = self.due_s
        self.due_s = next_deadline(before_s, self._period_s, time.monotonic())
        self.missed += round((self.due_s - before_s) / self._period_s) - 1
        # A sleep may end early on some systems, and a negative one is an error.
        while (left_s := self.due_s - time.monotonic()) > 0:
            time.sleep(left_s)
        self._late_s.append(-left_s)
        self.met += 1
        return self.due_s

    def late_ms(self, percentile: float) -> float:
        """A percentile of how late the deadlines of the last 10 s were met, in ms."""
        late_s = list(self._late_s)  # a copy that the other thread does not change
        return float(np.percentile(late_s, percentile)) * 1e3 if late_s else 0.0
