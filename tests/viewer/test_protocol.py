from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contextface_ros.errors import BadInput
from contextface_ros.prompts import MAX_TEXT_LENGTH
from contextface_ros.types import Perspective
from contextface_ros.viewer import protocol

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_a_pose_is_112_bytes_and_stays_what_it_was() -> None:
    weights = np.linspace(-0.5, 1.5, 52, dtype=np.float32)
    frame = protocol.pose_frame(weights, 12.345)
    assert len(frame) == 112
    assert struct.unpack("<BxxxI", frame[:8]) == (protocol.POSE, 12345)
    read = np.frombuffer(frame, "<u2", offset=8) / 65535
    assert np.abs(read - np.clip(weights, 0, 1)).max() < 1e-5


def test_a_question_is_cleaned_like_any_other_text() -> None:
    message = {"type": "ask", "number": 3, "quote": " a\n b\x00", "perspective": "listener"}
    assert protocol.read_question(message) == protocol.Question("a b", None, Perspective.LISTENER)
    assert protocol.question_number(message) == 3


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"type": "ask"}, "nothing to answer"),
        ({"type": "ask", "quote": "  "}, "empty"),
        ({"type": "ask", "quote": "x" * (MAX_TEXT_LENGTH + 1)}, "shorten it"),
        ({"type": "ask", "quote": 7}, "no text"),
        ({"type": "ask", "quote": "x", "perspective": "crowd"}, "speaker or listener"),
        ({"type": "ask", "quote": "x", "perspective": []}, "speaker or listener"),
        ({"type": "shout", "quote": "x"}, "no question"),
        ([], "no question"),
    ],
)
def test_what_is_no_question_is_refused_in_a_sentence(message: object, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        protocol.read_question(message)


@settings(deadline=None, max_examples=50)
@given(JSON, JSON, JSON)
def test_anything_else_is_refused_too(quote: object, perspective: object, number: object) -> None:
    message = {"type": "ask", "number": number, "quote": quote, "perspective": perspective}
    assert protocol.question_number(message) >= 0
    try:
        question = protocol.read_question(message)
    except BadInput:
        return
    assert question.quote and len(question.quote) <= MAX_TEXT_LENGTH


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\ud800"])
def test_text_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        protocol.read_message(text)


def test_the_longest_texts_fit_into_a_message() -> None:
    text = "😀" * MAX_TEXT_LENGTH
    message = {"type": "ask", "number": 1, "quote": text, "situation": text}
    assert len(json.dumps(message)) <= protocol.LONGEST_MESSAGE
