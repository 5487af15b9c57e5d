"""A small made data set to train on: images by class, contexts, faces, free questions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from contextface_ros.types import EMOTIONS
from training.data.annotations import Annotation, TargetFile, TargetKind, write_annotations

UNITS = {
    "Angry": {"AU4": 0.8, "AU23": 0.6},
    "Sad": {"AU1": 0.7, "AU15": 0.6},
    "Surprise": {"AU1": 0.8, "AU2": 0.8, "AU26": 0.7},
    "Neutral": {"AU4": 0.05},
    "Fear": {"AU1": 0.6, "AU20": 0.8},
    "Happy": {"AU6": 0.7, "AU12": 0.9},
    "Disgust": {"AU9": 0.8, "AU10": 0.5},
}


@dataclass(frozen=True)
class MadeData:
    """Where it is; the arguments of `python -m training.instruct`."""

    folder: Path

    @property
    def annotations(self) -> Path:
        return self.folder / "annotations.jsonl"

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def targets(self) -> Path:
        return self.folder / "targets"

    @property
    def vqa(self) -> Path:
        return self.folder / "vqa.json"

    @property
    def arguments(self) -> list[str]:
        return [
            *("--annotations", str(self.annotations), "--images", str(self.images)),
            *("--targets", str(self.targets)),
            *("--vqa", str(self.vqa), "--vqa-images", str(self.images)),
        ]


def make_data(folder: Path, a_class: int = 3) -> MadeData:
    """Write one: `a_class` images of each emotion, their faces as action units, and questions."""
    made = MadeData(folder)
    random = np.random.default_rng(0)
    rows, talk = [], []
    for index, emotion in enumerate(EMOTIONS):
        for number in range(a_class):
            name = f"{emotion.value}/{number:03d}"
            image = random.integers(0, 40, (60 + 8 * number, 90, 3), dtype=np.uint8)
            image[..., index % 3] += np.uint8(100 + 10 * index)
            file = made.images / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), image)
            target = made.targets / f"{name}.json"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(UNITS[emotion.value]))
            rows.append(
                Annotation(
                    image=f"{name}.png",
                    image_sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
                    emotion=emotion,
                    situation=f"Scene {index} of the play, evening {number}. " + "On. " * number,
                    quote=f"This is line {index}, take {number}.",
                    box=(20, 15, 24, 24),
                    target=TargetFile(f"{name}.json", TargetKind.ACTION_UNITS),
                    annotator="human",
                    prompt_version="",
                )
            )
            talk.append(
                {
                    "id": name,
                    "image": f"{name}.png",
                    "conversations": [
                        {"from": "human", "value": "<image>\nWhat colour is it?"},
                        {"from": "gpt", "value": ["Blue.", "Green.", "Red."][index % 3]},
                        {"from": "human", "value": "Is anyone there?"},
                        {"from": "gpt", "value": "No." + " Nobody." * number},
                    ],
                }
            )
    write_annotations(made.annotations, rows)
    made.vqa.write_text(json.dumps(talk))
    return made
