from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.drawn import DrawnFace
from contextface_ros.face.drawn_themes import THEMES

SIZE = 224  # pixels for 112 of the face's units, so 2 a unit
FACE = DrawnFace(width=SIZE, height=SIZE)
REST = FACE.picture({})

# Where a unit may show itself: rows of the picture, from the top.
TOP, BOTTOM = slice(0, 130), slice(100, SIZE)
REGIONS = {"eye": TOP, "brow": TOP, "jaw": BOTTOM, "mouth": BOTTOM, "tongue": BOTTOM}
WHOLE = ("cheek", "nose")  # they reach from the lids to the lips

# Units that show only with another: lips that stay shut need a jaw that opens.
WITH = {"mouthClose": {"jawOpen": 1.0}}


def change(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Per pixel."""
    return np.abs(one.astype(int) - other).sum(axis=2)


def region(unit: str) -> slice:
    return next((rows for stem, rows in REGIONS.items() if unit.startswith(stem)), slice(None))


@pytest.mark.parametrize("unit", ARKIT_NAMES)
def test_every_unit_shows_in_its_place_and_more_the_stronger_it_is(unit: str) -> None:
    others = WITH.get(unit, {})
    before = FACE.picture(others)
    changed = [change(FACE.picture({**others, unit: w}), before) for w in (0.25, 0.5, 1.0)]
    seen = [int((c > 30).sum()) for c in changed]
    assert 15 <= seen[0] < seen[1] < seen[2], seen
    if not unit.startswith(WHOLE):
        rows = region(unit)
        assert changed[2][rows].sum() > 0.95 * changed[2].sum()
    if unit.endswith(("Left", "Right")) and not unit.startswith(("jaw", "mouthLeft", "mouthRight")):
        left_of_picture, right = changed[2][:, : SIZE // 2].sum(), changed[2][:, SIZE // 2 :].sum()
        share = (right if unit.endswith("Left") else left_of_picture) / changed[2].sum()
        assert share > 0.65, "the person's left is the right of the picture"


def test_both_sides_are_mirror_images() -> None:
    asymmetric = {"jawLeft", "jawRight", "mouthLeft", "mouthRight"}
    left = {name: 0.6 for name in ARKIT_NAMES if name.endswith("Left")}
    left = {name: w for name, w in left.items() if name not in asymmetric | {"eyeBlinkLeft"}}
    right = {name.replace("Left", "Right"): weight for name, weight in left.items()}
    one, other = FACE.picture(left), FACE.picture(right)[:, ::-1]
    # Highlights in the eyes lie on the same side of both, where the light comes from.
    assert (change(one, other) > 90).mean() < 0.01


@pytest.mark.parametrize(("width", "height"), [(64, 64), (640, 360), (2048, 800)])
def test_any_size_shows_the_same_face(width: int, height: int) -> None:
    smile = {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0, "jawOpen": 0.4}
    picture = DrawnFace(width=width, height=height).picture(smile)
    assert picture.shape == (height, width, 3) and picture.dtype == np.uint8
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    middle = cv2.resize(picture[top : top + side, left : left + side], (32, 32), interpolation=3)
    small = cv2.resize(FACE.picture(smile), (32, 32), interpolation=cv2.INTER_AREA)
    assert change(middle, small).mean() < 24  # of 765


@given(st.lists(st.floats(0.0, 1.0), min_size=52, max_size=52))
@settings(deadline=None, max_examples=60)
def test_any_face_is_drawn(weights: list[float]) -> None:
    picture = FACE.picture(weights)
    assert change(picture, REST).max() > 0 or max(weights) < 0.2
    assert (picture[0, 0] == THEMES["sky"].background).all()


def test_closed_eyes_show_no_white_whatever_else_the_lids_do() -> None:
    white = np.array(THEMES["sky"].white)
    eyes = slice(80, 115), slice(45, 180)
    for unit in ("eyeWide", "eyeSquint", "cheekSquint", "browDown", "eyeLookUp"):
        for blink, seen in ((1.0, False), (0.0, True)):
            sides = ("Left", "Right")
            weights = {
                f"{name}{s}": w for s in sides for name, w in ((unit, 1.0), ("eyeBlink", blink))
            }
            picture = FACE.picture(weights)[eyes]
            assert bool((picture == white).all(axis=2).any()) is seen, unit


def test_shut_lips_stay_together_on_an_open_jaw() -> None:
    dark = np.array(THEMES["sky"].tongue)
    mouth = slice(150, 220), slice(80, 145)

    def tongue(weights: dict[str, float]) -> int:
        return int((np.abs(FACE.picture(weights)[mouth].astype(int) - dark).sum(axis=2) < 20).sum())

    assert tongue({"jawOpen": 1.0}) > 50
    assert tongue({"jawOpen": 1.0, "mouthClose": 1.0}) == 0


def test_themes_differ_and_an_unknown_one_is_refused() -> None:
    pictures = [DrawnFace(width=64, height=64, theme=theme).picture({}) for theme in THEMES]
    assert len({picture.tobytes() for picture in pictures}) == len(THEMES)
    with pytest.raises(BadInput, match="use one of sky, sand, night"):
        DrawnFace(theme="mauve")


@pytest.mark.parametrize("size", [(0, 100), (100, 31), (2049, 100)])
def test_a_size_out_of_range_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(BadInput, match="32 to 2048"):
        DrawnFace(width=size[0], height=size[1])


@pytest.mark.parametrize(
    "weights", [np.zeros(51), np.zeros((2, 52)), np.full(52, np.nan), [2.0] * 52]
)
def test_what_is_no_face_is_refused(weights: np.ndarray) -> None:
    with pytest.raises(BadInput):
        FACE.picture(weights)
