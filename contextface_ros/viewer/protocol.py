"""What goes between the server and a browser over the WebSocket.

To the browser, as JSON with a `type`: hello, status, answer, asked. As bytes: the kind (uint8),
3 of padding, then by kind

    1  a pose: time in ms (uint32), 52 weights (uint16, 65535 for 1) in the order of ARKIT_NAMES
    2  a picture of the camera: 4 of padding, JPEG

From the browser, as JSON: ask. Little-endian.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from contextface_ros.errors import BadInput
from contextface_ros.prompts import MAX_TEXT_LENGTH, clean_text
from contextface_ros.types import Perspective

POSE, PICTURE = 1, 2

LONGEST_MESSAGE = 12 * 2 * MAX_TEXT_LENGTH + 1000
"""Bytes of a browser's message: two texts, each character of them as two escapes."""


class Agent(str, Enum):
    """What the agent is about, as far as can be seen."""

    ABSENT = "absent"
    READY = "ready"
    LISTENING = "listening"
    THINKING = "thinking"


class Face(str, Enum):
    """Where the face comes from: a player's poses, expressions as they are, or nowhere yet."""

    MOVING = "moving"
    STILL = "still"
    NONE = "none"


@dataclass(frozen=True)
class Status:
    """What is there.

    Attributes:
        agent: what it is about.
        face: how the face moves.
        face_note: a sentence about it, or "".
        camera: whether pictures come.
        camera_note: a sentence about them, or "".
    """

    agent: Agent = Agent.ABSENT
    face: Face = Face.NONE
    face_note: str = ""
    camera: bool = False
    camera_note: str = ""


@dataclass(frozen=True)
class Answer:
    """One answer of the agent, for the transcript.

    Attributes:
        label: the emotion.
        probabilities: seven, in the order of EMOTIONS.
        quote: what was said, or "".
        situation: what happens, or "".
        perspective: "speaker" or "listener".
        time_ms: when it was answered, in ms since 1970.
        latency_ms: from the input to the answer; None where that is not known.
    """

    label: str
    probabilities: tuple[float, ...]
    quote: str
    situation: str
    perspective: str
    time_ms: float
    latency_ms: float | None


@dataclass(frozen=True)
class Question:
    """What somebody typed. At least one of quote and situation is there, clean."""

    quote: str | None
    situation: str | None
    perspective: Perspective


def pose_frame(weights: npt.NDArray[np.floating], time_s: float) -> bytes:
    """One pose.

    Args:
        weights: (52,); what lies outside of 0..1 is cut off.
        time_s: by a clock that runs evenly.
    """
    steps: npt.NDArray[np.uint16] = np.round(np.clip(weights, 0.0, 1.0) * 65535).astype("<u2")
    return struct.pack("<BxxxI", POSE, int(time_s * 1000) & 0xFFFFFFFF) + steps.tobytes()


def picture_frame(jpeg: bytes) -> bytes:
    """One picture of the camera."""
    return struct.pack("<BxxxI", PICTURE, 0) + jpeg


def hello() -> str:
    """The first message."""
    return json.dumps({"type": "hello"})


def status_text(status: Status) -> str:
    """What is there, as JSON."""
    return json.dumps({"type": "status", **asdict(status)})


def answer_text(answer: Answer) -> str:
    """One answer, as JSON."""
    return json.dumps({"type": "answer", **asdict(answer)})


def asked_text(number: int, trouble: str) -> str:
    """What became of a question: answered, or the trouble with it in a sentence."""
    return json.dumps({"type": "asked", "number": number, "trouble": trouble})


def question_number(message: object) -> int:
    """The number by which a browser knows its question; 0 where it gives none."""
    number = message.get("number") if isinstance(message, dict) else None
    return number if isinstance(number, int) and 0 <= number < 2**53 else 0


def read_message(text: str) -> object:
    """JSON of a browser. Raises BadInput where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput("what the page sent cannot be read: reload it") from error


def read_question(message: object) -> Question:
    """What a browser asks for.

    Raises:
        BadInput: it is no question, or its text is empty or too long.
    """
    if not isinstance(message, dict) or message.get("type") != "ask":
        raise BadInput("what the page sent is no question: reload it")
    texts = {name: message.get(name) or None for name in ("quote", "situation")}
    for name, text in texts.items():
        if not (text is None or isinstance(text, str)):
            raise BadInput(f"the {name} is no text: reload the page")
    if not any(texts.values()):
        raise BadInput("there is nothing to answer: type what is said, or what happens")
    try:
        perspective = Perspective(message.get("perspective", Perspective.SPEAKER.value))
    except ValueError:
        known = " or ".join(p.value for p in Perspective)
        raise BadInput(f"the perspective is unknown: choose {known}") from None
    quote, situation = (clean_text(text) if text else None for text in texts.values())
    return Question(quote, situation, perspective)
