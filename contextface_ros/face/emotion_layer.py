"""The face that an answer asks for: it rises, stays for a while, and fades.

Durations by emotion. What they are taken from gives an order and a range, the figures are ours:
expressions of felt emotions last 0.5 to 4 s, and surprise is the briefest (Ekman, "Emotions
Revealed", 2003). Sadness is recognised best when it comes slowly, happiness and surprise when they
come fast, anger at a medium pace (Kamachi et al., "Dynamic properties influence the perception of
facial expressions", Perception 30, 2001); of rises of 200 to 900 ms sadness wants the slowest,
disgust a fast or moderate one (Recio, Schacht & Sommer, "Classification of dynamic facial
expressions of emotion presented briefly", Cognition & Emotion 27(8), 2013). That each emotion has a
duration that looks most real, and that fading takes longer than rising: Hoffmann, Traue, Bachmayr &
Kessler, "Perceived realism of dynamic facial expressions of emotion", Cognition & Emotion 24(8),
2010.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.lag import Course
from contextface_ros.types import Emotion

Float64Array = npt.NDArray[np.float64]

_REST = np.zeros(len(ARKIT_NAMES))


@dataclass(frozen=True)
class Tempo:
    """Durations of one emotion on a face.

    Attributes:
        onset_s: until 95 % of the face is there.
        hold_s: how long it then stays.
        decay_s: until 95 % of it are gone.
    """

    onset_s: float
    hold_s: float
    decay_s: float


TEMPI: Mapping[Emotion | None, Tempo] = MappingProxyType(
    {
        Emotion.SURPRISE: Tempo(0.25, 0.9, 0.9),
        Emotion.FEAR: Tempo(0.35, 1.8, 1.3),
        Emotion.HAPPY: Tempo(0.45, 2.6, 1.6),
        Emotion.DISGUST: Tempo(0.45, 1.8, 1.2),
        Emotion.ANGRY: Tempo(0.6, 2.4, 1.5),
        Emotion.NEUTRAL: Tempo(0.7, 1.5, 1.5),
        Emotion.SAD: Tempo(0.9, 3.5, 2.5),
        None: Tempo(0.45, 2.4, 1.5),
    }
)
"""For each emotion, and for a face whose emotion is not known."""


@dataclass(frozen=True)
class Style:
    """How faces are played.

    Attributes:
        gain: factor on the weights of a face.
        speed: divisor of onset and decay.
        hold: factor on the time that a face stays.
        hysteresis_s: how long an emotion that comes back has to be asked for, uncontradicted,
            before it is shown.
    """

    gain: float = 1.0
    speed: float = 1.0
    hold: float = 1.0
    hysteresis_s: float = 1.5


@dataclass(frozen=True)
class Waiting:
    """An emotion that comes back and is not shown yet.

    Attributes:
        label: which.
        due_s: when it is shown, if nothing else is asked for before.
        without: how things go on without it.
    """

    label: Emotion | None
    due_s: float
    without: Course


@dataclass(frozen=True)
class EmotionLayer:
    """A pure function of time, which `express` changes from some time on.

    Hysteresis: an emotion that is new is shown at once. One that was shown or asked for less than
    `hysteresis_s` ago, and something else since, waits until it has been asked for that long and
    nothing else has. So labels that keep coming back within that time leave the face with one of
    them, however many they are.

    Attributes:
        course: (52,) weights over time, if nothing more is asked for.
        label: the emotion that is shown, or was last.
        last_s: when each emotion was last shown or asked for.
        waiting: what may be shown later.
    """

    course: Course = field(default_factory=lambda: Course.resting(_REST))
    label: Emotion | None = None
    last_s: Mapping[Emotion | None, float] = field(default_factory=dict)
    waiting: Waiting | None = None

    def at(self, time_s: float) -> Float64Array:
        """The weights, (52,) in 0..1, in the order of ARKIT_NAMES."""
        return self.course.at(time_s)

    def label_at(self, time_s: float) -> Emotion | None:
        """The emotion that is shown, or was last; None where it is not known."""
        if self.waiting is not None and self.waiting.due_s <= time_s:
            return self.waiting.label
        return self.label

    def express(
        self, weights: npt.ArrayLike, label: Emotion | None, time_s: float, style: Style
    ) -> EmotionLayer:
        """Show a face from the displayed pose on.

        Args:
            weights: (52,) in 0..1, in the order of ARKIT_NAMES.
            label: the emotion it belongs to, if that is known.
            time_s: when this is asked for.
            style: how to play it.
        """
        now = self._settled(time_s)
        due_s = time_s
        if now._comes_back(label, time_s, style):
            again = self.waiting is not None and self.waiting.label == label
            due_s = self.waiting.due_s if self.waiting and again else time_s + style.hysteresis_s
        tempo = TEMPI[label]
        goal = np.minimum(style.gain * np.asarray(weights, dtype=np.float64), 1.0)
        over_s = due_s + tempo.onset_s / style.speed + style.hold * tempo.hold_s
        course = (
            now.course.since(time_s)
            .then(goal, due_s, tempo.onset_s / style.speed)
            .then(_REST, over_s, tempo.decay_s / style.speed)
        )
        now = replace(now, last_s={**now.last_s, label: time_s})
        if due_s > time_s:
            return replace(now, course=course, waiting=Waiting(label, due_s, now.course))
        return replace(now, course=course)._showing(label, time_s)

    def _comes_back(self, label: Emotion | None, time_s: float, style: Style) -> bool:
        if label in (self.label, None):
            return False
        return time_s - self.last_s.get(label, -np.inf) < style.hysteresis_s

    def _settled(self, time_s: float) -> EmotionLayer:
        """The same without anything that waits: it came, or it comes no more."""
        if self.waiting is None:
            return self
        if self.waiting.due_s <= time_s:
            return replace(self, waiting=None)._showing(self.waiting.label, self.waiting.due_s)
        return replace(self, course=self.waiting.without, waiting=None)

    def _showing(self, label: Emotion | None, time_s: float) -> EmotionLayer:
        if label == self.label:
            return self
        return replace(self, label=label, last_s={**self.last_s, self.label: time_s})
