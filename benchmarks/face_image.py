"""How fast faces are drawn on this machine, without a display.

    .venv/bin/python benchmarks/face_image.py [--seconds 10] [--markdown docs/face_image_figures.md]

Faces that move (the shipped motion, sampled 30 times a second) are drawn in one thread by

    head, drawn  what the node face_image draws with, at 320 and at 512 pixels a side
    stills       what one would otherwise use for the head: the renderer for single pictures

The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import machine
from rich.progress import track

from contextface_ros.face.drawn import DrawnFace
from contextface_ros.face.idle import Idle
from contextface_ros.face.live_head import LiveHead, gaze_of
from contextface_ros.face.motion import Motion
from contextface_ros.face.open_head import OpenHead
from contextface_ros.face.prototypes import prototype_faces
from contextface_ros.face.render import FaceRenderer
from contextface_ros.types import Emotion, Float32Array, UInt8Array

RATE_HZ = 30.0
EVERY_S = 2.0  # between two expressions
SIDES = (320, 512)


def main() -> None:
    """Draw, and print what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of the face's own time")
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    options = parser.parse_args()
    poses = faces_that_move(options.seconds)
    figures = {}
    for side in SIDES:
        for name, make in (("head", _head), ("stills", _stills), ("drawn", _drawn)):
            figures[f"{name} {side}"] = drawing_ms(make(side), poses, f"{name}, {side} pixels")
    text = table(figures)
    print(text)
    if options.markdown:
        options.markdown.write_text(text)
    print(json.dumps({"machine": machine(), "ms": figures}))


def faces_that_move(seconds: float) -> list[Float32Array]:
    """Poses (52,) of a face that lives and shows one emotion after another."""
    motion, poses = Motion(Idle(seed=1)), []
    faces = list(prototype_faces().items())
    for k in range(round(seconds * RATE_HZ)):
        time_s = k / RATE_HZ
        if k % round(EVERY_S * RATE_HZ) == 0:
            label, weights = faces[int(time_s / EVERY_S) % len(faces)]
            motion = motion.express(weights, Emotion(label), time_s)
        poses.append(motion.pose(time_s))
    return poses


def drawing_ms(
    picture: Callable[[Float32Array], UInt8Array], poses: list[Float32Array], what: str
) -> dict[str, float]:
    """Median and 95th percentile of the time of a picture, in ms."""
    picture(poses[0])
    took = []
    for pose in track(poses, what, transient=True):
        start_s = time.perf_counter()
        picture(pose)
        took.append((time.perf_counter() - start_s) * 1e3)
    return {"median": float(np.median(took)), "p95": float(np.percentile(took, 95))}


def _head(side: int) -> Callable[[Float32Array], UInt8Array]:
    return LiveHead(width=side, height=side, basis="open-1").picture


def _drawn(side: int) -> Callable[[Float32Array], UInt8Array]:
    return DrawnFace(width=side, height=side).picture


def _stills(side: int) -> Callable[[Float32Array], UInt8Array]:
    head = OpenHead.load()
    renderer = FaceRenderer(head, width=side, height=side)
    return lambda pose: renderer.picture(head.encode(pose), gaze_of(pose))


def table(figures: dict[str, dict[str, float]]) -> str:
    """The figures as Markdown."""
    rows = [
        f"{machine()}; one thread, no GPU.",
        "",
        "| | a picture, median, ms | p95, ms | pictures a second | stills / it |",
        "|---|---|---|---|---|",
    ]
    for name, ms in figures.items():
        ratio = figures[f"stills {name.split()[1]}"]["median"] / ms["median"]
        rows.append(
            f"| {name} | {ms['median']:.1f} | {ms['p95']:.1f} | {1e3 / ms['median']:.0f}"
            f" | {ratio:.1f} |"
        )
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
