"""How much of a device a training run uses.

MFU counts what the arithmetic needs, not what the device did: under LoRA 4 N floating-point
operations a token, 2 N forward and 2 N backward through N frozen weights (which need no gradients
of their own); what gradient checkpointing computes again is not counted. N leaves out embedding and
head. Against the dense bfloat16 peak of the device.
"""

from __future__ import annotations

from typing import Any

import torch

PEAK_BF16 = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "A6000": 155e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}
"""Dense bfloat16 operations per second by a part of the device's name, as NVIDIA states them (with
float32 accumulation for the GeForce cards). Written down from memory: compare with the data sheet
of a card before its MFU is published. The first that fits counts."""


def flops_per_token(language_model: Any) -> float:
    """Operations that one token of training needs, forward and backward.

    Args:
        language_model: the trunk of a causal LM: its layers count, a quantised matrix by the
            number of its weights.
    """
    weights = 0
    for name, parameter in language_model.named_parameters():
        if "embed_tokens" in name or "lora_" in name:
            continue
        shape = getattr(getattr(parameter, "quant_state", None), "shape", parameter.shape)
        weights += torch.Size(shape).numel()
    return 4.0 * weights


def peak_flops(device: torch.device) -> float | None:
    """Dense bfloat16 operations per second of a device, or None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAK_BF16.items() if part in name), None)


def memory_gb(device: torch.device) -> float:
    """Most memory that was taken so far, in GB: of the device, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 1e9
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
