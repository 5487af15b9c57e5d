"""Anthropic's Message Batches: half the price, answers within a day.

A batch is handed in once and collected by whichever run comes after: the journal has its name. A
run that was killed between handing in and writing that name down left only the line before, that a
batch was about to be sent; such a batch is looked for at the service by its requests' names before
anything is sent again.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from contextface_ros.errors import BadInput
from training.augment.annotator import AnnotatorSpec, failed
from training.augment.anthropic_messages import check_key, parameters, read_message, sdk
from training.augment.ask import Failure, Outcome, look, question
from training.augment.folder import LabelledImage
from training.augment.journal import Box, Entry, Sending
from training.augment.run import Run
from training.augment.sight import Sight

BATCH_IMAGES = 500
"""Images of one batch. The service takes 256 MB; a picture is about 0.1 MB."""

_CLOCKS_APART_S = 600.0


class Batches:
    """Hands in, waits for and collects the batches of one run."""

    def __init__(
        self, run: Run, sight: Sight, poll_s: float, on_wait: Callable[[str], None]
    ) -> None:
        """Raises MissingDependency, and BadInput where there is no key."""
        anthropic = sdk()
        spec = run.spec
        self.error = anthropic.AnthropicError
        self._client = anthropic.Anthropic(
            base_url=spec.base_url, max_retries=spec.retries, timeout=spec.timeout_s
        )
        check_key(self._client)
        self._run = run
        self._sight = sight
        self._poll_s = poll_s
        self._on_wait = on_wait

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def hand_in(self) -> None:
        """Send all that is left. Raises the SDK's error, and DiskFull."""
        for images in _chunks(self._run.todo(), BATCH_IMAGES):
            requests, boxes = self._requests(images)
            if self._run.stopped:
                return
            if not requests:
                continue
            sending = Sending(uuid.uuid4().hex, self._run.spec.name, time.time(), boxes)
            self._run.journal.sending(sending)
            # Not repeated blindly: a batch whose reply was lost may be at work; find_lost knows.
            once = self._client.with_options(max_retries=0)
            batch = once.messages.batches.create(requests=requests)
            self._run.journal.sent(sending.token, batch.id)

    def _requests(self, images: Sequence[LabelledImage]) -> tuple[list[Any], dict[str, Box | None]]:
        requests: list[Any] = []
        boxes: dict[str, Box | None] = {}
        for image in images:
            digest = self._run.digest(image)
            picture = look(image, self._sight)
            if isinstance(picture, str):
                self._run.take(Entry(digest, None, None, picture))
                continue
            asked = parameters(self._run.spec, question(image, picture))
            requests.append({"custom_id": digest, "params": asked})
            boxes[digest] = picture.box
        return requests, boxes

    def collect(self) -> None:
        """Wait for all that was sent and keep it. Raises the SDK's error, and DiskFull."""
        for sending in self._run.open_batches():
            if self._run.stopped:
                return
            assert sending.batch is not None
            self._wait(sending.batch)
            for outcome in self._results(sending):
                self._run.take(outcome)
            if not self._run.stopped:
                self._run.journal.collected(sending.token)

    def _wait(self, batch: str) -> None:
        while True:
            state = self._client.messages.batches.retrieve(batch)
            if state.processing_status == "ended":
                return
            self._on_wait(f"{batch}: {state.request_counts.processing} under way")
            time.sleep(self._poll_s)

    def _results(self, sending: Sending) -> Iterator[Outcome]:
        assert sending.batch is not None
        for response in self._client.messages.batches.results(sending.batch):
            digest, result = response.custom_id, response.result
            if digest not in sending.boxes:
                continue
            if result.type == "succeeded":
                answer = read_message(result.message, half_price=True)
                yield Entry(digest, sending.boxes[digest], answer)
            elif result.type == "errored":
                yield Failure(digest, result.error.error.message, from_batch=True)
            else:
                yield Failure(digest, f"the request has {result.type}", from_batch=True)

    def find_lost(self) -> None:
        """Learn the name of a batch that was handed in by a run that did not live to write it down.

        Raises the SDK's error, and DiskFull.
        """
        lost = [sending for sending in self._run.open_batches() if sending.batch is None]
        if not lost:
            return
        known = {sending.batch for sending in self._run.open_batches()}
        earliest = min(sending.at for sending in lost) - _CLOCKS_APART_S
        for batch in self._client.messages.batches.list():
            if batch.created_at.timestamp() < earliest:  # they come newest first
                break
            if batch.id in known:
                continue
            names = self._names(batch, {len(sending.boxes) for sending in lost})
            for sending in lost:
                if names == set(sending.boxes):
                    self._run.journal.sent(sending.token, batch.id)
        for sending in lost:
            if self._run.journal.open_batches[sending.token].batch is None:
                self._run.journal.collected(sending.token)  # it was never handed in

    def _names(self, batch: Any, sizes: set[int]) -> set[str]:
        """The names of a batch's requests, which its results alone tell; none if it is not ours."""
        counts = batch.request_counts.model_dump()
        if sum(count for count in counts.values() if isinstance(count, int)) not in sizes:
            return set()
        self._wait(batch.id)
        return {response.custom_id for response in self._client.messages.batches.results(batch.id)}


def _chunks(images: Sequence[LabelledImage], size: int) -> Iterator[Sequence[LabelledImage]]:
    for start in range(0, len(images), size):
        yield images[start : start + size]


def ask_in_batches(
    run: Run, sight: Sight, poll_s: float, on_wait: Callable[[str], None], *, hand_in: bool
) -> None:
    """Collect the open batches and, with `hand_in`, ask about all that is left in new ones.

    Raises:
        MissingDependency: the SDK is not installed.
        BadInput: the service cannot be reached or refuses; DiskFull is one.
    """
    batches = Batches(run, sight, poll_s, on_wait)
    try:
        batches.find_lost()
        if hand_in:
            batches.hand_in()
        batches.collect()
    except batches.error as error:
        why = failed(error, getattr(error, "status_code", None))
        raise BadInput(
            f"{run.spec.name} cannot be asked: {why}; what was handed in is kept, give the same"
            " command again"
        ) from error
    finally:
        batches.close()


def check_batches(spec: AnnotatorSpec) -> None:
    """Raise BadInput for a service without batches."""
    if spec.service != "anthropic":
        raise BadInput("--batches is for --annotator anthropic: leave it out for other servers")
