"""The model's thread and its queue, without ROS."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from contextface_ros.errors import Aborted, BadBundle
from contextface_ros.nodes.model_thread import ModelThread
from contextface_ros.types import Context, Prediction
from tests.nodes.stand_in_agent import StandIn


@pytest.fixture
def thread() -> Iterator[ModelThread]:
    thread = ModelThread(lambda: StandIn(sees=False), capacity=2)
    yield thread
    thread.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("model")]


def ask(thread: ModelThread, quote: str, droppable: bool = True) -> Future[Prediction]:
    return thread.ask(lambda: Context(quote=quote), droppable=droppable)


def keep_busy(thread: ModelThread) -> Future[Prediction]:
    """A long question, once the model has begun with it."""
    long = ask(thread, "think 60", droppable=False)
    while not long.running():
        time.sleep(0.001)
    return long


def test_questions_are_answered_in_order(thread: ModelThread) -> None:
    finished: list[int] = []
    answers = [ask(thread, f"{n} times happy", droppable=False) for n in range(20)]
    for n, answer in enumerate(answers):
        answer.add_done_callback(lambda _, n=n: finished.append(n))  # type: ignore[misc]
    assert [answer.result(5).emotion.value for answer in answers] == ["Happy"] * 20
    assert finished == list(range(20))


def test_a_full_queue_drops_the_oldest_that_may_be_dropped(thread: ModelThread) -> None:
    long = keep_busy(thread)
    call = ask(thread, "a call", droppable=False)
    first, second, third, fourth = (ask(thread, f"utterance {n}") for n in range(4))
    assert [a.cancelled() for a in (call, first, second, third, fourth)] == [
        False, True, True, False, False,
    ]  # fmt: skip
    assert thread.waiting == 3  # the call and two utterances: it takes no place of theirs
    assert not long.done()


def test_abort_ends_all_and_the_next_question_is_answered(thread: ModelThread) -> None:
    long = keep_busy(thread)
    waiting = ask(thread, "I wait")
    start = time.monotonic()
    assert thread.abort()
    assert time.monotonic() - start < 0.4
    assert isinstance(long.exception(), Aborted)
    assert waiting.cancelled()
    assert thread.waiting == 0
    assert ask(thread, "sad").result(5).emotion.value == "Sad"


def test_abort_does_not_wait_for_a_model_that_does_not_listen(thread: ModelThread) -> None:
    deaf = ask(thread, "deaf 1.0")
    while not deaf.running():
        time.sleep(0.001)
    start = time.monotonic()
    assert not thread.abort(timeout_s=0.2)
    assert time.monotonic() - start < 0.4


def test_an_error_of_the_loader_comes_out_and_leaves_no_thread() -> None:
    def load() -> StandIn:
        raise BadBundle("there is no bundle")

    with pytest.raises(BadBundle, match="there is no bundle"):
        ModelThread(load, capacity=1)
    deadline = time.monotonic() + 5
    while [t for t in threading.enumerate() if t.name.startswith("model")]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
