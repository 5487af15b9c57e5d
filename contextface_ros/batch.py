"""Contexts from a JSON Lines file, answers to another: `contextface express --batch`.

Line n of the output answers line n of the input, whatever that is: a row that cannot be used, an
empty line too, gets an object with `error`.

    {"id": "a1", "kind": "quote", "text": "You came!"}
    -> {"id": "a1", "emotion": "Happy", "probabilities": {...}, "expression": [...], ...}

A row has `kind` (quote | situation) and `text`, and may have `id` (text or a whole number, given
back; without it the number of the line), `perspective` (speaker | listener) and, with a quote,
`situation` as its background. Other keys are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from contextface_ros.errors import Aborted, BadInput, ContextFaceError
from contextface_ros.face.open_head import OpenHead
from contextface_ros.prompts import clean_text
from contextface_ros.record import Record, records
from contextface_ros.types import Context, Perspective, Prediction

if TYPE_CHECKING:
    from contextface_ros.contextface import ContextFace

MAX_LINE_BYTES = 1 << 20
_CHUNK = 32  # rows that are predicted together, and then written


@dataclass(frozen=True)
class Row:
    """One line of the input: a context, or the sentence that says why there is none."""

    id: str | int
    context: Context | None
    error: str = ""


@dataclass(frozen=True)
class Progress:
    """How far a batch has come.

    Attributes:
        rows: answered, bad ones included.
        bad: answered with an error.
        bytes_read: of the input file.
    """

    rows: int
    bad: int
    bytes_read: int


def answer_file(
    model: ContextFace,
    source: Path,
    target: Path,
    *,
    perspective: Perspective = Perspective.SPEAKER,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Answer every line of `source`, in order, in `target`.

    Args:
        model: answers the contexts.
        source: JSON Lines in UTF-8.
        target: is replaced. What is answered is in it at once, so that an interrupted run is not
            lost.
        perspective: of rows that name none.
        on_progress: called after every few rows.

    Returns:
        The final count.

    Raises:
        BadInput: a file cannot be opened, or the two are the same.
        Aborted: the model was told to stop.
    """
    if target.exists() and source.exists() and source.samefile(target):
        raise BadInput(f"{source} cannot be read and written at once: name another output file")
    head = OpenHead.load()
    progress = Progress(0, 0, 0)
    try:
        with source.open("rb") as lines, target.open("w", encoding="utf-8") as answers:
            rows = read_rows(lines, perspective)
            while chunk := list(islice(rows, _CHUNK)):
                bad = _write(answers, chunk, _predict(model, chunk), head)
                progress = Progress(progress.rows + len(chunk), progress.bad + bad, lines.tell())
                on_progress(progress)
    except OSError as error:
        raise BadInput(f"{error.filename or target}: {error.strerror}") from error
    return progress


def read_rows(lines: BinaryIO, perspective: Perspective = Perspective.SPEAKER) -> Iterator[Row]:
    """The rows of a JSON Lines file, one for each line, bad ones included."""
    for number, line in enumerate(_split(lines), start=1):
        if len(line) > MAX_LINE_BYTES:
            yield Row(number, None, f"the line is longer than {MAX_LINE_BYTES >> 20} MB")
            continue
        try:
            content = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError:
            yield Row(number, None, "the line is not UTF-8")
        except (ValueError, RecursionError):
            empty = not line.strip()
            yield Row(number, None, "the line is empty" if empty else "the line is not JSON")
        else:
            yield _row(content, number, perspective)


def _split(lines: BinaryIO) -> Iterator[bytes]:
    """Lines, the end of each cut off after MAX_LINE_BYTES + 1: memory stays bounded."""
    while line := lines.readline(MAX_LINE_BYTES + 1):
        rest = line
        while rest and not rest.endswith(b"\n"):  # the tail of a huge line
            rest = lines.readline(MAX_LINE_BYTES)
        yield line


def _row(content: object, number: int, perspective: Perspective) -> Row:
    if not isinstance(content, dict):
        return Row(number, None, "the line is not a JSON object")
    given = content.get("id")
    known = given if type(given) is int or (isinstance(given, str) and len(given) <= 1000) else None
    identity = number if known is None else known
    try:
        return Row(identity, _context(content, perspective))
    except BadInput as error:
        return Row(identity, None, str(error))


def _context(content: dict[str, object], default: Perspective) -> Context:
    kind, text, background = (content.get(key) for key in ("kind", "text", "situation"))
    if kind not in ("quote", "situation"):
        raise BadInput(f"kind is {_short(kind)}, it must be quote or situation")
    if not isinstance(text, str):
        raise BadInput(f"text is {_short(text)}, it must be a text")
    if not isinstance(background, (str, type(None))) or (background and kind == "situation"):
        raise BadInput("situation must be a text, beside a quote")
    wanted = content.get("perspective") or default.value
    if wanted not in [p.value for p in Perspective]:
        raise BadInput(f"perspective is {_short(wanted)}, it must be speaker or listener")
    # Checked one by one here, so that a text that cannot be used does not spoil its neighbours.
    quote, situation = (text, background) if kind == "quote" else (None, text)
    for given in (quote, situation):
        if given is not None:
            clean_text(given)
    return Context(quote=quote, situation=situation, perspective=Perspective(wanted))


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _predict(model: ContextFace, rows: Sequence[Row]) -> list[Prediction | str]:
    """The answer to each row, or why there is none."""
    contexts = [row.context for row in rows if row.context is not None]
    try:
        good: Iterator[Prediction | str] = iter(model.predict_many(contexts))
    except Aborted:
        raise
    except ContextFaceError:  # one of them spoils the others: find out which
        good = iter([_predict_one(model, context) for context in contexts])
    return [row.error if row.context is None else next(good) for row in rows]


def _predict_one(model: ContextFace, context: Context) -> Prediction | str:
    try:
        return model.predict(context)
    except Aborted:
        raise
    except ContextFaceError as error:
        return str(error)


def _write(
    answers: TextIO, rows: Sequence[Row], results: Sequence[Prediction | str], head: OpenHead
) -> int:
    """Write one object for each row. Returns how many are errors."""
    plain = iter(records([r for r in results if isinstance(r, Prediction)], head))
    bad = 0
    for row, result in zip(rows, results, strict=True):
        answer: Record = {"error": result} if isinstance(result, str) else next(plain)
        bad += "error" in answer
        answers.write(json.dumps({"id": row.id, **answer}, allow_nan=False) + "\n")
    answers.flush()
    return bad
