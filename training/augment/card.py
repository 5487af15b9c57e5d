"""The data card: what a set of annotations is made of, for whoever trains on it.

A folder with card.md, three plots and rejects.jsonl, which names every image without an annotation.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contextface_ros.errors import BadInput, MissingDependency
from contextface_ros.types import EMOTIONS, Emotion
from training.augment.answer import Reject
from training.augment.cost import Price, Tally
from training.augment.prompt import PROMPT_VERSION, SYSTEM, Request
from training.augment.run import Run, Verdict
from training.augment.sight import NOTHING
from training.data.annotations import Annotation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_EXAMPLES = 1  # of each class

_LIMITS = """\
- The annotator was told the label and wrote towards it. So the label leaks into the texts, and a \
model that names the emotion of these texts well need not read a person well.
- The texts are invented. Nothing in them happened to the people on the pictures.
- A large language model wrote them; no person has judged them unless somebody did so since.
- Whoever ships a model trained on them has the terms of the images and of the annotator's service \
to keep."""


@dataclass(frozen=True)
class Faces:
    """How many annotations have a face to train towards.

    Attributes:
        found: with a target.
        missing: without a file.
        bad: name of the image and the sentence that says what is wrong with its target.
    """

    found: int
    missing: int
    bad: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Summary:
    """All that the card tells.

    Attributes:
        run: the augmentation.
        verdicts: what became of each image.
        annotations: those that were written.
        faces: their targets, or None where none were asked for.
        cost: of all answers in the journal for these images.
        price: that it was reckoned with.
    """

    run: Run
    verdicts: Sequence[Verdict]
    annotations: Sequence[Annotation]
    faces: Faces | None
    cost: Tally
    price: Price | None

    @property
    def rejects(self) -> Counter[Reject]:
        """How many images have no annotation, by reason, duplicates included."""
        counts = Counter(v.result for v in self.verdicts if isinstance(v.result, Reject))
        if self.run.folder.duplicates:
            counts[Reject.DUPLICATE] = len(self.run.folder.duplicates)
        return counts

    def by_class(self) -> dict[Emotion, tuple[int, int]]:
        """Images and annotations of each class."""
        images = Counter(verdict.image.emotion for verdict in self.verdicts)
        written = Counter(annotation.emotion for annotation in self.annotations)
        return {emotion: (images[emotion], written[emotion]) for emotion in EMOTIONS}


def write_card(folder: Path, summary: Summary) -> None:
    """Write the card; what is in the folder of the same names is replaced.

    Raises:
        BadInput: it cannot be written.
        MissingDependency: matplotlib is not installed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "card.md").write_text(_markdown(summary), encoding="utf-8")
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in _reject_rows(summary)]
        (folder / "rejects.jsonl").write_text("".join(lines), encoding="utf-8")
        _plots(folder, summary)
    except OSError as error:
        raise BadInput(f"{folder} cannot be written: {error.strerror}") from error


def _reject_rows(summary: Summary) -> list[dict[str, Any]]:
    rows = [
        {"image": verdict.image.name, "reason": verdict.result.value, "why": verdict.why}
        for verdict in summary.verdicts
        if isinstance(verdict.result, Reject)
    ]
    twice = summary.run.folder.duplicates
    return rows + [{"image": name, "reason": Reject.DUPLICATE.value, "why": ""} for name in twice]


def _markdown(summary: Summary) -> str:
    parts = [
        f"# Annotations of {summary.run.folder.path.name}\n",
        _facts(summary),
        "## Counts\n\n" + _class_table(summary) + "\n\n![Counts](classes.png)\n",
        "## Left out\n\n" + _reject_table(summary) + "\n\n![Left out](rejects.png)\n",
        "## Texts\n\n" + _length_table(summary) + "\n\n![Words](words.png)\n",
        "## Examples\n\n" + _examples(summary) + "\n",
        "## Limits\n\n" + _LIMITS + "\n",
        "## The question\n\n" + _question(summary),
    ]
    return "\n".join(parts)


def _facts(summary: Summary) -> str:
    run, faces = summary.run, summary.faces
    boxed = sum(annotation.box is not None for annotation in summary.annotations)
    rows = [
        ("annotations", f"{len(summary.annotations):,}"),
        ("images", f"{len(summary.verdicts) + len(run.folder.duplicates):,}"),
        ("annotator", run.spec.name),
        ("prompt version", PROMPT_VERSION),
        ("what it saw", _sight_words(run.sight)),
        ("annotations with a red box", f"{boxed:,}"),
        ("asked", summary.cost.words),
        ("price", summary.price.source if summary.price else "not known"),
    ]
    if faces is not None:
        rows.append(
            ("faces", f"{faces.found:,} found, {faces.missing:,} missing, {len(faces.bad):,} bad")
        )
        rows += [(f"bad face of {name}", why) for name, why in faces.bad[:5]]
    return _table(("what", ""), rows) + "\n"


def _sight_words(sight: str) -> str:
    if sight == NOTHING:
        return "nothing: the contexts follow from the label alone"
    return "the whole picture" if sight == "none" else f"the largest face in a red box, by {sight}"


def _class_table(summary: Summary) -> str:
    rows = [
        (emotion.value, f"{images:,}", f"{written:,}", f"{written / images:.0%}" if images else "–")
        for emotion, (images, written) in summary.by_class().items()
    ]
    return _table(("class", "images", "annotations", "share"), rows)


def _reject_table(summary: Summary) -> str:
    if not summary.rejects:
        return "Nothing."
    rows = [(reason.value, f"{count:,}") for reason, count in summary.rejects.most_common()]
    return _table(("reason", "images"), rows) + "\n\nEach by name in `rejects.jsonl`."


def _length_table(summary: Summary) -> str:
    rows = []
    for kind, counts in _words(summary.annotations).items():
        if counts:
            ordered = sorted(counts)
            middle, high = ordered[len(ordered) // 2], ordered[int(0.95 * (len(ordered) - 1))]
            distinct = len({getattr(annotation, kind) for annotation in summary.annotations})
            rows.append((kind, f"{middle}", f"{high}", f"{distinct:,}"))
    return _table(("text", "median words", "95th percentile", "different texts"), rows)


def _words(annotations: Sequence[Annotation]) -> dict[str, list[int]]:
    return {
        kind: [len(str(getattr(annotation, kind)).split()) for annotation in annotations]
        for kind in ("situation", "quote")
    }


def _examples(summary: Summary) -> str:
    lines = []
    for emotion in EMOTIONS:
        of_class = [a for a in summary.annotations if a.emotion is emotion]
        lines += [
            f"- **{emotion.value}** (`{a.image}`). {a.situation} *“{a.quote}”*"
            for a in of_class[:_EXAMPLES]
        ]
    return "\n".join(lines) or "None."


def _question(summary: Summary) -> str:
    request = Request(Emotion.HAPPY, None if summary.run.sight == NOTHING else b"", boxed=True)
    quoted = "\n".join(f"> {line}".rstrip() for line in request.text.splitlines())
    return f"> {SYSTEM}\n>\n{quoted}\n"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    escaped = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    lines = [" | ".join(row) for row in [list(header), ["---"] * len(header), *escaped]]
    return "\n".join(f"| {line} |" for line in lines)


def _plots(folder: Path, summary: Summary) -> None:
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise MissingDependency("pip install -r requirements/augment.txt") from error

    def plot(name: str) -> tuple[Figure, Axes]:
        figure = Figure(figsize=(7, 3.2), layout="constrained", dpi=120)
        return figure, figure.add_subplot()

    figure, axes = plot("classes")
    counts = summary.by_class()
    names = [emotion.value for emotion in counts]
    images, written = zip(*counts.values(), strict=True)
    axes.bar(names, images, color="lightgrey", label="images")
    axes.bar(names, written, width=0.5, color="tab:blue", label="annotations")
    axes.set_title("Images and annotations by class")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    figure.savefig(folder / "classes.png")

    figure, axes = plot("rejects")
    rejects = summary.rejects.most_common()
    bars = axes.barh([reason.value for reason, _ in rejects], [count for _, count in rejects])
    axes.bar_label(bars, padding=3)
    axes.set_ylim(max(len(rejects), 4) - 0.5, -0.5)
    axes.set_title("Images without an annotation, by reason")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(folder / "rejects.png")

    figure, axes = plot("words")
    words = _words(summary.annotations)
    axes.hist(list(words.values()), bins=range(0, 80, 5), label=list(words))
    axes.set_title("Words of a text")
    axes.set_ylabel("annotations")
    axes.legend()
    figure.savefig(folder / "words.png")
