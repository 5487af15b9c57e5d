"""`make test` after `make demo` alone: no training stack, and no module of tests that needs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

TRAINING = ("accelerate", "anthropic", "bitsandbytes", "openai", "peft", "ray", "torch")


def test_every_module_of_tests_can_be_collected(tmp_path: Path) -> None:
    hidden = "\n".join(f"sys.modules[{name!r}] = None" for name in TRAINING)
    (tmp_path / "sitecustomize.py").write_text(f"import sys\n{hidden}\n", encoding="utf-8")
    pytest = Path(sys.executable).with_name("pytest")  # as a module it would import the checkout
    done = subprocess.run(
        [str(pytest), "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "tests/training/test_own.py::" not in done.stdout
    assert "tests/face/test_motion.py::" in done.stdout
