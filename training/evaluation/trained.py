"""A training run's checkpoint as a model that answers, in PyTorch: before anything is exported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from contextface_ros import prompts
from contextface_ros.contextface import predicted
from contextface_ros.language.huggingface_sight import image_processor
from contextface_ros.types import (
    EMOTIONS,
    OPEN_BASIS,
    Context,
    Prediction,
    UInt8Array,
)
from training.checkpoint import load_checkpoint
from training.config import TrainConfig
from training.data.instructions import ImageSlot
from training.data.sequences import Vocabulary
from training.instruct_config import InstructConfig
from training.llava import load_words
from training.model import ContextFaceModule, load_tokenizer, vocabulary
from training.train import load_trained

BATCH = 16


@dataclass(frozen=True)
class TrainedModel:
    """A model of training/model.py, asked as at run time: emotion first, then the face for it.

    Attributes:
        module: in evaluation mode, where it shall run.
        words: its vocabulary.
        image: the place of an image among the tokens, or None for a model that cannot see.
        version: order of the prompt's parts that it was trained with.
        basis: expression basis of its faces.
    """

    module: ContextFaceModule
    words: Vocabulary
    image: ImageSlot | None
    version: prompts.PromptVersion
    basis: str

    @torch.no_grad()
    def predict_many(self, contexts: Sequence[Context]) -> list[Prediction]:
        """Answer several contexts, in order. Raises BadInput for one that cannot be used."""
        # Those of about one length share a batch; those with an image have one of their own.
        order = sorted(range(len(contexts)), key=lambda i: self._sort_key(contexts[i]))
        answers: dict[int, Prediction] = {}
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            for seeing in (False, True):
                chosen = [i for i in rows if self._sees(contexts[i]) is seeing]
                if chosen:
                    said = self._predict([contexts[i] for i in chosen])
                    answers |= dict(zip(chosen, said, strict=True))
        return [answers[index] for index in range(len(contexts))]

    @contextmanager
    def untuned(self) -> Iterator[TrainedModel]:
        """The same without what was learned by the language model. Its faces say nothing."""
        with self.module.language.disable_adapter():
            yield self

    def _sees(self, context: Context) -> bool:
        return self.image is not None and context.image is not None

    def _sort_key(self, context: Context) -> tuple[bool, int]:
        return self._sees(context), len(context.quote or "") + len(context.situation or "")

    def _predict(self, contexts: Sequence[Context]) -> list[Prediction]:
        asked = [self._ids(context) for context in contexts]
        images = [c.image for c in contexts if c.image is not None and self._sees(c)]
        pixels = self._pixels(images) if images else None
        emotions = torch.as_tensor(self.module.emotion_ids, device=self._device)
        unembedding = self.module.unembedding[emotions].float()
        logits = self._last_states(asked, pixels).float() @ unembedding.T
        probabilities = logits.softmax(dim=1)
        said = [EMOTIONS[index] for index in probabilities.argmax(dim=1).tolist()]
        tokenize = self.words.tokenize
        whole = [
            ids + prompts.token_ids(prompts.mesh_tail(emotion), tokenize)
            for ids, emotion in zip(asked, said, strict=True)
        ]
        betas = self.module.projection(self._last_states(whole, pixels).float())
        return [
            predicted(p, beta, self.basis, self._sees(context))
            for p, beta, context in zip(
                probabilities.cpu().numpy(), betas.cpu().numpy(), contexts, strict=True
            )
        ]

    def _ids(self, context: Context) -> list[int]:
        prompt = prompts.prompt(context, self.version)
        seen: list[int] = []
        if self.image is not None and self._sees(context):
            after = prompts.token_ids((prompts.AFTER_IMAGE,), self.words.tokenize)
            seen = [self.image.token] * self.image.count + after
        return [
            *self.words.begin,
            *prompts.token_ids(prompt.prefix, self.words.tokenize),
            *seen,
            *prompts.token_ids(prompt.text + prompt.question, self.words.tokenize),
        ]

    def _pixels(self, images: Sequence[UInt8Array]) -> torch.Tensor:
        """(I, 3, S, S) float32."""
        assert self.image is not None
        made = image_processor(self.image.size)(images=list(images), return_tensors="pt")
        pixels: torch.Tensor = made["pixel_values"].to(self._device)
        return pixels

    def _last_states(self, rows: Sequence[list[int]], pixels: torch.Tensor | None) -> torch.Tensor:
        """(B, D), the last hidden state of each row. Padding on the right, which no row sees."""
        last = torch.tensor([len(row) - 1 for row in rows])
        ids = torch.zeros(len(rows), int(last.max()) + 1, dtype=torch.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
        inputs: dict[str, Any] = {"input_ids": ids.to(self._device)}
        if pixels is not None:
            inputs["pixel_values"] = pixels
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.module.autocast):
            hidden = self.module.trunk(**inputs, use_cache=False).last_hidden_state
        states: torch.Tensor = hidden[torch.arange(len(rows)), last]
        return states

    @property
    def _device(self) -> torch.device:
        return next(self.module.projection.parameters()).device


def load_trained_model(run: Path) -> TrainedModel:
    """The model of a run of `training.instruct`, or of `training.train`.

    Raises:
        BadInput: the run has no checkpoint, or one that does not fit its base.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if (run / "checkpoint.pt").exists():
        nano = TrainConfig.read(run / "config.yaml")
        words = vocabulary(load_tokenizer(nano.model), nano.model.face_token)
        module = load_trained(nano, run).to(device)
        return TrainedModel(module, words, None, nano.prompt, OPEN_BASIS)
    module = load_checkpoint(run, device)
    folder = run if (run / "config.yaml").exists() else run / "checkpoint"
    config = InstructConfig.read(folder / "config.yaml")
    read = load_words(config)
    if config.base.quantise == "none":  # quantised weights are where they are used already
        module = module.to(device)
    else:
        module.projection.to(device)
    return TrainedModel(module, read.vocabulary, read.image, config.prompt, config.basis)
