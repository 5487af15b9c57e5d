from __future__ import annotations

import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from contextface_ros.demo import FRAMES, SCENE, contact_sheet
from contextface_ros.interpreter import python_command
from contextface_ros.vision.detectors import open_detector
from contextface_ros.vision.image import decode_compressed
from tests.tiny_bundle import make_tiny_bundle


def test_a_contact_sheet_holds_every_face() -> None:
    faces = [np.full((40, 30, 3), 10 * i, np.uint8) for i in range(1, 8)]
    sheet = contact_sheet([(face, ("Happy", "a b " * 30)) for face in faces])
    assert sheet.shape == (2 * (40 + 96), 5 * 30, 3)
    for i, face in enumerate(faces):
        y, x = i // 5 * 136, i % 5 * 30
        assert (sheet[y : y + 40, x : x + 30] == face).all()
    assert (sheet[-1, -1] == 255).all()


def test_the_frames_show_a_person() -> None:
    frames = sorted(FRAMES.glob("*.jpg"))
    assert len(frames) >= 5
    detector = open_detector()
    for frame in frames:
        assert len(detector.detect(decode_compressed(frame.read_bytes()))) == 1


def play(models: Path, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        python_command("contextface_ros", "demo", *arguments),
        cwd=tmp_path,
        env={**os.environ, "CONTEXTFACE_MODELS": str(models)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_the_scene_is_played_over_real_ros(tmp_path: Path) -> None:
    make_tiny_bundle(tmp_path / "models" / "nano")
    done = play(tmp_path / "models", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in SCENE:
        assert line.text in done.stdout
    assert done.stdout.count(" ms") == len(SCENE)
    sheet = cv2.imread(str(tmp_path / "contextface-demo.png"))
    assert sheet.shape == (2 * (320 + 96), 5 * 280, 3)
    alive = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert str(FRAMES) not in alive.stdout  # the agent and the camera have ended


def test_an_agent_that_does_not_start_is_said_at_once(tmp_path: Path) -> None:
    done = play(tmp_path / "models", tmp_path, "--model", "giant")
    assert done.returncode == 2
    assert "no bundle 'giant'" in done.stderr
    assert not (tmp_path / "contextface-demo.png").exists()


@pytest.mark.parametrize("topic", ["speech", "situation"])
def test_the_scene_uses_both_topics(topic: str) -> None:
    assert sum(line.topic == topic for line in SCENE) >= 3
