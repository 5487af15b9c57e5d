from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")

from contextface_ros.errors import BadInput
from contextface_ros.types import OPEN_BASIS, Emotion, Perspective
from training.data.texts import text_scenes

QUOTE = {"text": "You came!", "emotion": "Happy"}


def write(file: Path, *rows: object) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_rows_become_scenes(tmp_path: Path) -> None:
    unusual = "one line\u2028of two"
    file = write(
        tmp_path / "mine.jsonl",
        QUOTE | {"text": unusual},
        QUOTE | {"situation": "At the station.", "perspective": "listener", "id": "a"},
        {"text": "The bus left.", "kind": "situation", "emotion": "Sad", "au": {"AU15": 1.0}},
        QUOTE | {"beta": [0.5] * 100, "basis": "flame2023"},
        QUOTE | {"beta": [0.5] * 50, "basis": "flame2020"},
    )
    plain, background, situation, whole, half = text_scenes(file)
    assert (plain.quote, plain.situation, plain.target) == (unusual, None, None)
    assert plain.perspective is Perspective.SPEAKER
    assert (background.name, background.situation) == ("a", "At the station.")
    assert background.perspective is Perspective.LISTENER
    assert (situation.quote, situation.situation) == (None, "The bus left.")
    assert situation.emotion is Emotion.SAD
    assert situation.target is not None and situation.target.basis == OPEN_BASIS
    assert np.abs(situation.target.coefficients).max() > 0.1
    assert whole.target is not None and whole.target.known.all()
    assert half.target is not None and half.target.known.sum() == 50
    assert half.target.coefficients[:50] == pytest.approx(0.5)
    assert not half.target.coefficients[50:].any()


def test_a_tsv_file_says_the_same(tmp_path: Path) -> None:
    file = tmp_path / "mine.tsv"
    file.write_text(
        'text\temotion\tkind\tau\nIt said "so".\tFear\t\t{"AU20": 0.5}\nRain.\tSad\tsituation\t\n'
    )
    quote, situation = text_scenes(file)
    assert (quote.quote, quote.emotion) == ('It said "so".', Emotion.FEAR)
    assert quote.target is not None
    assert (situation.situation, situation.target) == ("Rain.", None)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "Hello"}, "emotion is missing"),
        (QUOTE | {"emotion": "Joyful"}, "Joyful"),
        (QUOTE | {"text": " "}, "text is"),
        (QUOTE | {"text": 3}, "text is 3"),
        (QUOTE | {"mood": "low"}, "unknown field 'mood'"),
        (QUOTE | {"kind": "song"}, "kind is 'song'"),
        (QUOTE | {"kind": "situation", "situation": "x"}, "leave out one"),
        (QUOTE | {"au": {"AU99": 0.5}}, "AU99"),
        (QUOTE | {"au": {"AU12": 2.0}}, r"from 0 \(rest\) to 1 \(full\)"),
        (QUOTE | {"au": [1]}, "au is"),
        (QUOTE | {"beta": [0.1] * 7}, "shape"),
        (QUOTE | {"beta": [float("nan")] * 100}, "finite"),
        (QUOTE | {"beta": ["a"] * 100}, "numbers"),
        (QUOTE | {"au": {}, "beta": [0.0] * 100}, "both"),
        ([1, 2], "JSON object"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: object, said: str) -> None:
    file = write(tmp_path / "mine.jsonl", QUOTE, row)
    with pytest.raises(BadInput, match=said) as error:
        text_scenes(file)
    assert "line 2" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        text_scenes(tmp_path / "none.jsonl")
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "a"')
    with pytest.raises(BadInput, match="line 1: this is not JSON"):
        text_scenes(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="cannot be read"):
        text_scenes(broken)
    wide = tmp_path / "wide.tsv"
    wide.write_text("text\temotion\nHello\tHappy\tmore\n")
    with pytest.raises(BadInput, match="line 2: it has more columns"):
        text_scenes(wide)
