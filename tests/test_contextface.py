"""The shipped bundle, as a user loads it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from contextface_ros.bundle import load_bundle
from contextface_ros.contextface import ContextFace
from contextface_ros.errors import Aborted, BadInput
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.head import FaceHead
from contextface_ros.face.open_head import OpenHead
from contextface_ros.language.llama_cpp import LlamaCpp
from contextface_ros.language.runtime import Runtime
from contextface_ros.types import EMOTIONS, Context, Emotion, Perspective, Prediction
from tests.tiny_bundle import head_model

CLEAR = {
    "We won! I can't believe it!": Emotion.HAPPY,
    "My grandmother died last night.": Emotion.SAD,
    "Get out of my house right now, you liar!": Emotion.ANGRY,
    "Someone is breaking in, please help me!": Emotion.FEAR,
    "Ugh, there's a dead rat in my soup.": Emotion.DISGUST,
    "Wait, what? You're here already?": Emotion.SURPRISE,
    "The meeting starts at three in room twelve.": Emotion.NEUTRAL,
}
ANGRY = Context(quote="Get out of my house right now, you liar!")


@pytest.fixture(scope="module")
def nano() -> Iterator[ContextFace]:
    with ContextFace.load("nano", Runtime(threads=1, device="cpu")) as contextface:
        yield contextface


@pytest.fixture(scope="module")
def clear(nano: ContextFace) -> list[Prediction]:
    return nano.predict_many([Context(quote=text) for text in CLEAR])


def apart(a: Prediction, b: Prediction) -> float:
    """Root mean squared difference of two faces, in standard deviations."""
    difference = a.expression.coefficients - b.expression.coefficients
    return float(np.sqrt(np.mean(difference**2)))


def test_clear_texts_get_their_emotion(clear: list[Prediction]) -> None:
    right = [p.emotion is emotion for p, emotion in zip(clear, CLEAR.values(), strict=True)]
    assert sum(right) >= 5, [p.emotion.value for p in clear]


def test_a_prediction_is_whole_and_in_range(nano: ContextFace, clear: list[Prediction]) -> None:
    for prediction in clear:
        assert prediction.probabilities.shape == (7,)
        assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-5)
        assert prediction.emotion is EMOTIONS[int(prediction.probabilities.argmax())]
        assert -1 <= prediction.valence <= 1
        assert -1 <= prediction.arousal <= 1
        face = prediction.expression
        assert face.basis == nano.bundle.basis
        assert face.coefficients.shape == (100,)
        assert face.coefficients.dtype == np.float32
        assert np.isfinite(face.coefficients).all()
        assert 0 <= face.intensity <= 1
        assert not face.jaw_pose.any()
        assert not prediction.used_image


def test_joy_is_pleasant_and_rage_is_not(clear: list[Prediction]) -> None:
    by_emotion = dict(zip(CLEAR.values(), clear, strict=True))
    assert by_emotion[Emotion.HAPPY].valence > 0.2 > -0.2 > by_emotion[Emotion.SAD].valence
    assert by_emotion[Emotion.ANGRY].arousal > by_emotion[Emotion.SAD].arousal + 0.2


def test_a_neutral_face_rests_and_an_angry_one_does_not(clear: list[Prediction]) -> None:
    by_emotion = dict(zip(CLEAR.values(), clear, strict=True))
    resting = by_emotion[Emotion.NEUTRAL].expression.intensity
    assert by_emotion[Emotion.ANGRY].expression.intensity > resting + 0.2


def test_the_happy_face_smiles(clear: list[Prediction]) -> None:
    """Down to the blendshapes that a robot would move."""
    weights = OpenHead.load().decode(np.stack([p.expression.coefficients for p in clear]))
    smile = weights[:, ARKIT_NAMES.index("mouthSmileLeft")]
    assert list(CLEAR.values())[int(smile.argmax())] is Emotion.HAPPY


def test_the_listener_has_a_face_of_its_own(nano: ContextFace, clear: list[Prediction]) -> None:
    shouted_at = nano.predict(Context(quote=ANGRY.quote, perspective=Perspective.LISTENER))
    shouting = clear[list(CLEAR).index(ANGRY.quote or "")]
    assert apart(shouted_at, shouting) > 0.1
    assert np.abs(shouted_at.probabilities - shouting.probabilities).max() > 0.1


def test_a_situation_is_the_background_of_a_quote(nano: ContextFace) -> None:
    quote = "I don't know what to say."
    loss, danger = nano.predict_many(
        [
            Context(quote=quote, situation="His cat was run over this morning."),
            Context(quote=quote, situation="A gun is pointed at him."),
        ]
    )
    assert loss.probabilities[EMOTIONS.index(Emotion.SAD)] > 0.4
    assert danger.probabilities[EMOTIONS.index(Emotion.FEAR)] > 0.4


def test_a_situation_alone_is_answered(nano: ContextFace) -> None:
    prediction = nano.predict(Context(situation="She finds a snake in her bed."))
    assert prediction.emotion is not Emotion.NEUTRAL


def test_the_same_again_is_the_same(nano: ContextFace) -> None:
    first = nano.predict(ANGRY)
    nano.predict(Context(quote="Something else in between."))
    again = nano.predict(ANGRY)
    assert np.array_equal(first.probabilities, again.probabilities)
    assert np.array_equal(first.expression.coefficients, again.expression.coefficients)


def test_together_is_as_one_by_one(nano: ContextFace, clear: list[Prediction]) -> None:
    for text, together in zip(CLEAR, clear, strict=True):
        alone = nano.predict(Context(quote=text))
        assert np.abs(alone.probabilities - together.probabilities).max() < 0.1
        # Kernels for one row and for several round differently; a tie may fall either way.
        assert alone.emotion is not together.emotion or apart(alone, together) < 0.1
    assert nano.predict_many([]) == []


def test_bad_text_is_refused_and_the_next_is_answered(nano: ContextFace) -> None:
    for bad in (Context(), Context(quote=" \n"), Context(quote="a" * 4001)):
        with pytest.raises(BadInput):
            nano.predict(bad)
    assert nano.predict(ANGRY).probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_blindness_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    seen = Context(quote="Look!", image=np.zeros((4, 4, 3), np.uint8))
    with ContextFace.load("nano", Runtime(threads=1, device="cpu")) as contextface:
        assert not contextface.sees
        with caplog.at_level(logging.WARNING, "contextface_ros.contextface"):
            contextface.predict(ANGRY)
            assert "cannot see" not in caplog.text
            predictions = [contextface.predict(seen) for _ in range(3)]
    assert caplog.text.count("cannot see") == 1
    assert not any(prediction.used_image for prediction in predictions)


def test_a_head_of_another_width_is_refused(tmp_path: Path) -> None:
    narrow = tmp_path / "narrow.onnx"
    narrow.write_bytes(head_model(64).SerializeToString())
    bundle = load_bundle("nano")
    language = LlamaCpp(bundle.base_path, runtime=Runtime(threads=1))
    try:
        with pytest.raises(BadInput, match=r"576 numbers.*64"):
            ContextFace(bundle, language, FaceHead(narrow, "cpu"))
    finally:
        language.close()


def test_no_threads_is_refused() -> None:
    with pytest.raises(BadInput, match="threads is 0"):
        ContextFace.load("nano", Runtime(threads=0))


def test_aborted_and_used_again(nano: ContextFace) -> None:
    timer = threading.Timer(0.3, nano.abort)
    timer.start()
    long = [Context(quote=f"{n} " + "and then it rained " * 180) for n in range(40)]
    with pytest.raises(Aborted):
        nano.predict_many(long)
    timer.join()
    assert nano.predict(ANGRY).emotion in EMOTIONS


def test_closed_twice() -> None:
    contextface = ContextFace.load("nano", Runtime(threads=1, device="cpu"))
    contextface.close()
    contextface.close()
