"""A LoRA adapter in GGUF as matrices under transformers' names.

Both store A (r, in) and B (out, r) row by row, but order the rows of q and k differently: in GGUF
the two numbers that a rotary embedding turns together stand side by side, in transformers half a
head apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contextface_ros.errors import BadBundle
from contextface_ros.language.gguf_header import GgufHeader, Tensor, read_header
from contextface_ros.types import Float32Array

MATRICES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Names of a Llama layer's matrices, in transformers and in GGUF."""

ROTARY = ("attn_q", "attn_k")
"""Those whose rows the two order differently."""

_LAYER = re.compile(r"blk\.(\d+)\.(\w+)\.weight")
_TYPES = {"F32": "<f4", "F16": "<f2"}


@dataclass(frozen=True)
class LoraPair:
    """What is added to one matrix: scale x B A.

    Attributes:
        matrix: its name below transformers' trunk, such as "layers.0.self_attn.q_proj".
        a: (r, in) float32.
        b: (out, r) float32, rows in transformers' order.
        scale: alpha / r.
    """

    matrix: str
    a: Float32Array
    b: Float32Array
    scale: float

    def delta(self) -> Float32Array:
        """(out, in) float32, what the adapter adds."""
        return np.asarray(self.scale * (self.b @ self.a), dtype=np.float32)


def read_lora(file: Path, heads: Mapping[str, int]) -> Iterator[LoraPair]:
    """The pairs of an adapter whose header `read_adapter` has checked.

    Args:
        file: GGUF of the adapter.
        heads: number of heads of attn_q and of attn_k.

    Raises:
        BadBundle: it adapts something other than a layer's matrices, or in a type that is unknown.
    """
    header = read_header(file)
    ours = {theirs: name for name, theirs in MATRICES.items()}
    alpha = header.keys["adapter.lora.alpha"]
    assert isinstance(alpha, float)
    for name in sorted({name.rpartition(".lora_")[0] for name in header.tensors}):
        found = _LAYER.fullmatch(name)
        if found is None or found[2] not in ours:
            raise BadBundle(f"{file.name} adapts {name!r}: the huggingface back end knows no such")
        a, b = (_read(file, header, header.tensors[f"{name}.lora_{side}"]) for side in "ab")
        if found[2] in ROTARY:
            b = separate(b, heads[found[2]])
        yield LoraPair(f"layers.{found[1]}.{ours[found[2]]}", a, b, alpha / len(a))


def separate(weight: Float32Array, heads: int) -> Float32Array:
    """(rows, columns) with rows from GGUF's order to transformers': pairs to halves of a head."""
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return np.asarray(pairs.swapaxes(1, 2).reshape(rows, columns))


def _read(file: Path, header: GgufHeader, tensor: Tensor) -> Float32Array:
    if tensor.type not in _TYPES:
        raise BadBundle(f"{file.name} is in {tensor.type}: export the adapter in F16 or F32")
    with file.open("rb") as opened:
        opened.seek(header.data_offset + tensor.offset)
        values = np.frombuffer(opened.read(tensor.size), dtype=_TYPES[tensor.type])
    return np.asarray(values, dtype=np.float32).reshape(tensor.shape[::-1])
