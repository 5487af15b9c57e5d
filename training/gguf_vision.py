"""LLaVA's eyes as a GGUF for llama.cpp's mtmd: CLIP's vision tower, and the projector.

transformers' classic CLIP only (`clip.projector_type` "mlp"). Layers behind the one whose features
are read are left out, and `clip.vision.feature_layer` says which that is: without it llama.cpp
drops one more.

mtmd knows a projector of two layers with a GELU between. One that is linear is written as such,
without loss: gelu(x) - gelu(-x) = x for either form of the GELU, so

    W x + b  =  [W, -W] gelu([I; -I] x) + b

Sources: tools/mtmd/clip.cpp and models/llava.cpp of llama.cpp; Liu et al., Visual Instruction
Tuning, NeurIPS 2023.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import torch
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from contextface_ros.errors import BadInput
from contextface_ros.types import Float32Array

_ACTIVATIONS = {"quick_gelu": False, "gelu": True}
"""CLIP's, and what `clip.use_gelu` says of each."""

_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_out",
    "layer_norm1": "ln1",
    "layer_norm2": "ln2",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}
_REST = {
    "embeddings.class_embedding": "v.class_embd",
    "embeddings.patch_embedding.weight": "v.patch_embd.weight",
    "embeddings.position_embedding.weight": "v.position_embd.weight",
    "pre_layrnorm.weight": "v.pre_ln.weight",
    "pre_layrnorm.bias": "v.pre_ln.bias",
}
_IN_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")


def write_mmproj(llava: Any, file: Path) -> None:
    """Write vision tower and projector of a LlavaForConditionalGeneration; matrices in float16.

    Raises:
        BadInput: it is built in a way that llama.cpp cannot run; says which.
    """
    depth = _feature_layer(llava.config)
    writer = gguf.GGUFWriter(file, "clip")
    _write_keys(writer, llava.config, depth)
    for name, values in _tower(llava.model.vision_tower, depth):
        writer.add_tensor(name, _stored(values))
    for name, values in _projector(llava.model.multi_modal_projector, llava.config):
        writer.add_tensor(name, _stored(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _feature_layer(config: Any) -> int:
    """How many layers of CLIP are run: hidden state 0 is the input of the first."""
    vision, wanted = config.vision_config, config.vision_feature_layer
    if vision.model_type != "clip_vision_model":
        raise BadInput(f"the vision tower is a {vision.model_type}: llama.cpp is given CLIP only")
    if not isinstance(wanted, int):
        raise BadInput(f"features of several layers ({wanted}) cannot be exported to llama.cpp")
    if config.vision_feature_select_strategy != "default":
        raise BadInput("the class token is among the features: llama.cpp leaves it out")
    if vision.hidden_act not in _ACTIVATIONS:
        raise BadInput(f"CLIP's activation is {vision.hidden_act}: llama.cpp does not know it")
    if vision.intermediate_size == vision.hidden_size:
        raise BadInput("CLIP's inner layers are as wide as its outer ones: llama.cpp swaps them")
    return wanted if wanted >= 0 else vision.num_hidden_layers + 1 + wanted


def _write_keys(writer: gguf.GGUFWriter, config: Any, depth: int) -> None:
    vision = config.vision_config
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", _ACTIVATIONS[vision.hidden_act])
    numbers = {
        "image_size": vision.image_size,
        "patch_size": vision.patch_size,
        "embedding_length": vision.hidden_size,
        "feed_forward_length": vision.intermediate_size,
        "projection_dim": config.text_config.hidden_size,
        "block_count": depth,
        "attention.head_count": vision.num_attention_heads,
    }
    for name, number in numbers.items():
        writer.add_uint32(f"clip.vision.{name}", number)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", vision.layer_norm_eps)
    writer.add_array("clip.vision.feature_layer", [depth])
    writer.add_array("clip.vision.image_mean", [float(x) for x in OPENAI_CLIP_MEAN])
    writer.add_array("clip.vision.image_std", [float(x) for x in OPENAI_CLIP_STD])


def _tower(tower: Any, depth: int) -> Iterator[tuple[str, Float32Array]]:
    for name, tensor in tower.state_dict().items():
        name = name.removeprefix("vision_model.")  # which some versions of transformers have
        match = _IN_LAYER.fullmatch(name)
        if match is None:
            if name in _REST:
                yield _REST[name], _array(tensor)
        elif int(match[1]) < depth:
            yield f"v.blk.{match[1]}.{_LAYER[match[2]]}.{match[3]}", _array(tensor)


def _projector(projector: Any, config: Any) -> Iterator[tuple[str, Float32Array]]:
    first, second = projector.linear_1, projector.linear_2
    if first.bias is None or second.bias is None:
        raise BadInput("the projector has no bias: llama.cpp expects one")
    w1, b1, w2, b2 = (_array(x) for x in (first.weight, first.bias, second.weight, second.bias))
    if config.projector_hidden_act == "linear":
        w1, b1, w2, b2 = _through_gelu(w2 @ w1, w2 @ b1 + b2)
    elif config.projector_hidden_act != "gelu":
        raise BadInput(f"the projector's activation is {config.projector_hidden_act}, not gelu")
    yield from zip(
        ("mm.0.weight", "mm.0.bias", "mm.2.weight", "mm.2.bias"), (w1, b1, w2, b2), strict=True
    )


def _through_gelu(
    weight: Float32Array, bias: Float32Array
) -> tuple[Float32Array, Float32Array, Float32Array, Float32Array]:
    """Two layers that compute, with a GELU between, what one linear layer does."""
    width = weight.shape[1]
    both = np.concatenate([np.eye(width), -np.eye(width)]).astype(np.float32)
    return both, np.zeros(2 * width, np.float32), np.concatenate([weight, -weight], axis=1), bias


def _array(tensor: torch.Tensor) -> Float32Array:
    return np.asarray(tensor.detach().float().cpu().numpy())


def _stored(values: Float32Array) -> npt.NDArray[np.float16] | Float32Array:
    """Matrices in float16, vectors in float32. The class token is a vector too."""
    return np.ascontiguousarray(values, np.float16 if values.ndim > 1 else np.float32)
