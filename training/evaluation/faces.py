"""Figures of the faces that a model makes, beside the baselines Mean and Random.

*Mean* answers each row with the mean face of the training part, *Random* with another row's truth
(averaged over ten seeds); both are compared with the truth. The paper words both as distances from
the *prediction* to an average or a random sample, under which a timid model looks good: that
variant is computed too, and labelled.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from contextface_ros.contextface import ContextFace
from contextface_ros.errors import BadInput
from contextface_ros.types import EMOTIONS, Float32Array, Perspective, Prediction
from training import metrics
from training.data.contexts import AnnotatedContext
from training.data.targets import Target
from training.evaluation.cases import Case, targets_of, written_cases, written_set
from training.evaluation.labels import Figures
from training.evaluation.model import answer

RANDOM_SEEDS = 10
CLEARLY_STRONGER = 0.3


@dataclass(frozen=True)
class Faces:
    """Faces of one set: what is true, and what the model says.

    Attributes:
        truth: (N, 100) float32.
        said: (N, 100) float32.
        labels: (N,) int64 indices into EMOTIONS, as annotated.
        answers: (N,) int64, as the model has it.
        mean_face: (100,) mean of the training part.
        probabilities: (N, 7) float32 over EMOTIONS, as the model has it.
        known: (N, 100) bool, which coefficients of the truth are annotated; None for all.
    """

    truth: Float32Array
    said: Float32Array
    labels: metrics.Labels
    answers: metrics.Labels
    mean_face: Float32Array
    probabilities: Float32Array
    known: metrics.Mask | None = None

    def rows(self, chosen: metrics.Mask) -> Faces:
        """The faces of some rows, by a mask of (N,)."""
        return replace(
            self,
            truth=self.truth[chosen],
            said=self.said[chosen],
            labels=self.labels[chosen],
            answers=self.answers[chosen],
            probabilities=self.probabilities[chosen],
            known=None if self.known is None else self.known[chosen],
        )


def faces_of(
    cases: Sequence[Case], predictions: Sequence[Prediction], trained: Sequence[Case]
) -> Faces:
    """A model's faces for annotated cases, beside the annotated ones.

    Args:
        cases: with a face each.
        predictions: one a case.
        trained: cases of the training part, whose faces give the mean face. Where none of them is
            in the basis of `cases`, the mean of `cases` themselves stands in: a harder opponent.

    Raises:
        BadInput: the model speaks another basis than the annotations: coefficients of two bases
            cannot be compared.
    """
    true = targets_of(cases)
    for target, prediction in zip(true, predictions, strict=True):
        if target.basis != prediction.expression.basis:
            raise BadInput(
                f"the faces are annotated in {target.basis}, the model answers in "
                f"{prediction.expression.basis}: use annotations in its basis"
            )
    known = np.stack([target.known for target in true])
    return Faces(
        truth=np.stack([target.coefficients for target in true]),
        said=np.stack([prediction.expression.coefficients for prediction in predictions]),
        labels=np.array([EMOTIONS.index(case.emotion) for case in cases]),
        answers=np.array([EMOTIONS.index(prediction.emotion) for prediction in predictions]),
        probabilities=np.stack([prediction.probabilities for prediction in predictions]),
        mean_face=mean_face([t for t in targets_of(trained) if t.basis == true[0].basis] or true),
        known=None if known.all() else known,
    )


def mean_face(faces: Sequence[Target]) -> Float32Array:
    """(100,) mean of each coefficient over the faces in which it is known."""
    known = np.stack([face.known for face in faces])
    total = np.stack([face.coefficients for face in faces]).sum(
        axis=0, where=known, dtype=np.float64
    )
    mean: Float32Array = (total / np.maximum(known.sum(axis=0), 1)).astype(np.float32)
    return mean


def read_faces(
    contextface: ContextFace, rows: list[AnnotatedContext], perspective: Perspective
) -> Faces:
    """A bundle's faces for written contexts, beside the annotated ones."""
    cases = written_cases(rows, perspective)
    trained = written_set("train", perspective).cases
    return faces_of(cases, answer(contextface, cases, perspective.value), trained)


def face_figures(faces: Faces) -> Figures:
    """L2 and FD of ours and of the baselines, with intervals, and what the figures can tell."""
    truth, said, known = faces.truth, faces.said, faces.known
    mean = np.broadcast_to(faces.mean_face, truth.shape)
    others = [np.random.default_rng(seed).permutation(len(truth)) for seed in range(RANDOM_SEEDS)]

    def at(rows: metrics.Labels) -> metrics.Mask | None:
        return None if known is None else known[rows]

    def over_mean(i: metrics.Labels) -> float:
        return metrics.l2(said[i], truth[i], at(i)) / metrics.l2(mean[i], truth[i], at(i))

    rows = len(truth)
    l2, fd = metrics.l2(said, truth, known), metrics.frechet(said, truth, known)
    l2_mean, fd_mean = metrics.l2(mean, truth, known), metrics.frechet(mean, truth, known)
    l2_low, l2_high = metrics.interval(lambda i: metrics.l2(said[i], truth[i], at(i)), rows)
    fd_low, fd_high = metrics.interval(lambda i: metrics.frechet(said[i], truth[i], known), rows)
    ratio_low, ratio_high = metrics.interval(over_mean, rows)
    annotated = metrics.shared(truth, known)
    return {
        "n": float(rows),
        "l2": l2,
        "l2_low": l2_low,
        "l2_high": l2_high,
        "l2_mean": l2_mean,
        "l2_random": float(np.mean([metrics.l2(truth[o], truth, _both(known, o)) for o in others])),
        "l2_over_mean": l2 / l2_mean,
        "l2_over_mean_low": ratio_low,
        "l2_over_mean_high": ratio_high,
        "fd": fd,
        "fd_low": fd_low,
        "fd_high": fd_high,
        "fd_mean": fd_mean,
        "fd_over_mean": fd / fd_mean,
        "fd_noise_floor": metrics.noise_floor(annotated),
        "rank": float(metrics.rank(annotated)),
        "l2_prediction_to_mean": metrics.l2(said, mean, known),
        "l2_prediction_to_random": float(
            np.mean(
                [metrics.l2(said, truth[o], None if known is None else known[o]) for o in others]
            )
        ),
        "fd_prediction_to_mean": metrics.frechet(mean, said, known),
    }


def _both(known: metrics.Mask | None, other: metrics.Labels) -> metrics.Mask | None:
    """What is known of a row and of the one that stands in for it."""
    return None if known is None else known & known[other]


def stronger_in_order(cases: Sequence[Case], said: Float32Array) -> Figures:
    """How often the clearly stronger case of two with one emotion gets the larger |beta|.

    Cases without an intensity are left out.
    """
    norms = np.linalg.norm(said, axis=1)
    right = pairs = 0
    for emotion in EMOTIONS:
        own = [
            (case.intensity, norms[index])
            for index, case in enumerate(cases)
            if case.emotion is emotion and case.intensity is not None
        ]
        for (a, norm_a), (b, norm_b) in itertools.combinations(own, 2):
            if abs(a - b) >= CLEARLY_STRONGER - 1e-9:
                pairs += 1
                right += (norm_a > norm_b) == (a > b)
    return {"pairs": float(pairs), "right": right / max(pairs, 1)}
