"""The one thread that owns the model, and the queue in front of it."""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

from contextface_ros.types import Context, Prediction


class Model(Protocol):
    """What the node needs of a ContextFace.

    Attributes:
        device: where it runs, in words.
        sees: whether the image of a context reaches it.
    """

    device: str

    @property
    def sees(self) -> bool:
        """Whether the image of a context reaches it."""

    def predict(self, context: Context) -> Prediction:
        """Answer one context."""

    def abort(self) -> None:
        """Make the `predict` under way raise Aborted soon. Called from any thread."""

    def close(self) -> None:
        """Free native memory."""


@dataclass(frozen=True)
class Question:
    """One context that was handed to the model's thread.

    Attributes:
        answer: completed on the model's thread, or cancelled.
        droppable: whether a later question may push this one out of a full queue.
    """

    answer: Future[Prediction]
    droppable: bool

    @property
    def waiting(self) -> bool:
        """Whether the model has not begun with it."""
        return not (self.answer.running() or self.answer.done())


class ModelThread:
    """Loads, asks and closes one ContextFace, all on one thread: native models are not thread safe.

    Its methods are called from one other thread, the executor's. Questions are answered in order.
    """

    def __init__(self, load: Callable[[], Model], capacity: int) -> None:
        """Load the model and wait for it.

        Args:
            load: makes the model.
            capacity: droppable questions that may wait, besides the one under way.

        Raises:
            ContextFaceError: what `load` raises.
        """
        self._capacity = capacity
        self._questions: list[Question] = []  # oldest first
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        try:
            self._model = self._pool.submit(load).result()
        except BaseException:
            self._pool.shutdown(wait=False)
            raise

    @property
    def model(self) -> Model:
        """The model, of which only what is constant may be read from here."""
        return self._model

    @property
    def waiting(self) -> int:
        """Number of questions that wait."""
        return sum(question.waiting for question in self._questions)

    def ask(self, context: Callable[[], Context], *, droppable: bool) -> Future[Prediction]:
        """Queue a question.

        If it is droppable and the queue is full, the oldest droppable one is cancelled.

        Args:
            context: makes the context on the model's thread, where a picture may be decoded.
            droppable: whether this one may be cancelled by a later one.
        """
        self._questions = [q for q in self._questions if not q.answer.done()]
        if droppable:
            waiting = [q for q in self._questions if q.droppable and q.waiting]
            if len(waiting) >= self._capacity:
                waiting[0].answer.cancel()  # has no effect if the model has just begun with it
        answer = self._pool.submit(lambda: self._model.predict(context()))
        self._questions.append(Question(answer, droppable))
        return answer

    def abort(self, timeout_s: float = 0.4) -> bool:
        """Cancel every question, the one under way included.

        The model is told again and again, since it could be told just before it begins.

        Returns:
            Whether the model came to rest in time. If not, its answer is still on the way.
        """
        for question in self._questions:
            question.answer.cancel()
        running = {q.answer for q in self._questions if not q.answer.done()}
        deadline = time.monotonic() + timeout_s
        while running and time.monotonic() < deadline:
            self._model.abort()
            running = wait(running, timeout=0.02).not_done
        self._questions = [q for q in self._questions if not q.answer.done()]
        return not running

    def close(self, timeout_s: float = 5.0) -> None:
        """Abort, free the model and end the thread.

        Raises:
            TimeoutError: the model did not come to rest; its memory is lost.
        """
        self.abort()
        closed = self._pool.submit(self._model.close)
        self._pool.shutdown(wait=False)
        if wait([closed], timeout_s).not_done:
            raise TimeoutError(f"the model did not stop within {timeout_s} s")
        closed.result()
        _give_memory_back()


def _give_memory_back() -> None:
    """Hand what native code freed back to the system.

    glibc keeps it, in a heap for each thread that ever was: an agent that was configured a hundred
    times would hold 80 MB of it. Nothing happens without glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
