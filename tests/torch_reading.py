"""What PyTorch says of a context, to hold the runtime against."""

from __future__ import annotations

import numpy as np
import torch

from contextface_ros import prompts
from contextface_ros.types import Context, Emotion, Float32Array
from training.data.sequences import Vocabulary
from training.model import ContextFaceModule

TEXTS = (
    "We won! I can't believe it!",
    "My grandmother died last night.",
    "Get out of my house right now, you liar!",
    "The meeting starts at three in room twelve.",
    "Ugh, there's a dead rat in my soup.",
)


@torch.no_grad()
def torch_reading(
    module: ContextFaceModule, words: Vocabulary, context: Context, emotion: Emotion
) -> tuple[Float32Array, Float32Array]:
    """(7,) probabilities, and the (D,) state that predicts <FACE> after the given emotion."""
    prompt = prompts.prompt(context, "edge")
    pieces = prompt.prefix + prompt.text + prompt.question
    asked = [*words.begin, *prompts.token_ids(pieces, words.tokenize)]
    ids = asked + prompts.token_ids(prompts.mesh_tail(emotion), words.tokenize)
    trunk = module.language.base_model.model.model
    hidden = trunk(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0].float()
    logits = hidden[len(asked) - 1] @ module.unembedding[module.emotion_ids].float().T
    return logits.softmax(0).numpy(), hidden[-1].numpy()


def cosine(a: Float32Array, b: Float32Array) -> float:
    """Of the angle between two vectors."""
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def randomize_adapter(module: ContextFaceModule, seed: int, scale: float) -> None:
    """Give lora_B, which starts as zero, random values: an adapter that does something."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            drawn = torch.randn(parameter.shape, generator=generator) * scale
            parameter.data.copy_(drawn)
