"""The pictures that the package ships: one real person, near and far, and a frame without her."""

from __future__ import annotations

import pytest

from contextface_ros.types import UInt8Array
from contextface_ros.vision.image import decode_compressed
from contextface_ros.vision.sources import DEMO_FOLDER


@pytest.fixture(scope="session")
def frames() -> dict[str, UInt8Array]:
    """The demo pictures by name, (240, 320, 3) RGB."""
    return {path.stem: decode_compressed(path.read_bytes()) for path in DEMO_FOLDER.glob("*.jpg")}
