"""Draw the seven emotions: for each the mean face of its strong contexts in the training part.

.venv/bin/python benchmarks/seven_faces.py [--out docs/seven_faces.png]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from contextface_ros.face.blendshapes import ACTION_UNITS, action_units_to_blendshapes
from contextface_ros.face.open_head import OpenHead
from contextface_ros.face.render import contact_sheet
from contextface_ros.types import EMOTIONS, Emotion

sys.path.append(str(Path(__file__).parents[1]))  # training/ is run from the checkout
from training.data.contexts import read_contexts

STRONG = 0.7  # intensity from which a context counts


def mean_faces() -> dict[Emotion, np.ndarray]:
    """The mean action units (23,) of the strong contexts of each emotion; of Neutral, of all."""
    faces: dict[Emotion, list[list[float]]] = {emotion: [] for emotion in EMOTIONS}
    for row in read_contexts("train"):
        emotion, units = row.speaker.emotion, row.speaker.action_units
        if row.intensity >= STRONG or emotion is Emotion.NEUTRAL:
            faces[emotion].append([units.get(unit, 0.0) for unit in ACTION_UNITS])
    return {emotion: np.mean(rows, axis=0) for emotion, rows in faces.items()}


def main() -> None:
    """Save the contact sheet where --out says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/seven_faces.png"))
    out: Path = parser.parse_args().out
    head, faces = OpenHead.load(), mean_faces()
    coefficients = [head.encode(action_units_to_blendshapes(units)) for units in faces.values()]
    labels = [emotion.value for emotion in faces]
    contact_sheet(coefficients, labels, out, columns=len(faces), width=240, height=280)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
