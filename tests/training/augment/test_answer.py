from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contextface_ros.types import EMOTIONS, Emotion
from tests.training.augment.endpoint import GOOD
from training.augment.answer import EMOTION_WORDS, Answer, Reject, Stop, WrittenContext, judge
from training.augment.prompt import PROMPT_VERSION, SCHEMA, Request

any_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def said(fields: object, stop: Stop = Stop.DONE) -> Answer:
    return Answer(fields if isinstance(fields, str) else json.dumps(fields), stop, 1, 1)


def test_a_good_answer_is_a_context() -> None:
    spaced = GOOD | {"situation": "Two\n lines. ", "quote": '"Well, well."'}
    assert judge(said(spaced)) == WrittenContext("Two lines.", "Well, well.")


@pytest.mark.parametrize(
    ("answer", "reject"),
    [
        (said(GOOD, Stop.REFUSED), Reject.REFUSAL),
        (said(GOOD, Stop.CUT_SHORT), Reject.CUT_SHORT),
        (said("I would rather not."), Reject.BAD_JSON),
        (said("[" * 100_000), Reject.BAD_JSON),
        (said([GOOD]), Reject.WRONG_FIELDS),
        (said(GOOD | {"mood": "good"}), Reject.WRONG_FIELDS),
        (said({"situation": "x", "quote": "y"}), Reject.WRONG_FIELDS),
        (said(GOOD | {"quote": 3}), Reject.WRONG_FIELDS),
        (said(GOOD | {"person_visible": "yes"}), Reject.WRONG_FIELDS),
        (said(GOOD | {"person_visible": False}), Reject.NO_PERSON),
        (said(GOOD | {"quote": " ... "}), Reject.EMPTY),
        (said(GOOD | {"quote": "half \ud800"}), Reject.EMPTY),
        (said(GOOD | {"situation": "word " * 76}), Reject.TOO_LONG),
        (said(GOOD | {"quote": "What the person says aloud right now."}), Reject.ECHO),
        (said(GOOD | {"quote": "I am so happy today!"}), Reject.LEAKED),
        (said(GOOD | {"situation": "She looks on, Terrified."}), Reject.LEAKED),
    ],
)
def test_a_bad_answer_has_a_reason(answer: Answer, reject: Reject) -> None:
    assert judge(answer) is reject


@given(any_json, st.sampled_from(Stop))
def test_any_answer_is_judged(value: Any, stop: Stop) -> None:
    judge(said(json.dumps(value), stop))
    judge(said(json.dumps(GOOD | {"quote": value}), stop))


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_the_name_of_each_class_is_an_emotion_word(emotion: Emotion) -> None:
    assert EMOTION_WORDS.search(f"so {emotion.value.lower()}, they say")


@pytest.mark.parametrize("word", ["saddle", "danger", "Angela", "happen", "scarf", "gladiolus"])
def test_words_that_look_like_one_are_none(word: str) -> None:
    assert not EMOTION_WORDS.search(f"The {word} is here.")


def test_a_question_names_the_label_and_what_is_shown() -> None:
    boxed = Request(Emotion.FEAR, b"jpeg", boxed=True).text
    assert "red box feels fear" in boxed and "{" not in boxed
    assert "red box" not in Request(Emotion.FEAR, b"jpeg", boxed=False).text.split("\n")[0]
    assert "cannot see" in Request(Emotion.FEAR, None, boxed=False).text
    assert len({Request(emotion, b"", boxed=True).text for emotion in EMOTIONS}) == 7
    assert SCHEMA["required"] == list(SCHEMA["properties"]) and len(PROMPT_VERSION) == 10
