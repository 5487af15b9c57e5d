"""Continue from a bundle: its adapter and face head become a model's weights again.

The inverse of training/export.py. What was calibrated behind the head stays behind.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import onnx
import torch
from onnx import numpy_helper

from contextface_ros.bundle import Bundle, load_bundle
from contextface_ros.errors import BadBundle
from contextface_ros.language.gguf_adapter import separate
from training.gguf_names import MATRICES, ROTARY
from training.model import ContextFaceModule


def start_from(bundle_folder: Path, model: ContextFaceModule) -> None:
    """Load a bundle's adapter and face head into a model that was just built.

    Raises:
        BadBundle: the bundle has no adapter, or its matrices have other shapes than the model's;
            says which.
    """
    bundle = load_bundle(bundle_folder)
    with torch.no_grad():
        _load_adapter(bundle, model)
        _load_head(bundle, model)


def _load_adapter(bundle: Bundle, model: ContextFaceModule) -> None:
    if bundle.adapter_path is None:
        raise BadBundle(f"bundle {bundle.name} has no adapter to continue from, it is merged")
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(bundle.adapter_path).tensors}
    config = model.language.config
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    state = model.language.base_model.model.model.state_dict()
    for layer in range(config.num_hidden_layers):
        for ours, theirs in MATRICES.items():
            for part in ("A", "B"):
                name = f"blk.{layer}.{theirs}.weight.lora_{part.lower()}"
                weight = tensors.get(name)
                target = state[f"layers.{layer}.{ours}.lora_{part}.default.weight"]
                if weight is None or tuple(weight.shape) != tuple(target.shape):
                    found = "missing" if weight is None else f"of shape {tuple(weight.shape)}"
                    raise BadBundle(
                        f"{name} of bundle {bundle.name} is {found}, not {tuple(target.shape)}: "
                        "set lora_rank in the config to the bundle's"
                    )
                if part == "B" and theirs in ROTARY:
                    weight = separate(weight, heads[theirs])
                target.copy_(torch.from_numpy(np.array(weight, dtype=np.float32)))


def _load_head(bundle: Bundle, model: ContextFaceModule) -> None:
    graph = onnx.load_model_from_string(bundle.face_head_path.read_bytes()).graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for number, name in ((0, "first"), (2, "second")):
        layer = model.projection[number]
        for part in ("weight", "bias"):
            weight = weights.get(f"{name}.{part}")
            target = getattr(layer, part)
            if weight is None or tuple(weight.shape) != tuple(target.shape):
                raise BadBundle(
                    f"the face head of bundle {bundle.name} has no {name}.{part} of shape "
                    f"{tuple(target.shape)}"
                )
            target.copy_(torch.from_numpy(np.array(weight)))
