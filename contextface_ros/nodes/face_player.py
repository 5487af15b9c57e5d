"""The node `face_player`: expressions in, a face that moves 60 times a second out.

    expression, emotion --.
    attention, face/mask -+-> Newest --> Motion --pose of this time--> face/blendshapes
    parameters -----------'

Two threads. The executor's only receives: it puts the newest of each kind where the other finds it.
The player's owns the Motion; at absolute deadlines it takes in what came, asks for the pose of this
time, and publishes it. It waits for nobody, so a flood of messages costs one look a frame, and
without any the face fades to idle and lives on.

Here is the one place that publishes a pose.
"""

from __future__ import annotations

import gc
import os
import re
import threading
import time
import traceback
from array import array
from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.time import Time as RosTime
from std_msgs.msg import String

from contextface_ros.errors import BadBundle, BadInput
from contextface_ros.face.attitude import Attention, parse_attention
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.decode import blendshapes_of
from contextface_ros.face.emotion_layer import Style
from contextface_ros.face.idle import Idle
from contextface_ros.face.motion import HAND_OVER_S, Motion
from contextface_ros.face.regions import Region, parse_regions
from contextface_ros.msg import Blendshapes
from contextface_ros.msg import Emotion as EmotionMsg
from contextface_ros.msg import Expression as ExpressionMsg
from contextface_ros.nodes import action_units, convert, diagnostics, process, qos
from contextface_ros.nodes.pace import Pace
from contextface_ros.nodes.parameters import FacePlayerParameters, NodeParameters
from contextface_ros.types import Emotion, Float32Array

_SETTINGS_S = 0.25  # within which a changed parameter counts
_WARN_S = 10.0  # between two warnings of one kind: the same words, whatever the numbers
_WARN_KINDS = 20  # in that time
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?|\b-?(nan|inf)\b")
_FUTURE_S = 1.0  # by which a stamp may lie ahead before the clocks are said to differ
_CLOSE_S = 1.0

T = TypeVar("T")


class Newest(Generic[T]):
    """Hands the newest of what one thread receives to another."""

    def __init__(self) -> None:
        self._slot: deque[tuple[T, float]] = deque(maxlen=1)

    def put(self, value: T) -> None:
        """Leave a value, in place of one that was not taken."""
        self._slot.append((value, time.monotonic()))

    def take(self) -> tuple[T, float] | None:
        """The value that was left last and when (time.monotonic), once."""
        try:
            return self._slot.pop()
        except IndexError:
            return None


@dataclass(frozen=True)
class Face:
    """The last expression that was accepted.

    Attributes:
        stamp: of its message, which that of its emotion equals.
        weights: (52,) ARKit weights.
        label: its emotion, None as long as that is not known.
    """

    stamp: Time
    weights: Float32Array
    label: Emotion | None


@dataclass(frozen=True)
class Shown:
    """The pose that was published last.

    Attributes:
        pose: (52,) weights.
        units: (52,) which of them are played.
        stamp: the time at which the face looks like this.
    """

    pose: Float32Array
    units: npt.NDArray[np.bool_]
    stamp: RosTime


class PosePublisher:
    """Publishes poses in one message, which is filled again and again.

    52 names, looked at and copied one by one, would cost more than the pose itself.
    """

    def __init__(self, node: Node) -> None:
        self._publisher = node.create_publisher(Blendshapes, "face/blendshapes", qos.POSE)
        self._message = Blendshapes()
        self._units: npt.NDArray[np.bool_] = np.zeros(len(ARKIT_NAMES), dtype=bool)
        self._weights = np.zeros(0, np.float32)

    def publish(self, pose: Float32Array, units: npt.NDArray[np.bool_], stamp: RosTime) -> None:
        """Publish one pose.

        Args:
            pose: (52,) weights.
            units: (52,) which of them are named in the message.
            stamp: the time at which the face is to look like this.
        """
        if not np.array_equal(units, self._units):
            self._name(units)
        self._weights[:] = pose[units]
        header = self._message.header.stamp
        header.sec, header.nanosec = divmod(stamp.nanoseconds, 1_000_000_000)
        self._publisher.publish(self._message)

    def _name(self, units: npt.NDArray[np.bool_]) -> None:
        self._units = units
        self._message.names = [ARKIT_NAMES[i] for i in np.flatnonzero(units)]
        self._message.weights = array("f", bytes(4 * len(self._message.names)))
        # Of the message's own memory: its setter may have made a copy.
        self._weights = np.frombuffer(self._message.weights, np.float32)


class FacePlayer(Node):
    """Owns the face: never waits, never stops, and nobody else publishes a pose."""

    def __init__(self) -> None:
        super().__init__("face_player")
        self._declared = NodeParameters(self, FacePlayerParameters)
        self._settings = FacePlayerParameters()
        self._complaints: dict[str, float] = {}  # kinds of warnings, and when
        self._refused: Counter[str] = Counter()  # messages, by topic
        self._read_settings()
        self._declared.locked = True

        self._expressions: Newest[ExpressionMsg] = Newest()
        self._emotions: Newest[EmotionMsg] = Newest()
        self._attentions: Newest[String] = Newest()
        self._masks: Newest[String] = Newest()
        # Emotion first: where both wait, the executor takes them in the order of creation.
        self.create_subscription(EmotionMsg, "emotion", self._emotions.put, qos.LAST_ANSWER)
        self.create_subscription(
            ExpressionMsg, "expression", self._expressions.put, qos.LAST_ANSWER
        )
        self.create_subscription(String, "attention", self._attentions.put, qos.LAST_WISH)
        self.create_subscription(String, "face/mask", self._masks.put, qos.LAST_WISH)
        self._poses = PosePublisher(self)
        self._shown: Shown | None = None
        self._action_units = action_units.action_units_publisher(self)
        if self._action_units is not None:
            self.create_timer(1.0 / action_units.RATE_HZ, self._tell_action_units)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self.create_timer(1.0, self._on_second)
        self.create_timer(_SETTINGS_S, self._read_settings)

        # The player's own, from here on.
        seed = self._settings.seed or int.from_bytes(os.urandom(4), "little")
        self._motion = Motion(Idle(seed)).asleep()
        self._applied: FacePlayerParameters | None = None  # the settings that Motion knows
        self._face: Face | None = None
        self._emotion: EmotionMsg | None = None
        self._attention = Attention.IDLE
        self._lent: frozenset[Region] = frozenset()  # by the topic
        self._pace = Pace(self._settings.rate_hz)
        self._start_s = self._pace.due_s
        self._reported = 0  # poses, up to the last diagnosis
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="player")
        self._thread.start()

    def close(self) -> None:
        """Let the face go to rest, and stop."""
        self._closing.set()
        self._thread.join(_CLOSE_S)

    # --- the player's thread ----------------------------------------------------------------------

    def _run(self) -> None:
        # What is there now lives as long as the process. Looking through it for garbage, again and
        # again, would take several ms each time.
        gc.collect()
        gc.freeze()
        try:
            while not self._closing.is_set():
                self._play_frame()
            self._motion = self._motion.fall_asleep(self._pace.due_s - self._start_s)
            rest_s = self._pace.due_s + 1.5 * HAND_OVER_S
            while self._pace.due_s < rest_s:
                self._play_frame()
        except Exception:
            self.get_logger().fatal(f"the face_player ends:\n{traceback.format_exc()}")
            os._exit(1)  # a face that stands still must not look alive; it is started again

    def _play_frame(self) -> None:
        due_s = self._pace.wait()
        time_s = due_s - self._start_s
        if not self._closing.is_set():
            self._take_in(due_s)
        pose, units = self._motion.pose(time_s), self._motion.played(time_s)
        late_ns = int((time.monotonic() - due_s) * 1e9)
        now = self.get_clock().now().nanoseconds
        stamp = RosTime(nanoseconds=max(0, now - late_ns))
        self._poses.publish(pose, units, stamp)
        self._shown = Shown(pose, units, stamp)

    def _take_in(self, due_s: float) -> None:
        """Tell the motion what came since the frame before."""
        for topic, take in (
            ("parameters", self._take_settings),
            ("expression", self._take_expression),
            ("attention", self._take_attention),
            ("face/mask", self._take_mask),
        ):
            try:
                take(due_s)
            except (BadInput, BadBundle) as error:  # the latter: a broken calibration
                self._refuse(topic, str(error))
            except Exception:  # a bug: this input is lost, the face lives on
                self._refuse(topic, traceback.format_exc())

    def _take_settings(self, due_s: float) -> None:
        settings, before = self._settings, self._applied
        if settings is before:
            return
        self._applied = settings
        time_s = due_s - self._start_s
        if before is None or settings.idle != before.idle:
            self._motion = self._motion.live(settings.idle, time_s)
        if before is None or settings.mask != before.mask:
            self._lend(time_s)

    def _take_expression(self, due_s: float) -> None:
        """Show the newest face. Its emotion comes in a message of its own, mostly before it."""
        heard, came = self._emotions.take(), self._expressions.take()
        face, came_s = self._face, due_s
        if heard is not None:
            self._emotion = heard[0]
        if came is not None:
            message, came_s = came
            self._check_age(message.header.stamp)
            face = Face(message.header.stamp, blendshapes_of(convert.face(message)), None)
        if face is not None and face.label is None and (heard or came):
            label = self._label_of(face.stamp)
            face = replace(face, label=label) if label else face
        if face is not None and face is not self._face:
            time_s = min(came_s, due_s) - self._start_s
            self._motion = self._motion.express(face.weights, face.label, time_s, self._style())
            self._face = face

    def _take_attention(self, due_s: float) -> None:
        heard = self._attentions.take()
        if heard is None:
            return
        self._attention = parse_attention(heard[0].data)
        time_s = min(heard[1], due_s) - self._start_s
        self._motion = self._motion.attend(
            self._attention, time_s, self._settings.attention_max_age_s
        )

    def _take_mask(self, due_s: float) -> None:
        heard = self._masks.take()
        if heard is not None:
            self._lent = parse_regions(heard[0].data)
            self._lend(due_s - self._start_s)

    def _lend(self, time_s: float) -> None:
        self._motion = self._motion.lend(self._lent | parse_regions(self._settings.mask), time_s)

    def _style(self) -> Style:
        s = self._settings
        return Style(gain=s.gain, speed=s.speed, hold=s.hold, hysteresis_s=s.hysteresis_s)

    def _label_of(self, stamp: Time) -> Emotion | None:
        """The emotion of the answer with this stamp, if it is known."""
        emotion = self._emotion
        if emotion is None or emotion.header.stamp != stamp:
            return None
        try:
            return Emotion(emotion.label)
        except ValueError:
            self._refuse("emotion", f"{emotion.label[:40]!r} is none of the seven emotions")
            return None

    def _check_age(self, stamp: Time) -> None:
        """Refuse an old face. One from the future is shown now; a stamp of 0 says nothing.

        Raises:
            BadInput: too old.
        """
        stamp_s = stamp.sec + stamp.nanosec * 1e-9
        age_s = self.get_clock().now().nanoseconds * 1e-9 - stamp_s
        if stamp_s == 0.0:
            return
        if age_s > self._settings.max_age_s:
            raise BadInput(
                f"its stamp is {age_s:.0f} s old, max_age_s is {self._settings.max_age_s:g}:"
                " compare the clocks (use_sim_time)"
            )
        if age_s < -_FUTURE_S:
            self._complain(
                f"an expression is stamped {-age_s:.0f} s in the future and shown at once:"
                " compare the clocks (use_sim_time)",
            )

    def _refuse(self, topic: str, reason: str) -> None:
        self._refused[topic] += 1
        self._complain(f"{topic} refused: {reason}")

    def _complain(self, sentence: str) -> None:
        """Warn, but not again of the same kind for a while: a sender repeats its fault."""
        now_s = time.monotonic()
        kind = _NUMBER.sub("#", sentence)
        recent = {k: at_s for k, at_s in self._complaints.items() if now_s - at_s < _WARN_S}
        if kind not in recent and len(recent) < _WARN_KINDS:
            recent[kind] = now_s
            self.get_logger().warning(sentence)
        self._complaints = recent

    # --- the executor's thread --------------------------------------------------------------------

    def _read_settings(self) -> None:
        """Look for changed parameters. One that cannot be used leaves all as they were."""
        try:
            settings = self._declared.read()
            parse_regions(settings.mask)
        except BadInput as error:
            self._complain(f"parameters not used: {error}")
            return
        if settings != self._settings:
            self._settings = settings

    def _tell_action_units(self) -> None:
        shown, publisher = self._shown, self._action_units
        if publisher is not None and publisher.wanted and shown is not None:
            publisher.publish(shown.pose, shown.units, shown.stamp.to_msg())

    def _on_second(self) -> None:
        pace, motion, face = self._pace, self._motion, self._face
        time_s = time.monotonic() - self._start_s
        label = motion.emotion.label_at(time_s)
        met = pace.met
        values: dict[str, object] = {
            "poses in the last second": met - self._reported,
            "poses": met,
            "missed": pace.missed,
            "late p50 (ms)": f"{pace.late_ms(50):.2f}",
            "late p99 (ms)": f"{pace.late_ms(99):.2f}",
            "emotion": label.value if label else ("-" if face is None else "unknown"),
            "attention": self._attention.value,
            "lent": ", ".join(sorted(region.value for region in motion.lent)) or "-",
            **{f"refused on {topic}": n for topic, n in sorted(self._refused.items())},
        }
        self._reported = met
        level, message = self._health()
        name = self.get_fully_qualified_name()
        stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(
            diagnostics.array(stamp, name, "contextface", level, message, values)
        )

    def _health(self) -> tuple[bytes, str]:
        """Level and message for /diagnostics."""
        expression = self.resolve_topic_name("expression")
        poses = self.resolve_topic_name("face/blendshapes")
        if self.count_publishers(poses) > 1 and not self._motion.lent:
            return diagnostics.WARN, f"others publish {poses} too, and nothing is lent to them"
        if not self.count_publishers(expression):
            return diagnostics.WARN, f"nobody publishes {expression}: the face is left to itself"
        return diagnostics.OK, "playing"


def main() -> int:
    """Entry point of the executable `face_player`."""
    return process.run(FacePlayer)


if __name__ == "__main__":
    raise SystemExit(main())
