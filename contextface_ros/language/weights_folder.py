"""A folder of weights in transformers' or peft's format, checked before it is loaded.

    config.json                          what the model is; of a LoRA: adapter_config.json
    model-00001-of-00003.safetensors     its tensors; of a LoRA: adapter_model.safetensors
    model.safetensors.index.json         which tensor is in which file, where there are several
    tokenizer.json, ...                  how it reads

Files of the kinds in SUFFIXES are all that the back end reads, and its checksum covers them all.
Pickled weights and Python code that lie beside them are never opened.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from contextface_ros.errors import BadBundle

SUFFIXES = (".jinja", ".json", ".model", ".safetensors", ".txt")

_MAX_JSON = 64 << 20
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def folder_sha256(folder: Path, sha256_of: Callable[[Path], str]) -> str:
    r"""Hex SHA-256 over names and contents of all files that could be loaded.

    It is that of what `sha256sum` prints of them in the order of their names:

        ls | grep -E '\.(jinja|json|model|safetensors|txt)$' | LC_ALL=C sort |
            xargs sha256sum | sha256sum

    Raises:
        OSError: a file cannot be read.
    """
    files = sorted((f for f in folder.iterdir() if f.suffix in SUFFIXES), key=lambda f: f.name)
    lines = (f"{sha256_of(file)}  {file.name}\n" for file in files if file.is_file())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_model_folder(folder: Path, hidden_size: int) -> None:
    """Check that a folder holds a whole model, as far as can be seen without loading it.

    Raises:
        BadBundle: a file is missing or unfit, weights are pickled or quantised already, or the
            hidden state has another width than `hidden_size`.
    """
    if (folder / "adapter_config.json").exists():
        raise BadBundle(f"{folder} holds an adapter, where the base weights are expected")
    config = _read_json(folder / "config.json")
    if "quantization_config" in config:
        raise BadBundle(
            f"the weights in {folder} are quantised already: use whole ones, and name a precision "
            "in bundle.yaml, which they are rounded to as they are loaded"
        )
    _check_weights(folder)
    text = config.get("text_config", config)
    width = text.get("hidden_size") if isinstance(text, Mapping) else None
    if width is not None and width != hidden_size:
        raise BadBundle(
            f"{folder} has a hidden state of width {width!r:.20}, "
            f"but the bundle says hidden_size: {hidden_size}"
        )


def check_adapter_folder(folder: Path) -> None:
    """Check that a folder holds a LoRA adapter of peft. Raises BadBundle."""
    kind = _read_json(folder / "adapter_config.json").get("peft_type")
    if kind != "LORA":
        raise BadBundle(f"the adapter in {folder} is a {kind!r:.40}: only LORA is known")
    if not (folder / "adapter_model.safetensors").is_file():
        raise BadBundle(
            f"{folder} has no adapter_model.safetensors: save the adapter again, as safetensors"
        )


def model_type(folder: Path) -> str:
    """What config.json calls the model, such as "llava". Raises BadBundle."""
    return str(_read_json(folder / "config.json").get("model_type"))


def _check_weights(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        return
    if not index.is_file():
        pickled = any(file.suffix in _PICKLED for file in folder.iterdir())
        hint = (
            "its weights are pickled, which can run code: load and save them once with "
            "save_pretrained, on a machine where that does no harm"
            if pickled
            else "get it again from where it came"
        )
        raise BadBundle(f"{folder} has no model.safetensors: {hint}")
    places = _read_json(index).get("weight_map")
    if not isinstance(places, Mapping) or not all(isinstance(n, str) for n in places.values()):
        raise BadBundle(f"{index} does not say where the tensors are: get it again")
    for name in sorted(set(places.values())):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise BadBundle(f"{index} names {name!r:.80}, which is no safetensors file beside it")
        if not (folder / name).is_file():
            raise BadBundle(f"{folder / name} is missing: get it again from where it came")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MAX_JSON:
            raise BadBundle(f"{file} is larger than {_MAX_JSON >> 20} MB")
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        what = getattr(error, "strerror", None) or f"it is not JSON ({error})"
        raise BadBundle(f"{file} cannot be read: {what}") from error
    if not isinstance(content, dict):
        raise BadBundle(f"{file} holds no keys and values: get it again from where it came")
    return content
