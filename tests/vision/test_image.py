"""Frames off the wire: every encoding against a reference, and every lie a frame can tell."""

from __future__ import annotations

import array
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contextface_ros.errors import BadInput
from contextface_ros.vision.image import (
    ENCODINGS,
    MAX_PIXELS,
    check_compressed,
    decode_compressed,
    decode_raw,
)

PACKED = {"rgb8": [0, 1, 2], "bgr8": [2, 1, 0], "rgba8": [0, 1, 2], "bgra8": [2, 1, 0]}
CHROMA_AT = {"nv12": (0, 1), "nv21": (1, 0)}  # of U and V in a pair
YUV422_AT = {"uyvy": (1, 0, 2), "yuv422": (1, 0, 2), "yuyv": (0, 1, 3), "yuv422_yuy2": (0, 1, 3)}


def random_bytes(seed: int, size: int) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes()


def padded(rows: np.ndarray, padding: int, seed: int = 0) -> bytes:
    """(H, row size) uint8 with `padding` bytes of noise after every row."""
    noise = np.frombuffer(random_bytes(seed, len(rows) * padding), np.uint8)
    return np.hstack([rows, noise.reshape(len(rows), padding)]).tobytes()


def rgb_of_yuv(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """BT.601 in video range, the formula that OpenCV documents for its YUV420 and YUV422 codes."""
    y = 1.164 * (y.astype(float) - 16).clip(0)
    u, v = u.astype(float) - 128, v.astype(float) - 128
    rgb = [y + 1.596 * v, y - 0.813 * v - 0.391 * u, y + 2.018 * u]
    return np.stack(rgb, -1).clip(0, 255)


sizes = st.tuples(st.integers(1, 24), st.integers(1, 24))
paddings = st.integers(0, 9)
seeds = st.integers(0, 2**31)


@given(st.sampled_from(sorted(PACKED)), sizes, paddings, seeds)
def test_packed_rgb(encoding: str, size: tuple[int, int], padding: int, seed: int) -> None:
    height, width = size
    channels = ENCODINGS[encoding].pixel_size
    pixels = np.frombuffer(random_bytes(seed, height * width * channels), np.uint8)
    pixels = pixels.reshape(height, width, channels)
    data = padded(pixels.reshape(height, -1), padding)

    decoded = decode_raw(data, height, width, width * channels + padding, encoding)

    assert decoded.dtype == np.uint8 and decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, pixels[..., PACKED[encoding]])


@given(sizes, paddings, seeds)
def test_mono(size: tuple[int, int], padding: int, seed: int) -> None:
    height, width = size
    pixels = np.frombuffer(random_bytes(seed, height * width), np.uint8).reshape(size)

    decoded = decode_raw(padded(pixels, padding), height, width, width + padding, "mono8")

    np.testing.assert_array_equal(decoded, pixels[..., None].repeat(3, -1))


@given(st.sampled_from(sorted(YUV422_AT)), sizes, paddings, seeds)
def test_yuv422(encoding: str, size: tuple[int, int], padding: int, seed: int) -> None:
    height, width = size[0], 2 * size[1]
    rows = np.frombuffer(random_bytes(seed, height * width * 2), np.uint8).reshape(height, -1)
    y_at, u_at, v_at = YUV422_AT[encoding]
    expected = rgb_of_yuv(
        rows[:, y_at::2], rows[:, u_at::4].repeat(2, 1), rows[:, v_at::4].repeat(2, 1)
    )

    decoded = decode_raw(padded(rows, padding), height, width, width * 2 + padding, encoding)

    np.testing.assert_allclose(decoded, expected, atol=2)


@given(st.sampled_from(sorted(CHROMA_AT)), sizes, paddings, seeds)
def test_two_planes(encoding: str, size: tuple[int, int], padding: int, seed: int) -> None:
    height, width = 2 * size[0], 2 * size[1]
    rows = np.frombuffer(random_bytes(seed, height * width * 3 // 2), np.uint8)
    rows = rows.reshape(height * 3 // 2, width)
    u, v = (rows[height:, at::2].repeat(2, 0).repeat(2, 1) for at in CHROMA_AT[encoding])

    decoded = decode_raw(padded(rows, padding), height, width, width + padding, encoding)

    np.testing.assert_allclose(decoded, rgb_of_yuv(rows[:height], u, v), atol=2)


def test_every_encoding_is_tested() -> None:
    assert {*PACKED, "mono8", *YUV422_AT, *CHROMA_AT} == set(ENCODINGS)


def test_rgb8_is_not_copied() -> None:
    data = bytearray(2 * 2 * 3)
    decoded = decode_raw(data, 2, 2, 6, "rgb8")
    data[0] = 7
    assert decoded[0, 0, 0] == 7


def test_data_as_rclpy_hands_it_over() -> None:
    data = array.array("B", range(12))
    np.testing.assert_array_equal(decode_raw(data, 2, 2, 6, "rgb8").ravel(), np.arange(12))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((bytes(12), 2, 2, 6, "rgb9"), "encoding 'rgb9' is not understood: publish one of rgb8"),
        ((bytes(12), 2, 2, 6, ""), "encoding '' is not understood"),
        ((bytes(8), 2, 2, 4, "16UC1"), "encoding '16UC1' is not understood"),
        ((b"", 0, 2, 6, "rgb8"), "2 x 0 pixels is empty"),
        ((b"", 2, 0, 0, "rgb8"), "0 x 2 pixels is empty"),
        (
            (bytes(12), 2, 2, 5, "rgb8"),
            "step 5 is shorter than a row of 2 rgb8 pixels: set step to 6",
        ),
        ((bytes(12), 2, 2, 0, "rgb8"), "step 0 is shorter"),
        ((bytes(11), 2, 2, 6, "rgb8"), "11 bytes in place of the 12"),
        ((bytes(13), 2, 2, 6, "rgb8"), "13 bytes in place of the 12"),
        ((b"", 2, 2, 6, "rgb8"), "0 bytes in place of the 12"),
        ((bytes(12), 2, 3, 6, "yuv422"), "3 x 2 pixels does not exist"),
        ((bytes(12), 3, 2, 2, "nv12"), "2 x 3 pixels does not exist"),
        ((bytes(12), 2, 2, 4, "nv12"), None),  # padded by 2: 3 rows of 4
        ((bytes(8), 2, 2, 4, "nv12"), "8 bytes in place of the 12"),
        ((bytes(12), 2**32 - 1, 2**32 - 1, 2**32 - 1, "rgb8"), f"more than {MAX_PIXELS}"),
        ((bytes(12), 2, 2, 2**32 - 1, "rgb8"), "12 bytes in place of"),
    ],
)
def test_fields_that_disagree(
    fields: tuple[bytes, int, int, int, str], message: str | None
) -> None:
    if message is None:
        assert decode_raw(*fields).shape == (fields[1], fields[2], 3)
        return
    with pytest.raises(BadInput, match=message) as error:
        decode_raw(*fields)
    assert "\n" not in str(error.value) and ":" in str(error.value)  # one line, what to do


fields = st.integers(0, 2**32 - 1) | st.integers(0, 12)


@given(st.binary(max_size=300), fields, fields, fields, st.sampled_from([*ENCODINGS]) | st.text())
@settings(max_examples=500)
def test_any_message_is_a_picture_or_bad_input(
    data: bytes, height: int, width: int, step: int, encoding: str
) -> None:
    try:
        decoded = decode_raw(data, height, width, step, encoding)
    except BadInput:
        return
    assert decoded.shape == (height, width, 3)


# --- JPEG and PNG ---------------------------------------------------------------------------------


def scene(height: int = 48, width: int = 64) -> np.ndarray:
    """A soft gradient, which JPEG keeps well: red grows to the right, green down, blue is low."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x / width, 255 * y / height, 0 * x + 30], -1).astype(np.uint8)


def encoded(suffix: str, rgb: np.ndarray, *options: int) -> bytes:
    flag, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    assert flag
    return data.tobytes()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)


JPEG = encoded(".jpg", scene())
PNG = encoded(".png", scene())


def test_png_is_exact() -> None:
    np.testing.assert_array_equal(decode_compressed(PNG), scene())


@pytest.mark.parametrize(
    "options",
    [
        (),
        (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        (cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
        (cv2.IMWRITE_JPEG_OPTIMIZE, 1),
    ],
)
def test_jpeg_is_close(options: tuple[int, ...]) -> None:
    data = encoded(".jpg", scene(), *options)
    assert check_compressed(data) == (48, 64)
    np.testing.assert_allclose(decode_compressed(array.array("B", data)), scene(), atol=12)


def test_jpeg_with_bytes_after_its_end() -> None:
    assert decode_compressed(JPEG + bytes(64)).shape == (48, 64, 3)


def test_exif_turns_the_picture() -> None:
    tiff = struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)  # a quarter turn
    exif = b"Exif\0\0" + tiff
    data = JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + JPEG[2:]
    assert check_compressed(data) == (48, 64)
    np.testing.assert_allclose(decode_compressed(data), np.rot90(scene(), -1), atol=12)


def test_alpha_grey_and_16_bits_become_rgb() -> None:
    grey = scene()[..., 0]
    for picture in (
        grey,
        np.dstack([grey, grey, grey, grey]),
        grey.astype(np.uint16) * 257,
    ):
        data = cv2.imencode(".png", picture)[1].tobytes()
        np.testing.assert_array_equal(decode_compressed(data)[..., 1], grey)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "starts with nothing, which is neither JPEG nor PNG"),
        (b"\xff\xd8", "starts with ff d8, which is neither"),
        (b"GIF89a" + bytes(40), "neither JPEG nor PNG"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "neither JPEG nor PNG"),
        (b"\0" * 12 + PNG, "neither JPEG nor PNG"),  # compressedDepth's header
        (JPEG[: len(JPEG) // 2], "cut short"),
        (JPEG[:-2], "cut short"),
        (JPEG[:30], "cut short"),
        (JPEG[:2] + b"\xff\xe0\0\1" + JPEG[4:], "damaged JPEG header"),
        (JPEG[:2] + b"\0\0\0\0" + JPEG[2:], "neither JPEG"),
        (PNG[: len(PNG) // 2], "cut short"),
        (PNG[:-12], "cut short"),
        (PNG[:20], "damaged PNG header"),
        (PNG[:8] + chunk(b"IDAT", bytes(30)), "damaged PNG header"),
        (png_header(0, 5) + chunk(b"IEND", b""), "0 x 5 pixels is empty"),
        (png_header(65535, 65535) + chunk(b"IEND", b""), f"more than {MAX_PIXELS}"),
        (png_header(4, 4) + chunk(b"acTL", bytes(8)) + chunk(b"IEND", b""), "animated PNG"),
        (png_header(4, 4) + chunk(b"IEND", b""), "damaged"),
    ],
)
def test_files_that_are_no_frame(data: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=message) as error:
        decode_compressed(data)
    assert "\n" not in str(error.value) and ":" in str(error.value)


def test_a_huge_jpeg_is_refused_before_the_decoder_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoder(*_: object) -> None:
        raise AssertionError("the decoder was called")

    monkeypatch.setattr(cv2, "imdecode", decoder)
    at = JPEG.index(b"\xff\xc0") + 5
    bomb = JPEG[:at] + struct.pack(">HH", 65500, 65500) + JPEG[at + 4 :]
    with pytest.raises(BadInput, match="scale it down"):
        decode_compressed(bomb)


@given(
    st.sampled_from([JPEG, PNG]),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=8),
    st.integers(0, 4000),
)
@settings(max_examples=400, deadline=None)
def test_a_damaged_file_is_a_picture_of_its_header_or_bad_input(
    data: bytes, changes: list[tuple[int, int]], length: int
) -> None:
    damaged = bytearray(data)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    if length < len(damaged) // 2:
        del damaged[length:]
    try:
        decoded = decode_compressed(damaged)
    except BadInput:
        return
    assert sorted(decoded.shape[:2]) == sorted(check_compressed(damaged))


@given(st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b""]), st.binary(max_size=200))
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_a_picture_or_bad_input(start: bytes, rest: bytes) -> None:
    try:
        decode_compressed(start + rest)
    except BadInput as error:
        assert "\n" not in str(error)
