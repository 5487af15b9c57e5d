"""What was asked and answered, on disk: a killed run goes on from here without paying twice.

Append-only JSON Lines, one event a line, each flushed to the disk before the next step:

    {"event": "answer", ...}      one image's answer as it came, with its tokens
    {"event": "unreadable", ...}  an image that does not decode
    {"event": "sending", ...}     a batch is about to be handed in
    {"event": "batch", ...}       it was, and has this name at the service
    {"event": "collected", ...}   all its results are above

The annotations are made from the journal, so a rule about texts that changes costs nothing. A line
that was cut off by a crash is cut away at the next start. When the disk is full, room that was
kept free from the start is given up, so that the answers that are under way still find a place.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from contextface_ros.errors import BadInput
from contextface_ros.types import Emotion
from training.augment.answer import Answer, Stop

RESERVE_BYTES = 1 << 20
"""Room kept free for the answers that are under way when the disk is full."""

_FULL = (errno.ENOSPC, errno.EDQUOT)

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Key:
    """What an answer answers. Two requests with the same key would be paid twice.

    Attributes:
        image_sha256: of the image file.
        emotion: the label that the annotator was told.
        sight: how the image was seen (`sight.Sight.name`).
        prompt_version: of the question.
        annotator: service and model.
    """

    image_sha256: str
    emotion: Emotion
    sight: str
    prompt_version: str
    annotator: str

    @property
    def digest(self) -> str:
        """64 hex digits that stand for the key."""
        fields = (
            *(self.image_sha256, self.emotion.value, self.sight),
            *(self.prompt_version, self.annotator),
        )
        return hashlib.sha256("\0".join(fields).encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """The outcome of one image.

    Attributes:
        digest: of its key.
        box: the face that was boxed.
        answer: what came back; None for an image that does not decode.
        why: the reason then.
    """

    digest: str
    box: Box | None
    answer: Answer | None
    why: str = ""


@dataclass(frozen=True)
class Sending:
    """A batch that was handed in, or was about to be.

    Attributes:
        token: names it here.
        annotator: service and model.
        at: seconds since 1970 when it was about to be handed in.
        boxes: the requests by digest, each with its box.
        batch: its name at the service; None where that was never learned.
    """

    token: str
    annotator: str
    at: float
    boxes: dict[str, Box | None]
    batch: str | None = None


class DiskFull(BadInput):
    """Nothing more can be written down, so nothing more may be asked."""


class Journal:
    """The journal of one output file, open for appending. One process at a time.

    Attributes:
        entries: the outcomes by digest; a later one stands for an earlier.
        open_batches: the batches that were sent and not collected, by token.
    """

    def __init__(self, file: Path) -> None:
        """Read what is there and open it.

        Raises:
            BadInput: it cannot be opened, another run has it, or a line in it is none of ours.
            DiskFull: there is no room to begin.
        """
        self.entries: dict[str, Entry] = {}
        self.open_batches: dict[str, Sending] = {}
        self._file = file
        self._reserve = file.with_name(file.name + ".reserve")
        try:
            self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise BadInput(f"{file} cannot be written: {error.strerror}") from error
        try:
            self._begin()
        except BadInput:
            os.close(self._descriptor)
            raise

    def _begin(self) -> None:
        self._lock()
        try:
            self._read()
            _fill(self._reserve)
        except OSError as error:
            if error.errno not in _FULL:
                raise BadInput(f"{self._file} cannot be written: {error.strerror}") from error
            self._reserve.unlink(missing_ok=True)
            raise DiskFull(f"{self._file}: the disk is full: free some space first") from error

    def add(self, entry: Entry) -> None:
        """Write an outcome down.

        Raises:
            DiskFull: it was written into the last room; nothing more should be asked.
        """
        self.entries[entry.digest] = entry
        self._append(entry_event(entry))

    def sending(self, sending: Sending) -> None:
        """Write down that a batch is about to be handed in. Raises DiskFull."""
        self.open_batches[sending.token] = sending
        boxes = {digest: box and list(box) for digest, box in sending.boxes.items()}
        event = {"event": "sending", "token": sending.token, "annotator": sending.annotator}
        self._append(event | {"at": sending.at, "boxes": boxes})

    def sent(self, token: str, batch: str) -> None:
        """Write down what a batch is called at the service. Raises DiskFull."""
        event = {"event": "batch", "token": token, "batch": batch}
        self._replay(event)
        self._append(event)

    def collected(self, token: str) -> None:
        """Write down that a batch has nothing more to give, or never was. Raises DiskFull."""
        event = {"event": "collected", "token": token}
        self._replay(event)
        self._append(event)

    def close(self) -> None:
        """Let others have it."""
        self._reserve.unlink(missing_ok=True)
        os.close(self._descriptor)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(f"{self._file} is in use: wait for the other run to end") from error

    def _read(self) -> None:
        raw = self._file.read_bytes()
        whole = raw.rfind(b"\n") + 1
        if whole < len(raw):  # a crash in the midst of a line
            os.ftruncate(self._descriptor, whole)
        for number, line in enumerate(raw[:whole].split(b"\n")[:-1], 1):
            try:
                self._replay(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise BadInput(
                    f"{self._file}, line {number} is no event of a journal: move the file away, or"
                    " take that line out"
                ) from error

    def _replay(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind in ("answer", "unreadable"):
            entry = read_entry(event)
            self.entries[entry.digest] = entry
        elif kind == "sending":
            boxes = {digest: _box(box) for digest, box in event["boxes"].items()}
            token, annotator = event["token"], event["annotator"]
            self.open_batches[token] = Sending(token, annotator, float(event["at"]), boxes)
        elif kind == "batch":
            was = self.open_batches[event["token"]]
            self.open_batches[was.token] = replace(was, batch=event["batch"])
        elif kind == "collected":
            self.open_batches.pop(event["token"], None)
        else:
            raise ValueError(f"unknown event {kind!r}")

    def _append(self, event: dict[str, Any]) -> None:
        line = json.dumps(event, ensure_ascii=True).encode() + b"\n"
        size = os.fstat(self._descriptor).st_size
        try:
            self._write(line)
        except OSError as error:
            if error.errno not in _FULL:
                raise BadInput(f"{self._file} cannot be written: {error.strerror}") from error
            self._reserve.unlink(missing_ok=True)
            os.ftruncate(self._descriptor, size)  # half a line may be there
            try:
                self._write(line)
            except OSError as again:
                os.ftruncate(self._descriptor, size)
                raise DiskFull(
                    f"{self._file}: the disk is full and an answer was lost: free some space"
                ) from again
            raise DiskFull(
                f"{self._file}: the disk is full: all answers are kept, free some space and give"
                " the same command again"
            ) from error

    def _write(self, line: bytes) -> None:
        view = memoryview(line)
        while view:
            view = view[os.write(self._descriptor, view) :]
        os.fsync(self._descriptor)


def entry_event(entry: Entry) -> dict[str, Any]:
    """An outcome as the journal has it."""
    row: dict[str, Any] = {"digest": entry.digest, "box": entry.box and list(entry.box)}
    answer = entry.answer
    if answer is None:
        return {"event": "unreadable", **row, "why": entry.why}
    return {
        "event": "answer",
        **row,
        "text": answer.text,
        "stop": answer.stop.value,
        "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens,
        "half_price": answer.half_price,
    }


def read_entry(event: dict[str, Any]) -> Entry:
    """The inverse of `entry_event`. Raises KeyError, TypeError or ValueError for anything else."""
    digest, box = str(event["digest"]), _box(event["box"])
    if event["event"] == "unreadable":
        return Entry(digest, box, None, str(event["why"]))
    answer = Answer(
        text=str(event["text"]),
        stop=Stop(event["stop"]),
        input_tokens=int(event["input_tokens"]),
        output_tokens=int(event["output_tokens"]),
        half_price=bool(event["half_price"]),
    )
    return Entry(digest, box, answer)


def _box(box: list[int] | None) -> Box | None:
    if box is None:
        return None
    x, y, width, height = box
    return x, y, width, height


def _fill(reserve: Path) -> None:
    """Take room on the disk that is given back when there is no other. Raises OSError."""
    with reserve.open("wb") as stream:
        stream.write(os.urandom(RESERVE_BYTES))  # not zeros, which a file system may not store
        stream.flush()
        os.fsync(stream.fileno())
