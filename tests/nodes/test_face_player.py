"""The face_player as a process of its own, over DDS."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.serialization import serialize_message
from std_msgs.msg import String

from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.limits import HIGHEST
from contextface_ros.face.open_head import OpenHead
from contextface_ros.face.regions import Region, units_of
from contextface_ros.msg import Blendshapes, Emotion, Expression
from contextface_ros.nodes import qos
from contextface_ros.types import OPEN_BASIS
from tests.nodes.robot import EVERY_ANSWER, Process, Robot, running

SMILE = {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "cheekSquintLeft": 0.5}
FROWN = {"browDownLeft": 0.9, "browDownRight": 0.9, "mouthFrownLeft": 0.7, "mouthFrownRight": 0.7}
HEAD = OpenHead.load()


def command(prefix: Path, *arguments: str) -> list[str]:
    executable = prefix / "lib" / "contextface_ros" / "face_player"
    return [sys.executable, str(executable), "--ros-args", *arguments]


class Poses:
    """The poses that a robot receives."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        self.poses: list[tuple[float, Blendshapes]] = []
        robot.node.create_subscription(Blendshapes, "face/blendshapes", self._on_pose, qos.POSE)

    def _on_pose(self, pose: Blendshapes) -> None:
        self.poses.append((time.monotonic(), pose))

    def watch(self, seconds: float) -> list[dict[str, float]]:
        """The poses of a while, as weights by name."""
        self.poses.clear()
        self.robot.spin(seconds)
        return [dict(zip(p.names, p.weights, strict=True)) for _, p in self.poses]

    def pose(self) -> dict[str, float]:
        """The next one."""
        self.poses.clear()
        self.robot.until(lambda: self.poses, "a pose")
        message = self.poses[-1][1]
        return dict(zip(message.names, message.weights, strict=True))

    def until_weight(self, name: str, low: float, high: float = 1.0) -> None:
        """Wait until a weight is in a range."""

        def there() -> bool:
            return low <= self.pose().get(name, -1.0) <= high

        self.robot.until(there, f"{name} in {low}..{high}")


class Stage(Poses):
    """A robot that has a face, and asks for faces."""

    def __init__(self, robot: Robot) -> None:
        super().__init__(robot)
        node = robot.node
        self.expressions = node.create_publisher(Expression, "expression", qos.LAST_ANSWER)
        self.emotions = node.create_publisher(Emotion, "emotion", EVERY_ANSWER)
        self.attention = node.create_publisher(String, "attention", qos.LAST_WISH)
        self.mask = node.create_publisher(String, "face/mask", qos.LAST_WISH)
        self._set = node.create_client(SetParameters, "face_player/set_parameters")
        for publisher in self.expressions, self.emotions, self.attention, self.mask:
            robot.until(publisher.get_subscription_count, publisher.topic)
        robot.until(lambda: self.poses, "a pose")

    def now(self, offset_s: float = 0.0) -> Time:
        moment = self.robot.node.get_clock().now().nanoseconds + int(offset_s * 1e9)
        return Time(sec=moment // 10**9, nanosec=moment % 10**9)

    def message(self, weights: dict[str, float], offset_s: float = 0.0) -> Expression:
        message = Expression(basis=OPEN_BASIS, expression=HEAD.encode(weights), intensity=0.5)
        message.header.stamp = self.now(offset_s)
        return message

    def express(self, weights: dict[str, float], label: str = "") -> None:
        message = self.message(weights)
        if label:
            self.emotions.publish(Emotion(header=message.header, label=label))
        self.expressions.publish(message)

    def at_rest(self) -> None:
        """Until nothing is left of the test before."""
        self.mask.publish(String(data=""))
        self.attention.publish(String(data="idle"))
        self.express({})  # of no emotion, so that hysteresis has nothing to say
        for name in "mouthSmileLeft", "browDownLeft", "eyeLookUpLeft":
            self.until_weight(name, 0.0, 0.03)

    def set(self, **values: Any) -> None:
        kinds = {
            bool: (ParameterType.PARAMETER_BOOL, "bool_value"),
            float: (ParameterType.PARAMETER_DOUBLE, "double_value"),
            str: (ParameterType.PARAMETER_STRING, "string_value"),
        }
        parameters = []
        for name, value in values.items():
            kind, slot = kinds[type(value)]
            parameters.append(
                Parameter(name=name, value=ParameterValue(type=kind, **{slot: value}))
            )
        request = SetParameters.Request(parameters=parameters)
        answer = self.robot.result(self._set.call_async(request), "set_parameters")
        assert all(result.successful for result in answer.results), answer
        self.robot.spin(0.4)  # the player looks for changes every quarter of a second


@pytest.fixture(scope="module")
def player(
    module_ros_domain_id: int, tmp_path_factory: pytest.TempPathFactory, prefix: Path
) -> Iterator[Process]:
    log = tmp_path_factory.mktemp("face_player") / "log"
    # Fast and brief, so that tests are; no idle, so that what is seen is what was asked for.
    fast = ["-p", "speed:=3.0", "-p", "hold:=0.1", "-p", "idle:=false", "-p", "hysteresis_s:=0.5"]
    with running(command(prefix, *fast), log) as process:
        yield process


@pytest.fixture(scope="module")
def module_stage(player: Process) -> Iterator[Stage]:
    with Robot("/face_player", camera=None) as robot:
        yield Stage(robot)


@pytest.fixture
def stage(module_stage: Stage) -> Stage:
    module_stage.at_rest()
    return module_stage


def arrivals_hz(stage: Stage) -> float:
    times = [received for received, _ in stage.poses]
    return (len(times) - 1) / (times[-1] - times[0])


def test_sixty_poses_a_second_with_every_name(stage: Stage) -> None:
    stage.watch(3.0)
    assert arrivals_hz(stage) == pytest.approx(60.0, abs=1.5)
    stamps = [p.header.stamp.sec + p.header.stamp.nanosec * 1e-9 for _, p in stage.poses]
    assert all(b > a for a, b in pairwise(stamps))
    assert np.median(np.diff(stamps)) == pytest.approx(1 / 60, abs=1e-3)
    assert time.time() - stamps[-1] < 1.0
    assert tuple(stage.poses[-1][1].names) == ARKIT_NAMES


def test_an_expression_is_shown_and_decays(stage: Stage) -> None:
    stage.express(SMILE, "Happy")
    stage.until_weight("mouthSmileLeft", 0.7, 0.85)
    assert stage.robot.diagnosis()["emotion"] == "Happy"
    stage.until_weight("mouthSmileLeft", 0.0, 0.01)


def test_the_poses_between_are_small_steps(stage: Stage) -> None:
    stage.express(SMILE, "Happy")
    poses = stage.watch(0.2)
    stage.express(FROWN, "Angry")
    poses += stage.watch(0.5)
    weights = np.array([[pose[name] for name in ARKIT_NAMES] for pose in poses])
    assert weights.max() > 0.5
    # At three times the speed, and with a frame or two lost on the way.
    assert np.abs(np.diff(weights, axis=0)).max() < 0.35


def test_the_emotion_may_come_after_its_expression_or_never(stage: Stage) -> None:
    message = stage.message(SMILE)
    stage.expressions.publish(message)
    stage.until_weight("mouthSmileLeft", 0.5)
    assert stage.robot.diagnosis()["emotion"] == "unknown"
    stage.emotions.publish(Emotion(header=message.header, label="Happy"))
    stage.robot.until(lambda: stage.robot.diagnosis()["emotion"] == "Happy", "its label")


def test_labels_that_alternate_do_not_make_it_flicker(stage: Stage) -> None:
    stage.set(hold=5.0)
    for turn in range(20):
        stage.express(*((SMILE, "Happy"), (FROWN, "Angry"))[turn % 2])
        poses = stage.watch(0.1)
    smiles = [pose["mouthSmileLeft"] for pose in poses]
    assert np.ptp(smiles) < 0.02
    stage.set(hold=0.1)


def test_attention_changes_the_face(stage: Stage) -> None:
    stage.attention.publish(String(data="thinking"))
    stage.until_weight("eyeLookUpLeft", 0.2)
    assert stage.robot.diagnosis()["attention"] == "thinking"
    stage.attention.publish(String(data="listening"))
    stage.until_weight("browInnerUp", 0.1)
    stage.until_weight("eyeLookUpLeft", 0.0, 0.02)
    stage.attention.publish(String(data="idle"))
    stage.until_weight("browInnerUp", 0.0, 0.01)


def test_the_mouth_can_be_lent_and_taken_back(stage: Stage) -> None:
    stage.set(hold=20.0)
    stage.express({**SMILE, **FROWN}, "Happy")
    stage.until_weight("mouthSmileLeft", 0.5)
    stage.mask.publish(String(data="mouth"))
    stage.robot.until(lambda: "mouthSmileLeft" not in stage.pose(), "the mouth is left out")
    mouth = units_of(frozenset({Region.MOUTH}))
    assert list(stage.pose()) == [n for n, m in zip(ARKIT_NAMES, mouth, strict=True) if not m]
    assert stage.pose()["browDownLeft"] > 0.5
    assert stage.robot.diagnosis()["lent"] == "mouth"
    stage.mask.publish(String(data=""))
    stage.until_weight("mouthSmileLeft", 0.5)
    stage.set(hold=0.1)


def test_a_region_can_be_lent_by_parameter_and_bad_ones_change_nothing(
    stage: Stage, player: Process
) -> None:
    stage.set(mask="jaw,brows")
    stage.robot.until(lambda: "jawOpen" not in stage.pose(), "the jaw is left out")
    stage.set(mask="nose")
    player.wait_for("parameters not used: 'nose' is no region")
    assert "jawOpen" not in stage.pose()
    stage.set(mask="")
    stage.until_weight("jawOpen", 0.0)


def test_gain_counts_from_the_next_face_on(stage: Stage) -> None:
    stage.set(gain=0.25)
    stage.express(SMILE, "Happy")
    weights = [pose["mouthSmileLeft"] for pose in stage.watch(0.6)]
    assert max(weights) == pytest.approx(0.2, abs=0.03)
    stage.set(gain=1.0)


# --- bad input ----------------------------------------------------------------------------------


def spoilt(stage: Stage, what: str) -> Expression:
    message = stage.message(SMILE)
    if what == "basis":
        message.basis = "flame1999"
    elif what in ("nan", "inf"):
        message.expression[7] = float(what)
    elif what == "range":
        message.expression[3] = 1e30
    elif what == "past":
        message = stage.message(SMILE, -3600.0)
    return message


@pytest.mark.parametrize(
    ("what", "complaint"),
    [
        ("basis", "the basis 'flame1999' is not known"),
        ("nan", "coefficient . is .* finite and within"),
        ("inf", "coefficient . is .* finite and within"),  # told by then: the same kind of fault
        ("range", "coefficient . is .* finite and within"),
        ("past", "its stamp is 3600 s old"),
    ],
)
def test_a_bad_expression_is_refused_with_one_warning(
    stage: Stage, player: Process, what: str, complaint: str
) -> None:
    before = int(stage.robot.diagnosis().get("refused on expression", 0))
    for _ in range(5):
        stage.expressions.publish(spoilt(stage, what))
        poses = stage.watch(0.1)
        assert all(pose["mouthSmileLeft"] < 0.05 for pose in poses)
    stage.robot.until(
        lambda: int(stage.robot.diagnosis().get("refused on expression", 0)) == before + 5,
        "all are counted",
    )
    assert len(player.lines(f"WARN.*expression refused: .*({complaint})")) == 1
    stage.express(SMILE, "Happy")
    stage.until_weight("mouthSmileLeft", 0.5)


def test_a_stamp_from_the_future_is_shown_at_once_with_one_warning(
    stage: Stage, player: Process
) -> None:
    for _ in range(3):
        stage.expressions.publish(stage.message(SMILE, 3600.0))
        stage.robot.spin(0.1)
    stage.until_weight("mouthSmileLeft", 0.5)
    assert len(player.lines("WARN.*in the future")) == 1


def test_a_message_of_another_length_is_not_taken(stage: Stage, player: Process) -> None:
    whole = serialize_message(stage.message(SMILE))
    for size in len(whole) - 40, 30, 5:
        stage.expressions.publish(bytes(whole[:size]))
        stage.robot.spin(0.1)
    assert max(pose["mouthSmileLeft"] for pose in stage.watch(0.5)) < 0.05
    assert player.popen.poll() is None


def test_words_that_mean_nothing_are_refused(stage: Stage, player: Process) -> None:
    for _ in range(3):
        stage.attention.publish(String(data="asleep"))
        stage.mask.publish(String(data="mouth,hair"))
        message = stage.message(SMILE)
        stage.emotions.publish(Emotion(header=message.header, label="Hangry"))
        stage.expressions.publish(message)
        stage.robot.spin(0.2)
    stage.until_weight("mouthSmileLeft", 0.5)  # shown, as of an emotion that is not known
    assert len(player.lines("WARN.*attention refused: attention 'asleep' is unknown")) == 1
    assert len(player.lines("WARN.*face/mask refused: 'hair' is no region")) == 1
    assert len(player.lines("WARN.*emotion refused: 'Hangry'")) == 1


FLOOD = """
import time
import numpy as np, rclpy
from contextface_ros.msg import Emotion, Expression
from contextface_ros.nodes import qos
rclpy.init()
node = rclpy.create_node("flood")
faces = node.create_publisher(Expression, "expression", qos.LAST_ANSWER)
labels = node.create_publisher(Emotion, "emotion", qos.LAST_ANSWER)
while not faces.get_subscription_count():
    time.sleep(0.01)
random = np.random.default_rng(0)
sent, start_s = 0, time.monotonic()
while time.monotonic() < start_s + 4.0:
    message = Expression(basis="open-1", expression=random.normal(0, 2, 100).astype(np.float32))
    message.header.stamp = node.get_clock().now().to_msg()
    if sent % 3 == 0:
        message.basis = f"basis-{random.integers(1000)}"
    faces.publish(message)
    labels.publish(Emotion(header=message.header, label=("Happy", "Angry")[sent % 2]))
    sent += 1
    time.sleep(max(0.0, start_s + sent * 1e-3 - time.monotonic()))
print(sent)
"""


def test_a_thousand_messages_a_second_do_not_disturb_it(
    stage: Stage, player: Process, tmp_path: Path
) -> None:
    log_before = len(player.log)
    missed = int(stage.robot.diagnosis()["missed"])
    command = [sys.executable, "-c", FLOOD]  # from a folder without modules
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as flood:
        stage.robot.until(lambda: stage.pose()["browInnerUp"] > 0.05, "the flood begins")
        poses = stage.watch(2.5)
        sent = int(flood.communicate(timeout=60)[0])
    assert sent > 2000
    weights = np.array([[pose[name] for name in ARKIT_NAMES] for pose in poses])
    assert ((weights >= 0.0) & (weights <= HIGHEST + 1e-6)).all()
    assert weights.max() > 0.1, "nothing of it is shown"
    status = stage.robot.diagnosis()
    # Two processes of Python and the test share what cores there are.
    assert int(status["missed"]) - missed < 30
    assert len(player.log) - log_before < 4000, "it floods the log"
    assert player.popen.poll() is None
    assert "Traceback" not in player.log


# --- the agent, and the end ---------------------------------------------------------------------


def test_when_the_agent_dies_the_face_holds_decays_and_lives_on(
    ros_domain_id: int, prefix: Path, tmp_path: Path
) -> None:
    arguments = ["-p", "seed:=3", "-p", "hold:=0.3"]
    with (
        running(command(prefix, *arguments), tmp_path / "log"),
        Robot("/face_player", camera=None) as robot,
    ):
        with Robot("/agent", camera=None) as other:
            agent = other.node.create_publisher(Expression, "expression", qos.LAST_ANSWER)
            other.until(agent.get_subscription_count, "the player listens")
            face = Poses(robot)
            agent.publish(Expression(basis=OPEN_BASIS, expression=HEAD.encode(SMILE)))
            face.until_weight("mouthSmileLeft", 0.7)
            assert robot.diagnosis()[""] == "playing"
        held = face.watch(0.2)
        assert min(pose["mouthSmileLeft"] for pose in held) > 0.6
        face.until_weight("mouthSmileLeft", 0.0, 0.05)
        robot.until(lambda: "nobody publishes /expression" in robot.diagnosis()[""], "it says so")
        lids = [pose["eyeBlinkLeft"] for pose in face.watch(6.0)]
        assert max(lids) > 0.95, "it does not blink"
        assert len(lids) > 300


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_goes_to_rest_and_ends_cleanly(
    ros_domain_id: int, prefix: Path, tmp_path: Path, number: int
) -> None:
    with (
        running(command(prefix, "-p", "idle:=false"), tmp_path / "log") as process,
        Robot("/face_player", camera=None) as robot,
    ):
        stage = Stage(robot)
        stage.express(SMILE, "Happy")
        stage.until_weight("mouthSmileLeft", 0.7)
        stage.poses.clear()
        process.popen.send_signal(number)
        poses = stage.watch(1.5)
        assert process.popen.wait(30) == 0
        weights = [pose["mouthSmileLeft"] for pose in poses]
        assert weights[0] > 0.5
        assert weights[-1] < 0.03
        assert -np.diff(weights).min() < 0.3, "it drops its face"
        assert process.log == ""


def test_parameters_that_cannot_be_used_leave_the_defaults(
    ros_domain_id: int, prefix: Path, tmp_path: Path
) -> None:
    arguments = ["-p", "gain:=much", "-p", "mask:=mouth"]
    with (
        running(command(prefix, *arguments), tmp_path / "log") as process,
        Robot("/face_player", camera=None) as robot,
    ):
        process.wait_for("parameters not used: parameter 'gain' must be a decimal number")
        stage = Stage(robot)
        assert len(stage.pose()) == 52
        stage.set(gain=1.0)
        robot.until(lambda: len(stage.pose()) < 52, "the rest of the parameters counts")
