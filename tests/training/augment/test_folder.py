from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from contextface_ros.errors import BadInput
from contextface_ros.types import Emotion
from training.augment.folder import read_folder


def test_both_layouts_are_understood(make_images: Callable[..., Path]) -> None:
    folder = make_images(Anger=1, Angry=1, happy=2, Neutral=1)
    (folder / "readme.txt").touch()
    (folder / ".cache").mkdir()
    (folder / "Neutral" / ".DS_Store").touch()
    images = read_folder(folder).images
    assert [(image.name, image.emotion) for image in images] == [
        ("Anger/0000.jpg", Emotion.ANGRY),
        ("Angry/0000.jpg", Emotion.ANGRY),
        ("Neutral/0000.jpg", Emotion.NEUTRAL),
        ("happy/0000.jpg", Emotion.HAPPY),
        ("happy/0001.jpg", Emotion.HAPPY),
    ]
    assert images[0].sha256 == hashlib.sha256(images[0].path.read_bytes()).hexdigest()


def test_the_same_bytes_are_asked_about_once_a_class(make_images: Callable[..., Path]) -> None:
    folder = make_images(Happy=2, Sad=1)
    for copy in ("Happy/z.jpg", "Sad/z.jpg"):
        shutil.copy(folder / "Happy" / "0000.jpg", folder / copy)
    read = read_folder(folder)
    assert read.duplicates == ("Happy/z.jpg",)
    assert [image.name for image in read.images][-1] == "Sad/z.jpg"  # another label, another text


def test_an_unknown_class_is_named_before_anything_is_asked(
    make_images: Callable[..., Path],
) -> None:
    folder = make_images(Happy=1, Contempt=1)
    with pytest.raises(BadInput, match=r"Contempt is no known class.*--skip Contempt"):
        read_folder(folder)
    assert len(read_folder(folder, skip=["Contempt"]).images) == 1


def test_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has no images"):
        read_folder(tmp_path)
    with pytest.raises(BadInput, match="is no folder"):
        read_folder(tmp_path / "missing")
