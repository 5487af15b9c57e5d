"""An mmproj GGUF, checked before mtmd sees it: what it takes on trust would abort the process."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from contextface_ros.errors import BadBundle
from contextface_ros.language.gguf_header import Array, GgufHeader, read_header

_KEYS = (
    "image_size",
    "patch_size",
    "embedding_length",
    "feed_forward_length",
    "block_count",
    "attention.head_count",
)
_LAYER = ("attn_q", "attn_k", "attn_v", "attn_out", "ffn_up", "ffn_down", "ln1", "ln2")
_MAX = 65_536


@dataclass(frozen=True)
class VisionTower:
    """What a file says of its CLIP.

    Attributes:
        image_size: side of the square that it sees, in pixels.
        patch_size: side of a patch, in pixels.
    """

    image_size: int
    patch_size: int

    @property
    def patches(self) -> int:
        """How many embeddings a picture has."""
        return (self.image_size // self.patch_size) ** 2


def read_mmproj(path: Path, hidden_size: int) -> VisionTower:
    """Check vision tower and projector, for a language model of width `hidden_size`.

    Raises:
        BadBundle: it is no such file, or its sizes and shapes contradict each other.
    """
    header = read_header(path)
    if header.architecture != "clip" or header.keys.get("clip.has_vision_encoder") is not True:
        raise BadBundle(f"{path.name} holds no vision tower (architecture {header.architecture!r})")
    kind = header.keys.get("clip.projector_type")
    if kind != "mlp":
        raise BadBundle(f"{path.name} has a projector of type {kind!r:.40}, only 'mlp' is known")
    image, patch, width, inner, layers, heads = (_size(path, header, name) for name in _KEYS)
    if image % patch or width % heads:
        raise BadBundle(
            f"{path.name} has patches of {patch} pixels in a picture of {image}, and {heads} heads"
            f" in a width of {width}: these do not divide"
        )
    features = header.keys.get("clip.vision.feature_layer")
    if not isinstance(features, Array) or features.count != 1:
        raise BadBundle(
            f"{path.name} does not name one layer whose features are read: export it again"
        )
    tower = VisionTower(image, patch)
    shapes = {
        "v.class_embd": (width,),
        "v.patch_embd.weight": (patch, patch, 3, width),
        "v.position_embd.weight": (width, tower.patches + 1),
        "v.pre_ln.weight": (width,),
        "v.pre_ln.bias": (width,),
    }
    for index in range(layers):
        for name in _LAYER:
            rows = inner if name == "ffn_up" else width
            columns = inner if name == "ffn_down" else width
            matrix = (rows,) if name.startswith("ln") else (columns, rows)
            shapes[f"v.blk.{index}.{name}.weight"] = matrix
            shapes[f"v.blk.{index}.{name}.bias"] = (rows,)
    between = math.prod(header.tensors["mm.0.bias"].shape) if "mm.0.bias" in header.tensors else 0
    shapes |= {
        "mm.0.weight": (width, between),
        "mm.0.bias": (between,),
        "mm.2.weight": (between, hidden_size),
        "mm.2.bias": (hidden_size,),
    }
    _check_tensors(path, header, shapes)
    return tower


def _size(path: Path, header: GgufHeader, name: str) -> int:
    value = header.keys.get(f"clip.vision.{name}")
    if type(value) is not int or not 1 <= value <= _MAX:
        raise BadBundle(f"{path.name} has no usable clip.vision.{name} (found {value!r:.40})")
    return value


def _check_tensors(path: Path, header: GgufHeader, shapes: dict[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        if name not in header.tensors:
            raise BadBundle(f"{path.name} has no {name}: export it again")
        if (found := header.tensors[name].shape) != shape:
            raise BadBundle(f"{path.name} has a {name} of shape {found}, {shape} fits the model")
    if extra := sorted(set(header.tensors) - set(shapes)):
        raise BadBundle(f"{path.name} holds {extra[0]!r}, which no known vision tower has")
