"""The face projection as ONNX, for ONNX Runtime at run time (`contextface_ros.face.head`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from contextface_ros.face.onnx_check import PROBABILITIES
from contextface_ros.types import EMOTIONS, EXPRESSION_SIZE
from training.calibration import TINY, Calibration


def write_head(
    projection: nn.Sequential, file: Path, calibration: Calibration | None = None
) -> None:
    """Write the face projection as ONNX: (N, D)[, (N, 7)] -> (N, 100).

    Args:
        projection: Linear, ReLU, Linear.
        file: to write.
        calibration: put behind the projection; without it the head takes the hidden state alone.
    """
    first, second = projection[0], projection[2]
    output = "beta" if calibration is None else "said"
    nodes = [
        helper.make_node("Gemm", ["hidden_state", "first.weight", "first.bias"], ["a"], transB=1),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "second.weight", "second.bias"], [output], transB=1),
    ]
    weights = {
        "first.weight": first.weight,
        "first.bias": first.bias,
        "second.weight": second.weight,
        "second.bias": second.bias,
    }
    arrays = {name: tensor.detach().float().numpy() for name, tensor in weights.items()}
    inputs = [_tensor("hidden_state", first.in_features)]
    if calibration is not None:
        nodes += _leaning()
        inputs.append(_tensor(PROBABILITIES, len(EMOTIONS)))
        arrays |= {"class_faces": calibration.class_faces, "gains": calibration.gains}
        arrays |= {"tiny": np.array(TINY, np.float32)}
    graph = helper.make_graph(
        nodes,
        "face_head",
        inputs,
        [_tensor("beta", EXPRESSION_SIZE)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), file)


def _leaning() -> list[onnx.NodeProto]:
    """`Calibration.apply` in ONNX, from "said" and the probabilities to "beta"."""
    node = helper.make_node
    return [
        node("Hardmax", [PROBABILITIES], ["certain"], axis=-1),
        node("Sub", [PROBABILITIES, "certain"], ["doubt"]),
        node("MatMul", ["doubt", "class_faces"], ["other"]),
        node("Add", ["said", "other"], ["turned"]),
        node("ReduceL2", ["turned"], ["norm"], axes=[1], keepdims=1),
        node("Max", ["norm", "tiny"], ["norm.safe"]),
        node("ReduceL2", ["said"], ["strength"], axes=[1], keepdims=1),
        node("Div", ["strength", "norm.safe"], ["ratio"]),
        node("Mul", ["turned", "ratio"], ["kept"]),
        node("Mul", ["kept", "gains"], ["beta"]),
    ]


def _tensor(name: str, width: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width])
