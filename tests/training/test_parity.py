"""The same contexts through every route, one with an image among them: the same answers.

Reference is the checkpoint in PyTorch, as it was trained. A route is a name and what exports the
run to a bundle, which is then asked through its runtime.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")

from contextface_ros import prompts  # noqa: E402
from contextface_ros.contextface import ContextFace  # noqa: E402
from contextface_ros.language.runtime import Runtime  # noqa: E402
from contextface_ros.types import EMOTIONS, Context, Perspective  # noqa: E402
from tests.tiny_llava import make_tiny_llava  # noqa: E402
from tests.tiny_run import make_run, make_tiny_llama  # noqa: E402
from training.evaluation.trained import TrainedModel, load_trained_model  # noqa: E402
from training.export_instruct import Plan, export  # noqa: E402
from training.fidelity import Answers, ask, cost  # noqa: E402
from training.instruct_config import AdapterConfig  # noqa: E402

COSINE = 0.99
"""What is asked of hidden states; 0.9999 is what these tiny models reach."""

BETA = 0.02
"""Largest difference of a coefficient, in standard deviations."""

QUIET = Runtime(threads=1)
IMAGE = np.random.default_rng(0).integers(0, 255, (70, 100, 3), dtype=np.uint8)
CONTEXTS = (
    Context(quote="We won! I can't believe it!", image=IMAGE),
    Context(quote="My grandmother died last night."),
    Context(situation="A man finds a dead rat in his soup.", perspective=Perspective.LISTENER),
    Context(quote="Get out of my <FACE> house!", situation="Two neighbours meet.", image=IMAGE),
    Context(quote="The meeting starts at three.", image=IMAGE[::-1].copy()),
)

Base = Callable[[Path], Path]
BASES: dict[str, tuple[Base, AdapterConfig, str, str]] = {
    "llava": (
        make_tiny_llava,
        AdapterConfig(rank=4, alpha=8, embeddings="face_token"),
        "edge",
        "<reponame>",
    ),
    "llava on Llama 2, paper": (
        lambda folder: make_tiny_llava(folder, projector_act="linear"),
        AdapterConfig(rank=4, alpha=8, embeddings="full", projector=True),
        "paper",
        "<FACE>",
    ),
    "smollm2": (
        lambda folder: make_tiny_llama(folder, tied=True),
        AdapterConfig(rank=4, alpha=8, targets=("q_proj", "k_proj", "down_proj")),
        "edge",
        "<reponame>",
    ),
    "llama 2": (
        lambda folder: make_tiny_llama(folder, tied=False, sentencepiece=True),
        AdapterConfig(rank=4, alpha=8, embeddings="face_token"),
        "edge",
        "<FACE>",
    ),
}
ROUTES = {
    "llama_cpp": Plan(Path(), Path(), quantise="F16"),
    "llama_cpp, adapter apart": Plan(Path(), Path(), quantise="F16", adapter=True),
    "huggingface": Plan(Path(), Path(), backend="huggingface", precision="float32"),
}
ROUNDED = {"bfloat16": (0.02, 0.999, 0.01), "int8": (0.03, 0.995, 0.02), "nf4": (0.25, 0.85, 0.15)}
"""Of transformers' precisions: largest difference of a probability, least cosine of the hidden
states and RMS difference of a coefficient, both where the emotion is the same. About twice what
was measured here; models of 64 dimensions feel 4 bits far more than those of thousands."""


@pytest.fixture(scope="module", params=list(BASES))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    make, lora, prompt, face = BASES[request.param]
    folder = tmp_path_factory.mktemp("parity")
    base = make(folder / "base")
    return make_run(folder / "run", base, lora, prompt=prompt, face_token=face)


@pytest.fixture(scope="module")
def reference(run: Path) -> Answers:
    return torch_answers(load_trained_model(run))


@torch.no_grad()
def torch_answers(model: TrainedModel) -> Answers:
    """What PyTorch says, one context at a time."""
    predictions = [model.predict_many([context])[0] for context in CONTEXTS]
    hidden = []
    for context, prediction in zip(CONTEXTS, predictions, strict=True):
        tail = prompts.token_ids(prompts.mesh_tail(prediction.emotion), model.words.tokenize)
        pixels = model._pixels([context.image]) if model._sees(context) else None
        hidden.append(model._last_states([model._ids(context) + tail], pixels)[0].numpy())
    return Answers(
        np.stack([p.probabilities for p in predictions]),
        np.stack(hidden),
        np.stack([p.expression.coefficients for p in predictions]),
    )


@pytest.mark.parametrize("route", list(ROUTES))
def test_every_route_answers_as_training_does(
    run: Path, reference: Answers, route: str, tmp_path: Path
) -> None:
    plan = ROUTES[route]
    if plan.backend == "huggingface":
        pytest.importorskip("contextface_ros.language.huggingface")
    plan = Plan(run, tmp_path / "bundle", plan.backend, plan.quantise, plan.precision, plan.adapter)
    bundle = export(plan, ())
    answers = ask(bundle, CONTEXTS, QUIET)
    found = cost(reference, answers)
    assert found.same_emotion == 1.0
    assert found.probability < 0.01
    assert found.cosine_least >= COSINE
    assert np.abs(answers.betas - reference.betas).max() < BETA
    said = ContextFace.load(bundle.folder, QUIET)
    with said:
        one = said.predict(CONTEXTS[0])
        assert said.sees is one.used_image is (load_trained_model(run).image is not None)
        assert one.emotion is EMOTIONS[int(reference.probabilities[0].argmax())]
        assert not said.predict(CONTEXTS[1]).used_image


@pytest.mark.parametrize("precision", list(ROUNDED))
def test_rounded_weights_answer_about_as_training_does(
    run: Path, reference: Answers, precision: str, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    probability, cosine, beta = ROUNDED[precision]
    plan = Plan(run, tmp_path / "bundle", backend="huggingface", precision=precision)
    found = cost(reference, ask(export(plan, ()), CONTEXTS, QUIET))
    assert found.same_emotion > 0  # with random weights two emotions may be equally likely
    assert found.probability < probability
    assert found.cosine_least >= cosine
    assert found.beta_same < beta


def test_the_answers_depend_on_what_is_compared(run: Path, reference: Answers) -> None:
    """Other contexts, and the base without what was learned, are far away: parity can fail."""
    model = load_trained_model(run)
    with model.untuned() as base:
        untuned = torch_answers(base)
    turned = Answers(*(np.roll(x, 1, axis=0) for x in (
        reference.probabilities, reference.hidden, reference.betas
    )))  # fmt: skip
    for other in (untuned, turned):
        assert np.abs(other.probabilities - reference.probabilities).max() > 0.01
        assert np.abs(other.betas - reference.betas).max() > BETA
