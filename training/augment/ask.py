"""All images to the annotator, a bounded number at a time.

    image -> Sight -> Picture -> Annotator -> Entry, or Failure

An Entry is worth keeping for ever; a Failure is not, and is asked again by the next run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from contextface_ros.errors import BadInput
from training.augment.annotator import Annotator, AnnotatorSpec, AskFailed
from training.augment.folder import LabelledImage
from training.augment.journal import Entry, Key
from training.augment.prompt import PROMPT_VERSION, Request
from training.augment.sight import Picture, Sight


@dataclass(frozen=True)
class Failure:
    """A request that came to nothing, and cost nothing.

    Attributes:
        digest: of its key.
        why: in words.
        hopeless: whether the next would come to the same.
        from_batch: whether it was one of a batch.
    """

    digest: str
    why: str
    hopeless: bool = False
    from_batch: bool = False


Outcome: TypeAlias = Entry | Failure


def key_of(image: LabelledImage, sight: str, spec: AnnotatorSpec) -> Key:
    """Under which key the answer for an image is kept."""
    return Key(image.sha256, image.emotion, sight, PROMPT_VERSION, spec.name)


def look(image: LabelledImage, sight: Sight) -> Picture | str:
    """The picture of an image, or the sentence that says why there is none."""
    try:
        return sight.look(image.path.read_bytes())
    except BadInput as error:
        return str(error)
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def question(image: LabelledImage, picture: Picture) -> Request:
    """What is asked about an image."""
    return Request(image.emotion, picture.jpeg, boxed=picture.box is not None)


async def ask(image: LabelledImage, digest: str, sight: Sight, annotator: Annotator) -> Outcome:
    """One image to the annotator."""
    picture = look(image, sight)
    if isinstance(picture, str):
        return Entry(digest, None, None, picture)
    try:
        answer = await annotator.ask(question(image, picture))
    except AskFailed as error:
        return Failure(digest, str(error), error.hopeless)
    return Entry(digest, picture.box, answer)


async def ask_all(
    images: Iterable[LabelledImage],
    ask_one: Callable[[LabelledImage], Awaitable[Outcome]],
    concurrency: int,
    stopped: Callable[[], bool] = lambda: False,
) -> AsyncIterator[Outcome]:
    """All images, `concurrency` at a time; outcomes as they come.

    Once `stopped` says so no other image is taken, and what is under way, and will be paid for, is
    waited for.
    """
    todo = iter(images)
    pending: set[asyncio.Future[Outcome]] = set()
    while True:
        while len(pending) < concurrency and not stopped():
            image = next(todo, None)
            if image is None:
                break
            pending.add(asyncio.ensure_future(ask_one(image)))
        if not pending:
            return
        finished, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in finished:
            yield task.result()
