"""When memory runs out: how that is noticed, and which settings take less."""

from __future__ import annotations

import math

import torch

from training.instruct_config import InstructConfig


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or this machine, has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def advice(config: InstructConfig) -> str:
    """Settings to lower, the cheapest first; each leaves what is learned about the same."""
    lower = []
    if config.batch > 1:
        half = config.batch // 2
        more = math.ceil(config.batch * config.accumulate / half)
        lower.append(f"lower batch to {half} (and set accumulate to {more})")
    if not config.gradient_checkpointing:
        lower.append("set gradient_checkpointing to true")
    lower += weights_advice(config)
    lower.append(f"lower max_tokens, which is {config.max_tokens}")
    return ", or ".join(lower)


def weights_advice(config: InstructConfig) -> list[str]:
    """Settings that make the weights, and what is kept for those that learn, smaller."""
    smaller = []
    if config.base.quantise != "nf4":
        smaller.append("set base.quantise to nf4")
    if config.lora.embeddings == "full":
        smaller.append("set lora.embeddings to face_token")
    return smaller
