"""The stream of batches of a run: a pure function of (seed, number of the batch, rank).

    number -> task, by the ratios            the same on every rank
           -> rows of that task              of about one length, others on each rank
           -> instructions                   wordings drawn from (seed, number, rank)

Nothing is remembered from batch to batch, so a run resumes anywhere exactly, and worker processes
may read ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from contextface_ros.errors import BadInput
from training.data.conversations import Conversation
from training.data.instruction_batch import InstructionBatch, collate
from training.data.instructions import Instruction, InstructionMaker
from training.data.scenes import Scene
from training.instruct_config import TASKS, Task

_SORTED_TOGETHER = 50
"""Batches whose rows are sorted by length together: more would tie a row to its neighbours."""

_ORDERS_KEPT = 2 * len(TASKS)


def task_order(seed: int, ratios: Mapping[Task, float], batches: int) -> npt.NDArray[np.int64]:
    """(batches,) index in TASKS of the task of each batch; a longer run begins with the same."""
    shares = np.array([ratios.get(task, 0.0) for task in TASKS])
    bounds = np.cumsum(shares / shares.sum())[:-1]
    return np.searchsorted(bounds, np.random.default_rng(seed).random(batches), side="right")


def length_groups(rows: Sequence[Sized], size: int, random: Random) -> list[tuple[int, ...]]:
    """Indices of all rows in groups of `size` of about one length, in a drawn order.

    What is left over at the end is filled up with other rows.
    """
    order = list(range(len(rows)))
    random.shuffle(order)
    if short := -len(order) % size:
        order += random.choices(order, k=short)
    groups = []
    for start in range(0, len(order), size * _SORTED_TOGETHER):
        chunk = order[start : start + size * _SORTED_TOGETHER]
        chunk.sort(key=lambda index: len(rows[index]))
        groups += [tuple(chunk[at : at + size]) for at in range(0, len(chunk), size)]
    random.shuffle(groups)
    return groups


class Mixture(Dataset[InstructionBatch]):
    """Batch after batch of one rank."""

    def __init__(
        self,
        scenes: Sequence[Scene],
        conversations: Sequence[Conversation],
        maker: InstructionMaker,
        processor: Any,
        ratios: Mapping[Task, float],
        *,
        seed: int,
        batch: int,
        batches: int,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        """Prepare to draw.

        Args:
            scenes: of which each task takes those that it can use.
            conversations: for VQA.
            maker: writes the instructions.
            processor: of images; None for a model that cannot see.
            ratios: share of the batches of each task.
            seed: of everything that is drawn.
            batch: rows of a batch on one rank.
            batches: number of batches of the run.
            rank: which process this is, of `ranks`.
            ranks: number of processes that train together.

        Raises:
            BadInput: a task with a share above 0 has no rows.
        """
        self._rows: dict[Task, Sequence[Any]] = {
            "situation": [s for s in scenes if s.quote and s.situation and s.picture],
            "expression": scenes,
            "vqa": conversations,
        }
        for task, share in ratios.items():
            if share > 0 and not self._rows[task]:
                raise BadInput(
                    f"the task {task} has no rows: {_NEEDS[task]}, or set its share to 0"
                )
        self._make: dict[Task, Callable[[Any, Random], Instruction]] = {
            "situation": maker.situation,
            "expression": maker.expression,
            "vqa": maker.vqa,
        }
        self._processor = processor
        self._seed = seed
        self._batch = batch
        self._rank = rank
        self._ranks = ranks
        self.order = task_order(seed, ratios, batches)
        self._before = _earlier(self.order)
        self._groups = lru_cache(maxsize=_ORDERS_KEPT)(self._draw_groups)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, number: int) -> InstructionBatch:
        """A batch of this rank. Raises BadInput for an image that cannot be used."""
        task = TASKS[self.order[number]]
        random = Random(f"{self._seed}/{number}/{self._rank}")
        make, rows = self._make[task], self._rows[task]
        made = [make(rows[index], random) for index in self.rows(number)]
        return collate(task, made, self._pixels(made))

    def rows(self, number: int) -> tuple[int, ...]:
        """Which rows of its task are in a batch of this rank."""
        task = TASKS[self.order[number]]
        together = self._batch * self._ranks
        epoch, group = divmod(int(self._before[number]), -(-len(self._rows[task]) // together))
        return self._groups(task, epoch)[group][self._rank :: self._ranks]

    def _draw_groups(self, task: Task, epoch: int) -> list[tuple[int, ...]]:
        random = Random(f"{self._seed}/{task}/{epoch}")
        return length_groups(self._rows[task], self._batch * self._ranks, random)

    def _pixels(self, rows: Sequence[Instruction]) -> list[torch.Tensor]:
        pictures = [row.picture for row in rows if row.picture is not None]
        return [picture.pixels(self._processor) for picture in pictures]


_NEEDS: dict[Task, str] = {
    "situation": "it needs annotations with an image, a quote and a situation",
    "expression": "it needs annotations or the written contexts",
    "vqa": "give a file in LLaVA-Instruct-150K's format with --vqa",
}


def _earlier(order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(batches,) how many batches of the same task come before each."""
    earlier = np.zeros_like(order)
    for task in range(len(TASKS)):
        mine = order == task
        earlier[mine] = np.arange(mine.sum())
    return earlier
