"""From the journal to what a training run reads: the annotations, and the card beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from contextface_ros.errors import BadInput
from training.augment.answer import WrittenContext
from training.augment.card import Faces, Summary, write_card
from training.augment.cost import Price, tally
from training.augment.prompt import PROMPT_VERSION
from training.augment.run import Run, Verdict
from training.data.annotations import Annotation, TargetFile, TargetKind, write_annotations
from training.data.targets import Targets, find_target


def card_folder(out: Path) -> Path:
    """Where the data card of an annotation file is."""
    return out.with_suffix(".card")


def write_output(
    run: Run, out: Path, price: Price | None, targets: Path | None, kind: TargetKind
) -> Summary:
    """Write all that is known so far.

    Args:
        run: the augmentation.
        out: the annotation file; its card lies beside it.
        price: of the annotator.
        targets: the folder of the faces, laid out as that of the images; None for no faces.
        kind: what they are.

    Raises:
        BadInput: it cannot be written.
        MissingDependency: what draws the plots is not installed.
    """
    verdicts = list(run.verdicts())
    faces = None
    if targets is None:
        annotations = _annotations(run, verdicts, {})
    else:
        found, faces = _find_faces(targets, kind, verdicts)
        annotations = _annotations(run, verdicts, found)
    summary = Summary(run, verdicts, annotations, faces, tally(run.answers(), price), price)
    try:
        write_annotations(out, annotations)
        write_card(card_folder(out), summary)
    except BadInput as error:
        raise BadInput(f"{run.stopped or error}. What was answered is in the journal.") from error
    return summary


def _annotations(
    run: Run, verdicts: Sequence[Verdict], targets: dict[str, TargetFile]
) -> list[Annotation]:
    return [
        Annotation(
            image=verdict.image.name,
            image_sha256=verdict.image.sha256,
            emotion=verdict.image.emotion,
            situation=verdict.result.situation,
            quote=verdict.result.quote,
            box=verdict.entry.box,
            target=targets.get(verdict.image.name),
            annotator=run.spec.name,
            prompt_version=PROMPT_VERSION,
        )
        for verdict in verdicts
        if isinstance(verdict.result, WrittenContext) and verdict.entry is not None
    ]


def _find_faces(
    folder: Path, kind: TargetKind, verdicts: Sequence[Verdict]
) -> tuple[dict[str, TargetFile], Faces]:
    """The targets by image, each read once to see that it can be."""
    targets = Targets(folder)
    found: dict[str, TargetFile] = {}
    missing = 0
    bad = []
    for verdict in verdicts:
        if not isinstance(verdict.result, WrittenContext):
            continue
        name = verdict.image.name
        target = find_target(folder, kind, name)
        if target is None:
            missing += 1
            continue
        try:
            targets.read(target, name)
        except BadInput as error:
            bad.append((name, str(error)))
        else:
            found[name] = target
    return found, Faces(len(found), missing, tuple(bad))
