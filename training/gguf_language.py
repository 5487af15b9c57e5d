"""A language model of Llama's kind as a GGUF for llama.cpp, and its quantised copies.

Matrices in float16, vectors in float32. The rows of q and k are put in llama.cpp's order; a model
whose head shares the embedding is written with one of them. Quantising is llama.cpp's own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from contextface_ros.errors import BadInput
from contextface_ros.language.gguf_adapter import MATRICES
from contextface_ros.types import Float32Array
from training.gguf_vocabulary import GgufVocabulary

FILE_TYPES = {
    "F16": llama_cpp.LLAMA_FTYPE_MOSTLY_F16,
    "Q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0,
    "Q6_K": llama_cpp.LLAMA_FTYPE_MOSTLY_Q6_K,
    "Q5_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q5_K_M,
    "Q4_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M,
    "Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0,
}
"""What weights can be rounded to, finest first."""

_NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def write_language(model: Any, vocabulary: GgufVocabulary, file: Path) -> None:
    """Write the language model of a causal LM, or of a LLaVA, in float16.

    Raises:
        BadInput: it is built in a way that this does not know; says which.
    """
    config = model.config.get_text_config()
    _require_plain(config)
    writer = gguf.GGUFWriter(file, "llama")
    _write_keys(writer, config)
    vocabulary.write(writer)
    tensors = list(_tensors(model, config))
    for name, weight, _ in tensors:
        kind = np.dtype(_type(weight))
        writer.add_tensor_info(name, weight.shape, kind, weight.numel() * kind.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, weight, heads in track(tensors, file.name, console=Console(stderr=True)):
        values = weight.detach().float().cpu().numpy()
        ordered = interleave(values, heads) if heads else values
        writer.write_tensor_data(np.ascontiguousarray(ordered, _type(weight)))
    writer.close()


def quantise(source: Path, target: Path, kind: str) -> None:
    """Round a float16 file to one of FILE_TYPES.

    Raises:
        BadInput: an unknown kind, or llama.cpp could not write the file.
    """
    if kind not in FILE_TYPES:
        raise BadInput(f"{kind} is unknown, known are: {', '.join(FILE_TYPES)}")
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = FILE_TYPES[kind]
    parameters.nthread = os.cpu_count() or 1
    if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), parameters):
        target.unlink(missing_ok=True)
        raise BadInput(f"llama.cpp could not write {target}: is there room on the disk?")


def _require_plain(config: Any) -> None:
    rope = dict(config.rope_parameters)
    known = {
        "model_type": (config.model_type, "llama"),
        "activation": (config.hidden_act, "silu"),
        "attention_bias": (config.attention_bias, False),
        "mlp_bias": (config.mlp_bias, False),
        "rope_type": (rope.get("rope_type", "default"), "default"),
    }
    for name, (found, wanted) in known.items():
        if found != wanted:
            raise BadInput(f"the language model's {name} is {found}, only {wanted} can be exported")


def _write_keys(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    head = config.head_dim or config.hidden_size // config.num_attention_heads
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _tensors(model: Any, config: Any) -> Iterator[tuple[str, torch.Tensor, int]]:
    """Names in GGUF, weights, and how many heads the rows of q and k are of; 0 for the others."""
    trunk = getattr(model.model, "language_model", model.model)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    yield "token_embd.weight", trunk.embed_tokens.weight, 0
    for index, layer in enumerate(trunk.layers):
        for ours, theirs in MATRICES.items():
            weight = layer.get_submodule(ours).weight
            yield f"blk.{index}.{theirs}.weight", weight, heads.get(theirs, 0)
        for ours, theirs in _NORMS.items():
            yield f"blk.{index}.{theirs}.weight", getattr(layer, ours).weight, 0
    yield "output_norm.weight", trunk.norm.weight, 0
    if not config.tie_word_embeddings:
        yield "output.weight", model.get_output_embeddings().weight, 0


def interleave(weight: Float32Array, heads: int) -> Float32Array:
    """(rows, columns) in llama.cpp's order: rotary pairs side by side, not half a head apart."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return np.asarray(halves.swapaxes(1, 2).reshape(rows, columns))


def _type(weight: torch.Tensor) -> type[np.float16] | type[np.float32]:
    return np.float16 if weight.ndim > 1 else np.float32
