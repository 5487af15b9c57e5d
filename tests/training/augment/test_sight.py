from __future__ import annotations

import numpy as np
import pytest

from contextface_ros.errors import BadInput
from contextface_ros.vision.image import decode_compressed
from contextface_ros.vision.sources import DEMO_FOLDER
from training.augment.sight import Sight

PERSON = (DEMO_FOLDER / "2_comes_closer.jpg").read_bytes()
NOBODY = (DEMO_FOLDER / "6_nobody.jpg").read_bytes()


def red(jpeg: bytes) -> int:
    """How many pixels are as red as the box, JPEG's blur allowed for."""
    image = decode_compressed(jpeg).astype(int)
    return int(((image[..., 0] > 180) & (image[..., 1] < 90) & (image[..., 2] < 90)).sum())


def test_the_largest_face_is_boxed() -> None:
    pytest.importorskip("yuface")
    picture = Sight("yuface", 768).look(PERSON)
    assert picture.jpeg is not None and picture.box is not None
    x, y, width, height = picture.box
    image = decode_compressed(PERSON)
    assert 0 <= x < x + width <= image.shape[1] and 0 <= y < y + height <= image.shape[0]
    plain = Sight("none", 768).look(PERSON)
    assert plain.box is None and plain.jpeg is not None
    assert red(picture.jpeg) > red(plain.jpeg) + 4 * min(width, height)


def test_nobody_is_boxed_where_nobody_is() -> None:
    pytest.importorskip("yuface")
    assert Sight("yuface", 768).look(NOBODY).box is None


def test_a_picture_is_scaled_but_its_box_is_that_of_the_image() -> None:
    pytest.importorskip("yuface")
    large, small = (Sight("yuface", side).look(PERSON) for side in (768, 100))
    assert small.jpeg is not None and large.jpeg is not None
    assert decode_compressed(small.jpeg).shape == (75, 100, 3)
    assert decode_compressed(large.jpeg).shape == (240, 320, 3)
    assert small.box == large.box


def test_no_picture_for_a_model_that_cannot_see() -> None:
    picture = Sight("nothing", 768).look(PERSON)
    assert picture.jpeg is None and picture.box is None


@pytest.mark.parametrize("raw", [b"", b"GIF89a", PERSON[:2000], bytes(np.zeros(100, np.uint8))])
def test_an_image_that_does_not_decode(raw: bytes) -> None:
    for name in ("none", "nothing"):
        with pytest.raises(BadInput):
            Sight(name, 768).look(raw)
