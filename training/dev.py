"""What is measured on the dev part while training: quick looks, in PyTorch.

The figures that count are those of `training.evaluate`, through the exported bundle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import torch

from contextface_ros.types import EMOTIONS, Perspective
from training.data.contexts import AnnotatedContext, read_contexts
from training.data.corpus import LabelledText, balanced
from training.data.scenes import Scene
from training.data.sequences import Augmentation, TokenTree, TreeMaker, batches
from training.model import ContextFaceModule

CONTEXTS = 400
TEXTS_PER_CLASS = 60
BATCH_TOKENS = 4096


@dataclass(frozen=True)
class DevSet:
    """Trees of dev contexts, of human dev texts and of a user's own; the mean training face."""

    contexts: list[TokenTree]
    texts: list[TokenTree]
    own: list[TokenTree]
    mean_beta: np.ndarray

    @classmethod
    def make(
        cls, maker: TreeMaker, texts: list[LabelledText], own: Sequence[Scene], seed: int
    ) -> DevSet:
        """Draw the set; the same for a seed."""
        random = Random(seed)
        drawn: list[AnnotatedContext] = random.sample(read_contexts("dev"), CONTEXTS)
        rows = [replace(row, agreed=tuple(Perspective)) for row in drawn]  # the doubtful ones too
        plain = Augmentation()
        faces = [
            maker.beta(row.face(perspective).action_units)
            for row in read_contexts("train")
            for perspective in Perspective
        ]
        return cls(
            [maker.from_context(row, plain, random) for row in rows],
            [maker.from_text(row, plain, random) for row in balanced(texts, TEXTS_PER_CLASS, seed)],
            [maker.from_scene(scene, plain, random) for scene in own],
            np.mean(faces, axis=0),
        )

    @torch.no_grad()
    def measure(self, model: ContextFaceModule) -> dict[str, float]:
        """UAR of speaker, listener, human and own texts, and L2 over that of the mean face.

        Faces are asked for with the true emotion in the answer, so L2 is a lower bound.
        """
        model.eval()
        truth: dict[str, list[int]] = defaultdict(list)
        said: dict[str, list[int]] = defaultdict(list)
        ours = mean = 0.0
        sets = (("contexts", self.contexts), ("texts", self.texts), ("own", self.own))
        for name, trees in sets:
            for batch in batches(trees, BATCH_TOKENS, 1.0, None):
                hidden = model.hidden_states(batch)
                guess = model.emotion_logits(hidden, batch).argmax(dim=1)
                for index, (label, answer) in enumerate(
                    zip(batch.emotions.tolist(), guess.tolist(), strict=True)
                ):
                    who = ("speaker", "listener")[index % 2] if name == "contexts" else name
                    truth[who].append(label)
                    said[who].append(answer)
                if name == "contexts":
                    error = model.betas(hidden, batch) - batch.betas
                    ours += error.pow(2).sum().item()
                    mean += (batch.betas - torch.from_numpy(self.mean_beta)).pow(2).sum().item()
        recalls = {f"uar_{who}": _uar(truth[who], said[who]) for who in truth}
        return {**recalls, "l2_over_mean": ours / mean}


def _uar(truth: list[int], said: list[int]) -> float:
    """Mean of the recalls of the classes that occur."""
    true, answer = np.array(truth), np.array(said)
    return float(
        np.mean(
            [(answer[true == c] == c).mean() for c in range(len(EMOTIONS)) if (true == c).any()]
        )
    )
