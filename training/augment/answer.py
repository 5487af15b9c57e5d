"""An annotator's answer, and what it is worth: a context, or the reason why it is none."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum

from training.augment.prompt import MAX_WORDS, QUESTION, SCHEMA


class Stop(str, Enum):
    """Why an annotator stopped writing."""

    DONE = "done"
    REFUSED = "refused"
    CUT_SHORT = "cut short"


@dataclass(frozen=True)
class Answer:
    """What came back for one request, as it came.

    Attributes:
        text: the JSON, or whatever was written in its place.
        stop: why it ends.
        input_tokens: of the request, as the server counts them.
        output_tokens: of the answer, thinking included.
        half_price: whether it was asked in a batch.
    """

    text: str
    stop: Stop
    input_tokens: int
    output_tokens: int
    half_price: bool = False


class Reject(str, Enum):
    """Why an image has no annotation."""

    UNREADABLE = "unreadable image"
    DUPLICATE = "duplicate image"
    NO_PERSON = "no person"
    REFUSAL = "refusal"
    CUT_SHORT = "cut short"
    BAD_JSON = "bad JSON"
    WRONG_FIELDS = "wrong fields"
    EMPTY = "empty text"
    TOO_LONG = "too long"
    ECHO = "repeats the question"
    LEAKED = "emotion word leaked"
    FAILED = "request failed"
    NOT_ASKED = "not asked yet"


_ECHO_WORDS = 4  # shorter runs of words are anybody's


@dataclass(frozen=True)
class WrittenContext:
    """A situation and a quote, in clean white space."""

    situation: str
    quote: str


EMOTION_WORDS = re.compile(
    r"\b("
    r"ang(er|ers|ered|ry|rier|rily)|furious\w*|fury|enraged?|outrage\w*|irritat\w+|annoy\w+|"
    r"sad(ly|ness|der|dest|den\w*)?|unhapp\w+|sorrow\w*|miserabl\w+|heartbroken|depress\w+|"
    r"surpris\w+|astonish\w*|amaz(ed|ing\w*|ement)|startl\w+|shocked|"
    r"afraid|fear\w*|scar(ed|ier|y)|terrif\w+|terror\w*|frighten\w*|panick\w*|"
    r"happ(y|ily|iness|ier|iest)|joy(ful\w*|ous\w*|s)?|delight\w*|overjoyed|cheerful\w*|glad(ly)?|"
    r"disgust\w*|revolt(ed|ing)|repuls\w+|revulsion|"
    r"neutral(ly)?|emotionless"
    r")\b",
    re.IGNORECASE,
)
"""Words that name one of the seven classes: with them in the text nothing is left to infer."""


def judge(answer: Answer) -> WrittenContext | Reject:
    """The context in an answer, or why there is none. Costs nothing: rules may change later."""
    if answer.stop is Stop.REFUSED:
        return Reject.REFUSAL
    if answer.stop is Stop.CUT_SHORT:
        return Reject.CUT_SHORT
    try:
        fields = json.loads(answer.text)
    except (ValueError, RecursionError):
        return Reject.BAD_JSON
    if not isinstance(fields, dict) or set(fields) != set(SCHEMA["required"]):
        return Reject.WRONG_FIELDS
    visible, texts = fields["person_visible"], (fields["situation"], fields["quote"])
    if not isinstance(visible, bool) or not all(isinstance(text, str) for text in texts):
        return Reject.WRONG_FIELDS
    if not visible:
        return Reject.NO_PERSON
    return _judge_texts(*(" ".join(text.split()) for text in texts))


def _judge_texts(situation: str, quote: str) -> WrittenContext | Reject:
    quote = quote.strip('"“”')
    for text in (situation, quote):
        if not re.search(r"\w", text) or "\0" in text or not _is_unicode(text):
            return Reject.EMPTY
        if len(text.split()) > MAX_WORDS:
            return Reject.TOO_LONG
        if len(text.split()) >= _ECHO_WORDS and _plain(text) in _plain(QUESTION):
            return Reject.ECHO
    if EMOTION_WORDS.search(situation) or EMOTION_WORDS.search(quote):
        return Reject.LEAKED
    return WrittenContext(situation, quote)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _is_unicode(text: str) -> bool:
    """Whether it can be written down: JSON may name halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
