r"""From an original LLaVA checkpoint to transformers' LlavaForConditionalGeneration.

    python -m training.convert_llava llava-llama-2-13b-chat runs/llava-llama2-13b \
        --vision openai/clip-vit-large-patch14-336
    python -m training.convert_llava Llama-2-13b-chat-hf runs/llava-llama2-13b \
        --projector mm_projector.bin --vision openai/clip-vit-large-patch14-336

The original's projector is one linear layer (LLaVA on Llama-2) or two with a GELU between (LLaVA
1.5); transformers' class has two. A linear one becomes the first, followed by the identity as
activation and as second layer: the same numbers, exactly. (Who trains it trains both.)

Tensors are mapped, not copied, so that 13B converts in little memory; they keep their type.
"""

from __future__ import annotations

import argparse
import json
import pickle
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoTokenizer,
    CLIPVisionModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from contextface_ros.errors import BadInput, ContextFaceError
from contextface_ros.language.huggingface_sight import image_processor
from training.face_token import ROWS

IMAGE_TOKEN = "<image>"

_LANGUAGE = re.compile(r"model\.(embed_tokens|norm|layers)\.")
_VISION = "model.vision_tower.vision_tower."
_PROJECTOR = re.compile(r"(?:model\.)?mm_projector\.(?:([02])\.)?(weight|bias)")
_BUFFER = re.compile(r"(rotary_emb\.inv_freq|position_ids)$")
_OURS = "model.multi_modal_projector."


def convert(source: Path, out: Path, vision: str, projector: Path | None = None) -> None:
    """Convert a checkpoint.

    Args:
        source: folder of an original LLaVA, or of its Llama where `projector` is given.
        out: folder to write.
        vision: folder or hub name of the CLIP that it was trained with.
        projector: mm_projector.bin of a LLaVA of which only the projector was published.

    Raises:
        BadInput: a file is missing or broken, or the checkpoint is of a kind that is not known.
    """
    settings = _settings(source)
    original = dict(_read_folder(source))
    if projector is not None:
        original |= _read_file(projector)
    tower = _read_vision(vision)
    tokenizer = _tokenizer(source)
    weights, linear = _rename(original, tower)
    rows = -(-(len(tokenizer) + 1) // ROWS) * ROWS  # room for <FACE>, at least
    for name in ("model.language_model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = _with_rows(weights[name], rows)
    config = _config(settings, tower.config, tokenizer, rows, linear)
    model = _assemble(config, weights)
    model.save_pretrained(out)
    LlavaProcessor(
        image_processor=image_processor(tower.config.image_size),
        tokenizer=tokenizer,
        patch_size=tower.config.patch_size,
        vision_feature_select_strategy="default",
        image_token=IMAGE_TOKEN,
        num_additional_image_tokens=1,
    ).save_pretrained(out)


def _settings(source: Path) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = json.loads((source / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{source} has no config.json that can be read: {error}") from error
    kind = settings.get("mm_projector_type", "linear")
    if kind not in ("linear", "mlp2x_gelu"):
        raise BadInput(f"the projector of {source} is a {kind}: linear and mlp2x_gelu are known")
    if settings.get("mm_use_im_start_end"):
        raise BadInput(f"{source} puts tokens round an image (mm_use_im_start_end): not known")
    if settings.get("mm_vision_select_feature", "patch") != "patch":
        raise BadInput(f"{source} reads CLIP's class token too (cls_patch): not known")
    return settings


def _read_folder(source: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors of a checkpoint; of safetensors and .bin, the former if both are there."""
    for pattern in ("*.safetensors", "pytorch_model*.bin"):
        if files := sorted(source.glob(pattern)):
            for file in files:
                yield from _read_file(file).items()
            return
    raise BadInput(f"{source} has neither *.safetensors nor pytorch_model*.bin")


def _read_file(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of one file, mapped. A pickle may make tensors and containers, nothing else."""
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as opened:
                return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        read = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise BadInput(f"{file} cannot be read: {str(error).partition(chr(10))[0]}") from error
    if not isinstance(read, dict) or not all(isinstance(t, torch.Tensor) for t in read.values()):
        raise BadInput(f"{file} holds more than tensors by name: it is no checkpoint")
    return read


def _read_vision(vision: str) -> Any:
    try:
        return CLIPVisionModel.from_pretrained(vision)
    except (OSError, ValueError) as error:
        raise BadInput(f"no CLIP could be read from {vision}: {error}") from error


def _tokenizer(source: Path) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise BadInput(f"no tokenizer could be read from {source}: {error}") from error
    if IMAGE_TOKEN not in tokenizer.get_vocab():
        tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    return tokenizer


def _rename(
    original: Mapping[str, torch.Tensor], tower: Any
) -> tuple[dict[str, torch.Tensor], bool]:
    """The tensors under transformers' names, and whether the projector is linear.

    A vision tower that was trained along, and so is in the checkpoint, takes the place of CLIP's.
    """
    weights = {f"model.vision_tower.{name}": t for name, t in tower.state_dict().items()}
    layers: dict[tuple[str | None, str], torch.Tensor] = {}
    for name, tensor in original.items():
        if match := _PROJECTOR.fullmatch(name):
            layers[match.group(1), match.group(2)] = tensor
        elif name.startswith(_VISION):
            weights[_vision_name(name, weights)] = tensor
        elif _LANGUAGE.match(name) and not _BUFFER.search(name):
            weights["model.language_model." + name.removeprefix("model.")] = tensor
        elif name == "lm_head.weight":
            weights[name] = tensor
        elif not _BUFFER.search(name):
            raise BadInput(f"the checkpoint has a tensor {name}, which no known LLaVA has")
    return weights | _projector(layers), (None, "weight") in layers


def _vision_name(name: str, weights: Mapping[str, torch.Tensor]) -> str:
    """The name in transformers, some versions of which have no `vision_model.` in it."""
    ours = "model.vision_tower." + name.removeprefix(_VISION)
    return ours if ours in weights else ours.replace(".vision_model.", ".", 1)


def _projector(layers: Mapping[tuple[str | None, str], torch.Tensor]) -> dict[str, torch.Tensor]:
    numbers = sorted({number or "" for number, _ in layers})
    kinds = {kind for _, kind in layers}
    if kinds != {"weight", "bias"} or len(layers) != 2 * len(numbers):
        raise BadInput("the checkpoint has no whole mm_projector: give its file with --projector")
    if numbers == ["0", "2"]:
        return {
            f"{_OURS}linear_{1 + int(number or 0) // 2}.{kind}": tensor
            for (number, kind), tensor in layers.items()
        }
    if numbers != [""]:
        raise BadInput(f"the projector has the layers {', '.join(numbers)}: 0 and 2 are known")
    weight, bias = layers[None, "weight"], layers[None, "bias"]
    return {
        f"{_OURS}linear_1.weight": weight,
        f"{_OURS}linear_1.bias": bias,
        f"{_OURS}linear_2.weight": torch.eye(len(bias), dtype=weight.dtype),
        f"{_OURS}linear_2.bias": torch.zeros_like(bias),
    }


def _with_rows(weight: torch.Tensor, rows: int) -> torch.Tensor:
    """A matrix with rows for new tokens, each the mean of the others."""
    if rows <= len(weight):
        return weight
    mean = weight.float().mean(dim=0).to(weight.dtype)
    return torch.cat([weight, mean.expand(rows - len(weight), -1)])


def _config(
    settings: Mapping[str, Any], vision: Any, tokenizer: Any, rows: int, linear: bool
) -> LlavaConfig:
    # transformers takes the rope's settings under their old names too, but does not list them.
    names = [*LlamaConfig().to_dict(), "rope_theta", "rope_scaling"]
    known = {name: settings[name] for name in names if name in settings}
    known |= {"vocab_size": rows, "model_type": "llama", "tie_word_embeddings": False}
    for name in ("architectures", "transformers_version", "_name_or_path"):
        known.pop(name, None)
    return LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**known),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
        projector_hidden_act="linear" if linear else "gelu",
        vision_feature_layer=settings.get("mm_vision_select_layer", -2),
        vision_feature_select_strategy="default",
    )


def _assemble(config: LlavaConfig, weights: dict[str, torch.Tensor]) -> Any:
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    expected = model.state_dict()
    if missing := [name for name in expected if name not in weights]:
        raise BadInput(f"the checkpoint has no {missing[0]} ({len(missing)} tensors are missing)")
    for name, tensor in weights.items():
        if name not in expected or expected[name].shape != tensor.shape:
            wanted = tuple(expected[name].shape) if name in expected else "none"
            raise BadInput(
                f"{name} has the shape {tuple(tensor.shape)}, the config asks for {wanted}: is it"
                " the CLIP that the checkpoint was trained with?"
            )
    dtype = weights["lm_head.weight"].dtype
    model.load_state_dict({n: t.to(dtype) for n, t in weights.items()}, assign=True)
    return model


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.convert_llava", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("source", type=Path, help="folder of the original checkpoint")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--vision", required=True, help="folder or hub name of its CLIP")
    parser.add_argument("--projector", type=Path, help="mm_projector.bin, if it is apart")
    arguments = parser.parse_args()
    try:
        convert(arguments.source, arguments.out, arguments.vision, arguments.projector)
    except ContextFaceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
