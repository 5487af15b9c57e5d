"""A user's own labelled texts, for a retraining of nano: what is trained on, and what is held out.

One row in ten, chosen by a hash of its text, is never trained on: the figures of a run come from
them. The same text always falls on the same side.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from contextface_ros.errors import BadInput
from contextface_ros.types import OPEN_BASIS
from training.data.scenes import Scene
from training.data.texts import text_scenes

HELD_OUT = 10  # one row in so many


@dataclass(frozen=True)
class OwnTexts:
    """The rows of a user's file.

    Attributes:
        train: rows to train on.
        dev: rows to measure on.
    """

    train: tuple[Scene, ...] = ()
    dev: tuple[Scene, ...] = ()


def read_own(file: Path) -> OwnTexts:
    """Read a file of labelled texts (`training.data.texts` says what a row has).

    Raises:
        BadInput: a row is wrong, has a face that nano cannot learn, or there is none to train on.
    """
    scenes = text_scenes(file)
    for scene in scenes:
        _require_fit(scene)
    held = [_held_out(scene) for scene in scenes]
    train = tuple(scene for scene, out in zip(scenes, held, strict=True) if not out)
    if not train:
        raise BadInput(f"{file} has no row to train on: give one labelled text a line")
    return OwnTexts(train, tuple(scene for scene, out in zip(scenes, held, strict=True) if out))


def _require_fit(scene: Scene) -> None:
    target = scene.target
    if target is None:
        return
    if target.basis != OPEN_BASIS:
        raise BadInput(
            f"{scene.name}: its face is in {target.basis}, nano's are in {OPEN_BASIS}: give action "
            "units (au), or train on a LLaVA base with training.instruct"
        )
    if not target.known.all():
        raise BadInput(f"{scene.name}: beta must have all 100 numbers here")


def _held_out(scene: Scene) -> bool:
    text = f"{scene.quote}\n{scene.situation}".encode()
    return hashlib.sha256(text).digest()[0] * HELD_OUT < 256
