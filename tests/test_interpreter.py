from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from contextface_ros.interpreter import python_command


def test_the_present_folder_lends_no_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoy = tmp_path / "cwd" / "contextface_ros"
    decoy.mkdir(parents=True)
    (decoy / "__init__.py").write_text("raise SystemExit('the wrong package')")
    (tmp_path / "prints.py").write_text(
        "import sys, contextface_ros.types\nprint(__name__, sys.argv[1:])"
    )
    monkeypatch.syspath_prepend(tmp_path)
    done = subprocess.run(
        python_command("prints", "a b", "'c'"),
        cwd=tmp_path / "cwd",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "__main__ ['a b', \"'c'\"]\n"
