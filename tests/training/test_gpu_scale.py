"""benchmarks/gpu_scale.py runs from end to end, on a model of a few megabytes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("peft", reason="peft is not installed: run `make setup-train`")

from tests.conftest import ROOT


def test_every_figure_of_a_tiny_model_is_measured() -> None:
    options = ["--sizes", "tiny", "--steps", "2", "--rounds", "1", "--batch", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_scale", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])["results"]
    assert [result["precision"] for result in found] == ["bfloat16", "nf4"]
    for result in found:
        for way in ("ours", "plain"):
            assert result[way]["samples_per_s"] > 0
        for way in ("text", "picture"):
            assert 0 < result[way]["ours_ms"] < result[way]["generated_ms"]


def test_a_real_size_without_a_gpu_is_one_sentence() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU, which would be used for minutes")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_scale", "--sizes", "7b"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 1
    assert "there is no CUDA device here" in done.stderr.splitlines()[-1]
