"""What learns of a language model: LoRA, the rows of its vocabulary, LLaVA's projector."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from training.instruct_config import AdapterConfig

PROJECTOR = "multi_modal_projector"


def adapt(base: Any, config: AdapterConfig, face: int) -> Any:
    """A peft model in which only what the config names learns, in float32.

    Args:
        base: a causal LM or a LLaVA of transformers; its own weights are frozen.
        config: what learns.
        face: id of the token that plays <FACE>.
    """
    base.requires_grad_(False)
    language = get_peft_model(base, lora_config(base, config, face))
    # Updates of a bfloat16 below 1/256 of a weight would be lost.
    for weight in language.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    # Whole embeddings in float32 would make everything after them float32 too.
    language.get_input_embeddings().register_forward_hook(_as_base(base.dtype))
    return language


def lora_config(base: Any, config: AdapterConfig, face: int) -> LoraConfig:
    """The adapter's configuration in peft's words."""
    saved = [PROJECTOR] if config.projector and hasattr(base.model, PROJECTOR) else []
    rows: list[int] | dict[str, list[int]] | None = None
    tied = base.config.get_text_config().tie_word_embeddings
    if config.embeddings == "full":
        saved += ["embed_tokens"] if tied else ["embed_tokens", "lm_head"]
    elif tied:
        rows = [face]  # the dictionary would untie them
    else:
        rows = {"embed_tokens": [face], "lm_head": [face]}
    return LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=_targets(base, config.targets),
        modules_to_save=saved or None,
        trainable_token_indices=rows,
        ensure_weight_tying=tied,
    )


def _targets(base: Any, names: tuple[str, ...]) -> str | list[str]:
    """The language model's matrices alone: CLIP has a q_proj too."""
    if not hasattr(base.model, "language_model"):
        return list(names)
    return rf".*\.language_model\..*\.({'|'.join(names)})"


def _as_base(dtype: torch.dtype) -> Any:
    def hook(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return output.to(dtype)

    return hook
