from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from contextface_ros.errors import BadBundle, BadInput
from contextface_ros.face.head import FaceHead, tensorrt_cache
from tests.tiny_bundle import HIDDEN_SIZE, head_model

HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def write(path: Path, proto: onnx.ModelProto) -> Path:
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("head") / "face_head.onnx", head_model())


@pytest.fixture(scope="module")
def head(path: Path) -> FaceHead:
    return FaceHead(path, device="cpu")


def test_it_is_the_two_layer_network_of_its_weights(head: FaceHead) -> None:
    weights = {t.name: numpy_helper.to_array(t) for t in head_model().graph.initializer}
    hidden = np.random.default_rng(1).normal(size=(7, HIDDEN_SIZE)).astype(np.float32)
    inner = np.maximum(hidden @ weights["w1"] + weights["b1"], 0)
    beta = head.project(hidden)
    assert beta.shape == (7, 100)
    assert beta.dtype == np.float32
    np.testing.assert_allclose(beta, inner @ weights["w2"] + weights["b2"], atol=1e-4)
    np.testing.assert_allclose(head.project(hidden[3]), beta[3], atol=1e-5)


def test_one_more_than_a_batch_and_none(head: FaceHead) -> None:
    hidden = np.random.default_rng(1).normal(size=(600, HIDDEN_SIZE)).astype(np.float32)
    np.testing.assert_allclose(head.project(hidden)[599], head.project(hidden[599]), atol=1e-5)
    assert head.project(hidden[:0]).shape == (0, 100)


def test_it_says_what_it_is(head: FaceHead) -> None:
    assert head.hidden_size == HIDDEN_SIZE
    assert head.provider == "CPUExecutionProvider"
    assert head.fallback_reason is None


@pytest.mark.parametrize("shape", [(575,), (1, 577), (), (1, 1, HIDDEN_SIZE)])
def test_a_hidden_state_of_another_width(head: FaceHead, shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match=r"\(576,\)"):
        head.project(np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_hidden_state_that_is_not_finite(head: FaceHead, value: float) -> None:
    hidden = np.zeros(HIDDEN_SIZE, np.float32)
    hidden[5] = value
    with pytest.raises(BadInput, match="not finite"):
        head.project(hidden)
    assert np.isfinite(head.project(np.zeros(HIDDEN_SIZE, np.float32))).all()


def test_an_answer_that_is_not_finite(tmp_path: Path) -> None:
    huge = FaceHead(write(tmp_path / "huge.onnx", head_model(8, scale=1e12)))
    with pytest.raises(BadBundle, match="not finite"):
        huge.project(np.full(8, 1e20, np.float32))


def test_weights_that_are_not_finite_are_refused_at_load(tmp_path: Path) -> None:
    with pytest.raises(BadBundle, match="not finite"):
        FaceHead(write(tmp_path / "nan.onnx", head_model(8, scale=np.nan)))


def test_a_graph_that_is_no_network_is_refused_by_name(tmp_path: Path) -> None:
    proto = head_model(8)
    proto.graph.node[0].input[1] = "absent"
    with pytest.raises(BadBundle, match="refuses the face head"):
        FaceHead(write(tmp_path / "broken.onnx", proto))


def test_widths_that_disagree_within(tmp_path: Path) -> None:
    proto = head_model(8)
    del proto.graph.output[:]
    proto.graph.output.append(
        helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, ["N", 100])
    )
    with pytest.raises(BadBundle):
        FaceHead(write(tmp_path / "broken.onnx", proto))


def test_a_missing_file_and_odd_settings(path: Path, tmp_path: Path) -> None:
    with pytest.raises(BadBundle, match="cannot be read"):
        FaceHead(tmp_path / "absent.onnx")
    with pytest.raises(BadInput, match="known are: auto, cpu"):
        FaceHead(path, device="gpu")
    with pytest.raises(BadInput, match="at least 1"):
        FaceHead(path, threads=0)


@pytest.mark.skipif(HAS_CUDA, reason="this onnxruntime has CUDA")
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_gpu_that_was_asked_for_is_never_a_cpu(path: Path, device: str) -> None:
    with pytest.raises(BadInput, match=r"onnxruntime-gpu.*or choose device 'cpu'"):
        FaceHead(path, device=device)


def test_it_is_fast_enough_for_the_cpu(head: FaceHead) -> None:
    hidden = np.ones(HIDDEN_SIZE, np.float32)
    durations_s = []
    for _ in range(50):
        start = time.perf_counter()
        head.project(hidden)
        durations_s.append(time.perf_counter() - start)
    assert np.median(durations_s) < 0.02  # 0.1 ms on an idle core


def test_an_idle_head_uses_no_core(path: Path) -> None:
    head = FaceHead(path, device="cpu", threads=2)
    head.project(np.ones(HIDDEN_SIZE, np.float32))
    start = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - start < 0.1  # a spinning pool would burn 0.5 s a thread


def test_engines_of_different_models_do_not_share_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, same, other = (tensorrt_cache(data) for data in (b"one", b"one", b"other"))
    assert one == same != other
    monkeypatch.setattr(onnxruntime, "__version__", "0.0.1")
    assert tensorrt_cache(b"one") not in (one, other)
    assert one.is_relative_to(tmp_path / "contextface" / "tensorrt")
