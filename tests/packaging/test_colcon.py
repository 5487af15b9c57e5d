"""The route on a ROS 2 install, as docs/install.md has it, with the wheels' prefix in its place.

A virtual environment on the system's interpreter, activated; the ROS install in the environment
variables that its setup.bash sets; `python -m colcon build`; then the tree that is sourced.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE_PACKAGES = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Workspace:
    """A colcon workspace after its build, and a shell in it."""

    python: Path
    installed: Path
    environment: dict[str, str]

    def shell(self, command: str) -> str:
        """Standard output of `command` in a shell that sourced the workspace."""
        setup = self.installed.parent / "setup.sh"
        return subprocess.run(
            ["/bin/sh", "-c", f". {setup} && {command}"],
            env=self.environment | {"COLCON_CURRENT_PREFIX": str(setup.parent)},
            cwd=self.installed.parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    pytest.importorskip("colcon_core", reason="colcon is not installed: make setup")
    pytest.importorskip("colcon_ros", reason="colcon-ros is not installed: make setup")
    folder = tmp_path_factory.mktemp("workspace")
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    environment = {
        "PATH": os.pathsep.join([f"{venv}/bin", f"{sys.prefix}/bin", "/usr/bin", "/bin"]),
        "VIRTUAL_ENV": str(venv),
        "AMENT_PREFIX_PATH": sys.prefix,
        "CMAKE_PREFIX_PATH": sys.prefix,
        "LD_LIBRARY_PATH": f"{sys.prefix}/lib",
        "PYTHONPATH": sysconfig.get_path("platlib"),
        "HOME": str(folder),
    }
    build = subprocess.run(
        [
            *["python", "-m", "colcon", "build", "--base-paths", ROOT],
            *["--packages-select", "contextface_ros"],
        ],
        env=environment,
        executable=venv / "bin" / "python",
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert build.returncode == 0, build.stdout + build.stderr
    yield Workspace(venv / "bin" / "python", folder / "install" / "contextface_ros", environment)
    shutil.rmtree(folder)


def test_modules_and_messages_are_one_package(workspace: Workspace) -> None:
    names = workspace.shell(
        "python -c 'import contextface_ros.msg, contextface_ros.types as t;"
        " print(contextface_ros.__file__, contextface_ros.msg.__file__, t.__file__, sep=chr(10))'"
    ).splitlines()
    module = workspace.installed / SITE_PACKAGES / "contextface_ros"
    assert [Path(name) for name in names] == [
        module / "__init__.py",
        module / "msg" / "__init__.py",
        module / "types.py",
    ]


def test_every_module_of_the_checkout_is_installed(workspace: Workspace) -> None:
    source = ROOT / "contextface_ros"
    module = workspace.installed / SITE_PACKAGES / "contextface_ros"
    for path in source.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert (module / path.relative_to(source)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["agent", "camera"])
def test_nodes_run_under_the_interpreter_of_the_build(workspace: Workspace, name: str) -> None:
    script = workspace.installed / "lib" / "contextface_ros" / name
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[0] in (f"#!{workspace.python}", f"#!{workspace.python}3")


def test_share_holds_launch_config_and_models(workspace: Workspace) -> None:
    for folder in ("launch", "config", "models"):
        installed = workspace.installed / "share" / "contextface_ros" / folder
        expected = {p.relative_to(ROOT / folder) for p in (ROOT / folder).rglob("*")}
        found = {p.relative_to(installed) for p in installed.rglob("*")}
        assert found == {p for p in expected if "__pycache__" not in p.parts}
        assert found, f"{folder}/ is empty"


def test_ros_finds_the_package(workspace: Workspace) -> None:
    share = workspace.shell(
        "python -c 'import ament_index_python as a;"
        ' print(a.get_package_share_directory("contextface_ros"))\''
    )
    assert Path(share.strip()) == workspace.installed / "share" / "contextface_ros"


def test_the_command_line_is_on_the_path(workspace: Workspace) -> None:
    assert workspace.shell("command -v contextface").strip() == str(
        workspace.installed / "bin" / "contextface"
    )
    assert "nano" in workspace.shell("contextface models list")


def test_a_removed_module_does_not_live_on(workspace: Workspace) -> None:
    stale = workspace.installed / SITE_PACKAGES / "contextface_ros" / "renamed_long_ago.py"
    stale.touch()
    build = workspace.installed.parents[1] / "build" / "contextface_ros"
    subprocess.run(
        ["cmake", "--install", build], env=workspace.environment, check=True, capture_output=True
    )
    assert not stale.exists()
    assert (stale.parent / "msg" / "_emotion.py").exists()
