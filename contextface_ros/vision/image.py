"""Camera frames as they come off the wire, made into (H, W, 3) uint8 RGB.

Nothing here imports ROS: the functions take the fields of sensor_msgs/Image and CompressedImage.
What a frame says of itself is compared with its bytes before anything is decoded, since native
code does not forgive a lie. cv_bridge is not used: its binaries break with NumPy 2.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from typing import TypeAlias, Union

import cv2
import numpy as np

from contextface_ros.errors import BadInput
from contextface_ros.types import UInt8Array

Bytes: TypeAlias = Union[bytes, bytearray, memoryview, "array[int]", UInt8Array]
"""What rclpy, a file or NumPy hand over as data."""

MAX_PIXELS = 4096 * 4096
"""Largest picture that is decoded: twice a 4K frame, 48 MiB of RGB."""


@dataclass(frozen=True)
class Layout:
    """How one encoding lies in memory, all of it in bytes of 8 bits.

    Attributes:
        pixel_size: bytes of a pixel in a row (of the first plane).
        to_rgb: OpenCV's conversion code, or None where the pixels are RGB already.
        even_width: whether two neighbours in a row share their colour.
        two_planes: whether half as many rows of colour follow the rows of brightness.
    """

    pixel_size: int
    to_rgb: int | None
    even_width: bool = False
    two_planes: bool = False


_UYVY = Layout(2, cv2.COLOR_YUV2RGB_UYVY, even_width=True)
_YUYV = Layout(2, cv2.COLOR_YUV2RGB_YUY2, even_width=True)

ENCODINGS = {
    "rgb8": Layout(3, None),
    "bgr8": Layout(3, cv2.COLOR_BGR2RGB),
    "rgba8": Layout(4, cv2.COLOR_RGBA2RGB),
    "bgra8": Layout(4, cv2.COLOR_BGRA2RGB),
    "mono8": Layout(1, cv2.COLOR_GRAY2RGB),
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    "nv12": Layout(1, cv2.COLOR_YUV2RGB_NV12, even_width=True, two_planes=True),
    "nv21": Layout(1, cv2.COLOR_YUV2RGB_NV21, even_width=True, two_planes=True),
}
"""The names of sensor_msgs/image_encodings.hpp that are understood."""


def check_raw(data: Bytes, height: int, width: int, step: int, encoding: str) -> Layout:
    """Whether the fields of a sensor_msgs/Image agree with each other. Takes microseconds.

    Args:
        data: `step` bytes a row.
        height: rows of the picture.
        width: pixels of a row.
        step: bytes from one row to the next, padding included.
        encoding: a key of ENCODINGS.

    Returns:
        The layout of the data.

    Raises:
        BadInput: they do not; says which, and what the camera should publish.
    """
    layout = ENCODINGS.get(encoding)
    if layout is None:
        raise BadInput(
            f"image encoding {encoding[:32]!r} is not understood: publish one of "
            + ", ".join(ENCODINGS)
        )
    _check_size(height, width)
    if (layout.even_width and width % 2) or (layout.two_planes and height % 2):
        raise BadInput(
            f"a {encoding} image of {width} x {height} pixels does not exist, since its pixels"
            " share their colour in pairs: publish an even size"
        )
    row_size = width * layout.pixel_size
    if step < row_size:
        raise BadInput(
            f"image step {step} is shorter than a row of {width} {encoding} pixels:"
            f" set step to {row_size} or more"
        )
    expected = step * (height * 3 // 2 if layout.two_planes else height)
    if len(data) != expected:
        raise BadInput(
            f"image data has {len(data)} bytes in place of the {expected} of {height} rows of step"
            f" {step} in {encoding}: publish all rows, and the step that they have"
        )
    return layout


def decode_raw(
    data: Bytes,
    height: int,
    width: int,
    step: int,
    encoding: str,
    is_bigendian: bool = False,
) -> UInt8Array:
    """The picture in the fields of a sensor_msgs/Image.

    Args:
        data: as in `check_raw`, like the three that follow.
        height: rows of the picture.
        width: pixels of a row.
        step: bytes from one row to the next.
        encoding: a key of ENCODINGS.
        is_bigendian: of no effect, as every sample of these encodings is one byte.

    Returns:
        (height, width, 3) uint8 RGB, C-contiguous. For rgb8 without padding it is a view of
        `data`, and read-only where `data` is.

    Raises:
        BadInput: the fields do not agree with each other.
    """
    layout = check_raw(data, height, width, step, encoding)
    rows = np.frombuffer(data, np.uint8).reshape(-1, step)  # (H or 3H/2, step)
    if layout.two_planes:
        luma = rows[:height, :width]
        chroma = rows[height:, :width].reshape(height // 2, width // 2, 2)
        return cv2.cvtColorTwoPlane(luma, chroma, layout.to_rgb)  # type: ignore[arg-type, return-value]
    pixels = rows[:, : width * layout.pixel_size].reshape(height, width, layout.pixel_size)
    if layout.to_rgb is None:
        return np.ascontiguousarray(pixels)
    return cv2.cvtColor(pixels, layout.to_rgb)  # type: ignore[return-value]


def check_compressed(data: Bytes) -> tuple[int, int]:
    """Whether the bytes of a sensor_msgs/CompressedImage are a whole JPEG or PNG of a sane size.

    Only the bytes count: the message's `format` is not asked. Nothing is decoded.

    Returns:
        Height and width in pixels, as the header has them (before a rotation that EXIF asks for).

    Raises:
        BadInput: they are not; says why.
    """
    raw = bytes(data)
    if raw.startswith(b"\xff\xd8\xff"):
        height, width = _jpeg_size(raw)
    elif raw.startswith(b"\x89PNG\r\n\x1a\n"):
        height, width = _png_size(raw)
    else:
        raise BadInput(
            f"compressed image starts with {raw[:4].hex(' ') or 'nothing'}, which is neither JPEG"
            " nor PNG: publish one of these"
        )
    _check_size(height, width)
    return height, width


def decode_compressed(data: Bytes) -> UInt8Array:
    """The picture in the data of a sensor_msgs/CompressedImage, or in a file's bytes.

    Args:
        data: a JPEG or PNG file, told by its first bytes.

    Returns:
        (H, W, 3) uint8 RGB, turned as its EXIF orientation asks.

    Raises:
        BadInput: not JPEG or PNG, more than MAX_PIXELS, cut short, or damaged.
    """
    size = check_compressed(data)
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        bgr = None
    # A decoder that finds another size than the header we checked has been fooled.
    if bgr is None or sorted(bgr.shape[:2]) != sorted(size):
        raise BadInput("compressed image is damaged: check the camera's driver or the file")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def _check_size(height: int, width: int) -> None:
    if height <= 0 or width <= 0:
        raise BadInput(f"image of {width} x {height} pixels is empty: publish a picture")
    if height * width > MAX_PIXELS:
        raise BadInput(
            f"image of {width} x {height} pixels has more than {MAX_PIXELS}: scale it down"
        )


_JPEG_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_JPEG_SCAN = 0xDA
_JPEG_END = b"\xff\xd9"


def _jpeg_size(raw: bytes) -> tuple[int, int]:
    """Height and width from the frame header of a JPEG (ITU-T T.81, Annex B).

    Raises:
        BadInput: a part of the file is missing or out of place.
    """
    size = None
    at = 2
    while at + 4 <= len(raw):
        prefix, marker, length = struct.unpack_from(">BBH", raw, at)
        if prefix != 0xFF or (length < 2 and marker not in _JPEG_WITHOUT_LENGTH | {0xFF}):
            raise BadInput("compressed image has a damaged JPEG header: check the camera's driver")
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _JPEG_WITHOUT_LENGTH:
            at += 2
            continue
        if marker in _JPEG_SIZES:
            if at + 9 > len(raw) or size is not None:
                break
            size = struct.unpack_from(">HH", raw, at + 5)
        if marker == _JPEG_SCAN:
            # In a scan's data 0xFF is followed by 0 or a restart, so this cannot be a pixel.
            if size is None or raw.find(_JPEG_END, at) < 0:
                break
            return size
        at += 2 + length
    raise BadInput("compressed image is cut short: publish the whole JPEG file")


def _png_size(raw: bytes) -> tuple[int, int]:
    """Height and width from the first chunk of a PNG (ISO/IEC 15948), whose chunks are all there.

    Raises:
        BadInput: a chunk is missing or out of place, or the picture moves.
    """
    if raw[12:16] != b"IHDR" or len(raw) < 24:
        raise BadInput("compressed image has a damaged PNG header: check the camera's driver")
    width, height = struct.unpack_from(">II", raw, 16)
    at = 8
    while at + 12 <= len(raw):
        length, kind = struct.unpack_from(">I4s", raw, at)
        if kind == b"IEND":
            return height, width
        if kind == b"acTL":
            raise BadInput("compressed image is an animated PNG: publish one picture a message")
        at += 12 + length
    raise BadInput("compressed image is cut short: publish the whole PNG file")
