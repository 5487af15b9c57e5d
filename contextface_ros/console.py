"""What a person sees in the terminal: bars for emotions and action units, tables of models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from contextface_ros.errors import MissingDependency
from contextface_ros.face.blendshapes import ACTION_UNITS
from contextface_ros.record import Record

if TYPE_CHECKING:
    from rich.console import Console

COLOURS = {
    "Angry": "red",
    "Sad": "blue",
    "Surprise": "yellow",
    "Neutral": "white",
    "Fear": "magenta",
    "Happy": "green",
    "Disgust": "cyan",
}

# Names of the units in the Facial Action Coding System, in the order of ACTION_UNITS.
UNIT_NAMES = dict(
    zip(
        ACTION_UNITS,
        (
            "inner brow raiser", "outer brow raiser", "brow lowerer", "upper lid raiser",
            "cheek raiser", "lid tightener", "nose wrinkler", "upper lip raiser",
            "lip corner puller", "dimpler", "lip corner depressor", "lower lip depressor",
            "chin raiser", "lip pucker", "lip stretcher", "lip funneler", "lip tightener",
            "lip pressor", "lips part", "jaw drop", "mouth stretch", "lip suck", "eyes closed",
        ),
        strict=True,
    )
)  # fmt: skip

_BAR_WIDTH = 30
_STRONGEST = 5


def console(*, stderr: bool = False) -> Console:
    """A terminal, or plain text where the output is none. Raises MissingDependency."""
    try:
        from rich.console import Console
    except ImportError as error:
        raise MissingDependency("the terminal's output needs: pip install rich") from error
    return Console(stderr=stderr, highlight=False)


def bar(fraction: float, width: int = _BAR_WIDTH) -> str:
    """A bar of blocks and eighths of a block, as long as `fraction` (0..1) of `width`."""
    eighths = round(min(max(fraction, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")


def show_record(out: Console, record: Record, took_ms: float) -> None:
    """One answer: a bar for each emotion, the strongest action units, and what it took."""
    probabilities, units = record["probabilities"], record["action_units"]
    assert isinstance(probabilities, dict) and isinstance(units, dict)
    for label, probability in sorted(probabilities.items(), key=lambda pair: -pair[1]):
        style = COLOURS[label] + (" bold" if label == record["emotion"] else "")
        out.print(f"  {label:<9}{probability:5.2f}  {bar(probability)}", style=style)
    strongest = sorted(units.items(), key=lambda pair: -pair[1])[:_STRONGEST]
    out.print()
    for unit, strength in strongest:
        out.print(f"  {unit:<5}{UNIT_NAMES[unit]:<22}{strength:5.2f}  {bar(strength, 15)}")
    if not strongest:
        out.print("  a face at rest" if record["blendshapes"] else f"  basis {record['basis']}")
    out.print(
        f"\n  intensity {record['intensity']:.2f}   valence {record['valence']:+.2f}   "
        f"arousal {record['arousal']:+.2f}   [dim]{took_ms:.0f} ms[/dim]"
    )


@contextmanager
def progress_bar(total_bytes: int) -> Iterator[Callable[[int, str], None]]:
    """A bar on stderr while a file is worked through; none where stderr is no terminal.

    Yields:
        What to call with the bytes done so far and a few words.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    out = console(stderr=True)
    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=out, disable=not out.is_terminal, transient=True) as progress:
        task = progress.add_task("starting", total=total_bytes)
        yield lambda done, words: progress.update(task, completed=done, description=words)
