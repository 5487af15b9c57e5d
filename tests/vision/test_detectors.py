"""Faces on real pictures, and YuNet's file format as OpenCV reads it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from contextface_ros.errors import BadInput, MissingDependency
from contextface_ros.types import UInt8Array
from contextface_ros.vision import detectors
from contextface_ros.vision.detectors import Box, Yuface, YuNet, open_detector

# Where the face is, read off the pictures by eye: brow to chin, ear to ear.
FACES = {
    "1_far": Box(112, 38, 56, 76),
    "2_comes_closer": Box(128, 44, 72, 94),
    "3_left": Box(54, 36, 72, 94),
    "4_right": Box(162, 34, 78, 98),
    "5_near": Box(92, 62, 120, 150),
}


@pytest.fixture(scope="module")
def yuface() -> Yuface:
    return Yuface()


@pytest.mark.parametrize("name", FACES)
def test_yuface_finds_the_one_face(
    yuface: Yuface, frames: dict[str, UInt8Array], name: str
) -> None:
    (face,) = yuface.detect(frames[name])
    assert face.box.overlap(FACES[name]) > 0.7
    assert 0.8 < face.confidence <= 1


def test_yuface_finds_nobody(yuface: Yuface, frames: dict[str, UInt8Array]) -> None:
    assert yuface.detect(frames["6_nobody"]) == []
    assert yuface.detect(np.zeros((240, 320, 3), np.uint8)) == []


def test_boxes_are_in_pixels_of_the_picture(yuface: Yuface, frames: dict[str, UInt8Array]) -> None:
    large = frames["1_far"].repeat(4, 0).repeat(4, 1)  # 1280 x 960
    (face,) = yuface.detect(large)
    expected = FACES["1_far"]
    scaled = Box(*(4 * side for side in (expected.x, expected.y, expected.width, expected.height)))
    assert face.box.overlap(scaled) > 0.7


def test_a_face_over_the_edge_keeps_its_place(
    yuface: Yuface, frames: dict[str, UInt8Array]
) -> None:
    cut = np.ascontiguousarray(frames["3_left"][:, 75:])  # through the left eye
    (face,) = yuface.detect(cut)
    assert -25 < face.box.x < 5


def test_two_people(yuface: Yuface, frames: dict[str, UInt8Array]) -> None:
    both = np.hstack([frames["1_far"], frames["2_comes_closer"]])
    first, second = sorted(yuface.detect(both), key=lambda face: face.box.x)
    assert first.box.overlap(FACES["1_far"]) > 0.6
    assert second.box.center[0] > 320


def test_confidence_is_a_threshold(frames: dict[str, UInt8Array]) -> None:
    assert Yuface(min_confidence=1.0).detect(frames["1_far"]) == []


def resident() -> int:
    """Bytes of memory that this process holds."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def test_yuface_keeps_no_memory(yuface: Yuface, frames: dict[str, UInt8Array]) -> None:
    small = np.ascontiguousarray(frames["1_far"][:96, 64:192])
    for _ in range(50):
        yuface.detect(small)
    before = resident()
    for _ in range(200):
        yuface.detect(small)
    assert resident() - before < 2e6  # the binding would have grown by 7.4 MB


def test_yuface_takes_one_core(tmp_path: Path) -> None:
    """Its threads would spin beside those of the language model."""
    script = """
import os, cv2, numpy
from contextface_ros.vision.detectors import Yuface
cv2.setNumThreads(1)
threads = os.listdir("/proc/self/task")
Yuface().detect(numpy.zeros((240, 320, 3), numpy.uint8))
assert os.listdir("/proc/self/task") == threads
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_a_picture_of_any_size(height: int, width: int, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    for face in Yuface().detect(noise):
        assert face.box.overlap(Box(0, 0, width, height)) > 0


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingDependency, match=r"pip install yuface.*or"):
        open_detector("yuface")


def test_on_a_processor_that_would_stop_at_its_instructions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(detectors, "_has_avx2", lambda: False)
    with pytest.raises(MissingDependency, match="AVX2"):
        open_detector("yuface")


# --- YuNet ----------------------------------------------------------------------------------------


def red_square_detector(path: Path) -> Path:
    """A YuNet file, all outputs as OpenCV wants them, whose network finds red squares of 32 pixels.

    Its inputs are in BGR, as YuNet's are.
    """
    nodes, weights, outputs = [], [], []
    for stride in 8, 16, 32:
        red = np.zeros((1, 3, stride, stride), np.float32)
        if stride == 32:
            red[0, 2], red[0, 1] = 1.0, -1.0
            red /= 255 * stride * stride
        zeros = {n: np.zeros((n, 3, stride, stride), np.float32) for n in (4, 10)}
        heads = {
            "cls": (red, np.zeros(1)),
            "obj": (red, np.zeros(1)),
            "bbox": (zeros[4], np.array([0.5, 0.5, 0, 0])),  # centre of the cell, exp(0) cells wide
            "kps": (zeros[10], np.zeros(10)),
        }
        for head, (weight, bias) in heads.items():
            name, size = f"{head}_{stride}", len(bias)
            weights += [
                numpy_helper.from_array(weight, f"{name}_weight"),
                numpy_helper.from_array(bias.astype(np.float32), f"{name}_bias"),
                numpy_helper.from_array(np.array([1, -1, size]), f"{name}_shape"),
            ]
            nodes += [
                helper.make_node(
                    "Conv",
                    ["input", f"{name}_weight", f"{name}_bias"],
                    [f"{name}_map"],
                    kernel_shape=[stride, stride],
                    strides=[stride, stride],
                ),
                helper.make_node("Transpose", [f"{name}_map"], [f"{name}_rows"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{name}_rows", f"{name}_shape"], [name]),
            ]
            cells = (320 // stride) ** 2
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, cells, size]))
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 320, 320])
    graph = helper.make_graph(nodes, "red_squares", [picture], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    onnx.save(model, str(path))
    return path


def test_yunet_file(tmp_path: Path) -> None:
    detector = open_detector(str(red_square_detector(tmp_path / "yunet.onnx")))
    image = np.zeros((480, 640, 3), np.uint8)
    assert detector.detect(image) == []
    image[192:256, 128:192] = 255, 0, 0  # a cell of the picture shrunk to 320 x 240
    image[320:384, 320:384] = 0, 0, 255  # blue: what it would find if the colours were swapped

    (face,) = detector.detect(image)

    assert face.box.overlap(Box(128, 192, 64, 64)) > 0.98
    assert face.confidence == pytest.approx(1.0, abs=0.01)
    assert detector.detect(np.zeros((100, 50, 3), np.uint8)) == []  # another size


def test_yunet_confidence(tmp_path: Path) -> None:
    path = red_square_detector(tmp_path / "yunet.onnx")
    image = np.zeros((320, 320, 3), np.uint8)
    image[32:64, 32:64] = 128, 0, 0
    (face,) = YuNet(path, min_confidence=0.4).detect(image)
    assert face.confidence == pytest.approx(0.5, abs=0.01)
    assert YuNet(path, min_confidence=0.6).detect(image) == []


def test_a_file_that_is_not_yunet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput, match="does not exist: give 'yuface'"):
        open_detector("yufaze")
    with pytest.raises(BadInput, match="does not exist"):
        open_detector(str(tmp_path))
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"no network")
    with pytest.raises(BadInput, match="is not a YuNet file"):
        open_detector(str(wrong))
    other = red_square_detector(tmp_path / "other.onnx")
    other.write_bytes(other.read_bytes().replace(b"bbox_16", b"box__16"))
    with pytest.raises(BadInput, match="is not a YuNet file"):
        open_detector(str(other))


@given(*[st.floats(-50, 50) for _ in range(2)], *[st.floats(0.1, 50) for _ in range(2)])
def test_overlap(x: float, y: float, width: float, height: float) -> None:
    box, other = Box(x, y, width, height), Box(0, 0, 20, 20)
    assert box.overlap(box) == pytest.approx(1.0)
    assert box.overlap(other) == pytest.approx(other.overlap(box))
    assert 0 <= box.overlap(other) <= 1
    assert box.contains(box.center)
    moved = Box(x + 2 * width, y, width, height)
    assert box.overlap(moved) == 0
