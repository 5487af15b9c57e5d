"""A tiny LLaVA with random weights through llama.cpp: what it does with pictures."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import psutil
import pytest

pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")

from contextface_ros.bundle import Bundle
from contextface_ros.contextface import ContextFace
from contextface_ros.errors import Aborted, BadInput
from contextface_ros.language.eyes import PADDING, padded
from contextface_ros.language.llama_cpp import LlamaCpp
from contextface_ros.language.protocol import Reading
from contextface_ros.language.runtime import Runtime
from contextface_ros.types import Context, Perspective
from tests.tiny_llava import IMAGE_TOKENS, make_tiny_llava
from tests.tiny_run import make_run
from training.export_instruct import Plan, export

WORDS = Context(quote="We won! I can't believe it!")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("sight")
    run = make_run(folder / "run", make_tiny_llava(folder / "base"))
    return export(Plan(run, folder / "bundle", quantise="F16"), ())


@pytest.fixture(scope="module")
def language(bundle: Bundle) -> Iterator[LlamaCpp]:
    model = LlamaCpp(bundle.base_path, mmproj=bundle.mmproj_path, runtime=Runtime(threads=1))
    yield model
    model.close()


def picture(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def close(a: Reading, b: Reading) -> bool:
    return bool(
        np.abs(a.probabilities - b.probabilities).max() < 1e-3
        and np.abs(a.hidden_state - b.hidden_state).max() < 0.02
        and a.used_image is b.used_image
    )


def test_five_frames_give_five_answers(language: LlamaCpp) -> None:
    contexts = [replace(WORDS, image=picture(seed)) for seed in range(5)]
    readings = [language.read(context) for context in contexts]
    assert language.sees and all(reading.used_image for reading in readings)
    for i, a in enumerate(readings):
        assert close(a, language.read(contexts[i]))  # and the same frame the same
        for b in readings[:i]:
            assert np.abs(a.probabilities - b.probabilities).max() > 1e-3
            assert not close(a, b)


def test_without_an_image_it_answers_from_words(language: LlamaCpp) -> None:
    before = language.read(WORDS)
    seen = language.read(replace(WORDS, image=picture(0)))
    after = language.read(WORDS)
    assert not before.used_image and not after.used_image
    assert close(before, after) and not np.allclose(before.probabilities, seen.probabilities)


def test_mixed_contexts_together_are_as_one_by_one(language: LlamaCpp) -> None:
    """Text between images, one image asked of both perspectives and again, more than a group."""
    frames = [picture(seed, 50 + seed, 70) for seed in range(3)]
    asked = [
        replace(WORDS, image=frames[0]),
        WORDS,
        replace(WORDS, image=frames[0].copy(), perspective=Perspective.LISTENER),
        Context(situation="A dog barks at night.", image=frames[1]),
        replace(WORDS, perspective=Perspective.LISTENER),
        replace(WORDS, image=frames[2]),
        replace(WORDS, image=frames[0]),
        Context(quote="Oh no.", image=frames[2]),
        Context(quote="Oh no."),
        replace(WORDS, image=frames[1]),
    ]
    alone = [language.read(context) for context in asked]
    for one, together in zip(alone, language.read_many(asked), strict=True):
        assert close(one, together)


def test_an_image_of_several_contexts_is_looked_at_once(
    language: LlamaCpp, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    see = language._eyes.see
    monkeypatch.setattr(language._eyes, "see", lambda image: looks.append(1) or see(image))
    frame = picture(1)
    language.read_many([replace(WORDS, image=frame, perspective=p) for p in Perspective])
    assert len(looks) == 1


def test_a_person_may_say_what_a_marker_looks_like(language: LlamaCpp) -> None:
    said = [Context(quote=f"{mark} hello {mark}") for mark in ("<image>", "<__media__>", "<FACE>")]
    for context in said:
        assert not language.read(context).used_image
        assert language.read(replace(context, image=picture(0))).used_image
    ids = language.tokenize("<image>")
    assert len(ids) > 1


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        "face.png",
    ],
    ids=["grey", "rgba", "empty", "float", "name"],
)
def test_what_is_no_picture_is_told_in_one_sentence(language: LlamaCpp, bad: object) -> None:
    before = language.read(WORDS)
    with pytest.raises(BadInput, match=r"The image is .* send \(H, W, 3\) uint8 in RGB") as told:
        language.read_many([WORDS, replace(WORDS, image=bad)])  # type: ignore[arg-type]
    assert "\n" not in str(told.value)
    assert close(language.read(WORDS), before)


def test_a_picture_of_any_size_is_seen_whole(language: LlamaCpp) -> None:
    for shape in ((1, 1), (3, 500), (1080, 1920)):
        assert language.read(replace(WORDS, image=picture(0, *shape))).used_image
    square = padded(picture(2, 2, 5))
    assert square.shape == (5, 5, 3)
    assert (square[0] == PADDING).all() and (square[1:3] == picture(2, 2, 5)).all()


def test_a_text_too_long_beside_its_image_is_refused(language: LlamaCpp) -> None:
    with pytest.raises(BadInput, match="The text, with the image, has"):
        language.read(Context(quote="\U00013000" * 4000, image=picture(0)))


def test_a_context_too_short_for_an_image_is_told_at_once(bundle: Bundle) -> None:
    with pytest.raises(BadInput, match=f"an image alone takes {IMAGE_TOKENS}"):
        LlamaCpp(
            bundle.base_path,
            mmproj=bundle.mmproj_path,
            runtime=Runtime(threads=1, context_length=256),
        )


def test_aborted_among_images(language: LlamaCpp) -> None:
    frame = replace(WORDS, image=picture(0))
    before = language.read(frame)
    many = [replace(WORDS, image=picture(seed, 400, 400)) for seed in range(250)]
    timer = threading.Timer(0.2, language.abort)
    timer.start()
    began = time.monotonic()
    with pytest.raises(Aborted):
        language.read_many(many)
    assert time.monotonic() - began < 2
    timer.join()
    assert close(language.read(frame), before)


def test_the_tower_itself_stops(language: LlamaCpp) -> None:
    """A large CLIP takes seconds on a CPU."""
    language._stop = True
    try:
        with pytest.raises(Aborted):
            language._eyes.see(picture(0))
    finally:
        language._stop = False
    assert language.read(replace(WORDS, image=picture(0))).used_image


def test_memory_does_not_creep(language: LlamaCpp) -> None:
    process = psutil.Process()
    sizes = []
    for start in (0, 100, 200):
        for seed in range(start, start + 100):
            language.read(replace(WORDS, image=picture(seed, 240, 320)))
        sizes.append(process.memory_info().rss)
    assert sizes[2] - sizes[1] < 4_000_000  # 100 pictures have 23 MB


def test_through_contextface(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    with ContextFace.load(bundle.folder, Runtime(threads=1)) as contextface:
        assert contextface.sees
        answer = contextface.predict(replace(WORDS, image=picture(0)))
        assert answer.used_image and np.isfinite(answer.expression.coefficients).all()
    assert "cannot see" not in caplog.text
    with contextlib.closing(LlamaCpp(bundle.base_path, runtime=Runtime(threads=1))) as blind:
        assert not blind.sees
        assert not blind.read(replace(WORDS, image=picture(0))).used_image
