"""Who is meant, and the red box round them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contextface_ros.errors import BadInput
from contextface_ros.types import UInt8Array
from contextface_ros.vision.detectors import Box, Face, open_detector
from contextface_ros.vision.target import (
    RED,
    TargetFinder,
    TargetRule,
    choose_target,
    draw_red_box,
)

FRAME = (240, 320)


def face(x: float, y: float, size: float) -> Face:
    return Face(Box(x, y, size, size), 0.9)


NEAR_LEFT, MIDDLE, FAR_RIGHT = face(10, 80, 90), face(140, 100, 40), face(280, 20, 30)
ALL = [MIDDLE, FAR_RIGHT, NEAR_LEFT]


def test_largest_central_and_region() -> None:
    assert choose_target(ALL, FRAME) is NEAR_LEFT
    assert choose_target(ALL, FRAME, TargetRule.CENTRAL) is MIDDLE
    assert choose_target(ALL, FRAME, region=Box(160, 0, 160, 240)) is MIDDLE
    assert choose_target(ALL, FRAME, TargetRule.CENTRAL, region=Box(270, 0, 50, 60)) is FAR_RIGHT
    assert choose_target(ALL, FRAME, region=Box(200, 100, 20, 20)) is None
    assert choose_target([], FRAME) is None


@pytest.mark.parametrize("rule", TargetRule)
def test_two_equal_people_do_not_alternate(rule: TargetRule) -> None:
    rng = np.random.default_rng(0)
    last = None
    chosen = set()
    for _ in range(100):
        jitter = rng.normal(0, 2, 2)
        left = face(60, 100, 60 + jitter[0])
        right = face(200, 100, 60 + jitter[1])
        last = choose_target([left, right], FRAME, rule, last=last)
        assert last is not None
        chosen.add(last.box.x)
    assert len(chosen) == 1


def test_who_comes_much_closer_takes_over() -> None:
    last = face(60, 100, 50)
    closer = face(200, 80, 80)
    assert choose_target([face(62, 100, 50), closer], FRAME, last=last) is closer
    assert choose_target([closer], FRAME, last=last) is closer


boxes = st.builds(
    Box, st.floats(-50, 320), st.floats(-50, 240), st.floats(1, 200), st.floats(1, 200)
)
faces = st.lists(st.builds(Face, boxes, st.floats(0, 1)), max_size=6)


@given(
    faces,
    st.sampled_from(TargetRule),
    st.none() | boxes,
    st.none() | st.builds(Face, boxes, st.just(0.5)),
)
def test_the_target_is_a_face_of_the_region(
    found: list[Face], rule: TargetRule, region: Box | None, last: Face | None
) -> None:
    target = choose_target(found, FRAME, rule, region, last)
    inside = [f for f in found if region is None or region.contains(f.box.center)]
    assert (target is None) == (not inside)
    assert target is None or target in inside


def test_finder_on_real_pictures(frames: dict[str, UInt8Array]) -> None:
    finder = TargetFinder(open_detector())
    far_and_near = np.hstack([frames["1_far"], frames["2_comes_closer"]])  # 320 pixels each

    near = finder.find(far_and_near)
    assert near is not None and near.box.center[0] > 320
    for _ in range(3):  # nobody, and again: no invented face
        assert finder.find(frames["6_nobody"]) is None

    finder.region = Box(0, 0, 320, 240)
    far = finder.find(far_and_near)
    assert far is not None and far.box.center[0] < 320


def test_finder_returns_to_who_looked_away(frames: dict[str, UInt8Array]) -> None:
    finder = TargetFinder(open_detector())
    both = np.hstack([frames["4_right"], frames["3_left"]])  # the left one is a little larger
    finder.region = Box(320, 0, 320, 240)
    assert finder.find(both) is not None
    finder.region = None
    assert finder.find(np.zeros_like(both)) is None
    target = finder.find(both)
    assert target is not None and target.box.center[0] > 320


# --- the red box ----------------------------------------------------------------------------------


@given(st.integers(8, 400), st.integers(8, 400), boxes, st.floats(0, 0.5))
def test_red_box(height: int, width: int, box: Box, margin: float) -> None:
    grey = np.full((height, width, 3), 128, np.uint8)
    try:
        marked = draw_red_box(grey, box, margin)
    except BadInput as error:
        assert "outside" in str(error)
        return
    assert (grey == 128).all() and marked.shape == grey.shape
    red = (marked == RED).all(-1)
    assert ((marked == 128).all(-1) | red).all()  # nothing but grey and red
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    top, bottom, left, right = rows[0], rows[-1], columns[0], columns[-1]
    for side in red[top, left : right + 1], red[bottom, left : right + 1]:
        assert side.all()
    for side in red[top : bottom + 1, left], red[top : bottom + 1, right]:
        assert side.all()
    line = max(round(min(height, width) / 112), 2)
    assert not red[top + line : bottom + 1 - line, left + line : right + 1 - line].any()
    # It is where the face is, grown by the margin and kept in the picture.
    assert abs(left - max(box.x - margin * box.width, 0)) <= 0.5
    assert abs(bottom + 1 - min(box.y + (1 + margin) * box.height, height)) <= 0.5


def test_red_box_of_known_pixels() -> None:
    image = np.zeros((336, 448, 3), np.uint8)
    marked = draw_red_box(image, Box(100, 50, 40, 60), margin=0.25)
    expected = image.copy()
    expected[35:125, 90:150] = RED
    expected[38:122, 93:147] = 0
    np.testing.assert_array_equal(marked, expected)


def test_red_box_of_a_read_only_frame(frames: dict[str, UInt8Array]) -> None:
    frame = frames["1_far"]
    frame = np.frombuffer(frame.tobytes(), np.uint8).reshape(frame.shape)
    assert (draw_red_box(frame, Box(112, 38, 56, 76)) != frame).any()


def test_a_box_elsewhere() -> None:
    with pytest.raises(BadInput, match="lies outside of the picture of 320 x 240 pixels"):
        draw_red_box(np.zeros((240, 320, 3), np.uint8), Box(500, 50, 40, 60))
