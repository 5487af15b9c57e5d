"""A folder of images by emotion class, laid out as SFEW and CAER-S are: FOLDER/Class/image."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from contextface_ros.errors import BadInput
from contextface_ros.types import Emotion

CLASS_NAMES: dict[str, Emotion] = {
    **{emotion.value.lower(): emotion for emotion in Emotion},
    "anger": Emotion.ANGRY,
    "sadness": Emotion.SAD,
    "surprised": Emotion.SURPRISE,
    "fearful": Emotion.FEAR,
    "happiness": Emotion.HAPPY,
    "disgusted": Emotion.DISGUST,
}
"""Names of class folders in lower case: SFEW writes Angry, CAER-S Anger."""


@dataclass(frozen=True)
class LabelledImage:
    """One image file of a class folder.

    Attributes:
        path: where the file is.
        name: its path below the folder, with forward slashes.
        sha256: hex digest of its bytes.
        emotion: its class.
    """

    path: Path
    name: str
    sha256: str
    emotion: Emotion


@dataclass(frozen=True)
class LabelledFolder:
    """All images of a folder, in the order of their names.

    Attributes:
        path: the folder.
        images: each once.
        duplicates: names of files whose bytes were seen before in the same class.
    """

    path: Path
    images: tuple[LabelledImage, ...]
    duplicates: tuple[str, ...]


def read_folder(folder: Path, skip: Collection[str] = ()) -> LabelledFolder:
    """Find all images and hash them. Nothing is decoded.

    Args:
        folder: holds one folder a class. Files beside these, and hidden ones, are left alone;
            every other file in a class folder is taken for an image.
        skip: names of folders to leave out.

    Raises:
        BadInput: no such folder, a class folder that nobody knows, no image, or an image that
            cannot be read from the disk.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder: give the one that holds the class folders")
    classes = [
        sub
        for sub in sorted(folder.iterdir())
        if sub.is_dir() and not sub.name.startswith(".") and sub.name not in skip
    ]
    for sub in classes:
        if sub.name.lower() not in CLASS_NAMES:
            raise BadInput(
                f"{sub} is no known class: name it Angry, Sad, Surprise, Neutral, Fear, Happy or"
                f" Disgust, or leave it out with --skip {sub.name}"
            )
    images: dict[tuple[str, Emotion], LabelledImage] = {}
    duplicates = []
    for sub in classes:
        for path in sorted(sub.rglob("*")):
            if not path.is_file() or path.name.startswith("."):
                continue
            image = _labelled(path, folder, CLASS_NAMES[sub.name.lower()])
            if images.setdefault((image.sha256, image.emotion), image) is not image:
                duplicates.append(image.name)
    if not images:
        raise BadInput(f"{folder} has no images: put them into {folder}/Happy and so on")
    return LabelledFolder(folder, tuple(images.values()), tuple(duplicates))


def _labelled(path: Path, folder: Path, emotion: Emotion) -> LabelledImage:
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        name = path.relative_to(folder).as_posix()
        name.encode()  # a name of broken bytes cannot be written down
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeEncodeError:
        raise BadInput(f"{str(path)!r} has a name that is not UTF-8: rename it") from None
    return LabelledImage(path, name, digest, emotion)
