"""An ONNX face head's structure, read and checked before ONNX Runtime sees it.

An ONNX file can name other files to read as weights (CVE-2022-25882, CVE-2024-27318), call
operators of libraries loaded elsewhere, or hold whole programs. A face head is a small
feed-forward network, so all of that is refused. The walk below knows the few fields of
onnx.proto that matter and needs neither `onnx` nor `protobuf`.

A field of the protobuf wire format is a tag (number << 3 | wire type) and a value: 0 a varint,
1 eight bytes, 2 a length and that many bytes, 5 four bytes. The field numbers are onnx.proto's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from contextface_ros.errors import BadBundle
from contextface_ros.types import EMOTIONS, EXPRESSION_SIZE

MAX_BYTES = 256 << 20
"""A head of width 5120 (a 13B model's) has 105 MB in float32."""

# fmt: off
KNOWN_OPERATORS = frozenset({
    "Add", "Cast", "Constant", "Div", "Dropout", "Elu", "Erf", "Flatten", "Gelu", "Gemm",
    "Hardmax", "Identity", "LayerNormalization", "LeakyRelu", "MatMul", "Max", "Mul", "ReduceL2",
    "Relu", "Reshape", "Shape", "Sigmoid", "Sub", "Tanh", "Transpose",
})
# fmt: on
"""What a multi-layer perceptron is exported to. None of them runs a graph or reads a file."""

PROBABILITIES = "probabilities"
"""Name of the second input, of a head that lets a doubtful answer lean to what else it may be."""

_FLOAT = 1  # TensorProto.DataType.FLOAT

_Field: TypeAlias = "int | memoryview"


@dataclass(frozen=True)
class HeadShape:
    """What a checked head takes and gives.

    Attributes:
        input: name of the hidden state, (N, hidden_size) float32.
        output: name of the coefficients, (N, 100) float32.
        hidden_size: width of the hidden state.
        probabilities: name of the emotions' probabilities, (N, 7) float32; None for a head that
            takes the hidden state alone.
    """

    input: str
    output: str
    hidden_size: int
    probabilities: str | None = None


def check_head(data: bytes, name: str) -> HeadShape:
    """Check the bytes of a face head; `name` is what messages call it.

    Raises:
        BadBundle: not an ONNX file, too large, weights outside the file, operators that a face
            head does not need, or another signature than (N, hidden)[, (N, 7)] -> (N, 100) float32.
    """
    if len(data) > MAX_BYTES:
        raise BadBundle(
            f"{name} has {len(data) >> 20} MB, a face head has {MAX_BYTES >> 20} at most"
        )
    try:
        return _check_model(memoryview(data), name)
    except (_Malformed, UnicodeDecodeError) as error:
        raise BadBundle(f"{name} is not a whole ONNX file: {error}") from error


class _Malformed(Exception):
    """Bytes that are not protobuf."""


def _check_model(data: memoryview, name: str) -> HeadShape:
    graphs = [_message(value) for number, value in _fields(data) if number == 7]
    if len(graphs) != 1:
        raise BadBundle(f"{name} is not an ONNX model: it holds {len(graphs)} graphs")
    for number, value in _fields(data):
        if number == 8 and (domain := _text(_message(value), 1)) not in ("", "ai.onnx"):
            raise BadBundle(
                f"{name} imports the operator domain {domain!r}; only ONNX's own may be"
            )
        if number in (20, 25):  # training_info, functions
            raise BadBundle(f"{name} holds functions or training graphs, which a face head may not")
    inputs, outputs, weights = [], [], set()
    for number, value in _fields(graphs[0]):
        if number == 1:
            _check_node(_message(value), name)
        elif number == 5:
            _check_tensor(_message(value), name)
            weights.add(_text(_message(value), 8))
        elif number == 11:
            inputs.append(_message(value))
        elif number == 12:
            outputs.append(_message(value))
        elif number == 15:
            raise BadBundle(f"{name} holds sparse weights, which a face head may not")
    inputs = [value for value in inputs if _text(value, 1) not in weights]
    return _check_signature(inputs, outputs, name)


def _check_node(node: memoryview, name: str) -> None:
    operator, domain = _text(node, 4), _text(node, 7)
    if domain not in ("", "ai.onnx") or operator not in KNOWN_OPERATORS:
        known = ", ".join(sorted(KNOWN_OPERATORS))
        label = f"{domain}.{operator}" if domain else operator
        raise BadBundle(f"{name} uses the operator {label!r}; a face head may use {known}")
    for number, attribute in _fields(node):
        if number == 5:
            for number_in, value in _fields(_message(attribute)):
                if number_in in (5, 10):  # t, tensors
                    _check_tensor(_message(value), name)
                elif number_in in (6, 11, 22, 23):  # graphs, sparse tensors
                    raise BadBundle(f"{name} holds a graph within an operator, a face head may not")


def _check_tensor(tensor: memoryview, name: str) -> None:
    for number, value in _fields(tensor):
        if number == 13 or (number == 14 and value != 0):
            raise BadBundle(
                f"{name} keeps weights in another file; export the face head as a single file"
            )


def _check_signature(inputs: list[memoryview], outputs: list[memoryview], name: str) -> HeadShape:
    if len(inputs) not in (1, 2) or len(outputs) != 1:
        raise BadBundle(
            f"{name} has {len(inputs)} inputs and {len(outputs)} outputs, not 1 or 2 and 1"
        )
    expression_size = _width(outputs[0], "output", name)
    if expression_size != EXPRESSION_SIZE:
        raise BadBundle(f"{name} gives {expression_size} numbers a face, not {EXPRESSION_SIZE}")
    widths = {_text(value, 1): _width(value, "input", name) for value in inputs}
    probabilities = PROBABILITIES if len(inputs) == 2 else None
    if probabilities is not None and widths.pop(probabilities, 0) != len(EMOTIONS):
        raise BadBundle(
            f"{name}'s second input is not {PROBABILITIES!r} with {len(EMOTIONS)} columns"
        )
    ((hidden, hidden_size),) = widths.items()
    return HeadShape(hidden, _text(outputs[0], 1), hidden_size, probabilities)


def _width(value_info: memoryview, kind: str, name: str) -> int:
    """Width of a float32 matrix of any height, from a ValueInfoProto."""
    tensor_type = _inner(_inner(value_info, 2), 1)  # .type.tensor_type
    element = [value for number, value in _fields(tensor_type) if number == 1]
    dims = [_message(v) for n, v in _fields(_inner(tensor_type, 2)) if n == 1]  # .shape.dim
    sizes = [next((v for n, v in _fields(dim) if n == 1 and isinstance(v, int)), 0) for dim in dims]
    if element[-1:] != [_FLOAT] or len(sizes) != 2 or sizes[0] != 0 or sizes[1] < 1:
        raise BadBundle(f"{name}'s {kind} is not a float32 matrix of any height and a fixed width")
    return sizes[1]


def _inner(message: memoryview, field: int) -> memoryview:
    """The submessage at a field; as in protobuf, one that comes in pieces is merged."""
    parts = [_message(value) for number, value in _fields(message) if number == field]
    return memoryview(b"".join(parts))


def _text(message: memoryview, field: int) -> str:
    values = [_message(value) for number, value in _fields(message) if number == field]
    return bytes(values[-1]).decode("utf-8") if values else ""


def _message(value: _Field) -> memoryview:
    if isinstance(value, int):
        raise _Malformed("a number where a message belongs")
    return value


def _fields(message: memoryview) -> Iterator[tuple[int, _Field]]:
    """The (field number, value) pairs of one protobuf message."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        if tag > 0xFFFFFFFF:  # protobuf reads 32 bits: never see another field than it would
            raise _Malformed("a field number out of range")
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire_type == 2:
            size, position = _varint(message, position)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            raise _Malformed(f"wire type {wire_type}")
        if position + size > len(message):
            raise _Malformed("it ends too early")
        yield number, message[position : position + size]
        position += size


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(message):
            raise _Malformed("it ends too early")
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
    raise _Malformed("a number longer than 64 bits")
