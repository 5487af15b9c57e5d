"""Human texts with human labels: GoEmotions, XED, Event2Mind and, for tests, EmoBench.

The texts are not part of the project. `text_emotion_train.tsv` and `text_emotion_test.tsv` are tab
separated without quoting, with the columns kind (quote | situation), text, emotion, source, split;
README.md beside this file says how they are made from their public sources.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from random import Random

from contextface_ros.types import EMOTIONS, Context, Emotion


@dataclass(frozen=True)
class LabelledText:
    """One human text; `source` names its corpus."""

    kind: str
    text: str
    emotion: Emotion
    source: str

    @property
    def context(self) -> Context:
        """The context of the row, from the speaker's perspective."""
        if self.kind == "quote":
            return Context(quote=self.text)
        return Context(situation=self.text)


def read_corpus(file: Path, split: str) -> list[LabelledText]:
    """All rows of one split ("train", "dev" or "test") of a file."""
    with file.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [
            LabelledText(row["kind"], row["text"], Emotion(row["emotion"]), row["source"])
            for row in rows
            if row["split"] == split
        ]


def balanced(rows: list[LabelledText], per_class: int, seed: int) -> list[LabelledText]:
    """The same number of rows a class, drawn without replacement.

    A class with fewer rows gives all of them, and up to all of them once more.
    """
    by_class: dict[Emotion, list[LabelledText]] = defaultdict(list)
    for row in rows:
        by_class[row.emotion].append(row)
    random = Random(seed)
    drawn: list[LabelledText] = []
    for emotion in EMOTIONS:
        pool = by_class[emotion]
        random.shuffle(pool)
        drawn += (pool + pool)[:per_class]
    random.shuffle(drawn)
    return drawn
