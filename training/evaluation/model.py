"""What is evaluated: anything that answers contexts, be it a bundle or a checkpoint."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import track

from contextface_ros.bundle import load_bundle, save_bundle
from contextface_ros.contextface import ContextFace
from contextface_ros.errors import BadInput
from contextface_ros.language.runtime import Runtime
from contextface_ros.types import Context, Prediction
from training.evaluation.cases import Case

MANIFEST = "bundle.yaml"
CHUNK = 64
"""Cases asked at once: a progress bar that moves, and images that fit in memory."""


class Model(Protocol):
    """Answers contexts: a bundle through its runtime, or a checkpoint through PyTorch."""

    def predict_many(self, contexts: Sequence[Context]) -> list[Prediction]:
        """Answer several contexts, in order."""


def is_bundle(path: Path) -> bool:
    """Whether a folder is a bundle's, and not a training run's."""
    return (path / MANIFEST).is_file()


@contextmanager
def open_model(path: Path, threads: int = 2, tuned: bool = True) -> Iterator[Model]:
    """A bundle through its runtime, or a training run's checkpoint through PyTorch.

    Args:
        path: folder of the bundle or of the run.
        threads: of a bundle's language model on a CPU.
        tuned: False for the base as it was before training, in the same runtime. Its faces say
            nothing: the face head was never trained on it.

    Raises:
        BadInput: the folder is neither; or a merged bundle, in which the base is no more.
        BadBundle: the bundle is not fit.
    """
    if is_bundle(path):
        with _open_bundle(path, threads, tuned) as contextface:
            yield contextface
        return
    if not (path / "config.yaml").is_file() and not (path / "checkpoint").is_dir():
        raise BadInput(f"{path} has neither {MANIFEST} nor a checkpoint: give a bundle or a run")
    from training.evaluation.trained import load_trained_model

    model = load_trained_model(path)
    if tuned:
        yield model
        return
    with model.untuned() as base:
        yield base


@contextmanager
def _open_bundle(path: Path, threads: int, tuned: bool) -> Iterator[ContextFace]:
    if tuned:
        with ContextFace.load(path, Runtime(threads=threads)) as contextface:
            yield contextface
        return
    bundle = load_bundle(path)
    if bundle.adapter is None:
        raise BadInput(f"bundle {bundle.name} has no adapter: its untuned base is not in it")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(bundle.face_head_path, Path(folder) / bundle.face_head.file)
        save_bundle(dataclasses.replace(bundle, adapter=None, metrics={}), Path(folder))
        with ContextFace.load(folder, Runtime(threads=threads)) as contextface:
            yield contextface


def answer(model: Model, cases: Sequence[Case], what: str) -> list[Prediction]:
    """Predictions for cases, in order, with a progress bar.

    Those with the same image or text are asked one after the other: a runtime reads it once.
    """
    order = sorted(range(len(cases)), key=lambda index: _place(cases[index]))
    chunks = [order[start : start + CHUNK] for start in range(0, len(order), CHUNK)]
    answers: dict[int, Prediction] = {}
    for chunk in track(chunks, what, console=Console(stderr=True)):
        said = model.predict_many([cases[index].context for index in chunk])
        answers |= dict(zip(chunk, said, strict=True))
    return [answers[index] for index in range(len(cases))]


def _place(case: Case) -> tuple[str, str]:
    return str(case.picture.file) if case.picture else "", case.text
