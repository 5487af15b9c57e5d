"""A terminal's Ctrl-C reaches a node twice: from the terminal, and from who launched it."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from contextface_ros.vision.sources import DEMO_FOLDER
from tests.nodes.robot import running


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_that_is_told_to_end_again_and_again_ends_cleanly(
    number: signal.Signals, ros_domain_id: int, prefix: Path, tmp_path: Path
) -> None:
    executable = prefix / "lib" / "contextface_ros" / "camera"
    command = [sys.executable, str(executable), "--ros-args", "-p", f"source:={DEMO_FOLDER}"]
    with running(command, tmp_path / "log") as process:
        process.wait_for("is published on")
        end = time.monotonic() + 10.0
        while process.popen.poll() is None:
            assert time.monotonic() < end, "it does not end"
            process.popen.send_signal(number)
            time.sleep(0.001)
        assert process.popen.returncode == 0, process.log
