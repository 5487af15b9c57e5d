"""Measure a bundle as it is shipped: through llama.cpp and ONNX Runtime.

    python -m training.evaluate models/nano --texts text_emotion_test.tsv [--part test] [--write]

Prints tables, writes evaluation.json beside the bundle, and with --write puts the figures into
bundle.yaml. Errors are read and choices made on the dev part; thresholds are on the test part.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table

from contextface_ros.bundle import load_bundle, save_bundle
from contextface_ros.contextface import ContextFace
from contextface_ros.face.blendshapes import action_units_to_blendshapes
from contextface_ros.face.open_head import OpenHead
from contextface_ros.types import EMOTIONS, Context, Float32Array, Perspective, Prediction
from training import metrics
from training.data.contexts import AnnotatedContext, Face, read_contexts
from training.data.corpus import balanced, read_corpus

CHUNK = 32
TEXT_SEED = 0
RANDOM_SEEDS = 10
CLEARLY_STRONGER = 0.3

Figures = dict[str, float]


@dataclass(frozen=True)
class Faces:
    """Faces of one perspective: what is true, and what the bundle says.

    Attributes:
        truth, said: (N, 100) float32.
        labels, answers: (N,) int64 indices into EMOTIONS.
        mean_face: (100,) mean of the training part.
    """

    truth: Float32Array
    said: Float32Array
    labels: npt.NDArray[np.int64]
    answers: npt.NDArray[np.int64]
    mean_face: Float32Array


def answer(contextface: ContextFace, contexts: list[Context], what: str) -> list[Prediction]:
    """Predictions for contexts, in order, with a progress bar."""
    chunks = [contexts[start : start + CHUNK] for start in range(0, len(contexts), CHUNK)]
    return [
        prediction
        for chunk in track(chunks, what, console=Console(stderr=True))
        for prediction in contextface.predict_many(chunk)
    ]


def read_faces(
    contextface: ContextFace, rows: list[AnnotatedContext], perspective: Perspective
) -> Faces:
    """The bundle's faces for annotated contexts, beside the annotated ones."""
    said = answer(contextface, [row.context(perspective) for row in rows], perspective.value)
    trained = [row.face(perspective) for row in read_contexts("train")]
    return Faces(
        truth=betas([row.face(perspective) for row in rows]),
        said=np.stack([prediction.expression.coefficients for prediction in said]),
        labels=np.array([EMOTIONS.index(row.face(perspective).emotion) for row in rows]),
        answers=np.array([EMOTIONS.index(prediction.emotion) for prediction in said]),
        mean_face=betas(trained).mean(axis=0),
    )


def betas(faces: list[Face]) -> Float32Array:
    """(N, 100) float32 of annotated faces, in the open basis."""
    weights = np.stack([action_units_to_blendshapes(face.action_units) for face in faces])
    return OpenHead.load().encode(weights)


def label_figures(labels: npt.NDArray[np.int64], answers: npt.NDArray[np.int64]) -> Figures:
    """UAR with its interval, WAR, and F1 of each class."""
    low, high = metrics.interval(lambda i: metrics.uar(labels[i], answers[i]), len(labels))
    f1 = metrics.f1(labels, answers)
    return {
        "n": float(len(labels)),
        "uar": metrics.uar(labels, answers),
        "uar_low": low,
        "uar_high": high,
        "war": metrics.war(labels, answers),
        **{f"f1_{e.value.lower()}": float(f1[i]) for i, e in enumerate(EMOTIONS)},
    }


def face_figures(faces: Faces) -> Figures:
    """L2 and FD of ours and of the baselines Mean and Random; what the figures can tell."""
    truth, said = faces.truth, faces.said
    mean = np.broadcast_to(faces.mean_face, truth.shape)
    shuffled = [
        truth[np.random.default_rng(seed).permutation(len(truth))] for seed in range(RANDOM_SEEDS)
    ]
    l2, fd = metrics.l2(said, truth), metrics.frechet(said, truth)
    l2_mean, fd_mean = metrics.l2(mean, truth), metrics.frechet(mean, truth)
    low, high = metrics.interval(
        lambda i: metrics.l2(said[i], truth[i]) / metrics.l2(mean[i], truth[i]), len(truth)
    )
    return {
        "n": float(len(truth)),
        "l2": l2,
        "l2_mean": l2_mean,
        "l2_random": float(np.mean([metrics.l2(other, truth) for other in shuffled])),
        "l2_over_mean": l2 / l2_mean,
        "l2_over_mean_low": low,
        "l2_over_mean_high": high,
        "fd": fd,
        "fd_mean": fd_mean,
        "fd_over_mean": fd / fd_mean,
        "fd_noise_floor": metrics.noise_floor(truth),
        "rank": float(metrics.rank(truth)),
        # The paper words its baselines as distances of the prediction, not of the truth, from an
        # average or a random sample; a timid model looks good in it.
        "l2_prediction_to_mean": metrics.l2(said, mean),
        "l2_prediction_to_random": float(np.mean([metrics.l2(said, s) for s in shuffled])),
    }


def stronger_in_order(rows: list[AnnotatedContext], said: Float32Array) -> Figures:
    """How often the clearly stronger text of two with one emotion gets the larger |beta|."""
    norms = np.linalg.norm(said, axis=1)
    right = pairs = 0
    for emotion in EMOTIONS:
        own = [index for index, row in enumerate(rows) if row.speaker.emotion is emotion]
        for a, b in itertools.combinations(own, 2):
            difference = rows[a].intensity - rows[b].intensity
            if abs(difference) >= CLEARLY_STRONGER - 1e-9:
                pairs += 1
                right += (norms[a] > norms[b]) == (difference > 0)
    return {"pairs": float(pairs), "right": float(right / pairs)}


def evaluate(contextface: ContextFace, part: str, texts: Path | None) -> dict[str, Figures]:
    """All tables of one bundle."""
    rows = read_contexts("dev" if part == "dev" else "test")
    tables: dict[str, Figures] = {}
    for perspective in Perspective:
        faces = read_faces(contextface, rows, perspective)
        name = perspective.value
        tables[f"{name} emotion"] = label_figures(faces.labels, faces.answers)
        tables[f"{name} face"] = face_figures(faces)
        if perspective is Perspective.SPEAKER:
            tables["strength"] = stronger_in_order(rows, faces.said)
            for kind in ("quote", "situation"):
                own = np.array([row.kind == kind for row in rows])
                tables[f"speaker {kind}"] = label_figures(faces.labels[own], faces.answers[own])
            hard = np.array([row.hard for row in rows])
            tables["speaker hard"] = label_figures(faces.labels[hard], faces.answers[hard])
    if texts is not None:
        tables["human texts"] = _human_texts(contextface, texts)
    return tables


def _human_texts(contextface: ContextFace, file: Path) -> Figures:
    rows = read_corpus(file, "test")
    counts = [sum(row.emotion is emotion for row in rows) for emotion in EMOTIONS]
    drawn = balanced(rows, min(counts), TEXT_SEED)
    said = answer(contextface, [row.context for row in drawn], "human texts")
    return label_figures(
        np.array([EMOTIONS.index(row.emotion) for row in drawn]),
        np.array([EMOTIONS.index(prediction.emotion) for prediction in said]),
    )


def show(tables: dict[str, Figures]) -> None:
    """Print every table."""
    for title, figures in tables.items():
        table = Table(title=title, show_header=False, title_justify="left")
        for name, value in figures.items():
            table.add_row(name, f"{value:,.0f}" if value.is_integer() else f"{value:.3f}")
        Console().print(table)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--texts", type=Path, help="text_emotion_test.tsv")
    parser.add_argument("--part", choices=("dev", "test"), default="test")
    parser.add_argument("--write", action="store_true", help="put the figures into bundle.yaml")
    arguments = parser.parse_args()
    with ContextFace.load(arguments.bundle) as contextface:
        tables = evaluate(contextface, arguments.part, arguments.texts)
    show(tables)
    (arguments.bundle / "evaluation.json").write_text(json.dumps(tables, indent=1) + "\n")
    if arguments.write:
        bundle = load_bundle(arguments.bundle)
        flat = {
            f"{title} {name}".replace(" ", "_"): round(float(value), 4)
            for title, figures in tables.items()
            for name, value in figures.items()
        }
        save_bundle(dataclasses.replace(bundle, metrics=flat), arguments.bundle)


if __name__ == "__main__":
    main()
