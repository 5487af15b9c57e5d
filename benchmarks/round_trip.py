"""What is left of a face after action units -> ARKit weights -> coefficients, and back.

    .venv/bin/python benchmarks/round_trip.py [--out docs/round_trip.md]

A robot gets coefficients and drives its face by blendshapes, or wants to know the action units.
Both are found by least squares, and both ways lose something: ARKit has one jaw for two action
units, and an action unit that the model is a little wrong about may come back as another one.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contextface_ros.face.blendshapes import (
    ACTION_UNITS,
    action_units_to_blendshapes,
    blendshapes_to_action_units,
)
from contextface_ros.face.open_head import OpenHead

sys.path.append(str(Path(__file__).parents[1]))  # training/ is run from the checkout
from training.data.contexts import read_contexts

Array = npt.NDArray[np.float32]

STRENGTH = 0.5  # of a single unit
NOISE = 0.1  # standard deviations, in every coefficient that means something
APART = 0.05  # a unit is told apart if no unit comes back further off than this


@dataclass(frozen=True)
class RoundTrip:
    """What came back of one action unit.

    Attributes:
        unit: its name.
        alone: what comes back of the unit at STRENGTH, alone on the face.
        mistaken: the other unit that comes back strongest with it, and how strong.
        error: mean distance of its strength from the annotated one, over annotated faces.
        error_noisy: the same where the coefficients are a little wrong, by NOISE.
    """

    unit: str
    alone: float
    mistaken: tuple[str, float]
    error: float
    error_noisy: float

    @property
    def told_apart(self) -> bool:
        """Whether the unit, alone, comes back as itself and nothing else."""
        return abs(self.alone - STRENGTH) <= APART and self.mistaken[1] <= APART


def there_and_back(head: OpenHead, units: Array, noise: float = 0.0) -> Array:
    """Action units (N, 23) through coefficients and back, (N, 23)."""
    coefficients = head.encode(action_units_to_blendshapes(units))
    means_something = head.encoder.any(axis=1)
    wrong = np.random.default_rng(0).standard_normal(coefficients.shape) * means_something
    return blendshapes_to_action_units(head.decode(coefficients + noise * wrong))


def round_trips(head: OpenHead, faces: Array) -> list[RoundTrip]:
    """Measure every action unit: alone, and in annotated faces (N, 23)."""
    alone = there_and_back(head, STRENGTH * np.eye(len(ACTION_UNITS), dtype=np.float32))
    error = np.abs(there_and_back(head, faces) - faces).mean(axis=0)
    noisy = np.abs(there_and_back(head, faces, NOISE) - faces).mean(axis=0)
    trips = []
    for k, unit in enumerate(ACTION_UNITS):
        others = alone[k].copy()
        others[k] = 0.0
        mistaken = (ACTION_UNITS[int(others.argmax())], float(others.max()))
        trips.append(
            RoundTrip(unit, float(alone[k, k]), mistaken, float(error[k]), float(noisy[k]))
        )
    return trips


def annotated_faces() -> Array:
    """The faces of the dev part of the contexts, (N, 23)."""
    return np.array(
        [
            [face.action_units.get(unit, 0.0) for unit in ACTION_UNITS]
            for context in read_contexts("dev")
            for face in (context.speaker, context.listener)
        ],
        dtype=np.float32,
    )


def table(trips: list[RoundTrip], count: int) -> str:
    """Lay the result out as Markdown."""
    lines = [
        "# Round trip of the action units",
        "",
        "Made by `benchmarks/round_trip.py`. Action units to ARKit weights to the coefficients of",
        "the open basis, and back by bounded least squares. *alone*: what comes back of",
        f"{STRENGTH} of the unit alone on the face, and the other unit that comes back strongest",
        f"with it. *told apart*: neither is further off than {APART}.",
        f"*error*: mean absolute error of its strength over {count} annotated faces that the basis",
        f"was not taken from, and the same with an error of {NOISE} standard deviations in every",
        "coefficient.",
        "",
        "| unit | alone | with it | told apart | error | error, noisy |",
        "|---|---|---|---|---|---|",
    ]
    for trip in trips:
        other, strength = trip.mistaken
        also = f"{other} {strength:.2f}" if strength >= 0.005 else ""
        apart = "yes" if trip.told_apart else "no"
        lines.append(
            f"| {trip.unit} | {trip.alone:.2f} | {also} | {apart} "
            f"| {trip.error:.4f} | {trip.error_noisy:.3f} |"
        )
    mixed = ", ".join(trip.unit for trip in trips if not trip.told_apart)
    lines += [
        "",
        f"Told apart: {sum(trip.told_apart for trip in trips)} of {len(trips)}; not: {mixed}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table, and write it where --out says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    faces = annotated_faces()
    text = table(round_trips(OpenHead.load(), faces), len(faces))
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
