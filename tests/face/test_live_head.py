"""The open head that moves. That of a FLAME file is tested in tests/test_flame_commands.py."""

from __future__ import annotations

import numpy as np
import pytest

from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.live_head import LiveHead, gaze_of

SIZE = 96


@pytest.fixture(scope="module")
def live() -> LiveHead:
    return LiveHead(width=SIZE, height=SIZE, basis="open-1")


def weights(**units: float) -> np.ndarray:
    return np.array([units.get(name, 0.0) for name in ARKIT_NAMES], np.float32)


@pytest.mark.parametrize(
    "units",
    [
        {"jawOpen": 1.0},
        {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0},
        {"browInnerUp": 1.0},
        {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
        {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0},
    ],
)
def test_every_part_of_the_face_shows(live: LiveHead, units: dict[str, float]) -> None:
    rest = live.picture(weights()).astype(int)
    moved = live.picture(weights(**units)).astype(int)
    assert rest.shape == (SIZE, SIZE, 3)
    assert (np.abs(moved - rest).max(axis=2) > 25).sum() > 8
    np.testing.assert_array_equal(live.picture(weights()), rest)  # nothing is left of it


def test_a_picture_that_moves_is_near_the_still(live: LiveHead) -> None:
    """Coarser, but the same face: light and colours differ by a few shades on average."""
    from contextface_ros.face.open_head import OpenHead
    from contextface_ros.face.render import FaceRenderer

    smile = weights(mouthSmileLeft=0.7, mouthSmileRight=0.7, jawOpen=0.2)
    head = OpenHead.load()
    with FaceRenderer(head, width=SIZE, height=SIZE) as renderer:
        still = renderer.picture(head.encode(smile)).astype(int)
    assert np.abs(live.picture(smile).astype(int) - still).mean() < 4


def test_the_gaze_is_the_mean_of_both_eyes() -> None:
    left, up = gaze_of(weights(eyeLookOutLeft=1.0, eyeLookInRight=1.0))
    assert left == pytest.approx(0.55) and up == 0.0
    left, up = gaze_of(weights(eyeLookDownLeft=1.0, eyeLookDownRight=1.0))
    assert left == 0.0 and up == pytest.approx(-0.45)
    assert gaze_of(weights(eyeLookInLeft=1.0, eyeLookInRight=1.0)) == (0.0, 0.0)  # a squint


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"basis": "flame1999"}, "is no head's"),
        ({"width": 4}, "32 to 2048"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: dict[str, object], complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        LiveHead(**{"basis": "open-1", **arguments})


@pytest.mark.parametrize("wrong", [np.zeros(51), np.full(52, 2.0), np.full(52, np.nan)])
def test_weights_that_are_no_face_are_refused(live: LiveHead, wrong: np.ndarray) -> None:
    with pytest.raises(BadInput):
        live.picture(wrong)
