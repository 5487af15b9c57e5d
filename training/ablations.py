r"""The ablations of the paper's Tables 3 and 4: train each variant, measure it, print the table.

    python -m training.ablations table3 training/configs/7b_qlora.yaml \
        --train sfew_train.jsonl --images SFEW/Train --targets codes/Train \
        --vqa llava_instruct_150k.json --vqa-images coco/train2017 \
        --test sfew_test.jsonl --test-images SFEW/Test --test-targets codes/Test
    python -m training.ablations table4 7b.yaml 13b.yaml ...

table3 trains one config with VQA beside neither, one or both of the two tasks; table4 trains
several configs, one a size. Each variant has a run of its own below --run, as `training.instruct`
writes it: the same command goes on after an interruption, and trains nothing twice. Variants on
several GPUs are trained by `accelerate launch -m training.instruct ... --ablation NAME` into the
same folders first; this command then finds them and measures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from contextface_ros.errors import BadInput, ContextFaceError
from contextface_ros.types import Perspective
from training.checkpoint import find, read_place
from training.data.conversations import read_conversations
from training.data.scenes import Scene, annotated_scenes, written_scenes
from training.evaluation import published
from training.evaluation.cases import Case, CaseSet, read_set, written_set
from training.evaluation.labels import Figures
from training.evaluation.model import open_model
from training.evaluation.report import Task, measure
from training.instruct import instruct
from training.instruct_config import ABLATIONS, InstructConfig

_SPEAKER = Perspective.SPEAKER
REPORT = "ablation.json"
COLUMNS = ("uar", "war", "l2", "fd")


@dataclass(frozen=True)
class Variant:
    """One row of a table: a config that is trained into a folder of its own."""

    name: str
    config: InstructConfig
    run: Path


def variants(table: str, configs: Sequence[Path], run: Path) -> list[Variant]:
    """The rows of a table.

    Args:
        table: "table3" (tasks) or "table4" (sizes).
        configs: one for table3; one a size for table4, whose names are the rows'.
        run: folder of all runs.

    Raises:
        BadInput: a config cannot be read, or their number does not fit.
    """
    if table == "table3":
        if len(configs) != 1:
            raise BadInput("table3 takes one config: its rows differ in their tasks alone")
        config = InstructConfig.read(configs[0])
        return [Variant(name, config.ablate(name), run / name) for name in ABLATIONS]
    names = [file.stem for file in configs]
    if len(set(names)) != len(names):
        raise BadInput("two configs have the same name: rename one, its run is named after it")
    return [
        Variant(name, InstructConfig.read(file), run / name)
        for name, file in zip(names, configs, strict=True)
    ]


def is_trained(variant: Variant) -> bool:
    """Whether the run has come to its end. Raises BadInput if it is of another config."""
    found = find(variant.run)
    return found is not None and read_place(found, variant.config).step >= variant.config.steps


def figures_of(variant: Variant, test: CaseSet, trained: Sequence[Case]) -> Figures:
    """What the tables show of one trained variant, with quotes alone, as the paper has it.

    A set without quotes is taken whole. L2 and FD are left out where no face is annotated.
    """
    quotes = tuple(case for case in test.cases if case.kind == "quote")
    cases = CaseSet(test.name, quotes or test.cases)
    with open_model(variant.run) as model:
        report = measure(model, variant.name, [Task(cases, trained)])
    faces = report.tables.get(f"{cases.name} face", {})
    labels = report.tables[f"{cases.name} emotion" if faces else cases.name]
    found = {**faces, **labels}
    return {key: found[key] for key in ("n", *COLUMNS, "l2_over_mean") if key in found}


def show(table: str, rows: Mapping[str, Figures], console: Console) -> None:
    """Print a table, with the published figures beside ours."""
    paper = published.TASKS if table == "table3" else published.SIZES
    shown = Table(title=f"{table}, with quotes", title_justify="left")
    for column in ("", "n", "UAR", "WAR", "L2", "FD", "paper UAR", "paper WAR"):
        shown.add_column(column, justify="right" if column else "left")
    for name in dict.fromkeys([*rows, *paper]):
        ours = rows.get(name, {})
        theirs = paper.get(name)
        shown.add_row(
            name,
            f"{ours['n']:,.0f}" if "n" in ours else "-",
            *(f"{100 * ours[key]:.2f}" if key in ours else "-" for key in ("uar", "war")),
            *(f"{ours[key]:.3f}" if key in ours else "-" for key in ("l2", "fd")),
            f"{100 * theirs.uar:.2f}" if theirs else "-",
            f"{100 * theirs.war:.2f}" if theirs else "-",
        )
    console.print(shown)
    console.print("The paper's figures are of SFEW-C: other data, no comparison.", style="dim")


def ablate(options: argparse.Namespace) -> dict[str, Figures]:
    """Train what is not trained yet, and measure all. Raises ContextFaceError."""
    rows = variants(options.table, options.configs, options.run)
    scenes, trained = _training_data(options)
    conversations = read_conversations(options.vqa, options.vqa_images) if options.vqa else []
    test = _test_data(options)
    results: dict[str, Figures] = {}
    for variant in rows:
        if not is_trained(variant):
            instruct(variant.config, scenes, conversations, variant.run)
        results[variant.name] = figures_of(variant, test, trained)
        _save(results, options.run)
    return results


def _training_data(options: argparse.Namespace) -> tuple[list[Scene], list[Case]]:
    scenes: list[Scene] = []
    cases: list[Case] = []
    for file in options.train:
        scenes += annotated_scenes(file, options.images, options.targets)
        cases += read_set(file, options.images, options.targets).cases
    if options.contexts:
        scenes += written_scenes("train")
        cases += written_set("train", _SPEAKER).cases
    return scenes, cases


def _test_data(options: argparse.Namespace) -> CaseSet:
    if options.test is None:
        return written_set("test", _SPEAKER)
    return read_set(options.test, options.test_images, options.test_targets)


def _save(results: Mapping[str, Figures], run: Path) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
        (run / REPORT).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{run} cannot be written: {error.strerror}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    options = _parser().parse_args(arguments)
    try:
        show(options.table, ablate(options), Console())
    except ContextFaceError as error:
        sys.exit(f"error: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.ablations", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("table", choices=("table3", "table4"), help="tasks, or sizes")
    parser.add_argument("configs", type=Path, nargs="+", help="one for table3, one a size else")
    parser.add_argument("--run", type=Path, default=Path("runs/ablations"), help="of all runs")
    parser.add_argument("--train", type=Path, nargs="+", default=[], help="annotated images")
    parser.add_argument("--images", type=Path, help="their folder")
    parser.add_argument("--targets", type=Path, help="folder of their faces")
    parser.add_argument("--contexts", action="store_true", help="train on the written contexts too")
    parser.add_argument("--vqa", type=Path, help="a file in LLaVA-Instruct-150K's format")
    parser.add_argument("--vqa-images", type=Path, help="folder of its images")
    parser.add_argument(
        "--test", type=Path, help="annotated images or texts; the written test contexts by default"
    )
    parser.add_argument("--test-images", type=Path, help="folder of the images of --test")
    parser.add_argument("--test-targets", type=Path, help="folder of their faces")
    return parser


if __name__ == "__main__":
    main()
