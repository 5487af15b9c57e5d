"""How long finding faces takes: ours against OpenCV's Haar cascade, in the same run.

    .venv/bin/python benchmarks/face_detection.py

Each round gives both the same 640 x 480 camera frame, first one, then the other, so that whatever
else the machine does hits both. Both shrink it to 320 pixels and use one core; the rest belongs to
the language model. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from machine import machine

from contextface_ros.types import UInt8Array
from contextface_ros.vision.detectors import LONGEST_SIDE, open_detector
from contextface_ros.vision.image import decode_compressed
from contextface_ros.vision.sources import DEMO_FOLDER

FACES = [1, 1, 1, 1, 1, 0]
"""How many faces there are on each picture of the demo."""


def haar_cascade() -> Callable[[UInt8Array], int]:
    """What a user of OpenCV 4 writes without another package."""
    path = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"
    if not path.exists():
        raise SystemExit("This OpenCV has no cascades: pip install 'opencv-python-headless<5'")
    cascade = cv2.CascadeClassifier(str(path))

    def count_faces(image: UInt8Array) -> int:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        scale = LONGEST_SIDE / max(grey.shape)
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return len(cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5))

    return count_faces


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50, help="frames of each picture")
    parser.add_argument("--detector", default="yuface", help="yuface, or a YuNet file")
    arguments = parser.parse_args()

    cv2.setNumThreads(1)
    detector = open_detector(arguments.detector)
    finders = {
        arguments.detector: lambda image: len(detector.detect(image)),
        "Haar cascade": haar_cascade(),
    }
    pictures = [decode_compressed(p.read_bytes()) for p in sorted(DEMO_FOLDER.glob("*.jpg"))]
    frames = [cv2.resize(p, (640, 480), interpolation=cv2.INTER_CUBIC) for p in pictures]

    right = {
        name: sum(find(f) == n for f, n in zip(frames, FACES, strict=True))  # also warms it up
        for name, find in finders.items()
    }
    times_ms: dict[str, list[float]] = {name: [] for name in finders}
    for _ in range(arguments.rounds):
        for frame in frames:
            for name, find in finders.items():
                start = time.perf_counter()
                find(frame)
                times_ms[name].append((time.perf_counter() - start) * 1e3)

    print(f"{machine()}, OpenCV {cv2.__version__}, 640 x 480 frames seen at {LONGEST_SIDE} pixels")
    print(f"{'':14} median ms    p99 ms   pictures right")
    report: dict[str, object] = {"machine": machine(), "opencv": cv2.__version__}
    for name, values in times_ms.items():
        median, p99 = np.percentile(values, [50, 99])
        print(f"{name:14} {median:9.2f} {p99:9.2f}   {right[name]} of {len(frames)}")
        report[name] = {
            "median_ms": round(median, 3),
            "p99_ms": round(p99, 3),
            "right": right[name],
            "of": len(frames),
        }
    ours, haar = (float(np.median(values)) for values in times_ms.values())
    report["ratio"] = round(haar / ours, 2)
    print(f"The cascade takes {haar / ours:.1f} times as long.")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
