"""What calibration and retargeting leave, on heads in FLAME's format whose answer is known.

    .venv/bin/python benchmarks/retarget.py [--pictures docs/images]

No FLAME file is needed: tests/flame_like.py makes heads of 5,023 vertices with other proportions,
sizes and views, and with expressions that are known mixes of the face units. Compared with the
ways that people otherwise take: a matrix of coefficients to weights by pseudo-inverse, cut off to
0..1, and SciPy's bounded least squares frame by frame. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import numpy as np
from scipy.optimize import lsq_linear

from contextface_ros.calibrate import draw as draw_calibration
from contextface_ros.face.blendshapes import ARKIT_NAMES, action_units_to_blendshapes
from contextface_ros.face.calibration import Calibration, calibrate
from contextface_ros.face.flame import FlameModel
from contextface_ros.face.flame_picture import FlamePainter, posed, sheet
from contextface_ros.face.open_head import OpenHead
from contextface_ros.face.render import FaceRenderer

sys.path.append(str(Path(__file__).parents[1]))  # tests/ is run from the checkout
from tests.flame_like import FlameLike, flame_like

HEADS = {
    "the open head, other vertices": {"proportions": False},
    "another person": {},
    "another person, noise of 0.5 mm": {"noise_m": 5e-4},
    "another person, 30 % larger, turned": {"turn": (0.4, -0.3, 0.2), "scale": 1.3},
    "another person, no jaw": {"jaw_in_basis": True},
}
FRAMES = 2000
JAW_OPEN = ARKIT_NAMES.index("jawOpen")

EMOTIONS = {
    "Angry": {"AU4": 0.9, "AU5": 0.5, "AU7": 0.6, "AU23": 0.7},
    "Sad": {"AU1": 0.8, "AU4": 0.4, "AU15": 0.8, "AU17": 0.4},
    "Surprise": {"AU1": 0.9, "AU2": 0.9, "AU5": 0.8, "AU26": 0.8},
    "Fear": {"AU1": 0.9, "AU2": 0.5, "AU4": 0.6, "AU5": 0.9, "AU20": 0.7, "AU25": 0.6},
    "Happy": {"AU6": 0.8, "AU12": 0.9, "AU25": 0.4},
    "Disgust": {"AU9": 0.9, "AU10": 0.7, "AU15": 0.4, "AU17": 0.4},
}


def calibrated(head: OpenHead, like: FlameLike, basis: str) -> tuple[FlameModel, Calibration]:
    """The model of a head, and the units in its basis."""
    model = FlameModel._from_fields(like.fields)
    found = calibrate(head, model, basis=basis, source="0" * 64, flame_file="made here")
    return model, found


def transfer_error(like: FlameLike, found: Calibration) -> np.ndarray:
    """For each known unit: rms over the face of fit minus truth, by that of the truth."""
    fitted = found.skin.displacements(found.coefficients.T, found.jaw_pose.T)
    true = like.units[:, found.vertices].reshape(len(fitted), -1)
    error = np.linalg.norm(fitted - true, axis=1) / np.maximum(np.linalg.norm(true, axis=1), 1e-12)
    return error[like.known]


def cosines(like: FlameLike, found: Calibration) -> np.ndarray:
    """Of the coefficients of each known unit with the true ones."""
    one, other = found.coefficients[:, like.known], like.coefficients[:, like.known]
    return (one * other).sum(0) / np.linalg.norm(one, axis=0) / np.linalg.norm(other, axis=0)


def heads_table(head: OpenHead) -> tuple[str, dict[str, float]]:
    """Calibration of every head."""
    lines = [
        "| head | apart, mm | units: error, median (worst) | coefficients: cosine | CPU, s |",
        "|---|---|---|---|---|",
    ]
    errors = {}
    for seed, (name, options) in enumerate(HEADS.items()):
        like = flame_like(head, seed=seed, **options)
        basis = "flame2023_no_jaw" if options.get("jaw_in_basis") else "flame2020"
        start = time.process_time()
        _, found = calibrated(head, like, basis)
        took_s = time.process_time() - start
        error, cosine = transfer_error(like, found), cosines(like, found)
        errors[name] = float(np.median(error))
        lines.append(
            f"| {name} | {found.distance_mm[0]:.2f} | {np.median(error):.1%} ({error.max():.0%}) "
            f"| {np.median(cosine):.3f} ({cosine.min():.2f}) | {took_s:.1f} |"
        )
    return "\n".join(lines), errors


def faces(known: np.ndarray) -> np.ndarray:
    """Weights (FRAMES, 52): some five units at a time, as strong as may be."""
    rng = np.random.default_rng(0)
    shape = (FRAMES, len(ARKIT_NAMES))
    return rng.random(shape) * (rng.random(shape) < 5 / known.sum()) * known


def ways_table(like: FlameLike, found: Calibration) -> tuple[str, dict[str, float]]:
    """FLAME to weights by several ways: true faces of the head, a jaw that opens among them."""
    weights = faces(like.known)
    coefficients = weights @ like.coefficients.T
    jaw = np.zeros((FRAMES, 3))
    jaw[:, 0] = np.random.default_rng(1).uniform(0, 0.3, FRAMES)
    units = found.skin.displacements(found.coefficients.T, found.jaw_pose.T).astype(np.float64)
    moving = np.flatnonzero(found.coefficients.any(axis=0))

    def by_matrix() -> np.ndarray:
        both = np.vstack([found.coefficients, found.jaw_pose])[:, moving]
        found_weights = np.zeros_like(weights)
        given = np.c_[coefficients, jaw]
        found_weights[:, moving] = np.clip(given @ np.linalg.pinv(both).T, 0, 1)
        return found_weights

    def by_scipy() -> np.ndarray:
        wanted = found.skin.displacements(coefficients[:50], jaw[:50])
        return np.array([lsq_linear(units[moving].T, row, (0, 1)).x for row in wanted])

    rows, seconds = {}, {}
    for name, way in (
        ("this package", lambda: found.decode(coefficients, jaw)),
        ("pseudo-inverse of coefficients, cut off", by_matrix),
    ):
        start = time.process_time()
        rows[name] = way()
        seconds[name] = (time.process_time() - start) / FRAMES
    start = time.process_time()
    by_scipy()
    seconds["SciPy's lsq_linear on the same vertices"] = (time.process_time() - start) / 50

    wanted = found.skin.displacements(coefficients, jaw)
    lines = [
        "| way | weights: mean error | vertices: mean, mm | vertices: worst frame, mm | frames/s |",
        "|---|---|---|---|---|",
    ]
    figures = {}
    others = np.setdiff1d(np.flatnonzero(like.known), [JAW_OPEN])
    for name, got in rows.items():
        left = (wanted - found.skin.displacements(*found.encode(got))).reshape(FRAMES, -1, 3)
        error_mm = 1e3 * np.linalg.norm(left, axis=2).mean(axis=1)
        off = np.abs(got - weights)[:, others].mean()
        figures[name] = float(error_mm.mean())
        lines.append(
            f"| {name} | {off:.3f} | {error_mm.mean():.2f} | {error_mm.max():.2f} "
            f"| {1 / seconds[name]:,.0f} |"
        )
    scipy = "SciPy's lsq_linear on the same vertices"
    lines.append(f"| {scipy} | | | | {1 / seconds[scipy]:,.1f} |")
    matrix = "pseudo-inverse of coefficients, cut off"
    figures["error, matrix / ours"] = figures[matrix] / figures["this package"]
    figures["speed, ours / SciPy"] = seconds[scipy] / seconds["this package"]
    lines += [
        "",
        f"The matrix leaves {figures['error, matrix / ours']:.1f} times the error; SciPy takes "
        f"{figures['speed, ours / SciPy']:.0f} times as long.",
    ]
    return "\n".join(lines), figures


def draw(head: OpenHead, model: FlameModel, found: Calibration, folder: Path) -> None:
    """The calibration, and six emotions: the open head, FLAME by it, and what comes back."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_calibration(found, model, folder / "calibration.png", width=150)
    size = {"width": 200, "height": 233}
    weights = np.array([action_units_to_blendshapes(units) for units in EMOTIONS.values()])
    coefficients, jaw = found.encode(weights)
    back = found.decode(coefficients, jaw)
    with FaceRenderer(head, **size) as renderer:
        rows = [
            [
                (renderer.picture(head.encode(row)), name.format(emotion))
                for emotion, row in zip(EMOTIONS, shown, strict=True)
            ]
            for name, shown in (("{}", weights), ("back", back))
        ]
    with FlamePainter(model, found, **size) as painter:
        people = {"average": None, "a person's shape": np.array([5.0, -8.0, 4.0])}
        flame_rows = [
            [
                (painter.picture(posed(model, *face, shape=shape)), name)
                for face in zip(coefficients, jaw, strict=True)
            ]
            for name, shape in people.items()
        ]
    sheet([rows[0], *flame_rows, rows[1]], folder / "retarget.png")


def main() -> None:
    """Print the tables; draw where --pictures says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    head = OpenHead.load()
    heads, errors = heads_table(head)
    like = flame_like(head, seed=1)
    model, found = calibrated(head, like, "flame2020")
    ways, figures = ways_table(like, found)
    print(f"{platform.machine()}, {platform.processor() or 'CPU'}, one thread\n")
    print(f"{heads}\n\n{ways}\n")
    if arguments.pictures:
        draw(head, model, found, arguments.pictures)
    print(json.dumps({"unit error": errors, **figures}))


if __name__ == "__main__":
    main()
