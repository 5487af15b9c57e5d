"""docker/ is not built here: what can be wrong without building is looked at."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from contextface_ros.nodes.parameters import AgentParameters, yaml_text

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def agent_parameters(text: str) -> dict[str, Any]:
    return dict(yaml.safe_load(text)["/**/agent"]["ros__parameters"])


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_what_an_image_copies_exists(file: Path) -> None:
    copied = [
        source
        for line in file.read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
    named = re.findall(r"requirements/([a-z]+)\.txt", file.read_text())
    for name in named:
        assert (ROOT / "requirements" / f"{name}.txt").is_file(), name


def test_the_version_that_is_compiled_is_found_by_the_images_sed() -> None:
    (command,) = {
        found for f in DOCKERFILES for found in re.findall(r"\$\((sed -n .*?)\)\"", f.read_text())
    }
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"llama-cpp-python==\d+\.\d+\.\d+\n", done.stdout)


def test_compose_names_images_that_are_built_here() -> None:
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    for service in compose["services"].values():
        assert (ROOT / service["build"]["dockerfile"]).is_file()
        assert service["network_mode"] == "host"
        assert service["ipc"] == "host"


def test_the_jetson_s_parameters_are_parameters_of_the_agent() -> None:
    ours = agent_parameters((ROOT / "config" / "jetson.yaml").read_text())
    known = agent_parameters(yaml_text("agent", AgentParameters))
    assert ours
    for name, value in ours.items():
        assert type(value) is type(known[name]), name


@pytest.mark.parametrize(
    ("python", "platform"),
    [("3.10", "aarch64-manylinux_2_31"), ("3.12", "aarch64-manylinux_2_39")],
    ids=["jetpack6", "ubuntu24.04"],
)
def test_the_requirements_resolve_on_arm_to_ready_wheels(python: str, platform: str) -> None:
    """All but llama.cpp, which is compiled, has a wheel there; uv reads markers as ARM would."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("uv is not installed: run `make setup`")
    lists = [f"requirements/{name}.txt" for name in ("core", "render", "viewer")]
    done = subprocess.run(
        [
            *[uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-config"],
            *["--no-python-downloads", "--python", sys.executable],
            *["--python-version", python, "--python-platform", platform],
            *["--only-binary", ":all:", "--no-binary", "llama-cpp-python"],
            *["--constraints", "requirements/constraints.txt", *lists],
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if "error sending request" in done.stderr:
        pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    chosen = dict(re.findall(r"^([\w.-]+)==(\S+)$", done.stdout, re.MULTILINE))
    assert {"numpy", "onnxruntime", "llama-cpp-python", "vtk"} <= set(chosen)
    assert "yuface" not in chosen  # it has no wheel there, and its marker says so
