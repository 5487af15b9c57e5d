"""A user's own texts with labels, as scenes: JSONL or TSV, one text a row.

    {"text": "You came all this way?", "emotion": "Happy"}
    {"text": "The bus left without him.", "emotion": "Sad", "kind": "situation", "au": {"AU15": 1}}

| key | meaning |
|---|---|
| text | what is said, or what happens |
| emotion | one of the seven classes |
| kind | quote (the default) or situation |
| situation | the situation behind a quote |
| perspective | speaker (the default) or listener: whose emotion and face it is |
| au | the face as action units, {"AU12": 0.6}, each 0..1 |
| beta | or as coefficients: 100 numbers, or the first 50 (EMOCA, DECA) |
| basis | of beta: open-1 (the default), flame2020, ... |
| id | name of the row, for messages |

In a TSV file the keys are columns under a header, au and beta as JSON.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from contextface_ros.errors import BadInput
from contextface_ros.types import EMOTIONS, EXPRESSION_SIZE, OPEN_BASIS, Emotion, Perspective
from training.data.scenes import Scene
from training.data.targets import Target, face_of_units

REQUIRED = ("text", "emotion")
KEYS = (*REQUIRED, "kind", "situation", "perspective", "au", "beta", "basis", "id")
KINDS = ("quote", "situation")
HALF = EXPRESSION_SIZE // 2


def text_scenes(file: Path) -> list[Scene]:
    """The scenes of a file of labelled texts, in order.

    Raises:
        BadInput: it cannot be read, or a row has a missing, unknown or wrong field; names the line.
    """
    rows = _tsv(file) if file.suffix == ".tsv" else _jsonl(file)
    return [_scene(row, f"{file}, line {number}") for number, row in rows]


def _jsonl(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    # Not splitlines(): a text may hold one of the rarer line ends, such as U+2028.
    for number, line in enumerate(_read(file).split("\n"), start=1):
        if line.strip():
            yield number, _parsed(line, f"{file}, line {number}", dict)


def _tsv(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    lines = _read(file).replace("\r\n", "\n").split("\n")
    rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    for number, row in enumerate(rows, start=2):
        where = f"{file}, line {number}"
        if None in row:
            raise BadInput(f"{where}: it has more columns than the header")
        filled = {key: value for key, value in row.items() if value}
        for key, kind in (("au", dict), ("beta", list)):
            if key in filled:
                filled[key] = _parsed(filled[key], where, kind)
        yield number, filled


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from error


def _parsed(text: str, where: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where}: this is not JSON ({error})") from error
    if not isinstance(value, kind):
        raise BadInput(f"{where}: {text[:40]!r} is no JSON {'object' if kind is dict else 'list'}")
    return value


def _scene(row: Mapping[str, Any], where: str) -> Scene:
    if missing := [key for key in REQUIRED if key not in row]:
        raise BadInput(f"{where}: {missing[0]} is missing")
    if extra := sorted(set(row) - set(KEYS)):
        raise BadInput(f"{where}: unknown field {extra[0]!r}: the fields are {', '.join(KEYS)}")
    kind = _choice(row, "kind", KINDS, "quote", where)
    text, background = _text(row, "text", where), None
    if "situation" in row:
        background = _text(row, "situation", where)
        if kind == "situation":
            raise BadInput(f"{where}: text is a situation already: leave out one of the two")
    emotions = [emotion.value for emotion in EMOTIONS]
    return Scene(
        name=str(row.get("id", where)),
        emotion=Emotion(_choice(row, "emotion", emotions, None, where)),
        situation=text if kind == "situation" else background,
        quote=text if kind == "quote" else None,
        perspective=Perspective(
            _choice(row, "perspective", [p.value for p in Perspective], "speaker", where)
        ),
        target=_target(row, where),
    )


def _choice(row: Mapping[str, Any], key: str, known: Any, default: str | None, where: str) -> str:
    value = row.get(key, default)
    if value not in known:
        raise BadInput(f"{where}: {key} is {value!r}: use one of {', '.join(known)}")
    return str(value)


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row[key]
    if not isinstance(value, str) or not value.strip():
        raise BadInput(f"{where}: {key} is {value!r}: give a text that is not empty")
    return value


def _target(row: Mapping[str, Any], where: str) -> Target | None:
    if "au" in row and "beta" in row:
        raise BadInput(f"{where}: it has both au and beta: leave out one of them")
    if "au" in row:
        if not isinstance(row["au"], dict):
            raise BadInput(f'{where}: au is {row["au"]!r}: give {{"AU12": 0.6, ...}}')
        return face_of_units(row["au"], where)
    if "beta" not in row:
        return None
    try:
        beta = np.asarray(row["beta"], dtype=np.float32)
    except (TypeError, ValueError):
        raise BadInput(f"{where}: beta must be a list of numbers") from None
    if beta.shape not in ((EXPRESSION_SIZE,), (HALF,)) or not np.isfinite(beta).all():
        raise BadInput(
            f"{where}: beta has shape {beta.shape}: give 100 finite numbers, or the first 50"
        )
    coefficients = np.zeros(EXPRESSION_SIZE, dtype=np.float32)
    coefficients[: len(beta)] = beta
    known = np.arange(EXPRESSION_SIZE) < len(beta)
    return Target(str(row.get("basis", OPEN_BASIS)), coefficients, known)
