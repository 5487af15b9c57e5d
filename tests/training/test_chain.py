"""From a folder of images to a face, on a tiny random LLaVA: every command of docs/retrain.md.

Only what costs money or hours is another: the annotator is an endpoint of this test that speaks
Anthropic's format, the config is tiny.yaml, and evaluation leaves out the baselines.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("peft", reason="peft is not installed: run `make setup-train`")
pytest.importorskip("anthropic", reason="anthropic is not installed: run `make setup-train`")
pytest.importorskip("matplotlib", reason="matplotlib is not installed: run `make setup-train`")

from contextface_ros.types import EMOTIONS, EXPRESSION_SIZE
from tests.conftest import ROOT
from tests.tiny_instructions import UNITS
from tests.tiny_llava import make_tiny_llava
from tests.training.augment.endpoint import Endpoint, serve

PAGE = ROOT / "docs" / "retrain.md"
PICTURES = 3  # of each emotion


def commands() -> list[list[str]]:
    """The commands of the page's part about images, in order."""
    section = PAGE.read_text().split("\n## Images\n")[1].split("\n## ")[0]
    lines = re.findall(r"^    ((?:python|contextface) (?:.*\\\n)*.*)", section, re.MULTILINE)
    return [shlex.split(line.replace("\\\n", " ")) for line in lines]


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder as a user has it: the repository's training/, images by class, and their faces."""
    (tmp_path / "training").symlink_to(ROOT / "training")
    random = np.random.default_rng(0)
    for place, emotion in enumerate(EMOTIONS):
        for number in range(1, PICTURES + 1):
            picture = random.integers(0, 40, (72, 96, 3), dtype=np.uint8)
            picture[..., place % 3] += np.uint8(90 + 15 * place)
            image = tmp_path / "images" / emotion.value / f"{number:04d}.jpg"
            face = tmp_path / "faces" / emotion.value / f"{number:04d}.json"
            for file in (image, face):
                file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(image), picture)
            face.write_text(json.dumps(UNITS[emotion.value]))
    return tmp_path


def run(command: list[str], folder: Path, *more: str) -> str:
    head = {
        "python": [sys.executable],
        "contextface": [str(Path(sys.executable).parent / "contextface")],
    }[command[0]]
    done = subprocess.run(
        [*head, *command[1:], *more],
        cwd=folder,
        env=os.environ
        | {
            "CONTEXTFACE_MODELS": str(folder / "models"),
            "PYTHONPATH": str(folder),
            "ANTHROPIC_API_KEY": "test-key",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def config_for(command: list[str], config: str, folder: Path) -> list[str]:
    """The command with a small config, on a tiny base."""
    base = make_tiny_llava(folder / "base")
    place = next(k for k, part in enumerate(command) if part.startswith("training/configs/"))
    return [*command[:place], config, *command[place + 1 :], "--base", str(base)]


@pytest.mark.timeout(600)
def test_images_by_class_end_in_a_bundle_that_sees(workplace: Path) -> None:
    augment, instruct, evaluate, export, express = commands()
    with serve(Endpoint()) as endpoint:
        run(augment, workplace, "--base-url", endpoint.url, "--detector", "none")
    rows = [json.loads(line) for line in (workplace / "contexts.jsonl").read_text().splitlines()]
    assert len(rows) == PICTURES * len(EMOTIONS)
    assert {row["target"]["kind"] for row in rows} == {"action_units"}

    tiny = (ROOT / "training" / "configs" / "tiny.yaml").read_text()
    tasks = "tasks: {situation: 0.5, expression: 0.5, vqa: 0.0}"
    (workplace / "tiny.yaml").write_text(re.sub(r"^tasks: .*$", tasks, tiny, flags=re.MULTILINE))
    run(config_for(instruct, "tiny.yaml", workplace), workplace)

    run(evaluate, workplace, "--baselines")
    (report,) = (workplace / "runs" / "evaluation").rglob("*.json")
    assert "uar" in report.read_text()

    run(export, workplace, "--contexts", "4")
    card = (workplace / "models" / "seeing" / "card.md").read_text()
    assert "Q4_K_M" in card

    answer = json.loads(run(express, workplace, "--json"))
    assert answer["emotion"] in [emotion.value for emotion in EMOTIONS]
    assert len(answer["expression"]) == EXPRESSION_SIZE
    assert answer["used_image"] is True
