"""A checkpoint of `training.instruct` as one plain model of transformers, ready to be exported."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from contextface_ros.errors import BadInput
from contextface_ros.language.gguf_adapter import MATRICES
from training import checkpoint
from training.gguf_language import interleave
from training.instruct_config import InstructConfig
from training.llava import Words, load_for_training, load_words
from training.model import ContextFaceModule


@dataclass(frozen=True)
class Merged:
    """What an export is made of.

    Attributes:
        config: of the run.
        words: tokenizer with <FACE>, and the place of an image.
        language: LLaVA or causal LM, without peft: adapter, trained rows and projector in place.
        projection: the face projection, float32.
    """

    config: InstructConfig
    words: Words
    language: Any
    projection: nn.Sequential


def load_merged(run: Path, adapter: Path | None = None) -> Merged:
    """Read a run's checkpoint and merge what was learned into its base.

    The base is read whole, however it was quantised for training. A merged matrix is summed in
    float32: in bfloat16 most of the adapter would be rounded away.

    Args:
        run: folder of the run.
        adapter: GGUF to write the LoRA to, which is then left out of the model.

    Raises:
        BadInput: there is no checkpoint, or it does not fit its base.
    """
    folder = checkpoint.find(run)
    if folder is None:
        raise BadInput(f"there is no checkpoint in {run}: give the folder of a run")
    config = InstructConfig.read(folder / "config.yaml")
    whole = dataclasses.replace(
        config,
        base=dataclasses.replace(config.base, quantise="none"),
        gradient_checkpointing=False,
    )
    module = load_for_training(whole)
    checkpoint.load_weights(folder, module)
    with torch.no_grad():
        if adapter is not None:
            _write_lora(module, config.lora.alpha, adapter)
        language = _merge(module.eval(), with_lora=adapter is None)
    return Merged(config, load_words(config), language, module.projection)


def _merge(module: ContextFaceModule, with_lora: bool) -> Any:
    for layer in _lora_layers(module).values():
        layer.get_base_layer().float()
        if not with_lora:
            layer.lora_B["default"].weight.zero_()
    return module.language.merge_and_unload()


def _lora_layers(module: ContextFaceModule) -> dict[str, Any]:
    trunk = module.trunk
    trunk = getattr(trunk, "language_model", trunk)
    return {name: layer for name, layer in trunk.named_modules() if isinstance(layer, LoraLayer)}


def _write_lora(module: ContextFaceModule, alpha: float, file: Path) -> None:
    """Write the LoRA as a GGUF adapter for llama.cpp, in float16."""
    config = module.language.config.get_text_config()
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for name, layer in _lora_layers(module).items():
        _, index, matrix = name.split(".", 2)  # layers.0.self_attn.q_proj
        for part, side in (("a", layer.lora_A), ("b", layer.lora_B)):
            weight = side["default"].weight.float().cpu().numpy()
            if part == "b" and MATRICES[matrix] in heads:
                weight = interleave(weight, heads[MATRICES[matrix]])
            writer.add_tensor(
                f"blk.{index}.{MATRICES[matrix]}.weight.lora_{part}",
                np.ascontiguousarray(weight, np.float16),
            )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
