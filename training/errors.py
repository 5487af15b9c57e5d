"""What a model gets wrong, for reading: where, which for which, and the most confident ones.

    python -m training.errors models/nano --part dev
    python -m training.errors models/nano --data mine.jsonl --most 60

Errors are read on the dev part, never on test: what is written after reading them joins train.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contextface_ros.errors import ContextFaceError
from contextface_ros.types import EMOTIONS, Emotion, Perspective
from training.evaluation.cases import Case, CaseSet, read_set, written_set
from training.evaluation.model import answer, open_model

COMMONEST = 3


@dataclass(frozen=True)
class Answered:
    """A case with the model's answer.

    Attributes:
        case: what was asked.
        said: the emotion that the model names.
        confidence: its probability of that, 0..1.
        of_truth: its probability of the annotated emotion.
    """

    case: Case
    said: Emotion
    confidence: float
    of_truth: float

    @property
    def wrong(self) -> bool:
        """Whether the emotion is another one than the annotated."""
        return self.said is not self.case.emotion


def answered(model_path: Path, cases: CaseSet, threads: int = 2) -> list[Answered]:
    """Every case with its answer. Raises ContextFaceError for a bad model or bad data."""
    with open_model(model_path, threads) as model:
        predictions = answer(model, cases.cases, cases.name)
    return [
        Answered(
            case,
            prediction.emotion,
            float(prediction.probabilities.max()),
            float(prediction.probabilities[EMOTIONS.index(case.emotion)]),
        )
        for case, prediction in zip(cases.cases, predictions, strict=True)
    ]


def by_group(rows: Sequence[Answered], name: str, group: Callable[[Answered], str]) -> Table:
    """Share of errors in each group, the worst first, with what is taken for what most often."""
    table = Table(title=f"errors by {name}", title_justify="left")
    for column in (name, "n", "wrong", "share", "most often (annotated > answered)"):
        table.add_column(column, justify="left" if column in (name,) else "right")
    groups: dict[str, list[Answered]] = {}
    for row in rows:
        groups.setdefault(group(row) or "-", []).append(row)
    for key, own in sorted(groups.items(), key=lambda item: (-_share(item[1]), item[0])):
        taken = Counter((row.case.emotion, row.said) for row in own if row.wrong)
        common = ", ".join(
            f"{true.value} > {said.value} {count}"
            for (true, said), count in taken.most_common(COMMONEST)
        )
        wrong = sum(row.wrong for row in own)
        table.add_row(escape(key), str(len(own)), str(wrong), f"{100 * _share(own):.0f} %", common)
    return table


def _share(rows: Sequence[Answered]) -> float:
    return sum(row.wrong for row in rows) / len(rows)


def confusion(rows: Sequence[Answered]) -> Table:
    """Counts of what is annotated (rows) and what was answered (columns)."""
    table = Table(title="annotated (rows), answered (columns)", title_justify="left")
    table.add_column("")
    for emotion in EMOTIONS:
        table.add_column(emotion.value, justify="right")
    counts = Counter((row.case.emotion, row.said) for row in rows)
    for true in EMOTIONS:
        table.add_row(true.value, *(str(counts[true, said]) for said in EMOTIONS))
    return table


def most_confident(rows: Sequence[Answered], most: int) -> list[Answered]:
    """The errors that the model is surest of, the surest first."""
    wrong = sorted((row for row in rows if row.wrong), key=lambda row: -row.confidence)
    return wrong[:most]


def show(rows: Sequence[Answered], most: int, console: Console) -> None:
    """Print all of it."""
    console.print(confusion(rows))
    console.print(by_group(rows, "register", lambda row: row.case.register))
    console.print(by_group(rows, "kind", lambda row: row.case.kind))
    console.print(by_group(rows, "hard", lambda row: "hard" if row.case.hard else "not hard"))
    shown = most_confident(rows, most)
    console.print(f"the {len(shown)} most confident errors", style="italic")
    for row in shown:
        case = row.case
        console.print(
            f"{escape(case.name)}  {case.kind}  {case.emotion.value} ({row.of_truth:.2f}) > "
            f"{row.said.value} ({row.confidence:.2f})",
            style="bold",
        )
        console.print(f"    {escape(case.text)}", highlight=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.errors", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("model", type=Path, help="folder of a bundle, or of a training run")
    parser.add_argument("--part", choices=("train", "dev"), default="dev")
    parser.add_argument(
        "--perspective", choices=[p.value for p in Perspective], default=Perspective.SPEAKER.value
    )
    parser.add_argument("--data", type=Path, help="your own texts instead (.jsonl, .tsv)")
    parser.add_argument("--most", type=int, default=40, help="how many errors to print as text")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    try:
        if options.data is not None:
            cases = read_set(options.data)
        else:
            cases = written_set(options.part, Perspective(options.perspective))
        rows = answered(options.model, cases, options.threads)
    except ContextFaceError as error:
        sys.exit(f"error: {error}")
    show(rows, options.most, Console())


if __name__ == "__main__":
    main()
