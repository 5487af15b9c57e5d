from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contextface_ros.errors import BadBundle
from contextface_ros.language.gguf_header import (
    parse_header,
    read_adapter,
    read_header,
    read_model,
)
from tests.tiny_bundle import BASE, HIDDEN_SIZE

WIDTH, VOCABULARY = 64, 5


def write_model(path: Path, architecture: str = "llama", width: int = WIDTH) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_embedding_length(width)
    writer.add_token_list(["<a>", "b", "c", "d", "e"])
    writer.add_token_types([3, 1, 1, 1, 1])
    writer.add_float32("some.number", 0.5)
    writer.add_tensor("token_embd.weight", np.zeros((VOCABULARY, width), np.float32))
    writer.add_tensor("blk.0.attn_q.weight", np.zeros((32, width), np.float16))
    finish(writer)
    return path


def write_adapter(
    path: Path,
    *,
    architecture: str = "llama",
    alpha: float = 16.0,
    kind: str = "lora",
    target: str = "blk.0.attn_q.weight",
    a_shape: tuple[int, ...] = (4, WIDTH),
    b_shape: tuple[int, ...] = (32, 4),
    halves: str = "ab",
) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string("adapter.type", kind)
    writer.add_float32("adapter.lora.alpha", alpha)
    for half, shape in zip("ab", (a_shape, b_shape), strict=True):
        if half in halves:
            writer.add_tensor(f"{target}.lora_{half}", np.zeros(shape, np.float32))
    finish(writer)
    return path


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("gguf") / "model.gguf")


@pytest.fixture(scope="module")
def smollm2() -> Path:
    return BASE.find(Path())


def test_agrees_with_the_reference_reader_on_smollm2(smollm2: Path) -> None:
    header = read_model(smollm2, HIDDEN_SIZE)
    reference = gguf.GGUFReader(smollm2)
    assert header.data_offset == reference.data_offset
    assert header.keys["llama.block_count"] == 30
    assert header.architecture == "llama"
    assert {
        name: (t.shape, t.type, header.data_offset + t.offset, t.size)
        for name, t in header.tensors.items()
    } == {
        t.name: (tuple(t.shape.tolist()), t.tensor_type.name, t.data_offset, t.n_bytes)
        for t in reference.tensors
    }


def test_reads_a_small_model(model: Path) -> None:
    header = read_model(model, WIDTH)
    assert header.hidden_size == WIDTH
    assert not header.is_adapter
    assert header.keys["some.number"] == 0.5
    assert header.tensors["blk.0.attn_q.weight"].shape == (WIDTH, 32)


def test_width_architecture_and_kind_are_checked(model: Path, tmp_path: Path) -> None:
    with pytest.raises(BadBundle, match=r"width 64.*hidden_size: 65"):
        read_model(model, 65)
    with pytest.raises(BadBundle, match="architecture 'gpt9', known are: clip, llama"):
        read_header(write_model(tmp_path / "other.gguf", "gpt9"))
    with pytest.raises(BadBundle, match="is an adapter"):
        read_model(write_adapter(tmp_path / "adapter.gguf"), WIDTH)


def test_adapter_that_fits(model: Path, tmp_path: Path) -> None:
    base = read_header(model)
    adapter = read_adapter(write_adapter(tmp_path / "adapter.gguf"), base)
    assert adapter.is_adapter
    assert adapter.hidden_size is None
    # One row of the embedding, as rank-1 LoRA: A and B are flipped there.
    embedding = write_adapter(
        tmp_path / "embedding.gguf",
        target="token_embd.weight",
        a_shape=(VOCABULARY, 1),
        b_shape=(WIDTH, 1),
    )
    assert read_adapter(embedding, base).is_adapter


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "clip"}, "made for architecture 'clip'.*base is 'llama'"),
        ({"kind": "control_vector"}, "not a LoRA"),
        ({"alpha": float("nan")}, "alpha"),
        ({"alpha": 0.0}, "alpha"),
        ({"halves": "a"}, "pairs"),
        ({"halves": ""}, "pairs"),
        ({"target": "blk.9.attn_q.weight"}, "'blk.9.attn_q.weight', which the base .*not have"),
        ({"a_shape": (4, WIDTH + 1)}, "do not fit"),
        ({"b_shape": (33, 4)}, "do not fit"),
        ({"b_shape": (32, 3)}, "do not fit"),
        ({"a_shape": (WIDTH,)}, "not a matrix"),
    ],
)
def test_adapter_that_does_not_fit(
    model: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    adapter = write_adapter(tmp_path / "adapter.gguf", **changes)  # type: ignore[arg-type]
    with pytest.raises(BadBundle, match=message):
        read_adapter(adapter, read_header(model))


def test_a_model_is_no_adapter(model: Path) -> None:
    with pytest.raises(BadBundle, match="not a LoRA"):
        read_adapter(model, read_header(model))


def test_files_that_are_no_gguf(tmp_path: Path) -> None:
    for content in (b"", b"GGU", b"PK\3\4" + bytes(100), bytes(1000)):
        path = tmp_path / "model.gguf"
        path.write_bytes(content)
        with pytest.raises(BadBundle):
            read_header(path)
    with pytest.raises(BadBundle, match="cannot be read"):
        read_header(tmp_path / "absent.gguf")
    with pytest.raises(BadBundle, match="cannot be read"):
        read_header(tmp_path)


def forged(*parts: bytes | int) -> bytes:
    """A header: integers as u64, after the magic and version 3."""
    return b"GGUF\3\0\0\0" + b"".join(
        part if isinstance(part, bytes) else struct.pack("<Q", part) for part in parts
    )


ARCHITECTURE = (
    struct.pack("<Q20sI", 20, b"general.architecture", 8) + struct.pack("<Q", 5) + b"llama"
)


def tensor(name: bytes, dims: list[int], kind: int = 0, offset: int = 0) -> bytes:
    head = struct.pack("<Q", len(name)) + name + struct.pack("<I", len(dims))
    return head + b"".join(struct.pack("<Q", d) for d in dims) + struct.pack("<IQ", kind, offset)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GGUF" + struct.pack("<I", 1) + bytes(64), "version 1"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(64), "big-endian"),
        (forged(1 << 62, 0), "tensors"),
        (forged(0, 1 << 40), "keys"),
        (forged(0, 1, 1 << 63), "bytes for a key"),
        (forged(0, 1, 3, b"abc", struct.pack("<I", 99)), "unknown type 99"),
        (forged(0, 1, 3, b"a\xffc"), "UTF-8"),
        (forged(0, 1, 3, b"abc", struct.pack("<II", 9, 4), 1 << 61), "ends within"),
        (forged(0, 1, 3, b"abc", struct.pack("<II", 9, 8), 1 << 61), "ends within"),
        (forged(0, 1, 3, b"abc", struct.pack("<II", 9, 9), 1), "unknown type 9"),
        (forged(0, 2, ARCHITECTURE, ARCHITECTURE), "twice"),
        (forged(0, 0), "architecture None"),
        (forged(1, 1, ARCHITECTURE, tensor(b"x" * 64, [1])), "name"),
        (forged(1, 1, ARCHITECTURE, tensor(b"x", [])), "0 dimensions"),
        (forged(1, 1, ARCHITECTURE, tensor(b"x", [1] * 5)), "5 dimensions"),
        (forged(1, 1, ARCHITECTURE, tensor(b"x", [1 << 32, 1 << 32])), "impossible shape"),
        (forged(1, 1, ARCHITECTURE, tensor(b"x", [4, 0])), "impossible shape"),
        (forged(1, 1, ARCHITECTURE, tensor(b"x", [33], kind=8)), "impossible shape"),
        (forged(1, 1, ARCHITECTURE, tensor(b"x", [32], kind=4)), "unknown type 4"),
        (forged(1, 1, ARCHITECTURE, tensor(b"x", [4], offset=32)), "at 32 instead of 0"),
        (forged(2, 1, ARCHITECTURE, tensor(b"x", [4]), tensor(b"x", [4], offset=32)), "twice"),
        (forged(2, 1, ARCHITECTURE, tensor(b"x", [4]), tensor(b"y", [4])), "at 0 instead of 32"),
        (forged(1, 1, ARCHITECTURE, tensor(b"x", [1 << 20])), "truncated"),
    ],
)
def test_forged_headers_are_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(BadBundle, match=message):
        parse_header(data, "model.gguf")


def test_alignment_must_be_a_power_of_two() -> None:
    key = struct.pack("<Q17sII", 17, b"general.alignment", 4, 48)
    with pytest.raises(BadBundle, match="alignment 48"):
        parse_header(forged(0, 2, ARCHITECTURE, key), "model.gguf")


def test_every_truncation_is_refused(model: Path) -> None:
    data = model.read_bytes()
    header = parse_header(data, "model.gguf")
    last = max(t.offset + t.size for t in header.tensors.values())
    for size in [*range(header.data_offset), header.data_offset + last - 1]:
        with pytest.raises(BadBundle):
            parse_header(data[:size], "model.gguf")


@settings(max_examples=500, deadline=2000)
@given(st.data())
def test_flipped_bytes_never_escape(model: Path, data: st.DataObject) -> None:
    """Whatever is changed in the header: an accepted file, or BadBundle; never another error."""
    content = bytearray(model.read_bytes())
    end = read_header(model).data_offset
    flips = st.tuples(st.integers(0, end - 1), st.integers(0, 255))
    for position, value in data.draw(st.lists(flips, min_size=1, max_size=4)):
        content[position] = value
    try:
        header = parse_header(bytes(content), "model.gguf")
    except BadBundle:
        return
    for found in header.tensors.values():
        assert header.data_offset + found.offset + found.size <= len(content)


@settings(max_examples=300, deadline=2000)
@given(st.binary(max_size=300))
def test_any_bytes_after_the_magic(content: bytes) -> None:
    with pytest.raises(BadBundle):
        parse_header(b"GGUF\3\0\0\0" + content, "model.gguf")
