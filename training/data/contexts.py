"""The contexts with faces that were written for this project (contexts/*.jsonl)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contextface_ros.types import Context, Emotion, Perspective
from training.data.split import Part, part_of

CONTEXTS = Path(__file__).parent / "contexts"
READERS = {
    Perspective.SPEAKER: ("emotion", "reader"),
    Perspective.LISTENER: ("listener_emotion", "listener_reader"),
}
"""Keys of the author's choice, and of the second reader's where there was one."""


@dataclass(frozen=True)
class Face:
    """One annotated face: an emotion and its FACS action units, {"AU12": 0.6}, each in 0..1."""

    emotion: Emotion
    action_units: dict[str, float]


@dataclass(frozen=True)
class AnnotatedContext:
    """One row: a text, the face of its person, and the face of a decent person opposite.

    Attributes:
        row_id: unique name of the row.
        scenario: a place, event or relation that seven rows share, one an emotion.
        kind: "quote" or "situation".
        text: the quote or situation.
        intensity: strength of the speaker's face, 0..1.
        speaker: face of the one who speaks, or is in the situation.
        listener: face of the person opposite.
        hard: the surface words point to another emotion.
        agreed: the perspectives whose emotion a second reader, who did not see it, chose too (or
            that had no second reader); only these are trained on.
    """

    row_id: str
    scenario: str
    kind: str
    text: str
    intensity: float
    speaker: Face
    listener: Face
    hard: bool
    agreed: tuple[Perspective, ...] = tuple(Perspective)

    @property
    def part(self) -> Part:
        """Which part of the data the row belongs to."""
        return part_of(self.scenario)

    @property
    def register(self) -> str:
        """Name of the file of the row."""
        return self.scenario.split("-", 1)[0]

    @property
    def topic(self) -> str:
        """The scenario in words; the same for all its emotions."""
        return self.scenario.split(": ", 1)[1]

    def face(self, perspective: Perspective) -> Face:
        """The face of a perspective."""
        return self.speaker if perspective is Perspective.SPEAKER else self.listener

    def context(self, perspective: Perspective, background: str | None = None) -> Context:
        """The context of the row; `background` is a situation behind a quote."""
        if self.kind == "situation":
            return Context(situation=self.text, perspective=perspective)
        return Context(quote=self.text, situation=background, perspective=perspective)


def read_contexts(part: Part, folder: Path = CONTEXTS) -> list[AnnotatedContext]:
    """All rows of one part, in the order of the files."""
    return [row for row in _rows(folder) if row.part == part]


def _rows(folder: Path) -> Iterator[AnnotatedContext]:
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            row: dict[str, Any] = json.loads(line)
            yield AnnotatedContext(
                row_id=row["id"],
                scenario=row["scenario"],
                kind=row["kind"],
                text=row["text"],
                intensity=float(row["intensity"]),
                speaker=Face(Emotion(row["emotion"]), row["au"]),
                listener=Face(Emotion(row["listener_emotion"]), row["listener_au"]),
                hard=bool(row["hard"]),
                agreed=tuple(p for p in Perspective if _agree(row, *READERS[p])),
            )


def _agree(row: dict[str, Any], author: str, reader: str) -> bool:
    return bool(row.get(reader, row[author]) == row[author])
