"""Where the figures of each step go: metrics.jsonl, TensorBoard, and wandb where asked for."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from tqdm import tqdm

from contextface_ros.errors import MissingDependency


class StepLog:
    """Writes one line a step. A step that is taken again after a resume is written again."""

    def __init__(self, run: Path, wandb_project: str | None = None) -> None:
        """Open the files.

        Args:
            run: folder of the run.
            wandb_project: of Weights & Biases; None for none.

        Raises:
            MissingDependency: wandb is asked for and not installed.
        """
        from torch.utils.tensorboard import SummaryWriter

        self._file = (run / "metrics.jsonl").open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run / "tensorboard"))
        self._told = False
        self._wandb: Any = None
        if wandb_project is not None:
            try:
                import wandb
            except ImportError:
                raise MissingDependency("--wandb needs wandb: pip install wandb") from None
            self._wandb = wandb.init(project=wandb_project, dir=run, name=run.name, resume="allow")

    def add(self, step: int, figures: dict[str, float]) -> None:
        """Note the figures of a step, counted from 1. A full disk is told once, no more."""
        try:
            self._write(step, figures)
        except OSError as error:
            if not self._told:
                tqdm.write(f"figures are not written any more: {error}")
            self._told = True

    def _write(self, step: int, figures: dict[str, float]) -> None:
        self._file.write(json.dumps({"step": step, **figures}) + "\n")
        self._file.flush()
        for name, value in figures.items():
            self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(figures, step=step)

    def close(self) -> None:
        """Write what is left."""
        with contextlib.suppress(OSError):
            self._file.close()
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()
