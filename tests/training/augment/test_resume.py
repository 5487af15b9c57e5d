"""A run that is killed, interrupted, or runs out of disk, and the one after it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("anthropic", reason="anthropic is not installed: run `make setup-train`")

from tests.training.augment.commands import augment, events, start
from tests.training.augment.conftest import give_room
from tests.training.augment.endpoint import Endpoint
from training.data.annotations import read_annotations

Images = Callable[..., Path]
CONCURRENCY = 3


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "nothing happened for a minute"
        time.sleep(0.01)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def test_a_killed_run_goes_on_without_paying_twice(
    make_images: Images, out: Path, endpoint: Endpoint
) -> None:
    folder = make_images(Happy=12, Sad=12)
    endpoint.delay_s = 0.1
    for kept in (4, 10):  # killed twice
        run = start(folder, out, endpoint, "--concurrency", str(CONCURRENCY))
        wait_for(lambda kept=kept: len(events(out, "answer")) >= kept)  # type: ignore[misc]
        run.kill()
        run.communicate()
        time.sleep(2 * endpoint.delay_s)  # what was under way is answered, and lost
    answered = {event["digest"] for event in events(out, "answer")}
    seen_before = endpoint.seen.copy()
    assert 10 <= len(answered) < 24 and not out.exists()
    endpoint.delay_s = 0.0
    assert augment(folder, out, endpoint) == 0
    assert len(read_annotations(out)) == 24
    assert len(endpoint.seen) == 24
    # Only what was under way at the two kills was asked for twice.
    assert 24 <= len(endpoint.requests) <= 24 + 2 * CONCURRENCY
    assert (endpoint.seen - seen_before).total() == 24 - len(answered)


def test_a_run_killed_while_a_batch_is_at_work_collects_it(
    make_images: Images, out: Path, endpoint: Endpoint
) -> None:
    folder = make_images(Happy=4)
    endpoint.looks = 10**6
    run = start(folder, out, endpoint, "--batches", "--poll-s", "0.05")
    wait_for(lambda: bool(events(out, "batch")))
    run.kill()
    run.communicate()
    endpoint.looks = 0
    assert augment(folder, out, endpoint) == 0  # --batches or not: what was handed in is collected
    assert len(endpoint.batches) == 1 and len(endpoint.requests) == 4
    assert len(read_annotations(out)) == 4


def test_an_interrupted_run_keeps_what_is_under_way(
    make_images: Images, out: Path, endpoint: Endpoint
) -> None:
    folder = make_images(Happy=30)
    endpoint.delay_s = 0.2
    run = start(folder, out, endpoint, "--concurrency", str(CONCURRENCY))
    wait_for(lambda: len(events(out, "answer")) >= 3)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 2
    assert "stopped: interrupted. What was answered is kept." in said
    assert "Traceback" not in said
    assert len(events(out, "answer")) == len(endpoint.requests) < 30
    assert len(read_annotations(out)) == len(endpoint.requests)


def test_a_full_disk_stops_the_run_and_loses_nothing(
    make_images: Images,
    small_disk: Path,
    endpoint: Endpoint,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, out = make_images(Happy=60), small_disk / "out.jsonl"
    assert augment(folder, out, endpoint, "--concurrency", str(CONCURRENCY)) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "the disk is full" in said and "give the same command again" in said
    paid = len(endpoint.requests)
    assert paid < 60 and len(events(out, "answer")) == paid
    give_room(small_disk)
    assert augment(folder, out, endpoint) == 0
    assert len(endpoint.requests) == 60 and max(endpoint.seen.values()) == 1
    assert len(read_annotations(out)) == 60
