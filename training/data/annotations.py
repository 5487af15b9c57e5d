"""Annotated images: what the augmentation writes and the instruction data is built from.

JSON Lines in UTF-8, one object a line. A line says what one image was given:

    {"image": "Happy/0001.png", "image_sha256": "9f86...", "emotion": "Happy",
     "situation": "...", "quote": "...", "box": [120, 64, 80, 96],
     "target": {"file": "Happy/0001.npy", "kind": "inferno"},
     "annotator": "anthropic/claude-sonnet-5", "prompt_version": "1-5f2c9a1b"}

`target` may be left out; every other key is there, and no others are.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from contextface_ros.errors import BadInput
from contextface_ros.types import EMOTIONS, Emotion

REQUIRED = (
    *("image", "image_sha256", "emotion", "situation", "quote", "box"),
    *("annotator", "prompt_version"),
)
OPTIONAL = ("target",)
LABELS = tuple(emotion.value for emotion in EMOTIONS)

_SHA256 = re.compile(r"[0-9a-f]{64}")


class TargetKind(str, Enum):
    """Where the coefficients of a face come from; `training.data.targets` reads each."""

    INFERNO = "inferno"
    EMOCA = "emoca"
    DECA = "deca"
    ACTION_UNITS = "action_units"
    OPENFACE = "openface"
    PYFEAT = "pyfeat"


@dataclass(frozen=True)
class TargetFile:
    """Where the face of an image is written down.

    Attributes:
        file: path below the folder of the targets, with forward slashes.
        kind: what the file holds.
    """

    file: str
    kind: TargetKind


@dataclass(frozen=True)
class Annotation:
    """One image with its emotion and the context that was written for it.

    Attributes:
        image: path below the folder of the images, with forward slashes.
        image_sha256: hex SHA-256 of the file, so that another file of the same name is noticed.
        emotion: the label of the image.
        situation: what happens to or around the person, in the third person; None if not given.
        quote: what the person says; None if not given. One of the two is there.
        box: the target person's face, (x, y, width, height) in pixels of the picture as
            `vision.image.decode_compressed` gives it; None where no face was found.
        target: the file of the face, or None.
        annotator: who wrote situation and quote, "anthropic/MODEL" or "human".
        prompt_version: of the prompt that it was asked with; "" where nobody was asked.
    """

    image: str
    image_sha256: str
    emotion: Emotion
    situation: str | None
    quote: str | None
    box: tuple[int, int, int, int] | None
    target: TargetFile | None
    annotator: str
    prompt_version: str


def read_annotations(file: Path) -> list[Annotation]:
    """All lines of an annotation file, in order.

    Raises:
        BadInput: it cannot be read, or a line has a missing, unknown or wrong field; names the
            line and the field.
    """
    try:
        # Not splitlines(): a text may hold one of the rarer line ends, such as U+2028.
        lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from error
    if lines == [""]:
        return []
    return [parse_annotation(line, f"{file}, line {n}") for n, line in enumerate(lines, 1)]


def write_annotations(file: Path, annotations: Iterable[Annotation]) -> int:
    """Replace `file` by these annotations, at once or not at all. Returns how many they were.

    Raises:
        BadInput: the file cannot be written; says why.
    """
    temporary = file.with_name(f"{file.name}.{os.getpid()}")
    count = 0
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            for annotation in annotations:
                stream.write(format_annotation(annotation) + "\n")
                count += 1
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise BadInput(f"{file} cannot be written: {error.strerror}") from error
    return count


def format_annotation(annotation: Annotation) -> str:
    """The line of an annotation, without its end."""
    row: dict[str, Any] = {
        "image": annotation.image,
        "image_sha256": annotation.image_sha256,
        "emotion": annotation.emotion.value,
        "situation": annotation.situation,
        "quote": annotation.quote,
        "box": list(annotation.box) if annotation.box else None,
    }
    if annotation.target is not None:
        row["target"] = {"file": annotation.target.file, "kind": annotation.target.kind.value}
    row |= {"annotator": annotation.annotator, "prompt_version": annotation.prompt_version}
    return json.dumps(row, ensure_ascii=False)


def parse_annotation(line: str, where: str) -> Annotation:
    """The annotation on a line. Raises BadInput, which begins with `where`."""
    row = _object(line, where)
    annotation = Annotation(
        image=_path(row["image"], "image", where),
        image_sha256=_sha256(row["image_sha256"], where),
        emotion=_emotion(row["emotion"], where),
        situation=_text(row["situation"], "situation", where),
        quote=_text(row["quote"], "quote", where),
        box=_box(row["box"], where),
        target=_target(row["target"], where) if row.get("target") is not None else None,
        annotator=_string(row["annotator"], "annotator", where),
        prompt_version=_string(row["prompt_version"], "prompt_version", where),
    )
    if annotation.situation is None and annotation.quote is None:
        _refuse(where, "neither a situation nor a quote is given: one of them is needed")
    if not annotation.annotator:
        _refuse(where, "annotator is empty: say who wrote the text, for example human")
    return annotation


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where}: this is not JSON ({error}): write one object a line") from error
    if not isinstance(row, dict):
        _refuse(where, "this is no JSON object: write one object a line")
    if missing := [key for key in REQUIRED if key not in row]:
        _refuse(where, f"{missing[0]} is missing: a line has {', '.join(REQUIRED)}")
    if extra := sorted(set(row) - {*REQUIRED, *OPTIONAL}):
        _refuse(where, f"unknown field {extra[0]!r}: take it out or correct its name")
    return row


def _refuse(where: str, what: str) -> NoReturn:
    raise BadInput(f"{where}: {what}")


def _string(value: object, key: str, where: str) -> str:
    if not isinstance(value, str):
        _refuse(where, f"{key} is {value!r}: it must be text")
    return value


def _text(value: object, key: str, where: str) -> str | None:
    if value is None:
        return None
    text = _string(value, key, where)
    if not text.strip():
        _refuse(where, f"{key} is empty: write null where there is none")
    return text


def _path(value: object, key: str, where: str) -> str:
    path = _string(value, key, where)
    parts = PurePosixPath(path).parts
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts or "\0" in path:
        _refuse(where, f"{key} is {path!r}: give a path below the folder, without ..")
    return path


def _sha256(value: object, where: str) -> str:
    digest = _string(value, "image_sha256", where)
    if not _SHA256.fullmatch(digest):
        _refuse(where, "image_sha256 must be the 64 hex digits of the image's SHA-256")
    return digest


def _emotion(value: object, where: str) -> Emotion:
    if value not in LABELS:
        _refuse(where, f"emotion is {value!r}: use one of {', '.join(LABELS)}")
    return Emotion(value)


def _box(value: object, where: str) -> tuple[int, int, int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or [type(number) for number in value] != [int] * 4:
        _refuse(where, f"box is {value!r}: give [x, y, width, height] in whole pixels, or null")
    x, y, width, height = value
    if width <= 0 or height <= 0:
        _refuse(where, f"box is {value!r}: its width and height must be above 0")
    return x, y, width, height


def _target(value: object, where: str) -> TargetFile:
    if not isinstance(value, dict) or set(value) != {"file", "kind"}:
        _refuse(where, f"target is {value!r}: it must have file and kind, and nothing else")
    kinds = [kind.value for kind in TargetKind]
    if value["kind"] not in kinds:
        _refuse(where, f"kind of target is {value['kind']!r}: use one of {', '.join(kinds)}")
    return TargetFile(_path(value["file"], "file of target", where), TargetKind(value["kind"]))
