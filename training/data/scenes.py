"""Scenes: someone in a context, with a label, from whatever file they are in.

Annotated images and the contexts that were written for this project both become Scenes, which is
all that the tasks know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import action_units_to_blendshapes
from contextface_ros.face.open_head import OpenHead
from contextface_ros.types import OPEN_BASIS, Emotion, Perspective
from training.data.annotations import Annotation, read_annotations
from training.data.contexts import read_contexts
from training.data.pictures import Picture
from training.data.split import Part
from training.data.targets import Target, Targets


@dataclass(frozen=True)
class Scene:
    """One labelled context.

    Attributes:
        name: where it comes from, for messages.
        emotion: the label.
        situation, quote: the context in words; one of the two at least.
        perspective: whose face and emotion it is.
        picture: an image of the person, or None.
        target: the face to train towards, or None.
    """

    name: str
    emotion: Emotion
    situation: str | None
    quote: str | None
    perspective: Perspective = Perspective.SPEAKER
    picture: Picture | None = None
    target: Target | None = None

    def __len__(self) -> int:
        """Characters of its texts: rows of about one length make one batch."""
        return len(self.situation or "") + len(self.quote or "")


def annotated_scenes(file: Path, images: Path | None, targets: Path | None) -> list[Scene]:
    """The scenes of an annotation file.

    Args:
        file: as `training.augment` writes it.
        images: folder of the images; None leaves them out.
        targets: folder of the faces to train towards; None leaves them out.

    Raises:
        BadInput: a row, an image or a target cannot be used; names it.
    """
    reader = None if targets is None else Targets(targets)
    return [_annotated(row, images, reader) for row in read_annotations(file)]


def _annotated(row: Annotation, images: Path | None, targets: Targets | None) -> Scene:
    picture = None
    if images is not None:
        picture = Picture(images / row.image, row.box, row.image_sha256)
        if not picture.file.is_file():
            raise BadInput(f"there is no image {picture.file}: is {images} the right folder?")
    target = None
    if targets is not None and row.target is not None:
        target = targets.read(row.target, row.image)
    return Scene(row.image, row.emotion, row.situation, row.quote, picture=picture, target=target)


def written_scenes(part: Part) -> list[Scene]:
    """The contexts of this project with both perspectives, in words alone, in the open basis."""
    return list(_written(part))


def _written(part: Part) -> Iterator[Scene]:
    head = OpenHead.load()
    rows = [(row, who) for row in read_contexts(part) for who in row.agreed]
    weights = [action_units_to_blendshapes(row.face(who).action_units) for row, who in rows]
    known = np.ones(100, dtype=np.bool_)
    for (row, who), beta in zip(rows, head.encode(np.stack(weights)), strict=True):
        quoted = row.kind == "quote"
        yield Scene(
            name=f"{row.row_id} {who.value}",
            emotion=row.face(who).emotion,
            situation=row.topic if quoted else row.text,
            quote=row.text if quoted else None,
            perspective=who,
            target=Target(OPEN_BASIS, beta, known),
        )


def require_basis(scenes: list[Scene], basis: str) -> None:
    """Raise BadInput for the first face that is in another basis: its numbers mean another face."""
    for scene in scenes:
        if scene.target is not None and scene.target.basis != basis:
            raise BadInput(
                f"the face of {scene.name} is in the basis {scene.target.basis}, the run's is"
                f" {basis}: set basis in the config, and train on faces of one kind"
            )
