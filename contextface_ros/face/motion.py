"""The pose of a face at any time: a sum of layers, each a pure function of time.

    idle        breath, blinks, small gaze               idle.py
    attitude    listening, thinking                      attitude.py
    emotion     rise, stay, fade                         emotion_layer.py
    masks       regions lent to another animator         regions.py
    limits      what a face cannot do                    limits.py

Whatever changes does so through a lag (lag.py), from the displayed pose and velocity on. Nothing
here knows a clock: who plays a Motion asks for the pose of a time, and tells it at which time
something came. A Motion never changes; what comes makes another one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from contextface_ros.face.attitude import ATTITUDES, ONSET_S, Attention
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.emotion_layer import EmotionLayer, Style
from contextface_ros.face.idle import Idle
from contextface_ros.face.lag import Course
from contextface_ros.face.limits import add, limited
from contextface_ros.face.regions import Region, units_of
from contextface_ros.types import Emotion, Float32Array

HAND_OVER_S = 0.3
"""Time in which a region fades before it is lent, and comes back afterwards."""

_UNITS = len(ARKIT_NAMES)
_GONE = 1e-3  # of a weight, below which nothing of a lent unit is left to be seen


def _resting(value: float) -> Course:
    return Course.resting(np.full(_UNITS, value))


@dataclass(frozen=True)
class Motion:
    """All that a face does, from some time on, if nothing more happens.

    Attributes:
        idle: what it does of its own accord.
        living: (52,) share of that, over time.
        attitude: (52,) weights over time.
        emotion: weights over time, and which emotion they belong to.
        own: (52,) share of each unit that is ours, over time: 0 where a region is lent.
        lent: the regions that are lent.
    """

    idle: Idle
    living: Course = field(default_factory=lambda: _resting(1.0))
    attitude: Course = field(default_factory=lambda: _resting(0.0))
    emotion: EmotionLayer = field(default_factory=EmotionLayer)
    own: Course = field(default_factory=lambda: _resting(1.0))
    lent: frozenset[Region] = frozenset()

    def pose(self, time_s: float) -> Float32Array:
        """The face at a time.

        Returns:
            (52,) float32 in 0..1, in the order of ARKIT_NAMES.
        """
        pose = self.living.at(time_s) * self.idle.at(time_s)
        pose = add(pose, self.attitude.at(time_s))
        pose = add(pose, self.emotion.at(time_s))
        pose = self.own.at(time_s) * pose
        return limited(pose)

    def played(self, time_s: float) -> npt.NDArray[np.bool_]:
        """Which units are ours at a time, (52,): all but those lent, once they have faded."""
        if not self.lent:
            return np.ones(_UNITS, dtype=bool)
        return ~(units_of(self.lent) & (self.own.at(time_s) < _GONE))

    def express(
        self,
        weights: npt.ArrayLike,
        label: Emotion | None,
        time_s: float,
        style: Style = Style(),  # noqa: B008  frozen
    ) -> Motion:
        """Show a face. See EmotionLayer.express."""
        return replace(self, emotion=self.emotion.express(weights, label, time_s, style))

    def attend(self, attention: Attention, time_s: float, max_age_s: float) -> Motion:
        """Take on an attitude.

        Args:
            attention: which.
            time_s: when.
            max_age_s: after which it is let go of, should nobody say that it is over.
        """
        attitude = self.attitude.since(time_s).then(ATTITUDES[attention], time_s, ONSET_S)
        over_s = time_s + max_age_s
        return replace(self, attitude=attitude.then(ATTITUDES[Attention.IDLE], over_s, ONSET_S))

    def lend(self, regions: frozenset[Region], time_s: float) -> Motion:
        """Lend these regions to another animator, and take all others back."""
        share = np.where(units_of(regions), 0.0, 1.0)
        own = self.own.since(time_s).then(share, time_s, HAND_OVER_S)
        return replace(self, own=own, lent=regions)

    def live(self, alive: bool, time_s: float) -> Motion:
        """Begin, or cease, to breathe, blink and look about."""
        share = np.full(_UNITS, float(alive))
        return replace(self, living=self.living.since(time_s).then(share, time_s, HAND_OVER_S))

    def asleep(self) -> Motion:
        """The same face at rest, from which `lend` wakes it."""
        return replace(self, own=_resting(0.0))

    def fall_asleep(self, time_s: float) -> Motion:
        """Go to rest, whatever else is under way."""
        own = self.own.since(time_s).then(np.zeros(_UNITS), time_s, HAND_OVER_S)
        return replace(self, own=own)
