"""What the agent answers, over real DDS, with a model whose answers and delays the text decides."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rcl_interfaces.srv import SetParameters
from rclpy.duration import Duration
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image, RegionOfInterest
from std_msgs.msg import String

from contextface_ros.msg import Emotion, Expression
from contextface_ros.nodes import qos
from contextface_ros.vision.image import decode_compressed
from contextface_ros.vision.sources import DEMO_FOLDER
from tests.nodes.robot import STAND_IN, Process, Robot, running

QUEUE_SIZE = 3
FACES = sorted(DEMO_FOLDER.glob("*.jpg"))


@pytest.fixture(scope="module")
def agent(module_ros_domain_id: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    log = tmp_path_factory.mktemp("agent") / "log"
    arguments = ["--ros-args", "-p", "bundle:=seeing", "-p", f"queue_size:={QUEUE_SIZE}"]
    with running([*STAND_IN, *arguments], log) as process:
        yield process


@pytest.fixture(scope="module")
def robot(agent: Process) -> Iterator[Robot]:
    with Robot() as robot:
        robot.bring_up()
        yield robot


def test_an_utterance_is_answered_with_emotion_and_face_of_its_stamp(robot: Robot) -> None:
    before = robot.node.get_clock().now()
    emotion = robot.answer_to("what a happy day")
    after = robot.node.get_clock().now()
    assert emotion.label == Emotion.HAPPY
    assert emotion.probabilities[Emotion.INDEX_HAPPY] == pytest.approx(0.7)
    assert (emotion.quote, emotion.situation) == ("what a happy day", "")
    assert (emotion.perspective, emotion.used_image) == (Emotion.SPEAKER, False)
    assert before <= Time.from_msg(emotion.header.stamp) <= after
    face = robot.expression_of(emotion)
    assert face.basis == "open-1"
    assert face.expression.shape == (100,)


def test_who_joins_late_receives_the_last_answer(robot: Robot) -> None:
    emotion = robot.answer_to("I was sad before you came")
    with Robot() as late:
        late.until(lambda: late.emotions and late.expressions, "the last answer")
        assert late.emotions == [emotion]
        assert [e.header for e in late.expressions] == [emotion.header]


def test_the_stamp_is_the_time_of_reception_not_of_the_answer(robot: Robot) -> None:
    before = robot.node.get_clock().now()
    emotion = robot.answer_to("I think 0.5 seconds and am happy")
    assert Time.from_msg(emotion.header.stamp) - before < Duration(seconds=0.4)
    assert robot.node.get_clock().now() - before > Duration(seconds=0.5)


def test_hri_expression_is_published_where_it_is_installed(robot: Robot) -> None:
    hri = pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not installed, it is optional")
    heard: list[Any] = []
    robot.subscribe(hri.Expression, "robot_face/expression", qos.LAST_ANSWER, heard)
    emotion = robot.answer_to("what a surprise")
    robot.until(lambda: [m for m in heard if m.header.stamp == emotion.header.stamp], "REP-155")
    assert heard[-1].expression == hri.Expression.SURPRISED
    assert heard[-1].confidence == pytest.approx(0.7)
    assert (heard[-1].valence, heard[-1].arousal) == (emotion.valence, emotion.arousal)


def test_a_situation_is_answered_and_is_the_background_of_what_is_said(robot: Robot) -> None:
    robot.happens("The dog ran away and I am sad.")
    alone = robot.emotion_of("The dog ran away")
    assert (alone.label, alone.quote) == (Emotion.SAD, "")
    assert robot.answer_to("come back").situation == "The dog ran away and I am sad."
    robot.happens("The dog is back.")
    robot.emotion_of("The dog is back.")
    assert robot.answer_to("good dog").situation == "The dog is back."


def test_a_situation_grows_too_old(robot: Robot) -> None:
    robot.happens("It rains.")
    robot.emotion_of("It rains.")
    with parameters(robot, situation_max_age_s=0.5):
        robot.spin(0.6)
        assert robot.answer_to("still here").situation == ""


def test_perspective_can_be_changed_while_active(robot: Robot) -> None:
    with parameters(robot, perspective="listener"):
        assert robot.answer_to("hear me").perspective == Emotion.LISTENER
    assert robot.answer_to("hear me again").perspective == Emotion.SPEAKER


def test_express_answers_the_caller_and_the_topics(robot: Robot) -> None:
    answer = robot.express(
        quote="happy birthday", situation="A party.", perspective="listener", use_camera=False
    )
    assert (answer.success, answer.message) == (True, "")
    emotion = robot.emotion_of("happy birthday")
    assert answer.emotion == emotion
    assert (emotion.situation, emotion.perspective) == ("A party.", Emotion.LISTENER)
    assert robot.expression_of(emotion) == answer.expression


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "both quote and situation are empty"),
        ({"quote": " \t "}, "empty"),
        ({"quote": "x" * 5000}, "5,000 characters"),
        ({"quote": "hello", "perspective": "bystander"}, "speaker, listener"),
        ({"quote": "divide by zero"}, "ZeroDivisionError"),
        ({"quote": "not a number"}, "not finite"),
    ],
)
def test_express_says_what_was_wrong(robot: Robot, fields: dict[str, str], complaint: str) -> None:
    answer = robot.express(**fields)
    assert not answer.success
    assert complaint in answer.message
    assert (answer.emotion, answer.expression) == (Emotion(), Expression())
    assert robot.express(quote="happy again").emotion.label == Emotion.HAPPY


def test_a_full_queue_drops_the_oldest_utterances_and_no_calls(
    robot: Robot, agent: Process
) -> None:
    dropped_before = int(robot.diagnosis()["dropped"])
    long = robot.call_express(quote="think 2")
    robot.until(lambda: int(robot.diagnosis()["queue"]) == 0, "the model has begun")
    calls = [robot.call_express(quote=f"call {n}, happy") for n in range(QUEUE_SIZE + 2)]
    robot.spin(0.2)
    for n in range(QUEUE_SIZE + 2):
        robot.say(f"utterance {n}.")
    assert all(robot.result(call, "a call").success for call in [long, *calls])
    robot.emotion_of(f"utterance {QUEUE_SIZE + 1}.")
    heard = [e.quote for e in robot.emotions if e.quote.startswith("utterance ")]
    assert heard == ["utterance 2.", "utterance 3.", "utterance 4."]
    assert int(robot.diagnosis()["dropped"]) - dropped_before == 2
    assert len(agent.lines("utterance not answered: dropped")) == 2


def test_answers_come_in_the_order_of_the_utterances(robot: Robot) -> None:
    texts = [f"number {n}." for n in range(QUEUE_SIZE)]
    for text in texts:
        robot.say(text)
    robot.emotion_of(texts[-1])
    assert [e.quote for e in robot.emotions if e.quote in texts] == texts


def test_an_error_of_the_model_costs_one_utterance(robot: Robot, agent: Process) -> None:
    failed_before = int(robot.diagnosis()["failed"])
    for text in "divide by zero", "not a number":
        robot.say(text)
    robot.answer_to("happy all the same")
    assert int(robot.diagnosis()["failed"]) - failed_before == 2
    assert not [e for e in robot.emotions if e.quote in ("divide by zero", "not a number")]
    assert agent.lines("utterance not answered: the model failed.*ZeroDivisionError")
    assert agent.lines("utterance not answered: .*not finite")


def test_it_thinks_while_it_works_and_no_longer(robot: Robot) -> None:
    heard: list[String] = []
    robot.subscribe(String, "attention", qos.UTTERANCE, heard)
    robot.until(lambda: robot.node.count_publishers("attention"), "its attention")
    robot.until(lambda: heard or robot.answer_to("Are you there?"), "the first of it")

    def words() -> list[str]:
        return [message.data for message in heard]

    for text in "think 0.5 of something happy", "divide by zero, please":
        robot.until(lambda: words()[-1] == "idle", "it is idle")
        heard.clear()
        robot.say(text)
        robot.until(lambda: len(heard) >= 2, "it attends, and to nothing more")
        assert words() == ["thinking", "idle"]


def test_the_newest_frame_shows_the_target_person(robot: Robot) -> None:
    show(robot, picture(FACES[0]))
    emotion = robot.answer_to("do you see me")
    assert (emotion.used_image, emotion.header.frame_id) == (True, "eye")
    assert robot.express(quote="and now", use_camera=True).emotion.used_image
    assert not robot.express(quote="not now", use_camera=False).emotion.used_image
    assert robot.diagnosis()["used image"] == "False"
    assert 0 <= float(robot.diagnosis()["frame age (s)"]) < 10


def test_a_frame_without_a_person_is_not_shown(robot: Robot) -> None:
    show(robot, Image(height=240, width=320, step=960, encoding="rgb8", data=bytes(320 * 240 * 3)))
    assert not robot.answer_to("is anybody there").used_image


def test_a_region_of_interest_limits_where_the_person_is_looked_for(robot: Robot) -> None:
    roi = robot.node.create_publisher(RegionOfInterest, "roi", qos.REGION)
    robot.until(roi.get_subscription_count, "the agent listens to roi")
    roi.publish(RegionOfInterest(x_offset=0, y_offset=0, width=2, height=2))
    robot.spin(0.2)
    show(robot, picture(FACES[0]))
    assert not robot.answer_to("nobody in the corner").used_image
    roi.publish(RegionOfInterest())
    robot.spin(0.2)
    show(robot, picture(FACES[0]))
    assert robot.answer_to("somebody somewhere").used_image


def test_an_old_frame_is_not_shown(robot: Robot) -> None:
    show(robot, picture(FACES[0]))
    with parameters(robot, image_max_age_s=0.2):
        robot.spin(0.4)
        assert not robot.answer_to("a moment ago").used_image


def test_a_camera_that_falls_silent_is_told_once(robot: Robot, agent: Process) -> None:
    show(robot, picture(FACES[0]))
    told_before = len(agent.lines("WARN.*no raw frame on /image"))
    with parameters(robot, image_timeout_s=0.5):
        robot.until(lambda: "no raw frame on /image" in robot.diagnosis()[""], "a warning")
        assert "sensor_msgs/msg/Image (RELIABLE)" in robot.diagnosis()[""]
        assert robot.diagnosis()["level"] == "1"
        show(robot, picture(FACES[0]))
    robot.until(lambda: robot.diagnosis()[""] == "active", "the camera is back")
    assert len(agent.lines("WARN.*no raw frame on /image")) - told_before == 1


def test_a_publisher_that_does_not_fit_is_told_with_topic_and_policy(
    robot: Robot, agent: Process
) -> None:
    unreliable = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = robot.node.create_publisher(String, "speech", unreliable)
    line = agent.wait_for("incompatible QoS")
    assert "speech" in line and "RELIABILITY" in line
    robot.node.destroy_publisher(publisher)


def test_diagnostics_come_once_a_second(robot: Robot) -> None:
    robot.diagnosis()
    start = time.monotonic()
    status = [robot.diagnosis() for _ in range(3)][-1]
    assert 2.0 < time.monotonic() - start < 6.0
    assert float(status["latency p50 (ms)"]) <= float(status["latency p95 (ms)"])
    assert (status["level"], status[""], status["device"]) == ("0", "active", "stand-in")
    assert int(status["answered"]) > 0


def test_an_agent_with_compressed_frames_in_a_namespace(tmp_path: Path, prefix: Path) -> None:
    params = tmp_path / "params.yaml"
    shipped = (prefix / "share" / "contextface_ros" / "config" / "agent.yaml").read_text()
    params.write_text(
        shipped.replace("bundle: nano", "bundle: seeing").replace(
            "image_transport: raw", "image_transport: compressed"
        )
    )
    arguments = ["--ros-args", "-r", "__ns:=/robot7", "--params-file", str(params)]
    with (
        running([*STAND_IN, *arguments], tmp_path / "log") as agent,
        Robot("/robot7/agent", camera=CompressedImage) as robot,
    ):
        robot.bring_up()
        camera = robot.image
        robot.until(camera.get_subscription_count, "the agent sees")
        whole = FACES[0].read_bytes()
        for data in b"", b"GIF89a", whole[:2000], whole[:1000] + bytes(500) + whole[1500:]:
            camera.publish(CompressedImage(format="jpeg", data=data))
            robot.spin(0.1)
            robot.answer_to(f"not a picture of {len(data)} bytes")
        assert int(robot.diagnosis()["refused frames"]) >= 3
        assert len(agent.lines("frame on /robot7/image refused: .*JPEG")) >= 1
        camera.publish(CompressedImage(format="jpeg", data=whole))
        robot.spin(0.2)
        assert robot.answer_to("now a picture").used_image


# --- means ----------------------------------------------------------------------------------------


class parameters:
    """Other parameters of the agent for the length of a with block."""

    def __init__(self, robot: Robot, **values: object) -> None:
        self._robot = robot
        self._values = values

    def __enter__(self) -> None:
        assert set_parameters(self._robot, **self._values) == [""] * len(self._values)

    def __exit__(self, *_: object) -> None:
        defaults = {
            "situation_max_age_s": 120.0,
            "perspective": "speaker",
            "image_max_age_s": 2.0,
            "image_timeout_s": 5.0,
        }
        set_parameters(self._robot, **{name: defaults[name] for name in self._values})


def set_parameters(robot: Robot, **values: object) -> list[str]:
    """Set parameters; for each why it was refused, or ""."""
    client = robot.node.create_client(SetParameters, f"{robot.agent}/set_parameters")
    robot.until(client.service_is_ready, "set_parameters is there")
    request = SetParameters.Request(
        parameters=[Parameter(name, value=v).to_parameter_msg() for name, v in values.items()]
    )
    results = robot.result(client.call_async(request), "set_parameters").results
    robot.node.destroy_client(client)
    return ["" if r.successful else r.reason or "no reason" for r in results]


def show(robot: Robot, image: Image) -> None:
    """Publish a frame, and wait until it must have arrived."""
    robot.until(robot.image.get_subscription_count, "the agent sees")
    robot.image.publish(image)
    robot.spin(0.1)


def picture(path: Path) -> Image:
    """A file as a frame."""
    rgb = np.ascontiguousarray(decode_compressed(path.read_bytes()))
    message = Image(
        height=rgb.shape[0],
        width=rgb.shape[1],
        step=3 * rgb.shape[1],
        encoding="rgb8",
        data=rgb.tobytes(),
    )
    message.header.frame_id = "eye"
    return message
