"""Runs of instruction tuning as bundles: vocabulary, rows, rounding and its price, bad input."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")

from contextface_ros.bundle import read_bundle  # noqa: E402
from contextface_ros.contextface import ContextFace  # noqa: E402
from contextface_ros.errors import BadInput  # noqa: E402
from contextface_ros.language.llama_cpp import LlamaCpp  # noqa: E402
from contextface_ros.language.runtime import Runtime  # noqa: E402
from contextface_ros.prompts import Tokenize  # noqa: E402
from contextface_ros.types import Context  # noqa: E402
from tests.tiny_run import make_run, make_tiny_llama  # noqa: E402
from training import checkpoint  # noqa: E402
from training.export_instruct import Plan, dev_contexts, export, main  # noqa: E402
from training.fidelity import Answers, cost  # noqa: E402
from training.instruct_config import AdapterConfig, InstructConfig  # noqa: E402
from training.llava import load_words  # noqa: E402

QUIET = Runtime(threads=1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One on SmolLM2's vocabulary whose embedding learned whole, one on a SentencePiece one."""
    folder = tmp_path_factory.mktemp("runs")
    bpe = make_tiny_llama(folder / "bpe", tied=True)
    spm = make_tiny_llama(folder / "spm", tied=False, sentencepiece=True)
    row = AdapterConfig(rank=2, alpha=4, embeddings="face_token")
    return {
        "bpe": make_run(folder / "run_bpe", bpe, AdapterConfig(rank=4, alpha=8)),
        "spm": make_run(folder / "run_spm", spm, row, face_token="<FACE>"),
    }


@pytest.fixture(scope="module", params=["bpe", "spm"])
def pair(
    request: pytest.FixtureRequest,
    runs: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Path, LlamaCpp]]:
    """A run, and the language model of its bundle."""
    run = runs[request.param]
    bundle = export(Plan(run, tmp_path_factory.mktemp("out") / "b", quantise="F16"), ())
    language = LlamaCpp(bundle.base_path, runtime=QUIET)
    yield run, language
    language.close()


@settings(deadline=None, max_examples=150)
@given(
    text=st.text(
        st.characters(exclude_categories=("C", "Z", "N", "M"), include_characters=" '0123456789"),
        max_size=40,
    ).filter(str.strip)
)
def test_texts_are_split_as_in_training(pair: tuple[Path, LlamaCpp], text: str) -> None:
    run, language = pair
    words = _words(run)
    for piece in (text, " " + text):
        assert language.tokenize(piece) == words(piece), piece


@functools.cache
def _words(run: Path) -> Tokenize:
    return load_words(InstructConfig.read(run / "config.yaml")).vocabulary.tokenize


def test_trained_rows_and_face_are_in_the_file(runs: dict[str, Path], tmp_path: Path) -> None:
    for name, run in runs.items():
        export(Plan(run, tmp_path / name, quantise="F16"), ())
        reader = gguf.GGUFReader(tmp_path / name / "model-F16.gguf")
        tensors = {tensor.name: tensor.data for tensor in reader.tensors}
        tokens = reader.fields["tokenizer.ggml.tokens"].contents()
        types = reader.fields["tokenizer.ggml.token_type"].contents()
        config = InstructConfig.read(run / "config.yaml")
        face = tokens.index(config.face_token)
        assert types[face] == gguf.TokenType.CONTROL
        module = checkpoint.load_checkpoint(run)
        inputs, outputs = module.language.get_input_embeddings(), module.unembedding
        with torch.no_grad():
            row = inputs(torch.tensor([face]))[0].numpy()
        np.testing.assert_allclose(tensors["token_embd.weight"][face], row, atol=2e-3)
        assert ("output.weight" in tensors) == (name == "spm")
        if name == "spm":
            assert outputs.shape == tensors["output.weight"].shape


def test_rounding_is_priced_in_card_and_manifest(runs: dict[str, Path], tmp_path: Path) -> None:
    contexts = dev_contexts(24)
    found = {}
    for kind in ("Q8_0", "Q4_K_M"):
        bundle = export(Plan(runs["bpe"], tmp_path / kind, quantise=kind), contexts, QUIET)
        assert {f.name for f in bundle.folder.iterdir()} == {
            f"model-{kind}.gguf",
            "face_head.onnx",
            "bundle.yaml",
            "card.md",
        }
        found[kind] = dict(read_bundle(bundle.folder).metrics)
        card = (bundle.folder / "card.md").read_text()
        assert f"{kind} against whole weights" in card
        assert "difference of a coefficient, RMS" in card
        with ContextFace.load(bundle.folder, QUIET) as contextface:
            contextface.predict(contexts[0])
    for metrics in found.values():
        assert metrics["rounding_contexts"] == 24
    eight, four = found["Q8_0"], found["Q4_K_M"]
    assert 0 < eight["rounding_beta"] < four["rounding_beta"]
    assert 1 > eight["rounding_hidden_cosine"] > four["rounding_hidden_cosine"] > 0.9


def test_a_folder_for_transformers_is_priced_too(runs: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("contextface_ros.language.huggingface")
    plan = Plan(runs["spm"], tmp_path / "hf", backend="huggingface", precision="bfloat16")
    bundle = export(plan, dev_contexts(4), QUIET)
    assert bundle.precision == "bfloat16"
    assert 0.95 < bundle.metrics["rounding_hidden_cosine"] < 1


def test_a_price_is_what_it_says() -> None:
    random = np.random.default_rng(0)
    hidden = random.normal(size=(4, 8)).astype(np.float32)
    betas = np.ones((4, 100), np.float32)
    probabilities = np.eye(7, dtype=np.float32)[:4]
    reference = Answers(probabilities, hidden, betas)
    nothing = cost(reference, reference)
    assert (nothing.same_emotion, nothing.beta, nothing.beta_size) == (1.0, 0.0, 1.0)
    assert nothing.cosine_least == pytest.approx(1.0)
    other = probabilities.copy()
    other[0] = probabilities[1]
    moved = betas.copy()
    moved[0] += 2.0
    moved[1] += 1.0
    found = cost(reference, Answers(other, -hidden, moved))
    assert found.same_emotion == 0.75
    assert found.probability == 1.0
    assert found.cosine_mean == pytest.approx(-1.0)
    assert found.beta == pytest.approx((5 / 4) ** 0.5)
    assert found.beta_same == pytest.approx((1 / 3) ** 0.5)


def test_on_the_command_line(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(runs["spm"]), str(tmp_path / "mine"), "--quantise", "Q8_0", "--adapter"]
    main([*arguments, "--contexts", "3", "--threads", "1", "--licence", "base=none of its own"])
    said = capsys.readouterr().out
    assert "mine 0.1.0" in said and "| contexts | 3 |" in said
    bundle = read_bundle(tmp_path / "mine")
    assert bundle.adapter is not None and bundle.licences == {"base": "none of its own"}
    with ContextFace.load(tmp_path / "mine", QUIET) as contextface:
        assert contextface.predict(Context(quote="Happy days")).used_image is False


def test_what_cannot_be_exported_is_told(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadInput, match="there is no checkpoint in"):
        export(Plan(tmp_path, tmp_path / "b"), ())
    with pytest.raises(BadInput, match="leave out --adapter"):
        export(Plan(runs["spm"], tmp_path / "b", backend="huggingface", adapter=True), ())
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        export(Plan(runs["spm"], tmp_path / "file"), ())
    broken = tmp_path / "broken"
    shutil.copytree(runs["spm"], broken)
    (broken / "checkpoint" / "projection.safetensors").write_bytes(b"half")
    with pytest.raises(SystemExit) as told:
        main([str(broken), str(tmp_path / "c"), "--contexts", "0"])
    assert "does not fit its base" in str(told.value)
    config = InstructConfig.read(runs["spm"] / "config.yaml")
    gone = replace(config, base=replace(config.base, path=str(tmp_path / "gone")))
    shutil.copytree(runs["spm"], tmp_path / "moved")
    gone.write(tmp_path / "moved" / "checkpoint" / "config.yaml")
    with pytest.raises(BadInput, match="there is no model in"):
        export(Plan(tmp_path / "moved", tmp_path / "d"), ())
