"""Annotated sets: what a model is asked, and what is known about the answer.

Every source ends in the same Case, so that no table cares where a row came from:

    the written contexts of a part     for the speaker and for the listener
    human texts with human labels      the same number of each class
    a user's texts                     with a face where one is known (training/data/texts.py)
    annotated images                   each asked with its situation, and with its quote
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import action_units_to_blendshapes
from contextface_ros.face.open_head import OpenHead
from contextface_ros.types import (
    EMOTIONS,
    EXPRESSION_SIZE,
    OPEN_BASIS,
    Context,
    Emotion,
    Perspective,
)
from training.data.contexts import AnnotatedContext, read_contexts
from training.data.corpus import balanced, read_corpus
from training.data.split import Part
from training.data.targets import Target

if TYPE_CHECKING:  # scenes bring torch, which a bundle's evaluation on texts does without
    from training.data.pictures import Picture
    from training.data.scenes import Scene

TEXT_SEED = 0
KINDS = ("situation", "quote")


@dataclass(frozen=True)
class Case:
    """One question with its annotation.

    Attributes:
        name: unique in its set.
        kind: "quote" or "situation": which of the two the emotion is asked from.
        words: the context without its image.
        emotion: as annotated.
        target: the annotated face, or None.
        picture: image of the person, or None.
        register: group of texts that it belongs to, such as its file or its corpus.
        intensity: strength of the face, 0..1, or None.
        hard: the surface words point to another emotion.
    """

    name: str
    kind: str
    words: Context
    emotion: Emotion
    target: Target | None = None
    picture: Picture | None = None
    register: str = ""
    intensity: float | None = None
    hard: bool = False

    @property
    def context(self) -> Context:
        """What the model gets; reads the image. Raises BadInput if it cannot be read."""
        if self.picture is None:
            return self.words
        return replace(self.words, image=self.picture.image())

    @property
    def text(self) -> str:
        """All words of the context on one line."""
        return " ".join(t for t in (self.words.situation, self.words.quote) if t)


@dataclass(frozen=True)
class CaseSet:
    """Cases that are measured together; the name stands in the titles of their tables."""

    name: str
    cases: tuple[Case, ...]

    def __post_init__(self) -> None:
        if not self.cases:
            raise BadInput(f"the set {self.name} has no rows: check the file, and its split")

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) indices into EMOTIONS."""
        return np.array([EMOTIONS.index(case.emotion) for case in self.cases])

    @property
    def perspective(self) -> Perspective:
        """Of the first case."""
        return self.cases[0].words.perspective


def written_set(part: Part, perspective: Perspective) -> CaseSet:
    """The written contexts of one part, for one perspective."""
    return CaseSet(perspective.value, tuple(written_cases(read_contexts(part), perspective)))


def written_cases(rows: Iterable[AnnotatedContext], perspective: Perspective) -> list[Case]:
    """Written contexts as cases; their faces are in the open basis."""
    rows = list(rows)
    weights = [action_units_to_blendshapes(row.face(perspective).action_units) for row in rows]
    known = np.ones(EXPRESSION_SIZE, dtype=bool)
    return [
        Case(
            name=row.row_id,
            kind=row.kind,
            words=row.context(perspective),
            emotion=row.face(perspective).emotion,
            target=Target(OPEN_BASIS, beta, known),
            register=row.register,
            intensity=row.intensity if perspective is Perspective.SPEAKER else None,
            hard=row.hard,
        )
        for row, beta in zip(rows, OpenHead.load().encode(np.stack(weights)), strict=True)
    ]


def human_set(file: Path) -> CaseSet:
    """The test split of human texts (training/data/corpus.py), the same number of each class."""
    rows = read_corpus(file, "test")
    per_class = min(sum(row.emotion is emotion for row in rows) for emotion in EMOTIONS)
    drawn = balanced(rows, per_class, TEXT_SEED)
    cases = (
        Case(f"{row.source} {number}", row.kind, row.context, row.emotion, register=row.source)
        for number, row in enumerate(drawn, start=1)
    )
    return CaseSet("human texts", tuple(cases))


def read_set(file: Path, images: Path | None = None, targets: Path | None = None) -> CaseSet:
    """A user's set, named after its file.

    Args:
        file: annotated images as `training.augment` writes them (.jsonl, its rows have "image"),
            or texts (.jsonl or .tsv): see training/data/texts.py.
        images: folder of the images; without it they are asked by their words alone.
        targets: folder of the images' faces.

    Raises:
        BadInput: the file, a row, an image or a face cannot be used; names it.
    """
    if file.suffix not in (".jsonl", ".tsv"):
        raise BadInput(f"{file} is neither .jsonl nor .tsv: give one of these")
    if _of_images(file):
        from training.data.scenes import annotated_scenes

        scenes = annotated_scenes(file, images, targets)
        cases = [case for scene in scenes for case in _by_situation_and_by_quote(scene)]
    else:
        from training.data.texts import text_scenes

        cases = [_case(scene, scene.situation, scene.quote) for scene in text_scenes(file)]
    return CaseSet(file.stem, tuple(cases))


def targets_of(cases: Iterable[Case]) -> list[Target]:
    """The annotated faces of those cases that have one."""
    return [case.target for case in cases if case.target is not None]


def _of_images(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8") as stream:
            row = json.loads(stream.readline())
    except (OSError, ValueError):
        return False  # whoever reads the file says what is wrong with it
    return isinstance(row, dict) and "image" in row


def _by_situation_and_by_quote(scene: Scene) -> Iterator[Case]:
    if scene.situation is not None:
        yield _case(scene, scene.situation, None)
    if scene.quote is not None:
        yield _case(scene, None, scene.quote)


def _case(scene: Scene, situation: str | None, quote: str | None) -> Case:
    kind = "situation" if quote is None else "quote"
    words = Context(quote, situation, scene.perspective)
    return Case(scene.name, kind, words, scene.emotion, scene.target, scene.picture)
