"""The clock of the face: absolute deadlines."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from contextface_ros.nodes.pace import Pace


def test_deadlines_stay_on_their_grid_whatever_is_done_between() -> None:
    pace = Pace(200.0)
    start_s = pace.due_s
    due = []
    for i in range(60):
        due.append(pace.wait())
        time.sleep(0.001 * (i % 4))
    steps = [(d - start_s) / 0.005 for d in due]
    assert steps == pytest.approx([round(s) for s in steps], abs=1e-6)
    assert all(b > a for a, b in pairwise(steps))
    assert pace.met == 60
    assert pace.met + pace.missed == round(steps[-1])


def test_it_never_wakes_early_and_what_is_missed_is_counted_not_caught_up() -> None:
    pace = Pace(100.0)
    for _ in range(5):
        assert pace.wait() <= time.monotonic()
    time.sleep(0.055)
    before = pace.missed
    pace.wait()
    assert pace.missed - before >= 5
    start_s = time.monotonic()
    pace.wait()
    pace.wait()
    assert time.monotonic() - start_s > 0.009, "it hurries"
    assert pace.late_ms(99) >= pace.late_ms(50) >= 0.0
