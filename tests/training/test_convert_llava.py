"""Original checkpoints, made of random weights, against what their own arithmetic gives."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")

from safetensors.torch import save_file  # noqa: E402
from torch.nn import functional  # noqa: E402
from transformers import (  # noqa: E402
    AutoProcessor,
    AutoTokenizer,
    CLIPVisionModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from contextface_ros.errors import BadInput  # noqa: E402
from training.convert_llava import IMAGE_TOKEN, convert  # noqa: E402
from training.face_token import add_face_token  # noqa: E402

WORDS = 49152
SETTINGS = {
    "model_type": "llava",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": WORDS,
    "rms_norm_eps": 1e-3,
    "rope_theta": 500.0,
    "mm_vision_select_layer": -2,
    "mm_hidden_size": 32,
}


@pytest.fixture(scope="module")
def donor(tiny_llava: Path) -> LlavaForConditionalGeneration:
    """With settings that are nobody's default, so that one that is dropped shows."""
    config = LlavaConfig.from_pretrained(tiny_llava)
    config.text_config.rms_norm_eps = SETTINGS["rms_norm_eps"]
    config.text_config.rope_parameters["rope_theta"] = SETTINGS["rope_theta"]
    torch.manual_seed(3)
    return LlavaForConditionalGeneration(config).eval()


@pytest.fixture(scope="module")
def vision(donor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    tower = CLIPVisionModel(donor.config.vision_config)
    torch.manual_seed(1)
    for weight in tower.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    tower.save_pretrained(folder)
    return folder


def projector(kind: str) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(2)
    shapes = {"linear": [(64, 32)], "mlp2x_gelu": [(64, 32), (64, 64)]}[kind]
    tensors = {}
    for number, shape in enumerate(shapes):
        name = "model.mm_projector" + ("" if kind == "linear" else f".{2 * number}")
        tensors[f"{name}.weight"] = torch.randn(shape, generator=random) * 0.2
        tensors[f"{name}.bias"] = torch.randn(shape[0], generator=random) * 0.2
    return tensors


def language(donor) -> dict[str, torch.Tensor]:
    """The donor's language model under the original's names, without the rows of added tokens."""
    tensors = {"lm_head.weight": donor.lm_head.weight[:WORDS].clone()}
    for name, tensor in donor.model.language_model.state_dict().items():
        cut = tensor[:WORDS] if name == "embed_tokens.weight" else tensor
        tensors[f"model.{name}"] = cut.clone()
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    return tensors


@pytest.fixture
def original(donor, tiny_llava: Path, tmp_path: Path):
    """Writes one: in shards of pickles, as the published ones are, or as safetensors."""

    def make(kind: str, form: str = "bin", more: dict | None = None, whole: bool = True) -> Path:
        folder = tmp_path / "original"
        folder.mkdir()
        settings = {**SETTINGS, "mm_projector_type": kind}
        (folder / "config.json").write_text(json.dumps(settings))
        tokenizer = AutoTokenizer.from_pretrained(tiny_llava)
        plain = json.loads(tokenizer.backend_tokenizer.to_str())
        plain["added_tokens"] = [t for t in plain["added_tokens"] if t["content"] != IMAGE_TOKEN]
        tokenizer.save_pretrained(folder)
        (folder / "tokenizer.json").write_text(json.dumps(plain))
        words = json.loads((folder / "tokenizer_config.json").read_text())
        words.pop("extra_special_tokens", None)
        words.pop("additional_special_tokens", None)
        (folder / "tokenizer_config.json").write_text(json.dumps(words))
        tensors = language(donor) | (projector(kind) if whole else {}) | (more or {})
        names = sorted(tensors)
        for number, part in enumerate((names[::2], names[1::2]), start=1):
            shard = {name: tensors[name] for name in part}
            if form == "bin":
                torch.save(shard, folder / f"pytorch_model-0000{number}-of-00002.bin")
            else:
                save_file(shard, folder / f"model-0000{number}-of-00002.safetensors")
        return folder

    return make


def expected(kind: str, patches: torch.Tensor) -> torch.Tensor:
    """What the original's projector makes of CLIP's patches."""
    weights = projector(kind)
    if kind == "linear":
        weight, bias = weights["model.mm_projector.weight"], weights["model.mm_projector.bias"]
        return functional.linear(patches, weight, bias)
    parts = [
        functional.linear,
        lambda x, w, b: functional.linear(functional.gelu(x), w, b),
    ]
    for number, part in zip((0, 2), parts, strict=True):
        name = f"model.mm_projector.{number}"
        patches = part(patches, weights[f"{name}.weight"], weights[f"{name}.bias"])
    return patches


@pytest.mark.parametrize("form", ["bin", "safetensors"])
@pytest.mark.parametrize("kind", ["linear", "mlp2x_gelu"])
def test_what_comes_out_computes_what_went_in(
    donor, original, vision: Path, tmp_path: Path, kind: str, form: str
) -> None:
    convert(original(kind, form), tmp_path / "out", str(vision))
    model = LlavaForConditionalGeneration.from_pretrained(tmp_path / "out").eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "out")

    pixels = torch.randn(2, 3, 56, 56)
    with torch.no_grad():
        tower = CLIPVisionModel.from_pretrained(vision).eval()
        patches = tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        seen = torch.stack(list(model.get_image_features(pixels).pooler_output))
        torch.testing.assert_close(seen, expected(kind, patches), rtol=1e-5, atol=1e-6)

        ids = torch.randint(20, WORDS, (1, 12))
        ours, theirs = model(input_ids=ids).logits, donor(input_ids=ids).logits
        torch.testing.assert_close(ours[..., :WORDS], theirs[..., :WORDS])

    assert model.config.image_token_index == processor.tokenizer.convert_tokens_to_ids("<image>")
    image = torch.randint(0, 255, (80, 40, 3), dtype=torch.uint8).numpy()
    inputs = processor(text="<image>\nWho?", images=image, return_tensors="pt")
    assert (inputs["input_ids"] == model.config.image_token_index).sum() == 16
    with torch.no_grad():
        assert torch.isfinite(model(**inputs).logits).all()
    face = add_face_token(processor.tokenizer, "<FACE>")
    assert face < model.get_input_embeddings().weight.shape[0]  # no matrix need be resized


def test_a_tower_in_the_checkpoint_takes_the_place_of_clips(
    donor, original, vision: Path, tmp_path: Path
) -> None:
    trained = {
        f"model.vision_tower.vision_tower.vision_model.{name.removeprefix('vision_model.')}": t
        for name, t in donor.model.vision_tower.state_dict().items()
    }
    convert(original("linear", more=trained), tmp_path / "out", str(vision))
    model = LlavaForConditionalGeneration.from_pretrained(tmp_path / "out")
    for a, b in zip(
        model.model.vision_tower.parameters(), donor.model.vision_tower.parameters(), strict=True
    ):
        assert torch.equal(a, b)


def test_a_projector_may_come_apart(original, vision: Path, tmp_path: Path) -> None:
    folder = original("linear", whole=False)
    with pytest.raises(BadInput, match=r"no whole mm_projector: give its file with --projector"):
        convert(folder, tmp_path / "out", str(vision))
    file = tmp_path / "mm_projector.bin"
    torch.save(projector("linear"), file)
    convert(folder, tmp_path / "out", str(vision), file)
    assert (tmp_path / "out" / "config.json").is_file()


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('the pickle was run')",))


def test_a_pickle_that_runs_code_is_refused(original, vision: Path, tmp_path: Path) -> None:
    folder = original("linear")
    for file in (folder / "pytorch_model-00001-of-00002.bin",):
        torch.save({"a": _Trap()}, file)
    with pytest.raises(BadInput, match=r"00001-of-00002\.bin cannot be read"):
        convert(folder, tmp_path / "out", str(vision))
    with (folder / "pytorch_model-00001-of-00002.bin").open("wb") as stream:
        pickle.dump({"a": _Trap()}, stream)
    with pytest.raises(BadInput, match="cannot be read"):
        convert(folder, tmp_path / "out", str(vision))


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"mm_projector_type": "resampler"}, "is a resampler"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end"),
        ({"mm_vision_select_feature": "cls_patch"}, "cls_patch"),
        ({"hidden_size": 32}, "the config asks for"),
        ({"num_hidden_layers": 3}, r"has no .*layers\.2\."),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused(
    original, vision: Path, tmp_path: Path, settings, what: str
) -> None:
    folder = original("linear")
    (folder / "config.json").write_text(json.dumps({**SETTINGS, **settings}))
    with pytest.raises(BadInput, match=what):
        convert(folder, tmp_path / "out", str(vision))


def test_what_is_missing_or_strange_is_named(original, vision: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no config\.json"):
        convert(tmp_path, tmp_path / "out", str(vision))
    folder = original("linear", more={"model.image_newline": torch.ones(4)})
    with pytest.raises(BadInput, match=r"a tensor model\.image_newline"):
        convert(folder, tmp_path / "out", str(vision))
    with pytest.raises(BadInput, match="no CLIP could be read"):
        convert(folder, tmp_path / "out", str(tmp_path / "nowhere"))
    for file in folder.glob("*.bin"):
        file.unlink()
    with pytest.raises(BadInput, match=r"neither \*\.safetensors nor"):
        convert(folder, tmp_path / "out", str(vision))
