"""What rounding a model's weights costs: two versions of one model, asked the same.

States after " {Emotion}. The 3D facial mesh is" can be compared only where both name the same
emotion; faces are compared over all contexts too, since that is what a robot shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contextface_ros.bundle import Bundle
from contextface_ros.contextface import load_language
from contextface_ros.face.head import FaceHead
from contextface_ros.language.runtime import Runtime
from contextface_ros.types import Context, Float32Array


@dataclass(frozen=True)
class Answers:
    """What a model says of N contexts.

    Attributes:
        probabilities: (N, 7) float32.
        hidden: (N, D) float32, the states that predict <FACE>.
        betas: (N, 100) float32.
    """

    probabilities: Float32Array
    hidden: Float32Array
    betas: Float32Array


@dataclass(frozen=True)
class Cost:
    """How far one model's answers are from another's.

    Attributes:
        contexts: how many were asked.
        same_emotion: share of them in which both name the same emotion.
        probability: the largest difference of a probability.
        cosine_mean, cosine_least: of the hidden states, where the emotion is the same.
        beta: root of the mean squared difference of a coefficient, in standard deviations, over
            all contexts.
        beta_same: the same where the emotion is the same.
        beta_size: root of the mean square of the reference's coefficients, to hold it against.
    """

    contexts: int
    same_emotion: float
    probability: float
    cosine_mean: float
    cosine_least: float
    beta: float
    beta_same: float
    beta_size: float

    def metrics(self, prefix: str) -> dict[str, float]:
        """For bundle.yaml."""
        return {
            f"{prefix}_contexts": float(self.contexts),
            f"{prefix}_same_emotion": round(self.same_emotion, 4),
            f"{prefix}_hidden_cosine": round(self.cosine_mean, 5),
            f"{prefix}_beta": round(self.beta, 4),
            f"{prefix}_beta_same_emotion": round(self.beta_same, 4),
        }

    def table(self) -> str:
        """As Markdown."""
        share = self.beta / self.beta_size if self.beta_size else 0.0
        return "\n".join(
            (
                "| | |",
                "|---|---|",
                f"| contexts | {self.contexts} |",
                f"| same emotion | {self.same_emotion:.1%} |",
                f"| largest difference of a probability | {self.probability:.4f} |",
                f"| cosine of hidden states, mean | {self.cosine_mean:.5f} |",
                f"| cosine of hidden states, least | {self.cosine_least:.5f} |",
                f"| difference of a coefficient, RMS | {self.beta:.4f} ({share:.1%} of its size) |",
                f"| ... where the emotion is the same | {self.beta_same:.4f} |",
            )
        )


def ask(bundle: Bundle, contexts: Sequence[Context], runtime: Runtime) -> Answers:
    """A saved bundle's answers through its runtime. Raises as `ContextFace.predict_many` does."""
    head = FaceHead(bundle.face_head_path, runtime.device)
    language = load_language(bundle, runtime)
    try:
        readings = language.read_many(contexts)
    finally:
        language.close()
    probabilities = np.stack([reading.probabilities for reading in readings])
    hidden = np.stack([reading.hidden_state for reading in readings])
    return Answers(probabilities, hidden, head.project(hidden, probabilities))


def cost(reference: Answers, other: Answers) -> Cost:
    """How far `other` is from `reference`, over the same contexts in the same order."""
    same = reference.probabilities.argmax(axis=1) == other.probabilities.argmax(axis=1)
    squares = ((reference.betas - other.betas) ** 2).mean(axis=1)
    cosines = _cosines(reference.hidden[same], other.hidden[same])
    return Cost(
        contexts=len(same),
        same_emotion=float(same.mean()),
        probability=float(np.abs(reference.probabilities - other.probabilities).max()),
        cosine_mean=float(cosines.mean()) if len(cosines) else 0.0,
        cosine_least=float(cosines.min()) if len(cosines) else 0.0,
        beta=float(np.sqrt(squares.mean())),
        beta_same=float(np.sqrt(squares[same].mean())) if same.any() else 0.0,
        beta_size=float(np.sqrt((reference.betas**2).mean())),
    )


def _cosines(a: Float32Array, b: Float32Array) -> Float32Array:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / lengths, np.float32)
