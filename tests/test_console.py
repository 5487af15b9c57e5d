from __future__ import annotations

import io

import pytest
from rich.console import Console

from contextface_ros.console import COLOURS, bar, progress_bar, show_record
from contextface_ros.face.open_head import OpenHead
from contextface_ros.record import records
from contextface_ros.types import EMOTIONS
from tests.test_record import prediction


@pytest.mark.parametrize(
    ("fraction", "drawn"),
    [(0, ""), (1, "████"), (0.5, "██"), (0.625, "██▌"), (0.01, ""), (-1, ""), (2, "████")],
)
def test_bar(fraction: float, drawn: str) -> None:
    assert bar(fraction, 4) == drawn


def test_an_answer_as_a_person_sees_it() -> None:
    (record,) = records([prediction({"AU6": 0.5, "AU12": 0.6})], OpenHead.load())
    out = Console(file=io.StringIO(), width=80)
    show_record(out, record, took_ms=42.4)
    lines = out.file.getvalue().splitlines()
    assert lines[0].startswith("  Happy     0.70  ████")
    assert {line.split()[0] for line in lines[:7]} == {emotion.value for emotion in EMOTIONS}
    units = [line for line in lines if line.strip().startswith("AU")]
    assert "AU12 lip corner puller" in units[0]
    assert "AU6  cheek raiser" in units[1]
    assert "42 ms" in lines[-1]


def test_a_face_at_rest() -> None:
    (record,) = records([prediction({})], OpenHead.load())
    out = Console(file=io.StringIO(), width=80)
    show_record(out, record, took_ms=1)
    assert "a face at rest" in out.file.getvalue()


def test_every_emotion_has_a_colour() -> None:
    assert set(COLOURS) == {emotion.value for emotion in EMOTIONS}


def test_no_bar_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bar(10) as advance:
        advance(5, "half")
    assert capfd.readouterr() == ("", "")
