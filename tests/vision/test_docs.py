"""What docs/vision.md shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from contextface_ros.types import UInt8Array
from contextface_ros.vision.detectors import open_detector
from contextface_ros.vision.image import decode_compressed
from contextface_ros.vision.target import RED, TargetFinder, draw_red_box

DOCS = Path(__file__).parents[2] / "docs"


def test_the_example_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "vision.md").read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    seen = names["seen"]
    assert isinstance(seen, np.ndarray) and (seen == (255, 0, 0)).all(-1).any()


def test_the_picture_is_what_the_code_draws(frames: dict[str, UInt8Array]) -> None:
    """Where this fails after a change that is meant, write `sheet` to docs/images/red_box.jpg."""
    finder = TargetFinder(open_detector())
    marked = []
    for name in ("1_far", "2_comes_closer", "3_left"):
        person = finder.find(frames[name])
        assert person is not None
        marked.append(draw_red_box(frames[name], person.box))
    sheet = np.hstack(marked)

    shown = decode_compressed((DOCS / "images" / "red_box.jpg").read_bytes())
    assert shown.shape == sheet.shape
    on_the_line = (sheet == RED).all(-1)
    assert cv2.absdiff(shown, sheet)[on_the_line].mean() < 50  # a pixel beside: 31 to 110; JPEG: 2
