"""docs/round_trip.md says what the code does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.round_trip import RoundTrip, annotated_faces, round_trips
from contextface_ros.face.open_head import OpenHead

PAGE = Path(__file__).parents[2] / "docs" / "round_trip.md"


@pytest.fixture(scope="module")
def trips() -> list[RoundTrip]:
    return round_trips(OpenHead.load(), annotated_faces()[::10])


def test_all_units_but_one_can_be_told_apart(trips: list[RoundTrip]) -> None:
    assert [trip.unit for trip in trips if not trip.told_apart] == ["AU27"]


def test_faces_survive_the_round_trip(trips: list[RoundTrip]) -> None:
    assert max(trip.error for trip in trips) < 0.03
    assert np.mean([trip.error_noisy for trip in trips]) < 0.05


def test_the_page_is_up_to_date(trips: list[RoundTrip]) -> None:
    rows = [line.split("|")[1:5] for line in PAGE.read_text().splitlines() if "| AU" in line]
    written = [[cell.strip() for cell in row] for row in rows]
    assert [row[0] for row in written] == [trip.unit for trip in trips]
    for row, trip in zip(written, trips, strict=True):
        assert float(row[1]) == pytest.approx(trip.alone, abs=0.011)
        assert row[3] == ("yes" if trip.told_apart else "no")
