"""A model bundle: one folder that holds, or points to, all that one ContextFace needs.

    models/nano/
      bundle.yaml       what is where, with checksums: the Bundle below, field by field
      adapter.gguf      LoRA for the language model's base weights
      face_head.onnx    hidden state -> expression coefficients
      card.md           data, licences, limits

Adding a model is adding such a folder. Nothing in it runs code.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from contextface_ros import checksum, folders, manifest
from contextface_ros.base_weights import BaseWeights, inside, require_sha256
from contextface_ros.errors import BadBundle
from contextface_ros.face.onnx_check import check_head
from contextface_ros.language.gguf_header import read_adapter, read_model
from contextface_ros.language.mmproj_header import read_mmproj
from contextface_ros.language.weights_folder import (
    check_adapter_folder,
    check_model_folder,
    folder_sha256,
)
from contextface_ros.manifest import is_number, require, require_choice, require_text, show

BACKENDS = ("llama_cpp", "huggingface")
PROMPTS = ("edge", "paper")
PRECISIONS = ("float32", "bfloat16", "float16", "nf4", "int8")
QUANTISED = ("nf4", "int8")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class BundleFile:
    """A file of the bundle's own folder.

    Attributes:
        file: its name relative to the folder; `..` and absolute names are refused.
        sha256: hex checksum. Filled in by `save_bundle`.
    """

    file: str
    sha256: str = ""

    def __post_init__(self) -> None:
        manifest.require_file_name(self.file, "file")
        require_sha256(self.sha256)


@dataclass(frozen=True)
class Adapter(BundleFile):
    """A LoRA adapter: a GGUF file, or for huggingface a folder in peft's format.

    Attributes:
        scale: factor on the adapter's effect; 1 is as trained.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            is_number(self.scale) and 0 < self.scale <= 10,
            f"adapter.scale is {show(self.scale)}, it must be a number above 0 and at most 10",
        )


@dataclass(frozen=True)
class Bundle:
    """What bundle.yaml says, and the folder that it was read from.

    Attributes:
        name: such as "nano".
        version: of the bundle, such as "0.1.0".
        backend: runtime of the language model: llama_cpp or huggingface.
        prompt: version of the prompt that it was trained with: edge or paper.
        basis: expression basis of its faces, such as "open-1".
        hidden_size: width D of the language model's hidden state.
        face_token: text of the tokenizer's reserved token that plays <FACE>.
        base: the language model's weights.
        face_head: ONNX file, (N, D) -> (N, 100).
        adapter: LoRA on the base weights, if any.
        mmproj: vision tower and projector as GGUF, if the model sees. For huggingface both are in
            the base.
        precision: what huggingface computes in: one of PRECISIONS, bfloat16 if absent.
        licences: of each part, by name.
        trained_on: the training data in one paragraph.
        metrics: measured through this very bundle, by name.
        folder: where the files are. Not part of bundle.yaml.
    """

    name: str
    version: str
    backend: str
    prompt: str
    basis: str
    hidden_size: int
    face_token: str
    base: BaseWeights
    face_head: BundleFile
    adapter: Adapter | None = None
    mmproj: BundleFile | None = None
    precision: str | None = None
    licences: Mapping[str, str] = field(default_factory=dict)
    trained_on: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    folder: Path = field(default=Path(), compare=False, metadata={"derived": True})

    def __post_init__(self) -> None:
        for name in ("name", "version", "basis", "face_token"):
            require_text(getattr(self, name), name)
        require(
            _NAME.fullmatch(self.name) is not None,
            f"name is {show(self.name)}, it may have letters, digits, '.', '_' and '-' only",
        )
        require_choice(self.backend, "backend", BACKENDS)
        require_choice(self.prompt, "prompt", PROMPTS)
        if self.precision is not None:
            require_choice(self.precision, "precision", PRECISIONS)
        require(
            type(self.hidden_size) is int and 1 <= self.hidden_size <= 65_536,
            f"hidden_size is {show(self.hidden_size)}, it must be a number from 1 to 65536",
        )
        require(isinstance(self.trained_on, str), "trained_on must be text")
        require(
            isinstance(self.licences, Mapping)
            and all(isinstance(text, str) for pair in self.licences.items() for text in pair),
            "licences must be a mapping from text to text",
        )
        require(
            isinstance(self.metrics, Mapping)
            and all(isinstance(k, str) and is_number(v) for k, v in self.metrics.items()),
            "metrics must be a mapping from names to numbers",
        )

    @property
    def base_path(self) -> Path:
        """The base weights on this machine. Raises MissingDependency or BadBundle."""
        return self.base.find(self.folder)

    @property
    def face_head_path(self) -> Path:
        """The face head's ONNX file. Raises BadBundle."""
        return inside(self.folder, self.face_head.file)

    @property
    def adapter_path(self) -> Path | None:
        """The adapter's GGUF file or folder, if there is one. Raises BadBundle."""
        return inside(self.folder, self.adapter.file, folder_too=True) if self.adapter else None

    @property
    def mmproj_path(self) -> Path | None:
        """The vision projector's GGUF file, if there is one. Raises BadBundle."""
        return inside(self.folder, self.mmproj.file) if self.mmproj else None

    def parts(self) -> list[tuple[str, BundleFile | BaseWeights, Path]]:
        """Each part that the bundle has: its field, its entry and its file.

        Raises:
            BadBundle: a file is missing.
            MissingDependency: the package with the base weights is not installed.
        """
        paths = {
            "base": self.base_path,
            "adapter": self.adapter_path,
            "mmproj": self.mmproj_path,
            "face_head": self.face_head_path,
        }
        return [(name, getattr(self, name), path) for name, path in paths.items() if path]

    def verify(self) -> None:
        """Recompute every checksum and check every file, the base weights too.

        Raises:
            BadBundle: the first file that is missing, changed or unfit.
            MissingDependency: the package with the base weights is not installed.
        """
        _check(self, checksum.sha256)


def model_folders() -> list[Path]:
    """Folders that are searched for a bundle's name, there or not; the user's own first."""
    listed = os.environ.get("CONTEXTFACE_MODELS", "").split(os.pathsep)
    candidates = [folders.expand(entry) for entry in listed if entry]
    candidates.append(folders.user_data() / "models")
    if (share := folders.share()) is not None:
        candidates.append(share / "models")
    return candidates


def list_bundles() -> list[Path]:
    """Folders of all bundles that can be named, sound or not; of equal names the first found."""
    found: dict[str, Path] = {}
    for folder in model_folders():
        for file in folder.glob("*/bundle.yaml"):
            found.setdefault(file.parent.name, file.parent)
    return [found[name] for name in sorted(found)]


def find_bundle(name_or_path: str | Path) -> Path:
    """The folder of a bundle.

    Args:
        name_or_path: the name of a folder in `model_folders()`, or a path: a folder or its
            bundle.yaml.

    Raises:
        BadBundle: there is none; names those that there are.
    """
    text = os.fspath(name_or_path)
    if _NAME.fullmatch(text):
        for folder in model_folders():
            if (folder / text / "bundle.yaml").is_file():
                return folder / text
    path = folders.expand(text)
    path = path.parent if path.name == "bundle.yaml" else path
    if (path / "bundle.yaml").is_file():
        return path
    known = ", ".join(folder.name for folder in list_bundles()) or "none"
    raise BadBundle(
        f"there is no bundle {show(text)}: give a folder with a bundle.yaml or one of: {known}"
    )


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle.yaml, without looking at the files that it names.

    Raises:
        BadBundle: unreadable, too large, or a key or value that is unknown or unfit.
    """
    path = folder / "bundle.yaml"
    try:
        with path.open("rb") as file:
            data = file.read(manifest.MAX_BYTES + 1)
        return dataclasses.replace(manifest.parse(Bundle, data), folder=folder)
    except OSError as error:
        raise BadBundle(f"{path} cannot be read: {error.strerror}") from error
    except BadBundle as error:
        raise BadBundle(f"{path} is refused: {error}") from error


def load_bundle(name_or_path: str | Path) -> Bundle:
    """Find and read a bundle, and check all its files (checksums may come from the cache).

    Raises:
        BadBundle: not found, or a file that is missing, changed or unfit; says which and how.
        MissingDependency: the package with the base weights is not installed.
    """
    bundle = read_bundle(find_bundle(name_or_path))
    _check(bundle, checksum.remembered_sha256)
    return bundle


def save_bundle(bundle: Bundle, folder: Path) -> Bundle:
    """Check a bundle's files, and write bundle.yaml with their checksums beside them.

    Args:
        bundle: its checksums are ignored and computed anew.
        folder: holds the files that the bundle names.

    Returns:
        The bundle as read back from `folder`.

    Raises:
        BadBundle: a file is missing or unfit; then nothing is written.
    """
    bundle = dataclasses.replace(bundle, folder=folder)
    signed: dict[str, Any] = {
        name: dataclasses.replace(entry, sha256=_hash(path, checksum.sha256))
        for name, entry, path in bundle.parts()
        if not _is_snapshot(entry)  # which its revision fixes
    }
    bundle = dataclasses.replace(bundle, **signed)
    _check(bundle, checksum.remembered_sha256)
    target = folder / "bundle.yaml"
    temporary = target.with_suffix(".new")
    temporary.write_text(manifest.dump(bundle), encoding="utf-8")
    temporary.replace(target)
    return read_bundle(folder)


_Sha256: TypeAlias = Callable[[Path], str]


def _check(bundle: Bundle, sha256_of: _Sha256) -> None:
    for name, entry, path in bundle.parts():
        _check_sum(f"{name} of bundle {bundle.name}", entry, path, sha256_of)
    if bundle.backend == "llama_cpp":
        _check_llama_cpp(bundle)
    else:
        _check_huggingface(bundle)
    head = check_head(bundle.face_head_path.read_bytes(), bundle.face_head.file)
    require(
        head.hidden_size == bundle.hidden_size,
        f"the face head of bundle {bundle.name} takes a hidden state of width {head.hidden_size}, "
        f"but its hidden_size is {bundle.hidden_size}",
    )


def _check_sum(what: str, entry: BundleFile | BaseWeights, path: Path, sha256_of: _Sha256) -> None:
    if not entry.sha256:
        fixed = isinstance(entry, BaseWeights) and entry.hub is not None
        require(fixed, f"{what} has no sha256 in bundle.yaml")
    elif (found := _hash(path, sha256_of)) != entry.sha256:
        raise BadBundle(
            f"{what} ({path}) has the checksum {found[:12]}... instead of {entry.sha256[:12]}...: "
            "it was changed or damaged, get it again"
        )


def _check_llama_cpp(bundle: Bundle) -> None:
    require(
        bundle.precision is None,
        f"bundle {bundle.name} has a precision, which is for huggingface: a GGUF has its own",
    )
    _check_gguf(bundle)
    if bundle.mmproj_path is not None:
        read_mmproj(bundle.mmproj_path, bundle.hidden_size)


def _check_huggingface(bundle: Bundle) -> None:
    require(
        bundle.mmproj is None,
        f"bundle {bundle.name} has mmproj, which is for llama_cpp: for huggingface the vision "
        "tower is in the base",
    )
    if bundle.base_path.is_file():
        require(
            bundle.precision not in QUANTISED,
            f"bundle {bundle.name} has precision {bundle.precision}, which needs a base in a "
            "folder: a GGUF runs in float32, bfloat16 or float16",
        )
        _check_gguf(bundle)
        return
    check_model_folder(bundle.base_path, bundle.hidden_size)
    if bundle.adapter_path is not None:
        require(
            bundle.adapter_path.is_dir(),
            f"the adapter of bundle {bundle.name} is a file, and its base a folder: save the "
            "adapter in a folder, as peft does",
        )
        check_adapter_folder(bundle.adapter_path)


def _check_gguf(bundle: Bundle) -> None:
    base = read_model(bundle.base_path, bundle.hidden_size)
    if bundle.adapter_path is None:
        return
    if bundle.backend == "huggingface" and bundle.adapter_path.is_dir():
        check_adapter_folder(bundle.adapter_path)
        return
    read_adapter(bundle.adapter_path, base)


def _is_snapshot(entry: BundleFile | BaseWeights) -> bool:
    return isinstance(entry, BaseWeights) and entry.hub is not None and entry.file is None


def _hash(path: Path, sha256_of: _Sha256) -> str:
    try:
        return folder_sha256(path, sha256_of) if path.is_dir() else sha256_of(path)
    except OSError as error:
        raise BadBundle(f"{path} cannot be read: {error.strerror}") from error
