"""setup.py alone: the core and the command line, without ROS."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    source = tmp_path_factory.mktemp("source")
    for name in ("contextface_ros", "models", "config", "launch", "requirements"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (
        "setup.py",
        "pyproject.toml",
        "MANIFEST.in",
        "package.xml",
        "LICENSE",
        "README.md",
    ):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [
            *[sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"],
            *["--wheel-dir", source / "dist", source],
        ],
        check=True,
    )
    (path,) = (source / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_every_file_of_the_module_is_inside(wheel: zipfile.ZipFile) -> None:
    source = ROOT / "contextface_ros"
    expected = {
        f"contextface_ros/{path.relative_to(source)}"
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected <= set(wheel.namelist())


def test_models_and_configuration_go_to_share(wheel: zipfile.ZipFile) -> None:
    share = {n.partition(".data/data/share/")[2] for n in wheel.namelist()}
    for folder in ("models", "config", "launch"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"contextface_ros/{path.relative_to(ROOT)}" in share


def test_the_default_is_light(metadata: Message) -> None:
    default = [r for r in metadata.get_all("Requires-Dist", []) if "extra ==" not in r]
    assert any(r.startswith("onnxruntime") for r in default)
    for heavy in ("torch", "vtk", "transformers", "ros-"):
        assert not any(r.startswith(heavy) for r in default)


def test_extras(metadata: Message) -> None:
    extras = set(metadata.get_all("Provides-Extra", []))
    assert {
        "ros",
        "render",
        "viewer",
        "vmc",
        "record",
        "audio",
        "gpu",
        "train",
        "flame",
        "dev",
        "huggingface",
    } <= extras
    wanting_torch = {r for r in metadata.get_all("Requires-Dist", []) if r.startswith("torch")}
    assert wanting_torch == {f'torch==2.13.0; extra == "{e}"' for e in ("huggingface", "train")}


def test_the_command_is_declared(wheel: zipfile.ZipFile) -> None:
    (name,) = (n for n in wheel.namelist() if n.endswith("entry_points.txt"))
    assert "contextface = contextface_ros.cli:main" in wheel.read(name).decode()
