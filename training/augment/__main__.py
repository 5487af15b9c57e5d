r"""Write a situation and a quote for each image of a folder, by a large language model.

    python -m training.augment CAER-S/train --out caer-s.jsonl \
        --annotator anthropic --model claude-sonnet-5-5 --batches
    python -m training.augment SFEW/Train --out sfew.jsonl \
        --annotator openai --model llava --base-url http://127.0.0.1:8000/v1

Writes OUT.jsonl (training.data.annotations), OUT.card/ (the data card) and OUT.jsonl.journal (what
was paid for). The same command goes on where the last run stopped, however that ended.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from contextface_ros.console import console
from contextface_ros.errors import BadInput, ContextFaceError
from training.augment.annotator import STRUCTURES, AnnotatorSpec
from training.augment.answer import Reject
from training.augment.anthropic_batches import ask_in_batches, check_batches
from training.augment.ask import Outcome
from training.augment.card import Summary
from training.augment.cost import Price, estimate, find_price
from training.augment.folder import read_folder
from training.augment.journal import Entry, Journal
from training.augment.output import card_folder, write_output
from training.augment.ray_data import ask_with_ray
from training.augment.run import Run, ask_here
from training.augment.sight import NOTHING, Sight
from training.data.annotations import TargetKind

UNFINISHED = 3
"""Exit code of a run that left images unasked or requests failed: the same command goes on."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    args = _parser().parse_args(arguments)
    try:
        return _augment(args)
    except ContextFaceError as error:
        print(f"training.augment: {error}", file=sys.stderr)
        return 2


def _augment(args: argparse.Namespace) -> int:
    spec = _spec(args)
    price = find_price(spec.name, tuple(args.price) if args.price else None)
    _check_out(args.out)
    with console(stderr=True).status(f"reading {args.folder}"):
        folder = read_folder(args.folder, args.skip)
    with Journal(args.out.with_name(f"{args.out.name}.journal")) as journal:
        run = Run(folder, args.detector, spec, journal, [Reject(name) for name in args.again])
        if not _announce(run, args, price):
            return 0
        try:
            _ask(run, args)
        except KeyboardInterrupt:
            run.stopped = "interrupted"
        except ContextFaceError as error:
            run.stopped = str(error)
        if run.stopped and not run.answers():
            raise BadInput(run.stopped)
        # Whatever happened, what is paid for can be used.
        kind = TargetKind(args.target_kind)
        summary = write_output(run, args.out, price, args.targets, kind)
    return _report(run, args.out, summary)


def _spec(args: argparse.Namespace) -> AnnotatorSpec:
    structure = args.structure or STRUCTURES[args.annotator][0]
    if structure not in STRUCTURES[args.annotator]:
        known = " or ".join(STRUCTURES[args.annotator])
        raise BadInput(f"--structure {structure} is not for {args.annotator}: use {known}")
    spec = AnnotatorSpec(
        service=args.annotator,
        model=args.model,
        base_url=args.base_url,
        structure=structure,
        max_tokens=args.max_tokens,
        retries=args.retries,
        timeout_s=args.timeout_s,
    )
    if args.batches:
        check_batches(spec)
    return spec


def _check_out(out: Path) -> None:
    if out.suffix != ".jsonl":
        raise BadInput(f"{out} must end in .jsonl")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise BadInput(f"{out} cannot be written: there is no folder {out.parent} to write in")


def _announce(run: Run, args: argparse.Namespace, price: Price | None) -> bool:
    """Say what will be done and what it will cost. Whether to go on."""
    out = console(stderr=True)
    out.soft_wrap = True
    todo, folder = run.todo(), run.folder
    waiting = sum(len(sending.boxes) for sending in run.open_batches())
    longest_side = None if run.sight == NOTHING else args.longest_side
    cost = estimate(todo, longest_side, run.answers(), price, batch=args.batches)
    out.print(
        f"{len(folder.images):,} images, {len(folder.duplicates):,} duplicates left out,"
        f" {len(todo):,} to ask {run.spec.name} about, {waiting:,} in open batches"
    )
    out.print(f"estimate: {cost.words}" + (f" ({price.source})" if price else ""))
    if args.budget_usd is not None:
        if cost.usd is None:
            raise BadInput(f"no price of {run.spec.name} is known: give --price INPUT OUTPUT")
        if cost.usd > args.budget_usd:
            raise BadInput(
                f"the estimate is above the budget of {args.budget_usd:.2f} USD: raise"
                " --budget-usd, or take a smaller folder, --batches or another model"
            )
    return not args.estimate


def _ask(run: Run, args: argparse.Namespace) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    waiting = sum(len(sending.boxes) for sending in run.open_batches())
    out = console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, disable=not out.is_terminal) as progress:
        bar = progress.add_task("asking", total=len(run.todo()) + waiting)
        answered = 0

        def show(outcome: Outcome) -> None:
            nonlocal answered
            answered += isinstance(outcome, Entry)
            words = f"{answered:,} answered, {len(run.failures):,} failed"
            progress.update(bar, advance=1, description=words)

        run.on_outcome = show
        if args.batches or run.open_batches():
            ask_in_batches(
                run,
                Sight(run.sight, args.longest_side),
                args.poll_s,
                lambda words: progress.update(bar, description=words),
                hand_in=args.batches,
            )
        if args.batches or run.stopped:
            return
        if args.ray_address:
            ask_with_ray(
                run, args.longest_side, args.concurrency, args.ray_address, args.ray_workers
            )
        else:
            ask_here(run, args.longest_side, args.concurrency)


def _report(run: Run, out: Path, summary: Summary) -> int:
    terminal = console(stderr=True)
    terminal.soft_wrap = True
    rejects = ", ".join(f"{n:,} {why.value}" for why, n in summary.rejects.most_common())
    terminal.print(f"{len(summary.annotations):,} annotations in {out}")
    if rejects:
        terminal.print(f"left out: {rejects}")
    terminal.print(f"so far: {summary.cost.words}")
    terminal.print(f"data card: {card_folder(out) / 'card.md'}")
    if run.stopped:
        raise BadInput(f"stopped: {run.stopped}. What was answered is kept.")
    unfinished = summary.rejects[Reject.FAILED] + summary.rejects[Reject.NOT_ASKED]
    if unfinished:
        terminal.print(f"{unfinished:,} images are still to be asked: give the same command again")
    return UNFINISHED if unfinished else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.augment",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folder", type=Path, help="holds one folder a class: Happy, Sad, ...")
    add("--out", type=Path, required=True, metavar="OUT.jsonl")
    add("--annotator", choices=sorted(STRUCTURES), required=True, help="whose protocol is spoken")
    add("--model", required=True, help="name of the model at the service")
    add("--base-url", help="of a server of your own")
    add("--structure", help="how JSON is asked for: json_schema, json_object (openai) or tool")
    add("--batches", action="store_true", help="Anthropic's Message Batches: half the price")
    add("--skip", action="append", default=[], metavar="CLASS", help="leave a class folder out")
    add(
        "--detector",
        default="yuface",
        help="boxes the target person: yuface or a YuNet file; none: no box; nothing: no picture"
        " is sent, for models that cannot see",
    )
    add("--longest-side", type=int, default=768, metavar="PIXELS", help="of a sent picture (768)")
    add("--targets", type=Path, metavar="FOLDER", help="faces, laid out as the images are")
    kinds = [kind.value for kind in TargetKind]
    add("--target-kind", choices=kinds, default="inferno", help="what they are (inferno)")
    add(
        "--again",
        action="append",
        default=[],
        choices=[reject.value for reject in Reject],
        metavar="REASON",
        help="ask once more about images that were left out for this reason; costs anew",
    )
    add("--estimate", action="store_true", help="say what it will cost, and stop")
    add("--budget-usd", type=float, metavar="USD", help="do not begin if the estimate is above it")
    add(
        "--price",
        type=float,
        nargs=2,
        metavar=("INPUT", "OUTPUT"),
        help="USD for a million tokens, for a model that training/augment/prices.yaml lacks",
    )
    add("--concurrency", type=_positive, default=8, help="requests at a time (8)")
    add("--ray-address", metavar="ADDRESS", help="spread by Ray Data: local, auto or HOST:PORT")
    add("--ray-workers", type=_positive, default=2, help="workers of Ray (2)")
    add("--max-tokens", type=_positive, default=4096, help="of one answer, thinking too (4096)")
    add("--retries", type=int, default=8, help="of a request, with growing waits (8)")
    add("--timeout-s", type=float, default=120.0, help="of one try (120)")
    add("--poll-s", type=float, default=60.0, help="between two looks at a batch (60)")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not above 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
