"""Instructions of one task, padded on the right, as the model takes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from contextface_ros.types import EXPRESSION_SIZE
from training.data.instructions import Instruction
from training.instruct_config import Task


@dataclass(frozen=True)
class InstructionBatch:
    """Instructions of one task.

    Padding stands on the right, where no position that counts can see it: attention is plainly
    causal and needs no mask, which the fast kernels like.

    Attributes:
        task: of all rows.
        ids: (B, L) int64.
        pixels: (I, 3, S, S) float32, in the order of the rows that have an image; or None.
        emotion_rows, emotion_columns, emotions: (N,) int64, where an emotion is predicted.
        weights: (N,) float32 ones.
        face_rows, face_columns: (M,) int64; betas: (M, 100) float32; known: (M, 100) bool;
            face_weights: (M,) float32 ones.
        response_rows, response_columns, response_targets: (R,) int64: a column predicts a target.
        tokens: number of positions that are not padding.
    """

    task: Task
    ids: torch.Tensor
    pixels: torch.Tensor | None
    emotion_rows: torch.Tensor
    emotion_columns: torch.Tensor
    emotions: torch.Tensor
    weights: torch.Tensor
    face_rows: torch.Tensor
    face_columns: torch.Tensor
    betas: torch.Tensor
    known: torch.Tensor
    face_weights: torch.Tensor
    response_rows: torch.Tensor
    response_columns: torch.Tensor
    response_targets: torch.Tensor
    tokens: int

    def inputs(self) -> dict[str, torch.Tensor]:
        """What the language model is called with."""
        if self.pixels is None:
            return {"input_ids": self.ids}
        return {"input_ids": self.ids, "pixel_values": self.pixels}

    def to(self, device: torch.device | str) -> InstructionBatch:
        """The same batch there."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> InstructionBatch:
        """The same batch in page-locked memory, from where it reaches a GPU faster."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: object) -> InstructionBatch:
        assert callable(change)
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        moved = {name: change(v) for name, v in fields.items() if isinstance(v, torch.Tensor)}
        return dataclasses.replace(self, **moved)


def collate(
    task: Task, rows: Sequence[Instruction], pixels: Sequence[torch.Tensor]
) -> InstructionBatch:
    """One batch.

    Args:
        task: of all rows.
        rows: at least one.
        pixels: (3, S, S) float32 of each row with a picture, in order.
    """
    ids = np.zeros((len(rows), max(len(row) for row in rows)), dtype=np.int64)
    emotion: list[tuple[int, int, int]] = []
    face: list[tuple[int, int]] = []
    response: list[tuple[int, int, int]] = []
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row.ids
        response += [(number, at - 1, row.ids[at]) for at, yes in enumerate(row.learned) if yes]
        if row.emotion is not None and row.emotion_at is not None:
            emotion.append((number, row.emotion_at, row.emotion))
        if row.face_at is not None:
            face.append((number, row.face_at))
    faced = [row for row in rows if row.face_at is not None]
    emotion_rows, emotion_columns, emotions = _columns(emotion, 3)
    face_rows, face_columns = _columns(face, 2)
    response_rows, response_columns, response_targets = _columns(response, 3)
    return InstructionBatch(
        task=task,
        ids=torch.from_numpy(ids),
        pixels=torch.stack(list(pixels)) if pixels else None,
        emotion_rows=emotion_rows,
        emotion_columns=emotion_columns,
        emotions=emotions,
        weights=torch.ones(len(emotion)),
        face_rows=face_rows,
        face_columns=face_columns,
        betas=_table([row.beta for row in faced], np.float32),
        known=_table([row.known for row in faced], np.bool_),
        face_weights=torch.ones(len(face)),
        response_rows=response_rows,
        response_columns=response_columns,
        response_targets=response_targets,
        tokens=sum(len(row) for row in rows),
    )


def _columns(rows: Sequence[tuple[int, ...]], width: int) -> tuple[torch.Tensor, ...]:
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, width).unbind(dim=1)


def _table(rows: Sequence[object], dtype: type) -> torch.Tensor:
    return torch.from_numpy(np.array(rows, dtype=dtype).reshape(-1, EXPRESSION_SIZE))
