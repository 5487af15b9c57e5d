"""Pictures into files."""

from __future__ import annotations

from pathlib import Path

import cv2

from contextface_ros.errors import BadInput
from contextface_ros.types import UInt8Array


def check_picture_place(path: Path) -> None:
    """Raise BadInput unless a picture could be written to `path`: a .png or .jpg in a folder."""
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise BadInput(f"{path} must end in .png or .jpg")
    if not path.parent.is_dir():
        raise BadInput(f"{path} cannot be written: there is no folder {path.parent}")


def write_picture(path: Path, picture: UInt8Array) -> None:
    """Write an (H, W, 3) uint8 RGB picture as PNG or JPEG, by the name's ending.

    Raises:
        BadInput: another ending, or a place that cannot be written.
    """
    check_picture_place(path)
    _, data = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}") from error
