"""`contextface demo`: a short scene, played over real ROS 2.

    this process                         processes of `contextface up`
      SCENE --/speech, /situation-->       agent  <--/image-- camera (a folder of pictures)
      table, contact sheet  <--/emotion, /expression-- agent

A ROS domain of its own keeps the demo apart from a robot in the same network. The frames are
pictures of the open head (CC0), drawn by face/render.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from contextface_ros.bundle import load_bundle
from contextface_ros.console import COLOURS, bar, console
from contextface_ros.errors import ContextFaceError
from contextface_ros.interpreter import python_command
from contextface_ros.picture import check_picture_place, write_picture
from contextface_ros.types import UInt8Array

if TYPE_CHECKING:
    from rclpy.node import Node

FRAMES = Path(__file__).parent / "data"

_READY_S = 60.0  # for the model to load, on a slow card
_ANSWER_S = 15.0
_PAUSE_S = 0.3  # between two lines, so that the scene can be followed
_END_S = 8.0


@dataclass(frozen=True)
class Line:
    """One line of the scene: what is said, or what happens."""

    topic: str
    text: str


SCENE = (
    Line("speech", "Did you hear something downstairs?"),
    Line(
        "situation",
        "The light goes on, and all of Maya's friends stand in her kitchen with balloons.",
    ),
    Line("speech", "What? You all came for my birthday?"),
    Line("speech", "This is the best birthday of my life!"),
    Line("situation", "A guest bites into a cake that tastes of old fish."),
    Line("speech", "Ugh, who put fish into this?"),
    Line("speech", "You let the dog sleep on my coat again!"),
    Line("situation", "Late at night Maya finds the last card that her grandfather wrote to her."),
    Line("speech", "He would have loved this. I miss him so much."),
    Line("speech", "The last bus leaves at ten past eleven."),
)
"""A situation is answered by itself, and is the background of what is said after it."""


@dataclass(frozen=True)
class Answer:
    """What the agent published for one line.

    Attributes:
        line: that was answered.
        emotion: contextface_ros/Emotion.
        expression: contextface_ros/Expression.
        latency_ms: from the line published to the expression received, in this process.
    """

    line: Line
    emotion: Any
    expression: Any
    latency_ms: float


def play(model: str, sheet: Path) -> int:
    """Start the robot's processes, play the scene, draw the faces, and end all of it.

    Args:
        model: name or folder of a bundle.
        sheet: where the picture of the faces goes, a PNG or JPEG.

    Returns:
        0, or 1 if a line was not answered.

    Raises:
        ContextFaceError: the bundle or `sheet` cannot be used, or the agent did not start.
    """
    import rclpy

    # Said here in one sentence, before anything is started.
    load_bundle(model)
    check_picture_place(sheet)

    # Both are read when a process joins ROS; the agent's inherits them.
    os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 101)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    out = console()
    rclpy.init(args=[])
    try:
        with _robot(model) as robot:
            stage = _Stage(rclpy.create_node("demo"))
            out.print(f"starting the agent ({model}) and a camera ...", style="dim")
            stage.wait_for_agent(robot)
            answers = [_perform(stage, line, out) for line in SCENE]
            out.print(f"\n{stage.frames} camera frames went by", style="dim")
    finally:
        rclpy.try_shutdown()
    answered = [answer for answer in answers if answer is not None]
    _draw(answered, sheet, out)
    missing = len(SCENE) - len(answered)
    if missing:
        out.print(f"{missing} of {len(SCENE)} lines were not answered", style="bold red")
    return 1 if missing else 0


@contextmanager
def _robot(model: str) -> Iterator[subprocess.Popen[bytes]]:
    """The agent and a camera, as `contextface up` starts them."""
    options = ("--model", model, "--camera", str(FRAMES), "--no-respawn")
    command = python_command("contextface_ros", "up", *options)
    # A session of its own, so that Ctrl-C reaches it through us, once.
    robot = subprocess.Popen(command, start_new_session=True)
    try:
        yield robot
    finally:
        robot.send_signal(signal.SIGINT)
        try:
            robot.wait(_END_S)
        except subprocess.TimeoutExpired:
            os.killpg(robot.pid, signal.SIGKILL)
            robot.wait()


class _Stage:
    """This process's end of the topics."""

    def __init__(self, node: Node) -> None:
        from rclpy.qos import (
            DurabilityPolicy,
            QoSProfile,
            ReliabilityPolicy,
            qos_profile_sensor_data,
        )
        from sensor_msgs.msg import Image
        from std_msgs.msg import String

        from contextface_ros.msg import Emotion, Expression

        latched = QoSProfile(
            depth=1,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
            reliability=ReliabilityPolicy.RELIABLE,
        )
        self.frames = 0
        self._node = node
        self._string = String
        self._emotions: list[Any] = []
        self._expressions: list[tuple[float, Any]] = []
        self._publishers = {
            topic: node.create_publisher(String, topic, 10) for topic in ("speech", "situation")
        }
        node.create_subscription(Emotion, "emotion", self._emotions.append, latched)
        node.create_subscription(Expression, "expression", self._on_expression, latched)
        node.create_subscription(Image, "image", self._on_image, qos_profile_sensor_data)

    def _on_expression(self, message: Any) -> None:
        self._expressions.append((time.monotonic(), message))

    def _on_image(self, _: Any) -> None:
        self.frames += 1

    def _spin(self, duration_s: float) -> None:
        import rclpy

        rclpy.spin_once(self._node, timeout_sec=duration_s)

    def wait_for_agent(self, robot: subprocess.Popen[bytes]) -> None:
        """Return when the agent listens and can be heard, and a camera frame was seen."""
        end = time.monotonic() + _READY_S
        while time.monotonic() < end:
            self._spin(0.05)
            if robot.poll() is not None:
                raise ContextFaceError(f"the agent ended with exit code {robot.returncode}")
            heard = all(p.get_subscription_count() for p in self._publishers.values())
            if heard and self.frames and self._node.count_publishers("expression"):
                self.pause(_PAUSE_S)  # the last connections are made
                return
        raise ContextFaceError(f"the agent was not ready within {_READY_S:.0f} s; its log is above")

    def ask(self, line: Line) -> Answer | None:
        """Publish a line and wait for its two messages, which carry the same stamp."""
        self._emotions.clear()
        self._expressions.clear()
        start = time.monotonic()
        self._publishers[line.topic].publish(self._string(data=line.text))
        while time.monotonic() < start + _ANSWER_S:
            self._spin(0.01)
            for emotion in self._emotions:
                text = emotion.quote if line.topic == "speech" else emotion.situation
                for received, face in self._expressions:
                    if text == line.text and face.header.stamp == emotion.header.stamp:
                        return Answer(line, emotion, face, (received - start) * 1000)
        return None

    def pause(self, duration_s: float) -> None:
        end = time.monotonic() + duration_s
        while time.monotonic() < end:
            self._spin(0.05)


def _perform(stage: _Stage, line: Line, out: Any) -> Answer | None:
    mark = "“{}”" if line.topic == "speech" else "[{}]"
    out.print(f"\n{mark.format(line.text)}", markup=False, soft_wrap=True)
    answer = stage.ask(line)
    if answer is None:
        out.print(f"  no answer within {_ANSWER_S:.0f} s", style="bold red")
        return None
    label = answer.emotion.label
    probability = float(max(answer.emotion.probabilities))
    out.print(
        f"  {label:<9}{probability:5.2f}  {bar(probability)}  {answer.latency_ms:.0f} ms",
        style=COLOURS[label],
    )
    stage.pause(_PAUSE_S)
    return answer


# --- the contact sheet --------------------------------------------------------------------------

_FACE_WIDTH, _FACE_HEIGHT, _CAPTION_HEIGHT, _COLUMNS = 280, 320, 96, 5


def _draw(answers: list[Answer], sheet: Path, out: Any) -> None:
    from contextface_ros.face.render import FaceRenderer

    if not answers:
        return
    with FaceRenderer(width=_FACE_WIDTH, height=_FACE_HEIGHT) as renderer:
        faces = [renderer.picture(answer.expression.expression) for answer in answers]
    write_picture(sheet, contact_sheet([*zip(faces, map(_caption, answers), strict=True)]))
    out.print(f"the faces are in {sheet}")


def _caption(answer: Answer) -> tuple[str, str]:
    return answer.emotion.label, answer.line.text


def contact_sheet(faces: list[tuple[UInt8Array, tuple[str, str]]]) -> UInt8Array:
    """Pictures of one size side by side, each with a title and a text below.

    Args:
        faces: (H, W, 3) uint8 RGB, and its title and text, in ASCII.

    Returns:
        (rows * (H + caption), 5 W, 3) uint8 RGB.
    """
    height, width, _ = faces[0][0].shape
    rows = -(-len(faces) // _COLUMNS)
    cell = height + _CAPTION_HEIGHT
    sheet = np.full((rows * cell, _COLUMNS * width, 3), 255, np.uint8)
    for i, (picture, caption) in enumerate(faces):
        y, x = i // _COLUMNS * cell, i % _COLUMNS * width
        sheet[y : y + height, x : x + width] = picture
        _write_caption(sheet, x + 8, y + height, caption)
    return sheet


def _write_caption(sheet: UInt8Array, x: int, y: int, caption: tuple[str, str]) -> None:
    title, text = caption
    lines = [title, *textwrap.wrap(text, 40)]
    for i, words in enumerate(lines):
        place, size = (x, y + 24 + 18 * i), 0.6 if i == 0 else 0.38
        font = cv2.FONT_HERSHEY_DUPLEX if i == 0 else cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(sheet, words, place, font, size, (40, 40, 40), 1, cv2.LINE_AA)
