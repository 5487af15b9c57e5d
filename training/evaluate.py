"""Measure a model: a bundle as it is shipped, or a training run's checkpoint.

    python -m training.evaluate models/nano --texts text_emotion_test.tsv --write
    python -m training.evaluate models/nano --data mine.jsonl
    python -m training.evaluate runs/7b --data sfew_test.jsonl --images SFEW/Test --targets codes

A bundle goes through its runtime (llama.cpp and ONNX Runtime for nano), a checkpoint through
PyTorch. Prints the paper's tables with baselines and the published figures beside ours, and writes
evaluation.json and a confusion matrix a set into --out. With --write the figures also go into the
bundle: evaluation.json beside it, and into bundle.yaml. Errors are read and choices made on the dev
part; thresholds are on the test part.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from contextface_ros.bundle import load_bundle, save_bundle
from contextface_ros.errors import BadInput, ContextFaceError
from contextface_ros.types import Perspective
from training.evaluation import baselines
from training.evaluation.cases import human_set, read_set, written_set
from training.evaluation.model import is_bundle, open_model
from training.evaluation.plots import draw_confusion
from training.evaluation.report import Report, Task, add_baselines, measure
from training.evaluation.tables import show

REPORT = "evaluation.json"


def find_tasks(options: argparse.Namespace) -> list[Task]:
    """The sets that are asked for, each with what its baselines may learn from.

    Raises:
        BadInput: a file cannot be used.
    """
    trained = [
        case
        for file in options.train
        for case in read_set(file, options.images, options.targets).cases
    ]
    written = {
        perspective: trained or written_set("train", perspective).cases
        for perspective in Perspective
    }
    tasks = []
    if options.part is not None:
        for perspective in Perspective:
            tasks.append(Task(written_set(options.part, perspective), written[perspective]))
    if options.texts is not None:
        tasks.append(Task(human_set(options.texts), written[Perspective.SPEAKER]))
    for file in options.data:
        cases = read_set(file, options.images, options.targets)
        tasks.append(Task(cases, written[cases.perspective]))
    return tasks


def evaluate(options: argparse.Namespace) -> Report:
    """All figures that are asked for. Raises ContextFaceError for bad data or a bad model."""
    tasks = find_tasks(options)
    with open_model(options.model, options.threads) as model:
        report = measure(model, options.model.resolve().name, tasks)
    report.learned_from = (
        ", ".join(file.name for file in options.train)
        if options.train
        else "the written contexts of the train part, with the labels of the same perspective"
    )
    add_baselines(report, tasks, options.baselines, options.model, options.threads)
    return report


def save(report: Report, folder: Path) -> None:
    """Write evaluation.json and one PNG a set. Raises BadInput if the folder cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / REPORT).write_text(json.dumps(report.as_json(), indent=1) + "\n")
        for name, counts in report.confusions.items():
            file = folder / f"confusion_{name.replace(' ', '_')}.png"
            draw_confusion(counts, f"{report.model}: {name}", file)
    except OSError as error:
        raise BadInput(f"{folder} cannot be written: {error.strerror}") from error


def write_into_bundle(report: Report, folder: Path) -> None:
    """Put the model's own figures into bundle.yaml, and evaluation.json beside it."""
    (folder / REPORT).write_text(json.dumps(report.as_json(), indent=1) + "\n")
    flat = {
        f"{title} {name}".replace(" ", "_"): round(float(value), 4)
        for title, figures in report.tables.items()
        for name, value in figures.items()
    }
    save_bundle(dataclasses.replace(load_bundle(folder), metrics=flat), folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    options = _options(arguments)
    try:
        report = evaluate(options)
        show(report)
        save(report, options.out)
        if options.write:
            write_into_bundle(report, options.model)
    except ContextFaceError as error:
        sys.exit(f"error: {error}")
    print(f"written to {options.out}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("model", type=Path, help="folder of a bundle, or of a training run")
    parser.add_argument(
        "--part",
        choices=("dev", "test"),
        help="of the written contexts; test by default, none if --data is given",
    )
    parser.add_argument("--texts", type=Path, help="human texts: text_emotion_test.tsv")
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        default=[],
        help="your own sets: texts (.jsonl, .tsv) or annotated images (.jsonl)",
    )
    parser.add_argument("--images", type=Path, help="folder of the annotated images")
    parser.add_argument("--targets", type=Path, help="folder of the images' faces")
    parser.add_argument(
        "--train",
        type=Path,
        nargs="+",
        default=[],
        help="what TF-IDF, majority and the mean face learn from; the written contexts by default",
    )
    parser.add_argument(
        "--baselines",
        nargs="*",
        choices=baselines.NAMES,
        default=list(baselines.NAMES),
        help="all by default; none if nothing follows",
    )
    parser.add_argument("--threads", type=int, default=2, help="of a bundle on a CPU")
    parser.add_argument("--out", type=Path, help="folder to write to; runs/evaluation/NAME")
    parser.add_argument("--write", action="store_true", help="put the figures into the bundle")
    options = parser.parse_args(arguments)
    if options.part is None and not options.data:
        options.part = "test"
    if options.out is None:
        options.out = Path("runs/evaluation") / options.model.resolve().name
    if options.write and not (is_bundle(options.model) and options.part == "test"):
        parser.error("--write is for a bundle, measured on the test part of the written contexts")
    return options


if __name__ == "__main__":
    main()
