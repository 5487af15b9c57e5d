"""A folder of labelled images, and an endpoint to ask."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from contextface_ros.vision.image import decode_compressed
from contextface_ros.vision.sources import DEMO_FOLDER
from tests.training.augment.endpoint import Endpoint, serve
from training.augment.journal import RESERVE_BYTES


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)
    with serve(Endpoint()) as served:
        yield served


@pytest.fixture
def make_images(tmp_path: Path) -> Callable[..., Path]:
    """Small photographs in class folders: make_images(Happy=3, Anger=2)."""

    def make(**counts: int) -> Path:
        folder = tmp_path / "images"
        photograph = decode_compressed((DEMO_FOLDER / "2_comes_closer.jpg").read_bytes())
        number = 0
        for name, count in counts.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                number += 1
                shade = np.clip(photograph.astype(int) - number, 0, 255).astype(np.uint8)
                bgr = cv2.cvtColor(shade, cv2.COLOR_RGB2BGR)
                cv2.imwrite(str(folder / name / f"{index:04d}.jpg"), bgr)
        return folder

    return make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system with room for a journal's reserve and a little more."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = f"size={RESERVE_BYTES + (1 << 14)}"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted here: that needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def give_room(disk: Path) -> None:
    """What a user does who frees some space."""
    subprocess.run(["mount", "-o", "remount,size=32m", str(disk)], check=True)
