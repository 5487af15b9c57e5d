"""All figures of one model on some sets, beside the baselines.

cases -> answers of the model and of each baseline -> figures, by set and by what is asked from
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from contextface_ros.errors import BadInput
from contextface_ros.types import EMOTIONS, Prediction
from training import metrics
from training.evaluation import baselines
from training.evaluation.cases import KINDS, Case, CaseSet
from training.evaluation.faces import face_figures, faces_of, stronger_in_order
from training.evaluation.labels import Figures, label_figures
from training.evaluation.model import Model, answer, open_model

FEWEST = 2
"""Fewest cases that a table is made of: a covariance needs two."""


@dataclass
class Report:
    """Figures by table.

    Attributes:
        model: name of the model.
        tables: title -> figures of the model. Titles begin with the name of the set.
        baselines: baseline -> title -> figures of its labels, with the titles of `tables`.
        confusions: set -> (7, 7) counts, rows true, columns said.
        learned_from: what the baselines learned from, in words.
    """

    model: str
    tables: dict[str, Figures] = field(default_factory=dict)
    baselines: dict[str, dict[str, Figures]] = field(default_factory=dict)
    confusions: dict[str, metrics.Labels] = field(default_factory=dict)
    learned_from: str = ""

    def as_json(self) -> dict[str, Any]:
        """The tables at the top, by title; the rest under `baselines` and `confusion`."""
        confusion = {name: counts.tolist() for name, counts in self.confusions.items()}
        return {**self.tables, "baselines": self.baselines, "confusion": confusion}


@dataclass(frozen=True)
class Task:
    """One set to be measured, with the cases that baselines and the mean face come from."""

    cases: CaseSet
    trained: Sequence[Case]


def measure(model: Model, name: str, tasks: Sequence[Task]) -> Report:
    """The model's own figures on every set."""
    report = Report(name)
    for task, predictions in zip(tasks, _answer(model, tasks, name), strict=True):
        _measure_set(report, task, predictions)
    return report


def _answer(model: Model, tasks: Sequence[Task], what: str) -> list[list[Prediction]]:
    """The answers to all sets. They are asked together, for two of them may share their texts."""
    said = iter(answer(model, [case for task in tasks for case in task.cases.cases], what))
    return [[next(said) for _ in task.cases.cases] for task in tasks]


def _measure_set(report: Report, task: Task, predictions: Sequence[Prediction]) -> None:
    cases, name = task.cases.cases, task.cases.name
    said = _labels(predictions)
    labels = task.cases.labels
    report.confusions[name] = metrics.confusion(labels, said)
    faced = np.array([case.target is not None for case in cases])
    for title, rows in label_groups(task.cases):
        report.tables[title] = label_figures(labels[rows], said[rows])
    if faced.sum() < FEWEST:
        return
    own = [case for case, yes in zip(cases, faced, strict=True) if yes]
    spoken = [p for p, yes in zip(predictions, faced, strict=True) if yes]
    faces = faces_of(own, spoken, task.trained)
    report.tables[f"{name} face"] = face_figures(faces)
    for kind in _kinds(own):
        rows = np.array([case.kind == kind for case in own])
        if rows.sum() >= FEWEST:
            report.tables[f"{name} face {kind}"] = face_figures(faces.rows(rows))
    strength = stronger_in_order(own, faces.said)
    if strength["pairs"]:
        report.tables["strength" if name == "speaker" else f"{name} strength"] = strength


def label_groups(cases: CaseSet) -> Iterator[tuple[str, metrics.Mask]]:
    """Titles and rows of the tables of emotions: all, by kind, and where words mislead."""
    faced = any(case.target is not None for case in cases.cases)
    whole = f"{cases.name} emotion" if faced else cases.name
    yield whole, np.ones(len(cases.cases), dtype=bool)
    for kind in _kinds(cases.cases):
        yield f"{cases.name} {kind}", np.array([case.kind == kind for case in cases.cases])
    hard = np.array([case.hard for case in cases.cases])
    if hard.any():
        yield f"{cases.name} hard", hard


def _kinds(cases: Sequence[Case]) -> list[str]:
    """The kinds of question, if a set has both."""
    found = [kind for kind in KINDS if any(case.kind == kind for case in cases)]
    return found if len(found) > 1 else []


def add_baselines(
    report: Report, tasks: Sequence[Task], names: Sequence[str], path: Path, threads: int
) -> None:
    """Put the baselines' figures beside the model's.

    Args:
        report: of the model, to add to.
        tasks: as measured.
        names: of baselines.NAMES.
        path: the model's folder, for its untuned base.
        threads: of a bundle's language model on a CPU.
    """
    said: dict[str, list[metrics.Labels]] = {
        name: [baselines.answers(name, task.cases.cases, task.trained) for task in tasks]
        for name in names
        if name != "untuned"
    }
    if "untuned" in names:
        try:
            with open_model(path, threads, tuned=False) as model:
                said["untuned"] = [_labels(p) for p in _answer(model, tasks, "untuned base")]
        except BadInput as error:
            Console(stderr=True).print(f"no untuned baseline: {error}")
    for name in baselines.NAMES:
        if name in said:
            report.baselines[name] = {
                title: label_figures(task.cases.labels[rows], labels[rows])
                for task, labels in zip(tasks, said[name], strict=True)
                for title, rows in label_groups(task.cases)
            }


def _labels(predictions: Sequence[Prediction]) -> metrics.Labels:
    return np.array([EMOTIONS.index(prediction.emotion) for prediction in predictions])
