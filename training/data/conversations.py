r"""Free questions about pictures, in the file format of LLaVA-Instruct-150K.

A JSON list; one object a conversation:

    {"id": "000000033471", "image": "000000033471.jpg", "conversations": [
        {"from": "human", "value": "<image>\nWhat are the colors of the bus?"},
        {"from": "gpt", "value": "The bus is white and red."}]}

`image` may be missing. `<image>` marks where it stands in the first question; it is put before
the question everywhere, as most of the data has it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contextface_ros.errors import BadInput
from contextface_ros.prompts import MAX_TEXT_LENGTH
from training.data.pictures import Picture

MARK = "<image>"


@dataclass(frozen=True)
class Conversation:
    """Questions and answers, in turns.

    Attributes:
        turns: (question, answer) each.
        picture: what is talked about, or None.
    """

    turns: tuple[tuple[str, str], ...]
    picture: Picture | None = None

    def __len__(self) -> int:
        """Characters of all turns."""
        return sum(len(question) + len(answer) for question, answer in self.turns)


def read_conversations(file: Path, images: Path | None) -> list[Conversation]:
    """All conversations of a file. Without a folder of images only those that need none.

    Raises:
        BadInput: it cannot be read, a conversation has another form, or an image is missing.
    """
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(rows, list):
        raise BadInput(f"{file} must hold a list of conversations, as LLaVA-Instruct-150K does")
    read = (_conversation(row, images, f"{file}, conversation {n}") for n, row in enumerate(rows))
    return [conversation for conversation in read if conversation is not None]


def _conversation(row: Any, images: Path | None, where: str) -> Conversation | None:
    if not isinstance(row, dict) or not isinstance(row.get("conversations"), list):
        raise BadInput(f"{where}: it must be an object with a list of `conversations`")
    picture = None
    if (name := row.get("image")) is not None:
        if images is None:
            return None
        if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
            raise BadInput(f"{where}: image is {name!r}, it must be a path below the folder")
        picture = Picture(images / name)
        if not picture.file.is_file():
            raise BadInput(f"{where}: there is no image {picture.file}: give its folder")
    return Conversation(_turns(row["conversations"], where), picture)


def _turns(said: list[Any], where: str) -> tuple[tuple[str, str], ...]:
    if not said or len(said) % 2:
        raise BadInput(f"{where}: it must have a question and an answer in each turn")
    for number, piece in enumerate(said):
        speaker = ("human", "gpt")[number % 2]
        if not isinstance(piece, dict) or piece.get("from") != speaker:
            raise BadInput(f"{where}: piece {number} must be from {speaker!r}, human comes first")
        if not isinstance(piece.get("value"), str) or not piece["value"].strip():
            raise BadInput(f"{where}: piece {number} has no text in `value`")
        if speaker == "human" and len(piece["value"]) > MAX_TEXT_LENGTH:
            raise BadInput(f"{where}: a question is longer than {MAX_TEXT_LENGTH:,} characters")
    words = [piece["value"].strip() for piece in said]
    words[0] = words[0].removeprefix(MARK).removesuffix(MARK).strip()
    if not words[0]:
        raise BadInput(f"{where}: the first question has no words beside {MARK}")
    return tuple(zip(words[::2], words[1::2], strict=True))
