"""docs/retrain.md, followed: a user's JSONL on top of nano ends in a bundle that is loaded by name.

The commands are read out of the page. Only the config is made smaller: a few steps on a few rows.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml

pytest.importorskip("peft", reason="the training stack is not installed: run `make setup-train`")

from contextface_ros.types import EMOTIONS
from training.config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "retrain.md"


def commands(heading: str) -> list[list[str]]:
    """The indented commands of one section of the page."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^    ((?:python|contextface) (?:.*\\\n)*.*)", section, re.MULTILINE)
    return [shlex.split(line.replace("\\\n", " ")) for line in lines]


def run(command: list[str], folder: Path) -> str:
    """Run a command of the page, with the checkout's training/ and the installed program."""
    settings = [f"CONTEXTFACE_MODELS={folder / 'models'}", f"PYTHONPATH={folder}"]
    program = Path(sys.executable).parent
    head = {"python": [sys.executable], "contextface": [str(program / "contextface")]}[command[0]]
    done = subprocess.run(
        ["env", *settings, *head, *command[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder as the page has it: the repository's training/ and models/, and the user's file."""
    (tmp_path / "training").symlink_to(ROOT / "training")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "nano").symlink_to(ROOT / "models" / "nano")
    example = re.findall(r'^    (\{"text".*\})$', PAGE.read_text(), re.M)
    assert len(example) >= 3
    rows = [json.loads(line) for line in example]
    rows += [
        {"text": f"The robot has to fetch box number {n}.", "emotion": emotion.value}
        for n in range(6)
        for emotion in EMOTIONS
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "mine.jsonl").write_text(text, encoding="utf-8")
    config = TrainConfig.read(ROOT / "training" / "configs" / "retrain.yaml")
    stages = tuple(replace(stage, epochs=1, contexts=False, own=1) for stage in config.stages)
    small = asdict(replace(config, stages=stages, batch_tokens=300))
    values = json.loads(json.dumps(small))
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return tmp_path


@pytest.mark.timeout(600)
def test_a_user_s_texts_end_in_a_bundle_that_is_loaded_by_name(workplace: Path) -> None:
    train, export, evaluate, verify, express = commands("Texts")
    config = train.index("training/configs/retrain.yaml")
    run([*train[:config], "small.yaml", *train[config + 1 :]], workplace)
    lines = (workplace / "runs" / "mine" / "metrics.jsonl").read_text().splitlines()
    assert "uar_own" in json.loads(lines[-1])["dev"]

    assert evaluate[2] == "training.evaluate"  # minutes of work: tested where it belongs
    run([*export, "--plain-head"], workplace)
    made = yaml.safe_load((workplace / "models" / "mine" / "bundle.yaml").read_text())
    assert made["version"] == "0.1.0"
    assert "nano" in made["trained_on"]
    run(verify, workplace)
    answer = run([*express, "--json"], workplace)
    assert json.loads(answer)["emotion"] in [emotion.value for emotion in EMOTIONS]
