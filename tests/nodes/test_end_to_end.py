"""The shipped model behind the installed agent: what is said from one process moves a face in
another.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from rclpy.time import Time

from contextface_ros.msg import Emotion
from contextface_ros.types import EMOTIONS
from contextface_ros.vision.sources import DEMO_FOLDER
from tests.nodes.robot import (
    ACTIVATE,
    CLEANUP,
    CONFIGURE,
    DEACTIVATE,
    Process,
    Robot,
    running,
)
from tests.nodes.test_agent import picture, show


@pytest.fixture(scope="module")
def agent(
    module_ros_domain_id: int, tmp_path_factory: pytest.TempPathFactory, prefix: Path
) -> Iterator[Process]:
    executable = prefix / "lib" / "contextface_ros" / "agent"
    with running([sys.executable, str(executable)], tmp_path_factory.mktemp("agent") / "log") as p:
        yield p


@pytest.fixture(scope="module")
def robot(agent: Process) -> Iterator[Robot]:
    with Robot() as robot:
        robot.bring_up()
        yield robot


def test_a_picture_and_an_utterance_lead_to_an_emotion_and_a_face(robot: Robot) -> None:
    show(robot, picture(sorted(DEMO_FOLDER.glob("*.jpg"))[0]))
    before = robot.node.get_clock().now()
    emotion = robot.answer_to("I passed the exam! I am so happy, I could dance!")
    assert Time.from_msg(emotion.header.stamp) >= before
    assert emotion.label == EMOTIONS[int(np.argmax(emotion.probabilities))].value
    assert emotion.probabilities.sum() == pytest.approx(1.0, abs=1e-4)
    assert emotion.label == Emotion.HAPPY
    assert emotion.valence > 0
    face = robot.expression_of(emotion)
    assert face.basis == "open-1"
    assert np.isfinite(face.expression).all()
    assert np.linalg.norm(face.expression) > 0.5
    assert 0 < face.intensity <= 1
    with Robot(camera=None) as late:
        late.until(lambda: late.emotions and late.expressions, "the last answer")
        assert (late.emotions, late.expressions) == ([emotion], [face])


def test_what_is_said_decides_the_face(robot: Robot) -> None:
    said = {
        "My grandmother died this morning and I cannot stop crying.": Emotion.SAD,
        "How dare you! Get out of my house, now!": Emotion.ANGRY,
        "I won the lottery, this is the best day of my life!": Emotion.HAPPY,
    }
    answers = {text: robot.answer_to(text) for text in said}
    assert {text: answer.label for text, answer in answers.items()} == said
    faces = [robot.expression_of(answer).expression for answer in answers.values()]
    for one in range(len(faces)):
        for other in range(one):
            assert np.linalg.norm(faces[one] - faces[other]) > 0.5


def test_the_same_context_has_the_same_face_by_topic_and_by_call(robot: Robot) -> None:
    text = "You came all this way just to see me?"
    heard = robot.expression_of(robot.answer_to(text))
    called = robot.express(quote=text)
    assert called.success
    np.testing.assert_allclose(called.expression.expression, heard.expression, atol=1e-3)
    listener = robot.express(quote=text, perspective="listener")
    assert not np.allclose(listener.expression.expression, heard.expression, atol=1e-3)


def test_a_long_utterance_is_aborted_by_a_transition(robot: Robot) -> None:
    calls = [
        robot.call_express(quote=f"{n} " + "and then another thing happened " * 100)
        for n in range(10)
    ]
    robot.spin(0.2)
    start = time.monotonic()
    assert robot.change(DEACTIVATE)
    assert time.monotonic() - start < 0.5
    answers = [robot.result(call, "an answer") for call in calls]
    assert "deactivated" in answers[-1].message
    robot.activate()
    assert robot.answer_to("I am so glad that is over!").label in {e.value for e in EMOTIONS}


def test_the_memory_of_an_agent_at_work(robot: Robot, agent: Process) -> None:
    process = psutil.Process(agent.popen.pid)
    for n in range(20):
        robot.answer_to(f"This is sentence number {n}.")
    before = process.memory_info().rss
    for n in range(20, 60):
        robot.answer_to(f"This is sentence number {n}.")
    after = process.memory_info().rss
    assert after < 400 << 20
    assert after - before < 8 << 20


def test_configured_anew_it_answers_as_before(robot: Robot, agent: Process) -> None:
    text = "The bus to the station leaves at ten past four."
    first = robot.expression_of(robot.answer_to(text)).expression
    process = psutil.Process(agent.popen.pid)
    sizes = []
    for _ in range(8):
        assert all(robot.change(t) for t in (DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE))
        robot.wait_for_ears()
        sizes.append(process.memory_info().rss)
    robot.emotions.clear()
    again = robot.expression_of(robot.answer_to(text)).expression
    np.testing.assert_allclose(again, first, atol=1e-3)
    # What is resident goes up and down by some megabytes; what leaks only goes up.
    assert min(sizes[5:]) - min(sizes[:3]) < 16 << 20


def test_it_ends_cleanly(agent: Process, robot: Robot) -> None:
    code, seconds = agent.end()
    assert (code, agent.lines("Traceback")) == (0, [])
    assert seconds < 2.0
