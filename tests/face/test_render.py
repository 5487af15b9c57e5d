from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from contextface_ros.errors import BadInput, MissingDependency
from contextface_ros.face import render
from contextface_ros.face.blendshapes import action_units_to_blendshapes
from contextface_ros.face.open_head import OpenHead
from contextface_ros.face.render import FaceRenderer, contact_sheet

pytest.importorskip("pyvista")

WIDTH, HEIGHT = 240, 280
BROWS, EYES, MOUTH = slice(105, 130), slice(132, 150), slice(190, 226)  # rows of a picture


@pytest.fixture(scope="module")
def renderer(head: OpenHead) -> Iterator[FaceRenderer]:
    with FaceRenderer(head, width=WIDTH, height=HEIGHT) as renderer:
        yield renderer


def face(head: OpenHead, **units: float) -> np.ndarray:
    return head.encode(action_units_to_blendshapes(units))


def change(one: np.ndarray, other: np.ndarray, rows: slice) -> float:
    """Mean absolute difference of two pictures in some rows of the middle of the face."""
    columns = slice(WIDTH // 4, 3 * WIDTH // 4)
    return float(np.abs(one[rows, columns].astype(int) - other[rows, columns]).mean())


def test_a_picture_shows_a_face(renderer: FaceRenderer, head: OpenHead) -> None:
    picture = renderer.picture(np.zeros(100))
    assert picture.shape == (HEIGHT, WIDTH, 3) and picture.dtype == np.uint8
    red, green, blue = picture[160, WIDTH // 2].astype(int)  # the nose
    assert red > green > blue > 20, "skin"
    red, green, blue = picture[40, WIDTH // 2].astype(int)
    assert max(red, green, blue) < 110, "dark hair"
    red, green, blue = picture[5, 5].astype(int)
    assert blue >= red > 120, "a light background"


def test_the_same_face_gives_the_same_picture(renderer: FaceRenderer, head: OpenHead) -> None:
    smile = face(head, AU12=0.8)
    first = renderer.picture(smile)
    renderer.picture(face(head, AU4=1.0))
    np.testing.assert_array_equal(renderer.picture(smile), first)


def test_action_units_show_where_they_belong(renderer: FaceRenderer, head: OpenHead) -> None:
    rest = renderer.picture(np.zeros(100))
    frown = renderer.picture(face(head, AU4=1.0))
    smile = renderer.picture(face(head, AU12=1.0, AU25=0.8))
    closed = renderer.picture(face(head, AU43=1.0))
    assert change(frown, rest, BROWS) > 5 * change(frown, rest, MOUTH)
    assert change(smile, rest, MOUTH) > 5 * change(smile, rest, BROWS)
    assert change(closed, rest, EYES) > 5 * change(closed, rest, MOUTH)
    assert change(smile, rest, MOUTH) > 5


def test_eyes_follow_a_gaze(renderer: FaceRenderer) -> None:
    ahead = renderer.picture(np.zeros(100))
    left = renderer.picture(np.zeros(100), gaze=(0.4, 0.0))
    assert change(ahead, left, EYES) > 1
    assert change(ahead, left, MOUTH) == 0
    # The person's left is the right of the picture: the dark iris moves there.
    eye = (EYES, slice(WIDTH // 2 + 20, WIDTH // 2 + 62))

    def dark(picture: np.ndarray) -> float:
        weights = 255.0 - picture[eye].max(axis=2)
        return float((weights * np.arange(weights.shape[1])).sum() / weights.sum())

    assert dark(left) > dark(ahead) + 0.5


@pytest.mark.parametrize("size", [(0, 100), (100, 31), (2049, 100)])
def test_a_size_out_of_range_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(BadInput, match="32 to 2048"):
        FaceRenderer(width=size[0], height=size[1])


def test_what_is_no_face_is_refused_and_the_next_is_drawn(renderer: FaceRenderer) -> None:
    with pytest.raises(BadInput):
        renderer.picture(np.full(100, np.nan))
    assert renderer.picture(np.zeros(100)).std() > 20


def test_a_contact_sheet(head: OpenHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.setenv("XDG_CACHE_HOME", str(head.flame_path.parents[2]))
    faces = [np.zeros(100), face(head, AU12=1.0), face(head, AU4=1.0)]
    path = tmp_path / "sheet.png"
    contact_sheet(faces, ["Neutral", "Happy", "Angry"], path, columns=2, width=100, height=120)
    sheet = np.asarray(Image.open(path))
    strip = round(120 * 0.09)
    assert sheet.shape == (2 * (120 + strip), 200, 3)
    assert (sheet[:120, :100] != sheet[:120, 100:]).any(), "another face"
    assert sheet[120 : 120 + strip, :100].min() < 120, "a label"
    assert (sheet[120 + strip :, 100:] == 255).all(), "an empty place"
    with pytest.raises(BadInput, match="as many labels"):
        contact_sheet(faces, ["one"], path)


def test_without_a_display_and_without_egl_the_package_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(ctypes, "CDLL", missing)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(MissingDependency, match="apt-get install libegl1"):
        render._choose_window()
