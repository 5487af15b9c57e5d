"""A GGUF file's header, read and checked before native code sees it.

llama.cpp answers a malformed file with abort() at best and memory corruption at worst
(CVE-2025-49847, CVE-2025-52566, CVE-2025-53630), so everything that it will trust is checked
here first: counts, lengths, types, alignment, and that every tensor lies within the file.

The format is described in ggml's docs/gguf.md. All integers are little-endian:

    magic "GGUF" | version u32 | n_tensors u64 | n_keys u64
    n_keys    x (key string | type u32 | value)
    n_tensors x (name string | n_dims u32 | dims u64... | type u32 | offset u64)
    padding to the alignment | tensor data
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from contextface_ros.errors import BadBundle

KNOWN_ARCHITECTURES = frozenset({"llama", "clip"})
"""What our bundles use. Each further one is native code that an untrusted file could reach."""

_MAX_KEYS = 4096
_MAX_TENSORS = 65_536
_MAX_DIMS = 4
_MAX_NAME = 63  # GGML_MAX_NAME, less its NUL
_MAX_KEY = 65_535
_MAX_STRING = 1 << 20  # the longest in use are chat templates of some kB
_MAX_ALIGNMENT = 4096
_DEFAULT_ALIGNMENT = 32
_STRING, _ARRAY = 8, 9

# GGUF value type -> struct format. 8 is a string, 9 an array.
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q",
            11: "<q", 12: "<d"}  # fmt: skip

# Tensor type -> (name, elements in a block, bytes in a block), from ggml.h.
_TENSOR_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2),
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """Where one tensor lies. `shape` is in GGUF's order, the contiguous dimension first."""

    shape: tuple[int, ...]
    type: str
    offset: int
    size: int


@dataclass(frozen=True)
class Array:
    """An array among the keys: its values are walked and measured, but not kept."""

    type: int
    count: int


@dataclass(frozen=True)
class GgufHeader:
    """What a checked file says of itself.

    Attributes:
        version: 2 or 3.
        keys: metadata; an array is kept as its type and count only.
        tensors: by name.
        data_offset: where tensor data begins, in bytes.
    """

    version: int
    keys: dict[str, object] = field(repr=False)
    tensors: dict[str, Tensor] = field(repr=False)
    data_offset: int

    @property
    def architecture(self) -> str:
        """For example "llama"."""
        return str(self.keys["general.architecture"])

    @property
    def is_adapter(self) -> bool:
        """Whether this is a LoRA adapter instead of a model."""
        return self.keys.get("general.type") == "adapter"

    @property
    def hidden_size(self) -> int | None:
        """Width of the model's hidden state; None where the file does not say (an adapter)."""
        width = self.keys.get(f"{self.architecture}.embedding_length")
        return width if isinstance(width, int) else None


def read_header(path: Path) -> GgufHeader:
    """Read and check the header of a GGUF file.

    Raises:
        BadBundle: the file is not a GGUF that llama.cpp can be trusted with; says what is wrong.
    """
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return parse_header(data, path.name)
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise BadBundle(f"{path} cannot be read as a GGUF file: {error}") from error


def read_model(path: Path, hidden_size: int) -> GgufHeader:
    """Check a language model's GGUF, and that its hidden state has the width `hidden_size`.

    Raises:
        BadBundle: as `read_header`, or an adapter, another width, or a vocabulary at odds
            with its own embeddings.
    """
    header = read_header(path)
    if header.is_adapter:
        raise BadBundle(f"{path.name} is an adapter, where the base weights are expected")
    if header.hidden_size != hidden_size:
        raise BadBundle(
            f"{path.name} has a hidden state of width {header.hidden_size}, "
            f"but the bundle says hidden_size: {hidden_size}"
        )
    embeddings = header.tensors.get("token_embd.weight")
    tokens = header.keys.get("tokenizer.ggml.tokens")
    if embeddings is None or not isinstance(tokens, Array):
        raise BadBundle(f"{path.name} has no vocabulary or no token embeddings")
    if embeddings.shape != (hidden_size, tokens.count):
        raise BadBundle(
            f"{path.name} has {tokens.count} tokens, but token_embd.weight is {embeddings.shape}"
        )
    for name in ("token_type", "scores"):
        array = header.keys.get(f"tokenizer.ggml.{name}")
        if isinstance(array, Array) and array.count != tokens.count:
            raise BadBundle(f"{path.name} has {tokens.count} tokens but {array.count} of {name}")
    return header


def read_adapter(path: Path, base: GgufHeader) -> GgufHeader:
    """Check a LoRA adapter's GGUF against the model that it will be applied to.

    Raises:
        BadBundle: as `read_header`, or not a LoRA, made for another architecture, a tensor that
            the base lacks, or a pair of matrices whose shapes do not fit the base's.
    """
    header = read_header(path)
    if not header.is_adapter or header.keys.get("adapter.type") != "lora":
        raise BadBundle(f"{path.name} is not a LoRA adapter (general.type or adapter.type differ)")
    if header.architecture != base.architecture:
        raise BadBundle(
            f"{path.name} was made for architecture {header.architecture!r}, "
            f"but the base is {base.architecture!r}"
        )
    alpha = header.keys.get("adapter.lora.alpha")
    if not isinstance(alpha, float) or not (math.isfinite(alpha) and alpha > 0):
        raise BadBundle(f"{path.name} has no usable adapter.lora.alpha (found {alpha!r})")
    names = {name.rpartition(".lora_")[0] for name in header.tensors}
    if not names or len(header.tensors) != 2 * len(names):
        raise BadBundle(f"{path.name} does not hold pairs of .lora_a and .lora_b tensors")
    for name in names:
        _check_pair(path.name, name, header, base)
    return header


def _check_pair(file: str, name: str, header: GgufHeader, base: GgufHeader) -> None:
    a, b = (header.tensors.get(f"{name}.lora_{side}") for side in "ab")
    target = base.tensors.get(name)
    if a is None or b is None:
        raise BadBundle(f"{file} has one half of the pair {name}.lora_a and .lora_b only")
    if target is None:
        raise BadBundle(f"{file} adapts {name!r}, which the base weights do not have")
    if not len(a.shape) == len(b.shape) == len(target.shape) == 2:
        raise BadBundle(f"{file} has a {name!r} that is not a matrix")
    if name == "token_embd.weight":  # llama.cpp looks rows up here, so it holds A and B flipped
        fits = (b.shape[1], a.shape[1]) == target.shape and a.shape[0] == b.shape[0]
    else:
        fits = (a.shape[0], b.shape[1]) == target.shape and a.shape[1] == b.shape[0]
    if not fits:
        raise BadBundle(
            f"{file}: {name} has lora_a {a.shape} and lora_b {b.shape}, "
            f"which do not fit the base's {target.shape}"
        )


def parse_header(data: mmap.mmap | bytes, name: str) -> GgufHeader:
    """Check the bytes of a whole GGUF file; `name` is what messages call it.

    Raises:
        BadBundle: see `read_header`.
    """
    reader = _Reader(data, name)
    version, n_tensors, n_keys = _read_preamble(reader)
    keys: dict[str, object] = {}
    for _ in range(n_keys):
        key = reader.string(_MAX_KEY, "a key")
        if key in keys:
            reader.refuse(f"has the key {key!r} twice")
        keys[key] = reader.value(key)
    architecture = keys.get("general.architecture")
    if architecture not in KNOWN_ARCHITECTURES:
        known = ", ".join(sorted(KNOWN_ARCHITECTURES))
        reader.refuse(f"has the architecture {architecture!r}, known are: {known}")
    alignment = keys.get("general.alignment", _DEFAULT_ALIGNMENT)
    if (
        not isinstance(alignment, int)
        or not 8 <= alignment <= _MAX_ALIGNMENT
        or alignment & (alignment - 1)
    ):
        reader.refuse(f"has the alignment {alignment!r}, which is no power of two in 8..4096")
    tensors = _read_tensors(reader, n_tensors, alignment)
    data_offset = _padded(reader.position, alignment)
    for tensor_name, tensor in tensors.items():
        if data_offset + tensor.offset + tensor.size > len(data):
            reader.refuse(f"ends within the tensor {tensor_name!r}: the file is truncated")
    return GgufHeader(version, keys, tensors, data_offset)


def _read_preamble(reader: _Reader) -> tuple[int, int, int]:
    if reader.take(4) != b"GGUF":
        reader.refuse("does not begin with GGUF")
    version = reader.u32()
    if version not in (2, 3):
        hint = " (big-endian?)" if version and version & 0xFFFF == 0 else ""
        reader.refuse(f"has version {version}{hint}, known are 2 and 3")
    n_tensors, n_keys = reader.u64(), reader.u64()
    if n_tensors > _MAX_TENSORS or n_keys > _MAX_KEYS:
        reader.refuse(f"claims {n_tensors} tensors and {n_keys} keys, more than any real model")
    return version, n_tensors, n_keys


def _read_tensors(reader: _Reader, count: int, alignment: int) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    expected_offset = 0
    for _ in range(count):
        name = reader.string(_MAX_NAME, "a tensor's name")
        if name in tensors:
            reader.refuse(f"has the tensor {name!r} twice")
        n_dims = reader.u32()
        if not 1 <= n_dims <= _MAX_DIMS:
            reader.refuse(f"has the tensor {name!r} with {n_dims} dimensions")
        shape = tuple(reader.u64() for _ in range(n_dims))
        type_id, offset = reader.u32(), reader.u64()
        if type_id not in _TENSOR_TYPES:
            reader.refuse(f"has the tensor {name!r} of unknown type {type_id}")
        type_name, block, block_size = _TENSOR_TYPES[type_id]
        elements = math.prod(shape)  # Python integers do not overflow; llama.cpp's would
        if not 0 < elements < 1 << 62 or shape[0] % block:
            reader.refuse(f"has the tensor {name!r} of impossible shape {shape} for {type_name}")
        # llama.cpp wants tensors back to back, which also rules out that two overlap.
        if offset != expected_offset:
            reader.refuse(f"has the tensor {name!r} at {offset} instead of {expected_offset}")
        size = elements // block * block_size
        tensors[name] = Tensor(shape, type_name, offset, size)
        expected_offset = _padded(offset + size, alignment)
    return tensors


def _padded(size: int, alignment: int) -> int:
    return (size + alignment - 1) // alignment * alignment


class _Reader:
    """A cursor over the file's bytes that never reads past their end."""

    def __init__(self, data: mmap.mmap | bytes, name: str) -> None:
        self.data = data
        self.name = name
        self.position = 0

    def refuse(self, what: str) -> NoReturn:
        raise BadBundle(f"{self.name} {what}; get the file again from where it came")

    def take(self, size: int) -> bytes:
        start = self.position
        self.skip(size)
        return self.data[start : self.position]

    def skip(self, size: int) -> None:
        if self.position + size > len(self.data):
            self.refuse(f"ends within its header, at byte {len(self.data)}")
        self.position += size

    def scalar(self, form: str) -> object:
        value: object = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return value

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "little")

    def string(self, longest: int, what: str) -> str:
        size = self.u64()
        if size > longest:
            self.refuse(f"claims {size} bytes for {what}, more than {longest}")
        try:
            return self.take(size).decode("utf-8")
        except UnicodeDecodeError:
            self.refuse(f"holds {what} that is not UTF-8")

    def value(self, key: str) -> object:
        kind = self.u32()
        if kind == _STRING:
            return self.string(_MAX_STRING, f"the text of {key!r}")
        if kind in _SCALARS:
            return self.scalar(_SCALARS[kind])
        if kind != _ARRAY:
            self.refuse(f"has {key!r} of unknown type {kind}")
        kind, count = self.u32(), self.u64()
        if kind == _STRING:
            self._skip_strings(key, count)
        elif kind in _SCALARS:
            self.skip(count * struct.calcsize(_SCALARS[kind]))
        else:  # llama.cpp does not read arrays of arrays
            self.refuse(f"has {key!r}, an array of unknown type {kind}")
        return Array(kind, count)

    def _skip_strings(self, key: str, count: int) -> None:
        # A vocabulary has 100,000 entries and more: this loop is written for speed. Each turn
        # consumes 8 bytes or more of the file, so a forged count cannot make it long.
        data, position, end = self.data, self.position, len(self.data)
        unpack = struct.Struct("<Q").unpack_from
        for _ in range(count):
            if position + 8 > end:
                self.refuse(f"ends within {key!r}")
            size = unpack(data, position)[0]
            if size > _MAX_STRING:
                self.refuse(f"claims {size} bytes for an entry of {key!r}")
            position += 8 + size
        if position > end:
            self.refuse(f"ends within {key!r}")
        self.position = position
