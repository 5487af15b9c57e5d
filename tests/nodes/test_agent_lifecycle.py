"""Transitions, signals, parameters and bundles of the agent, as a process of its own."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

if __name__ == "__main__":  # run as a program, see the end
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from contextface_ros.msg import Emotion
from tests.nodes.robot import (
    ACTIVATE,
    ACTIVE,
    CLEANUP,
    CONFIGURE,
    DEACTIVATE,
    INACTIVE,
    STAND_IN,
    UNCONFIGURED,
    Process,
    Robot,
    running,
)
from tests.nodes.test_agent import set_parameters

ANSWER_S = 0.5
"""Time in which a transition is answered, whatever the model does."""

NEXT = {
    (UNCONFIGURED, CONFIGURE): INACTIVE,
    (INACTIVE, ACTIVATE): ACTIVE,
    (ACTIVE, DEACTIVATE): INACTIVE,
    (INACTIVE, CLEANUP): UNCONFIGURED,
}
"""The transitions that lead somewhere; all others are refused."""


@pytest.fixture(scope="module")
def agent(module_ros_domain_id: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with running(STAND_IN, tmp_path_factory.mktemp("agent") / "log") as process:
        yield process


@pytest.fixture(scope="module")
def connected(agent: Process) -> Iterator[Robot]:
    with Robot() as robot:
        robot.wait_for_agent()
        yield robot


@pytest.fixture
def robot(connected: Robot) -> Iterator[Robot]:
    """A robot whose agent is unconfigured and has its default parameters."""
    yield connected
    for transition in DEACTIVATE, CLEANUP:
        connected.change(transition)
    assert connected.state() == UNCONFIGURED
    assert set_parameters(connected, bundle="nano", threads=2) == ["", ""]


def test_an_agent_that_is_not_active_says_so(robot: Robot) -> None:
    for step in (None, CONFIGURE):
        assert step is None or robot.change(step)
        answer = robot.express(quote="hello")
        assert not answer.success
        assert "configure and activate it" in answer.message
    assert robot.diagnosis()[""] == "inactive"


@pytest.mark.parametrize("way", ["speech", "express"])
def test_a_transition_is_answered_during_a_long_inference_and_aborts_it(
    robot: Robot, way: str
) -> None:
    robot.bring_up()
    robot.answer_to("awake")
    text = f"think 60 about {way}"
    call = robot.call_express(quote=text) if way == "express" else robot.say(text)
    robot.spin(0.3)
    start = time.monotonic()
    assert robot.state() == ACTIVE
    assert time.monotonic() - start < ANSWER_S
    start = time.monotonic()
    assert robot.change(DEACTIVATE)
    assert time.monotonic() - start < ANSWER_S
    if call is not None:
        answer = robot.result(call, "the answer of express")
        assert not answer.success
        assert "deactivated" in answer.message
    robot.activate()
    assert robot.answer_to(f"happy after {way}").label == Emotion.HAPPY
    assert not [e for e in robot.emotions if e.quote == text]


def test_a_model_that_cannot_be_aborted_holds_up_no_transition(robot: Robot) -> None:
    robot.bring_up()
    robot.say("deaf 3")
    robot.spin(0.3)
    start = time.monotonic()
    assert robot.change(DEACTIVATE)
    assert time.monotonic() - start < ANSWER_S + 0.1
    robot.activate()
    assert robot.answer_to("sad that you did not listen").label == Emotion.SAD
    assert not [e for e in robot.emotions if e.quote == "deaf 3"]


def test_calls_that_wait_are_answered_when_the_agent_is_deactivated(robot: Robot) -> None:
    robot.bring_up()
    calls = [robot.call_express(quote=f"think 60, call {n}") for n in range(5)]
    robot.spin(0.3)
    assert robot.change(DEACTIVATE)
    answers = [robot.result(call, "an answer") for call in calls]
    assert [a.success for a in answers] == [False] * 5
    assert all("deactivated" in a.message for a in answers)


@pytest.mark.parametrize(
    ("bundle", "sentence"),
    [
        ("corrupt", "Cannot configure: corrupt/adapter.gguf has a wrong checksum"),
        ("broken", "RuntimeError: a bug in the loader"),
    ],
)
def test_a_bundle_that_cannot_be_loaded_fails_and_a_good_one_configures(
    robot: Robot, agent: Process, bundle: str, sentence: str
) -> None:
    assert set_parameters(robot, bundle=bundle) == [""]
    assert not robot.change(CONFIGURE)
    assert robot.state() == UNCONFIGURED
    assert len(agent.lines(sentence)) == 1
    assert set_parameters(robot, bundle="nano") == [""]
    robot.bring_up()
    assert robot.answer_to(f"happy after {bundle}").label == Emotion.HAPPY


def test_a_face_detector_that_is_not_there_fails_and_leaves_nothing(
    robot: Robot, agent: Process
) -> None:
    threads_before = psutil.Process(agent.popen.pid).num_threads()
    assert set_parameters(robot, bundle="seeing", face_detector="/none.onnx") == ["", ""]
    for _ in range(3):
        assert not robot.change(CONFIGURE)
    assert len(agent.lines("Cannot configure: .*/none.onnx")) == 3
    assert psutil.Process(agent.popen.pid).num_threads() <= threads_before
    assert set_parameters(robot, face_detector="yuface") == [""]
    robot.bring_up()
    assert robot.answer_to("happy to see").label == Emotion.HAPPY


def test_parameters_are_refused_out_of_range_and_while_they_are_in_use(robot: Robot) -> None:
    for name, value in [
        ("threads", 0),
        ("threads", 1000),
        ("threads", "many"),
        ("situation_max_age_s", -1.0),
        ("situation_max_age_s", float("nan")),
        ("device", "abacus"),
        ("perspective", "bystander"),
    ]:
        assert set_parameters(robot, **{name: value}) != [""], f"{name} was set to {value!r}"
    assert robot.change(CONFIGURE)
    (reason,) = set_parameters(robot, threads=4)
    assert "read at configure" in reason
    assert set_parameters(robot, perspective="listener") == [""]
    assert set_parameters(robot, perspective="speaker") == [""]


def test_a_second_agent_of_the_same_name_is_not_configured(
    robot: Robot, agent: Process, tmp_path: Path
) -> None:
    robot.bring_up()
    with running([*STAND_IN, "--ros-args", "-r", "__ns:=/second"], tmp_path / "other") as other:
        with Robot("/second/agent") as second:
            second.bring_up()  # in a namespace of its own it may
        assert other.end()[0] == 0
    with running([sys.executable, __file__], tmp_path / "second") as namesake:
        refusal = namesake.wait_for("Cannot configure: another node named /agent is running")
        assert "namespace" in refusal
        assert namesake.popen.wait(10) == 0
    assert robot.answer_to("happy that you are the one").label == Emotion.HAPPY


def test_a_hundred_transitions_in_any_order_leak_nothing(robot: Robot, agent: Process) -> None:
    process = psutil.Process(agent.popen.pid)
    dice = random.Random(6)
    state = robot.state()

    def wander(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            step = dice.choice([CONFIGURE, ACTIVATE, DEACTIVATE, CLEANUP])
            wanted = NEXT.get((state, step))
            assert robot.change(step) == (wanted is not None), (state, step)
            state = wanted if wanted is not None else state
            if state == ACTIVE and step == ACTIVATE:
                robot.wait_for_ears()
                robot.say("think 60")  # something to abort
        while state != UNCONFIGURED:
            step = {INACTIVE: CLEANUP, ACTIVE: DEACTIVATE}[state]
            assert robot.change(step)
            state = NEXT[state, step]

    wander(30)  # what is made once is made
    # What is made while it is active leaves the graph a moment after the transition.
    robot.until(lambda: "/attention" not in dict(entities(robot)[0]), "an agent that is cleaned up")
    graph = entities(robot)
    before = process.num_threads(), process.num_fds(), process.memory_info().rss
    wander(100)
    robot.until(lambda: entities(robot) == graph, "the graph as it was before")
    after = process.num_threads(), process.num_fds(), process.memory_info().rss
    assert after[0] <= before[0]
    assert after[1] <= before[1]
    assert after[2] - before[2] < 8 << 20
    robot.bring_up()
    assert robot.answer_to("happy after a long walk").label == Emotion.HAPPY


def entities(robot: Robot) -> tuple[list[object], ...]:
    """Topics and services of the agent, as the graph has them."""
    node = robot.node
    return (
        sorted(node.get_publisher_names_and_types_by_node("agent", "/")),
        sorted(node.get_subscriber_names_and_types_by_node("agent", "/")),
        sorted(node.get_service_names_and_types_by_node("agent", "/")),
    )


@pytest.mark.parametrize(
    ("state", "number"),
    [
        ("unconfigured", signal.SIGINT),
        ("refused", signal.SIGINT),
        ("configuring", signal.SIGTERM),
        ("inactive", signal.SIGINT),
        ("active", signal.SIGINT),
        ("active", signal.SIGTERM),
        ("thinking", signal.SIGINT),
        ("deaf", signal.SIGTERM),
    ],
)
def test_a_signal_ends_it_cleanly_in_every_state(
    ros_domain_id: int, tmp_path: Path, state: str, number: int
) -> None:
    bundle = {"configuring": "slow", "refused": "corrupt"}.get(state, "nano")
    arguments = ["--ros-args", "-p", f"bundle:={bundle}"]
    with running([*STAND_IN, *arguments], tmp_path / "log") as agent, Robot() as robot:
        robot.wait_for_agent()
        call = None
        if state == "configuring":
            robot.request(CONFIGURE)
            robot.spin(1.0)
        elif state == "refused":
            assert not robot.change(CONFIGURE)
        elif state != "unconfigured":
            assert robot.change(CONFIGURE)
        if state in ("active", "thinking", "deaf"):
            robot.activate()
            robot.answer_to("awake")
        if state in ("thinking", "deaf"):
            call = robot.call_express(quote={"thinking": "think 60", "deaf": "deaf 30"}[state])
            robot.spin(0.3)
        code, seconds = agent.end(number)
        assert code == 0, agent.log
        assert seconds < 2.0
        assert "Traceback" not in agent.log
        if call is not None:  # nobody is left waiting
            assert "deactivated" in robot.result(call, "an answer").message


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("threads:=0", "'threads' must be an integer from 1 to 256"),
        ("threads:=many", "'threads' must be an integer from 1 to 256"),
        ("device:=abacus", "'device' must be one of auto, cpu, cuda, tensorrt"),
    ],
)
def test_a_parameter_out_of_range_at_the_start_is_told_and_can_be_mended(
    ros_domain_id: int, tmp_path: Path, argument: str, complaint: str
) -> None:
    with (
        running([*STAND_IN, "--ros-args", "-p", argument], tmp_path / "log") as agent,
        Robot() as robot,
    ):
        robot.wait_for_agent()
        assert not robot.change(CONFIGURE)
        assert len(agent.lines(f"Cannot configure: .*{complaint}")) == 1
        name = argument.partition(":")[0]
        assert set_parameters(robot, **{name: {"threads": 1, "device": "cpu"}[name]}) == [""]
        robot.bring_up()
        assert robot.answer_to("happy now").label == Emotion.HAPPY


def test_arguments_that_cannot_be_read_end_it_with_one_sentence(tmp_path: Path) -> None:
    with running([*STAND_IN, "--ros-args", "--params-file", "/none"], tmp_path / "log") as agent:
        assert agent.popen.wait(20) == 2
        assert len(agent.lines("^The node cannot start: .*/none")) == 1
        assert "Traceback" not in agent.log


def _configure_a_namesake() -> int:
    """A second agent that configures itself: through its services one could ask only both.

    It does so once it can see the first, which takes the middleware long on a busy machine.
    """
    import rclpy

    from contextface_ros.nodes.agent import Agent
    from tests.nodes.stand_in_agent import StandIn

    rclpy.init()
    node = Agent(StandIn.load)
    own = (node.get_name(), node.get_namespace())
    deadline = time.monotonic() + 20.0
    while node.get_node_names_and_namespaces().count(own) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    node.trigger_configure()
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(_configure_a_namesake())
