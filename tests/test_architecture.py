"""The arrows of the design: nodes -> contextface -> language/vision/face -> types."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import contextface_ros

MODULE = Path(contextface_ros.__file__).parent
SOURCES = sorted(
    path for path in MODULE.rglob("*.py") if path.relative_to(MODULE).parts[0] not in ("msg", "srv")
)

ROS = {
    "rclpy",
    "std_msgs",
    "sensor_msgs",
    "diagnostic_msgs",
    "lifecycle_msgs",
    "std_srvs",
    "launch",
}
HEAVY = {"torch", "transformers", "vtk", "pyvista", "rclpy", "llama_cpp", "onnxruntime", "cv2"}

# Part of the package: what it may import of the package.
ALLOWED = {
    "types": set(),
    "errors": set(),
    "face": {"types", "errors", "face", "checksum", "folders"},
    "avatars": {"types", "errors", "face", "avatars"},
    "language": {"types", "errors", "language", "prompts", "checksum", "folders"},
    "vision": {"types", "errors", "vision", "checksum", "folders"},
}


def imports(path: Path) -> Iterator[str]:
    """Every module that `path` imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(path: Path) -> str:
    """The folder or the file right below contextface_ros that `path` belongs to."""
    return path.relative_to(MODULE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(MODULE)))
def test_ros_stays_in_the_nodes(path: Path) -> None:
    if part(path) not in ("nodes", "bringup"):
        at_the_top = {name.partition(".")[0] for name in imports(path)}
        # doctor and the command line may look whether ROS is there, where they are asked to
        assert part(path) in ("doctor", "cli", "demo") or not at_the_top & ROS


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(MODULE)))
def test_arrows_point_one_way(path: Path) -> None:
    if part(path) in ALLOWED:
        ours = (name.split(".") for name in imports(path) if name.startswith("contextface_ros."))
        assert {name[1] for name in ours} <= ALLOWED[part(path)]


def test_torch_is_nowhere_at_run_time() -> None:
    for path in SOURCES:
        if not path.name.startswith("huggingface"):
            assert "torch" not in {name.partition(".")[0] for name in imports(path)}, path


@pytest.mark.parametrize("module", ["cli", "contextface"])
def test_importing_the_core_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, contextface_ros.{module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert not HEAVY & set(loaded)
