from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")

from contextface_ros.errors import BadInput
from training.data.own import HELD_OUT, read_own


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def texts(count: int) -> list[dict[str, Any]]:
    return [{"text": f"This is text number {n}.", "emotion": "Happy"} for n in range(count)]


def test_about_one_row_in_ten_is_held_out_and_always_the_same(tmp_path: Path) -> None:
    whole = read_own(write(tmp_path / "own.jsonl", texts(1000)))
    assert len(whole.train) + len(whole.dev) == 1000
    assert 1000 / HELD_OUT * 0.6 < len(whole.dev) < 1000 / HELD_OUT * 1.4
    later = read_own(write(tmp_path / "own.jsonl", texts(1200)[::-1]))
    assert {scene.quote for scene in whole.dev} <= {scene.quote for scene in later.dev}
    assert not {s.quote for s in later.dev} & {s.quote for s in later.train}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"beta": [0.5] * 100, "basis": "flame2020"}, "its face is in flame2020, nano's are in"),
        ({"beta": [0.5] * 50}, "beta must have all 100 numbers here"),
        ({"emotion": "Joy"}, "emotion is 'Joy': use one of Angry"),
        ({"feeling": "Happy"}, "unknown field 'feeling'"),
    ],
)
def test_a_row_that_cannot_be_learned_names_its_line(
    row: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    good = texts(2)
    file = write(tmp_path / "own.jsonl", [*good, {"text": "Oh.", "emotion": "Happy", **row}])
    with pytest.raises(BadInput, match=r"own\.jsonl, line 3: ") as caught:
        read_own(file)
    assert sentence in str(caught.value)


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text("\n\n")
    with pytest.raises(BadInput, match="has no row to train on"):
        read_own(tmp_path / "own.jsonl")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_any_text_falls_on_one_side(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    rows = [*texts(3), {"text": text, "emotion": "Sad"}]
    own = read_own(write(tmp_path_factory.mktemp("own") / "own.jsonl", rows))
    assert len(own.train) + len(own.dev) == len(rows)
