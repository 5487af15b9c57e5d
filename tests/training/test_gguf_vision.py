"""mtmd on our mmproj against transformers' vision tower and projector, on the same pictures."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")

from transformers import LlavaForConditionalGeneration  # noqa: E402

from contextface_ros.errors import BadBundle, BadInput  # noqa: E402
from contextface_ros.language.clip_watch import ClipWatch  # noqa: E402
from contextface_ros.language.eyes import Eyes  # noqa: E402
from contextface_ros.language.huggingface_sight import sight  # noqa: E402
from contextface_ros.language.llama_cpp import LlamaCpp  # noqa: E402
from contextface_ros.language.mmproj_header import read_mmproj  # noqa: E402
from contextface_ros.language.runtime import Runtime  # noqa: E402
from tests.tiny_llava import IMAGE_TOKENS, make_tiny_llava  # noqa: E402
from tests.tiny_run import make_run  # noqa: E402
from training.export_instruct import Plan, export  # noqa: E402
from training.gguf_vision import write_mmproj  # noqa: E402

WIDTH = 64
SHAPES = ((56, 56), (90, 40), (33, 120), (480, 640), (1, 7), (3, 5))


@dataclass(frozen=True)
class Pair:
    """One LLaVA twice: in transformers, and its eyes in llama.cpp."""

    llava: Any
    eyes: Eyes
    folder: Path

    def expected(self, picture: np.ndarray) -> np.ndarray:
        """(T, D) float32 features, after the projector."""
        with torch.no_grad():
            found = self.llava.get_image_features(sight(self.llava.config).pixels([picture]))
        return torch.cat(list(found.pooler_output)).numpy()


@pytest.fixture(scope="module", params=["gelu", "linear"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("eyes")
    base = make_tiny_llava(folder / "base", projector_act=request.param)
    bundle = export(Plan(make_run(folder / "run", base), folder / "bundle", quantise="F16"), ())
    language = LlamaCpp(bundle.base_path, mmproj=bundle.mmproj_path, runtime=Runtime(threads=1))
    llava = LlavaForConditionalGeneration.from_pretrained(base, dtype=torch.float32).eval()
    yield Pair(llava, language._eyes, folder / "bundle")
    language.close()


def pictures() -> list[np.ndarray]:
    random = np.random.default_rng(4)
    return [random.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in SHAPES]


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def test_features_are_those_of_transformers(pair: Pair) -> None:
    """Padding and resizing included: float16 weights are all that differs."""
    for picture in pictures():
        expected, found = pair.expected(picture), pair.eyes.see(picture)
        assert found.shape == expected.shape == (IMAGE_TOKENS, WIDTH)
        assert cosines(expected, found).min() > 0.9999
        assert np.abs(expected - found).max() < 0.005 * np.abs(expected).max()


def test_llama_cpp_alone_has_the_patches_in_disorder(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defect that clip_watch mends. If this fails, llama.cpp has mended it."""
    picture = pictures()[0]
    monkeypatch.setattr(ClipWatch, "_write", lambda *_: None)
    assert cosines(pair.expected(picture), pair.eyes.see(picture)).min() < 0.9


def test_a_header_that_lies_is_refused(pair: Pair, tmp_path: Path) -> None:
    good = pair.folder / "mmproj.gguf"
    assert read_mmproj(good, WIDTH).patches == IMAGE_TOKENS
    with pytest.raises(BadBundle, match=r"mm\.2\.weight of shape .* fits the model"):
        read_mmproj(good, WIDTH + 1)
    changed = {
        b"v.blk.1.ffn_up.bias": (b"v.blk.9.ffn_up.bias", "has no v.blk.1.ffn_up.bias"),
        b"clip.vision.patch_size": (b"clip.vision.patch_sire", "no usable clip.vision.patch_size"),
        b"clip.vision.feature_layer": (b"clip.vision.feature_liyer", "one layer"),
        b"clip.projector_type": (b"clip.projector_tipe", "only 'mlp' is known"),
        b"clip.has_vision_encoder": (b"clip.has_vision_encoder"[::-1], "no vision tower"),
    }
    for old, (new, told) in changed.items():
        bad = tmp_path / "mmproj.gguf"
        bad.write_bytes(good.read_bytes().replace(old, new))
        with pytest.raises(BadBundle, match=told):
            read_mmproj(bad, WIDTH)


def test_eyes_of_another_model_are_refused(pair: Pair, tmp_path: Path) -> None:
    other = make_tiny_llava(tmp_path / "base", hidden_size=96)
    llava = LlavaForConditionalGeneration.from_pretrained(other, dtype=torch.float32)
    write_mmproj(llava, tmp_path / "mmproj.gguf")
    base = pair.folder / "model-F16.gguf"
    with pytest.raises(BadBundle, match="cannot load"):
        LlamaCpp(base, mmproj=tmp_path / "mmproj.gguf", runtime=Runtime(threads=1))
    shutil.copy(base, tmp_path / "blind.gguf")
    with pytest.raises(BadBundle, match="no vision tower"):
        read_mmproj(tmp_path / "blind.gguf", WIDTH)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("vision_feature_layer", [-2, -3], "several layers"),
        ("vision_feature_select_strategy", "full", "class token"),
        ("projector_hidden_act", "relu", "activation is relu"),
    ],
)
def test_what_llama_cpp_cannot_run_is_told(
    pair: Pair, key: str, value: object, told: str, tmp_path: Path
) -> None:
    config = copy.deepcopy(pair.llava.config)
    object.__setattr__(config, key, value)
    odd = SimpleNamespace(config=config, model=pair.llava.model)
    with pytest.raises(BadInput, match=told):
        write_mmproj(odd, tmp_path / "mmproj.gguf")
