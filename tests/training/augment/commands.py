"""The command as a user gives it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.training.augment.endpoint import Endpoint
from training.augment.__main__ import main


def arguments(folder: Path, out: Path, endpoint: Endpoint, *more: str) -> list[str]:
    return [
        *(str(folder), "--out", str(out), "--annotator", "anthropic", "--model", "claude-test"),
        *("--base-url", endpoint.url, "--detector", "none", "--retries", "3", *more),
    ]


def augment(folder: Path, out: Path, endpoint: Endpoint, *more: str) -> int:
    """The command in this process."""
    return main(arguments(folder, out, endpoint, *more))


def start(folder: Path, out: Path, endpoint: Endpoint, *more: str) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "training.augment", *arguments(folder, out, endpoint, *more)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def events(out: Path, kind: str) -> list[dict[str, Any]]:
    """The whole lines of the journal of one kind."""
    journal = out.with_name(f"{out.name}.journal")
    if not journal.exists():
        return []
    lines = journal.read_bytes().split(b"\n")[:-1]
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def reasons(out: Path) -> dict[str, str]:
    """The images that were left out, with the reason."""
    lines = (out.with_suffix(".card") / "rejects.jsonl").read_text().splitlines()
    return {row["image"]: row["reason"] for row in map(json.loads, lines)}
