"""The question that an annotator is asked, and the form that its answer must have.

The annotator is told the label, as in the paper (Sec. 3.1): it writes towards it. So the label
leaks into the texts, and how well a model names the emotion of such a text says little about how
well it would read a person.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from contextface_ros.types import Emotion

MAX_WORDS = 75
"""Longest situation and longest quote, as in the written contexts of this repository."""

SYSTEM = (
    "You write contexts for photographs of people. A context is a situation and a quote from which"
    " a reader can tell how a person feels without being told. They teach a robot to read feelings"
    " from what happens and what is said. So the feeling must follow from the events: you never"
    " name it, and you never describe the face."
)

_PERSONS = {
    "boxed": "The person whose head is in the red box feels {feeling}.",
    "whole": "The person who stands out most in this photograph feels {feeling}.",
    "unseen": "Think of a photograph, which you cannot see, of a person who feels {feeling}.",
}

_VISIBLE = {
    "boxed": "false if there is no person whose face can be seen at least in part, else true",
    "whole": "false if there is no person whose face can be seen at least in part, else true",
    "unseen": "true",
}

QUESTION = """{person} Invent what may just have happened, so that it fits the place, the people,
the posture and that feeling, and then what the person says at this moment.

Answer with a JSON object:
- person_visible: {visible}.
- situation: one or two sentences in the third person about what happens to or around the person,
  with a concrete reason for the feeling. At most 50 words.
- quote: what the person says aloud right now, as people talk. At most 30 words.

Do not mention a photograph, a camera or a box. Use no word that names an emotion, and describe no
facial expression. If person_visible is false, leave situation and quote empty."""

_FEELINGS = {
    Emotion.ANGRY: "anger",
    Emotion.SAD: "sadness",
    Emotion.SURPRISE: "surprise",
    Emotion.NEUTRAL: "no emotion in particular",
    Emotion.FEAR: "fear",
    Emotion.HAPPY: "happiness",
    Emotion.DISGUST: "disgust",
}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "person_visible": {"type": "boolean"},
        "situation": {"type": "string"},
        "quote": {"type": "string"},
    },
    "required": ["person_visible", "situation", "quote"],
    "additionalProperties": False,
}
"""JSON schema of an answer. Servers differ in what else they allow, so lengths are checked here."""


def _version() -> str:
    """A number, and a hash of all that is asked: an edited prompt is another prompt."""
    asked = [SYSTEM, _PERSONS, _VISIBLE, QUESTION, list(_FEELINGS.values()), SCHEMA]
    return f"1-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]}"


PROMPT_VERSION = _version()


@dataclass(frozen=True)
class Request:
    """One question to an annotator.

    Attributes:
        emotion: the label of the image.
        jpeg: the picture, or None to ask without one.
        boxed: whether the person is in a red box on it.
    """

    emotion: Emotion
    jpeg: bytes | None
    boxed: bool

    @property
    def text(self) -> str:
        """The question in words."""
        seen = "unseen" if self.jpeg is None else "boxed" if self.boxed else "whole"
        person = _PERSONS[seen].format(feeling=_FEELINGS[self.emotion])
        return QUESTION.format(person=person, visible=_VISIBLE[seen])
