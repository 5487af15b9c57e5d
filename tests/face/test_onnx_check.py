from __future__ import annotations

import numpy as np
import onnx
import onnx.external_data_helper
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from contextface_ros.errors import BadBundle
from contextface_ros.face.onnx_check import check_head
from tests.tiny_bundle import head_model

FLOAT = TensorProto.FLOAT


def model(
    nodes: list[onnx.NodeProto] | None = None,
    input_shape: tuple[object, ...] = ("N", 8),
    output_shape: tuple[object, ...] = ("N", 100),
    types: tuple[int, int] = (FLOAT, FLOAT),
) -> onnx.ModelProto:
    weights = numpy_helper.from_array(np.ones((8, 100), np.float32), "w")
    graph = helper.make_graph(
        nodes or [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", types[0], input_shape)],
        [helper.make_tensor_value_info("y", types[1], output_shape)],
        [weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def refusal(proto: onnx.ModelProto) -> str:
    with pytest.raises(BadBundle) as refused:
        check_head(proto.SerializeToString(), "head.onnx")
    return str(refused.value)


def test_a_good_head() -> None:
    shape = check_head(head_model(576).SerializeToString(), "head.onnx")
    assert (shape.input, shape.output, shape.hidden_size) == ("hidden", "expression", 576)


def test_old_exporters_list_weights_among_the_inputs() -> None:
    proto = model()
    proto.graph.input.append(helper.make_tensor_value_info("w", FLOAT, [8, 100]))
    assert check_head(proto.SerializeToString(), "head.onnx").hidden_size == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output_shape": ("N", 50)}, "gives 50 numbers a face, not 100"),
        ({"output_shape": (100,)}, "output is not a float32 matrix"),
        ({"input_shape": ("N", "D")}, "input is not a float32 matrix"),
        ({"input_shape": (1, 8)}, "input is not a float32 matrix of any height"),
        ({"input_shape": ("N", 8, 1)}, "input is not a float32 matrix"),
        ({"types": (TensorProto.FLOAT16, FLOAT)}, "input is not a float32 matrix"),
        ({"types": (FLOAT, TensorProto.DOUBLE)}, "output is not a float32 matrix"),
    ],
)
def test_another_signature(changes: dict[str, object], message: str) -> None:
    assert message in refusal(model(**changes))  # type: ignore[arg-type]


def test_weights_in_another_file() -> None:
    proto = model()
    onnx.external_data_helper.convert_model_to_external_data(
        proto, location="weights.bin", size_threshold=0
    )
    assert "another file" in refusal(proto)
    only_the_flag = model()
    only_the_flag.graph.initializer[0].data_location = TensorProto.EXTERNAL
    assert "another file" in refusal(only_the_flag)


def test_weights_in_another_file_from_within_a_constant() -> None:
    value = numpy_helper.from_array(np.ones((8, 100), np.float32), "c")
    value.data_location = TensorProto.EXTERNAL
    constant = helper.make_node("Constant", [], ["c"], value=value)
    assert "another file" in refusal(
        model([constant, helper.make_node("MatMul", ["x", "c"], ["y"])])
    )


def test_operators_that_a_head_does_not_need() -> None:
    custom = helper.make_node("Gemm", ["x", "w"], ["y"], domain="com.evil")
    assert "'com.evil.Gemm'" in refusal(model([custom]))
    assert "'ConstantOfShape'" in refusal(
        model([helper.make_node("ConstantOfShape", ["x"], ["y"])])
    )
    proto = model()
    proto.opset_import.append(helper.make_opsetid("com.evil", 1))
    assert "'com.evil'" in refusal(proto)


def test_programs_within_a_model() -> None:
    hidden_graph = helper.make_node("Identity", ["x"], ["y"], body=model().graph)
    assert "graph within an operator" in refusal(model([hidden_graph]))
    proto = model()
    proto.functions.append(
        helper.make_function("d", "f", ["a"], ["b"], [], [helper.make_opsetid("", 17)])
    )
    assert "functions" in refusal(proto)
    sparse = model()
    sparse.graph.sparse_initializer.add()
    assert "sparse" in refusal(sparse)


def test_a_second_input_is_the_probabilities_or_nothing() -> None:
    proto = model()
    proto.graph.input.append(helper.make_tensor_value_info("probabilities", FLOAT, ["N", 7]))
    shape = check_head(proto.SerializeToString(), "head.onnx")
    assert (shape.input, shape.probabilities, shape.hidden_size) == ("x", "probabilities", 8)
    proto.graph.input[1].name = "z"
    assert "second input is not 'probabilities' with 7 columns" in refusal(proto)
    proto.graph.input[1].CopyFrom(helper.make_tensor_value_info("probabilities", FLOAT, ["N", 8]))
    assert "second input is not 'probabilities' with 7 columns" in refusal(proto)
    proto.graph.input.append(helper.make_tensor_value_info("z", FLOAT, ["N", 8]))
    assert "3 inputs and 1 outputs" in refusal(proto)
    del proto.graph.input[:]
    assert "0 inputs" in refusal(proto)


@pytest.mark.parametrize(
    "data", [b"", b"GGUF" + bytes(50), b"\xff" * 30, b"ORTM" * 9, b"\x0a\x05ab"]
)
def test_files_that_are_no_onnx(data: bytes) -> None:
    with pytest.raises(BadBundle, match=r"head\.onnx is not"):
        check_head(data, "head.onnx")


GOOD = head_model(8).SerializeToString()


@settings(max_examples=300, deadline=2000)
@given(st.integers(0, len(GOOD) - 1))
def test_a_truncated_head_is_refused(size: int) -> None:
    with pytest.raises(BadBundle):
        check_head(GOOD[:size], "head.onnx")


@settings(max_examples=1000, deadline=2000)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4))
def test_what_is_accepted_reads_no_other_file_by_protobuf_s_own_account(
    flips: list[tuple[int, int]],
) -> None:
    """However bytes are changed: refused, or `onnx` too sees a plain graph of known operators."""
    content = bytearray(GOOD)
    for position, value in flips:
        content[-position - 1] = value  # the structure around the weights lies at both ends
        content[position] = value if position % 2 else content[position]
    try:
        check_head(bytes(content), "head.onnx")
    except BadBundle:
        return
    try:
        proto = onnx.load_from_string(bytes(content))
    except DecodeError:
        return  # stricter than we are: onnxruntime refuses it as well
    for tensor in proto.graph.initializer:
        assert not onnx.external_data_helper.uses_external_data(tensor)
    assert all(node.domain == "" for node in proto.graph.node)
