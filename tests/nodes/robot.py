"""The other side of the agent: what a robot publishes, calls and receives."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from contextface_ros.msg import Emotion, Expression
from contextface_ros.nodes import qos
from contextface_ros.srv import Express

TIMEOUT_S = 30.0
UNANSWERED_S = 8.0
"""Far above what anything takes, for a machine that is busy with other things."""

EVERY_ANSWER = QoSProfile(
    depth=100,
    reliability=qos.LAST_ANSWER.reliability,
    durability=qos.LAST_ANSWER.durability,
)
"""As the agent publishes, but two that come at the same moment are both kept."""

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in_agent.py")))

CONFIGURE = Transition.TRANSITION_CONFIGURE
CLEANUP = Transition.TRANSITION_CLEANUP
ACTIVATE = Transition.TRANSITION_ACTIVATE
DEACTIVATE = Transition.TRANSITION_DEACTIVATE
UNCONFIGURED = State.PRIMARY_STATE_UNCONFIGURED
INACTIVE = State.PRIMARY_STATE_INACTIVE
ACTIVE = State.PRIMARY_STATE_ACTIVE


class Process:
    """A program with its log in a file."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("w") as file:
            self.popen = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)

    @property
    def log(self) -> str:
        """What it printed up to now."""
        return self._log.read_text(errors="replace")

    def lines(self, pattern: str) -> list[str]:
        """Lines of the log in which the pattern is found."""
        return [line for line in self.log.splitlines() if re.search(pattern, line)]

    def wait_for(self, pattern: str, timeout_s: float = TIMEOUT_S) -> str:
        """Wait for a line of the log, and return it."""
        deadline = time.monotonic() + timeout_s
        while not (found := self.lines(pattern)):
            assert self.popen.poll() is None, f"it ended: {self.log}"
            assert time.monotonic() < deadline, f"no line has {pattern!r} in: {self.log}"
            time.sleep(0.02)
        return found[0]

    def end(self, number: int = signal.SIGINT, timeout_s: float = TIMEOUT_S) -> tuple[int, float]:
        """Send a signal and wait; the exit code, and the seconds it took."""
        start = time.monotonic()
        self.popen.send_signal(number)
        code = self.popen.wait(timeout_s)
        return code, time.monotonic() - start


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[Process]:
    """A program for the length of a with block; killed if it is still there at its end."""
    process = Process(command, log)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.popen.send_signal(signal.SIGINT)
            try:
                process.popen.wait(5)
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.popen.wait()


class Robot:
    """A node that speaks to the agent and keeps what it hears. Closed by its with block."""

    def __init__(self, agent: str = "/agent", camera: type | None = Image) -> None:
        """Connect.

        Args:
            agent: full name of the agent's node.
            camera: type of the frames that `image` publishes; None for no such publisher.
        """
        self._context = Context()
        self._context.init(domain_id=int(os.environ["ROS_DOMAIN_ID"]))
        self.node = Node("robot", context=self._context, use_global_arguments=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.agent = agent
        space = agent.rpartition("/")[0]
        self.emotions: list[Emotion] = []
        self.expressions: list[Expression] = []
        self.diagnostics: list[DiagnosticArray] = []
        self.subscribe(Emotion, f"{space}/emotion", EVERY_ANSWER, self.emotions)
        self.subscribe(Expression, f"{space}/expression", EVERY_ANSWER, self.expressions)
        self.subscribe(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS, self.diagnostics)
        self._speech = self.node.create_publisher(String, f"{space}/speech", 100)
        self._situation = self.node.create_publisher(String, f"{space}/situation", 100)
        if camera is not None:
            self.image = self.node.create_publisher(camera, f"{space}/image", 10)
        self._express = self.node.create_client(Express, f"{agent}/express")
        self._change_state = self.node.create_client(ChangeState, f"{agent}/change_state")
        self._get_state = self.node.create_client(GetState, f"{agent}/get_state")

    def __enter__(self) -> Robot:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()

    def subscribe(self, kind: type, topic: str, profile: QoSProfile, heard: list[Any]) -> Any:
        """Append every message of a topic to a list."""
        return self.node.create_subscription(kind, topic, heard.append, profile)

    def spin(self, seconds: float) -> None:
        """Receive for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def until(self, condition: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> None:
        """Receive until the condition holds."""
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"waited {timeout_s} s in vain for: {what}"
            self._executor.spin_once(timeout_sec=0.05)

    def result(self, future: Future, what: str, timeout_s: float = TIMEOUT_S) -> Any:
        """What a future holds, once it does."""
        self.until(future.done, what, timeout_s)
        return future.result()

    def wait_for_agent(self) -> None:
        """Wait until every topic and service of an agent, in whatever state, is connected."""
        for client in self._change_state, self._get_state, self._express:
            self.until(client.service_is_ready, f"{client.srv_name} is there")

    def state(self) -> int:
        """The agent's state."""
        answer = self.result(self._get_state.call_async(GetState.Request()), "get_state")
        return answer.current_state.id

    def request(self, transition: int) -> Future:
        """Ask for a transition without waiting."""
        request = ChangeState.Request(transition=Transition(id=transition))
        return self._change_state.call_async(request)

    def change(self, transition: int, timeout_s: float = TIMEOUT_S) -> bool:
        """Ask for a transition; whether it succeeded."""
        answer = self.result(self.request(transition), f"transition {transition}", timeout_s)
        return bool(answer.success)

    def bring_up(self) -> None:
        """Configure and activate, and wait until the agent listens."""
        self.wait_for_agent()
        assert self.change(CONFIGURE)
        self.activate()

    def activate(self) -> None:
        """Activate, and wait until the agent listens."""
        assert self.change(ACTIVATE)
        self.wait_for_ears()

    def wait_for_ears(self) -> None:
        """Wait until the agent listens."""
        for publisher in self._speech, self._situation:
            self.until(lambda p=publisher: p.get_subscription_count(), publisher.topic)

    def say(self, text: str) -> None:
        """Publish an utterance."""
        self._speech.publish(String(data=text))

    def say_bytes(self, text: bytes) -> None:
        """Publish an utterance whose bytes no Python string has, as another language could."""
        size = (len(text) + 1).to_bytes(4, "little")
        self._speech.publish(b"\x00\x01\x00\x00" + size + text + b"\x00")

    def happens(self, text: str) -> None:
        """Publish a situation."""
        self._situation.publish(String(data=text))

    def call_express(self, **fields: Any) -> Future:
        """Call ~/express without waiting."""
        return self._express.call_async(Express.Request(**fields))

    def express(self, **fields: Any) -> Express.Response:
        """Call ~/express and wait for the answer.

        A server that has not discovered its client yet answers into the void, and the client cannot
        tell: asked again after a while.
        """
        asked = [self.call_express(**fields)]
        again = time.monotonic() + UNANSWERED_S

        def answered() -> bool:
            nonlocal again
            if time.monotonic() > again:
                asked.append(self.call_express(**fields))
                again = time.monotonic() + UNANSWERED_S
            return any(future.done() for future in asked)

        self.until(answered, "the answer of express")
        return next(future.result() for future in asked if future.done())

    def answer_to(self, text: str) -> Emotion:
        """Say something and wait for the emotion whose quote it is."""
        self.say(text)
        return self.emotion_of(text)

    def emotion_of(self, text: str) -> Emotion:
        """Wait for the emotion that has this text as its quote, or alone as its situation."""

        def found() -> list[Emotion]:
            return [e for e in self.emotions if text in (e.quote or e.situation)]

        self.until(found, f"an emotion for {text!r}")
        return found()[-1]

    def expression_of(self, emotion: Emotion) -> Expression:
        """Wait for the face of the same answer."""

        def found() -> list[Expression]:
            return [e for e in self.expressions if e.header == emotion.header]

        self.until(found, "its expression")
        return found()[-1]

    def diagnosis(self) -> dict[str, str]:
        """The next status of the agent, with its message under "" and its level under "level"."""
        self.diagnostics.clear()

        def found() -> list[Any]:
            return [s for a in self.diagnostics for s in a.status if s.name == self.agent]

        self.until(found, "a status on /diagnostics")
        status = found()[-1]
        values = {pair.key: pair.value for pair in status.values}
        return {**values, "": status.message, "level": str(status.level[0])}


def compressed(data: bytes, kind: str = "jpeg") -> CompressedImage:
    """A compressed picture as a message."""
    return CompressedImage(format=kind, data=data)
