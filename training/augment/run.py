"""One augmentation from its start to its end, whichever way the requests go.

    what is not in the journal -> here, Ray Data or batches -> `Run.take` -> journal

`Run.take` is the one place where outcomes arrive, and it says when to stop: when the disk is full,
when a request was hopeless, or when several in a row came to nothing.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from training.augment.annotator import AnnotatorSpec, open_annotator
from training.augment.answer import Answer, Reject, WrittenContext, judge
from training.augment.ask import Outcome, ask, ask_all, key_of
from training.augment.folder import LabelledFolder, LabelledImage
from training.augment.journal import DiskFull, Entry, Journal, Sending
from training.augment.sight import Sight

FAILURES_IN_A_ROW = 5
"""So many requests without an answer between them end a run: something is wrong with all."""


@dataclass(frozen=True)
class Verdict:
    """What became of one image.

    Attributes:
        image: which.
        entry: what the journal has of it, or None.
        result: the context, or why there is none.
        why: more words, or "".
    """

    image: LabelledImage
    entry: Entry | None
    result: WrittenContext | Reject
    why: str = ""


@dataclass
class Run:
    """The state of one augmentation.

    Attributes:
        folder: the images.
        sight: name of the way to see them.
        spec: who is asked.
        journal: what was answered so far.
        again: rejects that are to be asked once more, whatever the journal has.
        failures: requests of this run that came to nothing, by digest.
        stopped: why no more is asked, or "".
        on_outcome: called after each one.
    """

    folder: LabelledFolder
    sight: str
    spec: AnnotatorSpec
    journal: Journal
    again: Collection[Reject] = ()
    failures: dict[str, str] = field(default_factory=dict)
    stopped: str = ""
    on_outcome: Callable[[Outcome], None] = lambda outcome: None
    _in_a_row: int = 0

    def digest(self, image: LabelledImage) -> str:
        """Under which digest the outcome of an image is kept."""
        return key_of(image, self.sight, self.spec).digest

    def todo(self) -> list[LabelledImage]:
        """The images that are still to be asked about. Those in an open batch are not."""
        waiting = {digest for sending in self.open_batches() for digest in sending.boxes}
        return [
            image
            for image in self.folder.images
            if (digest := self.digest(image)) not in waiting and self._wanted(digest)
        ]

    def open_batches(self) -> list[Sending]:
        """The batches of this annotator that were sent and not collected."""
        sendings = self.journal.open_batches.values()
        return [sending for sending in sendings if sending.annotator == self.spec.name]

    def _wanted(self, digest: str) -> bool:
        entry = self.journal.entries.get(digest)
        return entry is None or _judged(entry) in self.again

    def take(self, outcome: Outcome) -> None:
        """Keep an outcome, and notice when it is better to stop."""
        if isinstance(outcome, Entry):
            self._in_a_row = 0
            try:
                self.journal.add(outcome)
            except DiskFull as error:
                self.stopped = str(error)
        else:
            self._in_a_row += 1
            self.failures[outcome.digest] = outcome.why
            if outcome.from_batch:
                pass  # the others were handed in together with it, and are collected all the same
            elif outcome.hopeless:
                self.stopped = f"{self.spec.name} cannot be asked: {outcome.why}"
            elif self._in_a_row >= FAILURES_IN_A_ROW:
                self.stopped = f"{self._in_a_row} requests in a row failed: {outcome.why}"
        self.on_outcome(outcome)

    def answers(self) -> list[Answer]:
        """All answers for these images that the journal has."""
        entries = (self.journal.entries.get(self.digest(image)) for image in self.folder.images)
        return [entry.answer for entry in entries if entry is not None and entry.answer is not None]

    def verdicts(self) -> Iterator[Verdict]:
        """What became of each image, in the order of the folder."""
        for image in self.folder.images:
            digest = self.digest(image)
            entry = self.journal.entries.get(digest)
            if entry is not None:
                yield Verdict(image, entry, _judged(entry), entry.why)
            elif digest in self.failures:
                yield Verdict(image, None, Reject.FAILED, self.failures[digest])
            else:
                yield Verdict(image, None, Reject.NOT_ASKED)


def _judged(entry: Entry) -> WrittenContext | Reject:
    return Reject.UNREADABLE if entry.answer is None else judge(entry.answer)


def ask_here(run: Run, longest_side: int, concurrency: int) -> None:
    """Ask about all that is left from this process, `concurrency` requests at a time."""
    asyncio.run(_ask_here(run, longest_side, concurrency))


async def _ask_here(run: Run, longest_side: int, concurrency: int) -> None:
    sight = Sight(run.sight, longest_side)
    annotator = open_annotator(run.spec)
    try:
        with _stopping_on_signals(run):
            outcomes = ask_all(
                run.todo(),
                lambda image: ask(image, run.digest(image), sight, annotator),
                concurrency,
                lambda: bool(run.stopped),
            )
            async for outcome in outcomes:
                run.take(outcome)
    finally:
        await annotator.close()


@contextmanager
def _stopping_on_signals(run: Run) -> Iterator[None]:
    """Ctrl-C and SIGTERM let the requests that are under way end: they are paid for."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def stop() -> None:
        run.stopped = run.stopped or "interrupted"
        for number in signals:  # the second time means it
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
