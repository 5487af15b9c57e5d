"""The written contexts keep their rules, and their split is the committed one."""

from __future__ import annotations

import csv
import json
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contextface_ros.types import Perspective
from training.data.contexts import CONTEXTS, read_contexts
from training.data.split import TRAIN_ONLY, part_of

FILES = sorted(CONTEXTS.glob("*.jsonl"))
# The folder lies beside the module of the same name, so the script cannot be imported by name.
SCRIPT = runpy.run_path(str(CONTEXTS / "check.py"))
check: Callable[[Path], tuple[list[dict[str, Any]], list[str]]] = SCRIPT["check"]
row_faults: Callable[[dict[str, Any]], Iterator[str]] = SCRIPT["row_faults"]
spread: Callable[[list[dict[str, Any]]], Iterator[str]] = SCRIPT["spread"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_keeps_the_rules(file: Path) -> None:
    rows, faults = check(file)
    assert faults == []
    assert len(rows) == 7 * len({row["scenario"] for row in rows})


def test_no_id_or_text_is_in_two_files() -> None:
    rows = [json.loads(line) for file in FILES for line in file.read_text("utf-8").splitlines()]
    assert len(rows) >= 7560
    assert len({row["id"] for row in rows}) == len(rows)
    assert len({row["text"].lower() for row in rows}) == len(rows)


def test_the_split_is_the_committed_one() -> None:
    with (CONTEXTS.parent / "parts.tsv").open(encoding="utf-8", newline="") as stream:
        committed = {
            row["scenario"]: row["part"]
            for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        }
    rows = [*read_contexts("train"), *read_contexts("dev"), *read_contexts("test")]
    scenarios = {row.scenario for row in rows if row.register not in TRAIN_ONLY}
    assert len(scenarios) == 1080
    assert committed == {scenario: part_of(scenario) for scenario in scenarios}
    assert all(row.part == "train" for row in rows if row.register in TRAIN_ONLY)
    assert len([row for row in rows if row.register not in TRAIN_ONLY]) == 7560


def good_row() -> dict[str, Any]:
    row: dict[str, Any] = json.loads(FILES[0].read_text("utf-8").splitlines()[0])
    assert list(row_faults(row)) == []
    return row


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"emotion": "Bored"}, "unknown emotion"),
        ({"listener_emotion": "Bored"}, "unknown emotion"),
        ({"kind": "poem"}, "kind"),
        ({"intensity": 1.2}, "intensity 1.2"),
        ({"intensity": 0.05}, "intensity 0.05"),
        ({"emotion": "Neutral", "intensity": 0.3, "au": {}}, "intensity 0.3"),
        ({"au": {"AU3": 0.5}}, "au: {'AU3'}"),
        ({"listener_au": {"AU4": 1.5}}, "listener_au out of 0..1"),
        ({"au": {}}, "no au"),
        ({"emotion": "Neutral", "intensity": 0.1, "au": {"AU4": 0.4}}, "Neutral with strong au"),
        ({"text": "Oh, how she smiled."}, "word 'smiled' in text"),
        ({"text": ""}, "length"),
        ({"text": "word " * 76}, "length"),
    ],
)
def test_a_row_that_breaks_a_rule_is_found(change: dict[str, Any], fault: str) -> None:
    assert list(row_faults(good_row() | change)) == [fault]


def test_what_is_wrong_between_rows_and_lines_is_found(tmp_path: Path) -> None:
    lines = FILES[0].read_text("utf-8").splitlines()[:7]
    row = json.loads(lines[0])
    del row["au"]
    file = tmp_path / "faulty.jsonl"
    file.write_text("\n".join([*lines, lines[0], "{", json.dumps(row)]), encoding="utf-8")
    rows, faults = check(file)
    assert len(rows) == 8
    assert faults[:2] == ["line 8: id twice", "line 8: text twice"]
    assert faults[2].startswith("line 9: not JSON")
    assert faults[3] == "line 10: missing ['au']"
    assert faults[4].startswith(f"{row['scenario']}: has [")
    assert len(faults) == 5


def test_the_spread_counts_what_is_there() -> None:
    lines = list(spread(check(FILES[0])[0]))
    assert lines[0].count("(") == 7
    assert lines[-1].startswith("repeated au sets ")
    assert list(spread([]))[-1] == "repeated au sets 0"


@pytest.mark.parametrize(
    ("perspective", "emotion", "reader", "at_least", "at_most"),
    [
        (Perspective.SPEAKER, "emotion", "reader", 7800, 0.03),
        (Perspective.LISTENER, "listener_emotion", "listener_reader", 700, 0.2),
    ],
)
def test_most_rows_are_agreed_on_and_those_read_otherwise_are_not(
    perspective: Perspective, emotion: str, reader: str, at_least: int, at_most: float
) -> None:
    lines = (line for file in FILES for line in file.read_text("utf-8").splitlines())
    rows = [row for row in map(json.loads, lines) if reader in row]
    otherwise = {row["id"] for row in rows if row[reader] != row[emotion]}
    assert len(rows) >= at_least
    assert 0 < len(otherwise) <= at_most * len(rows)
    read = [*read_contexts("train"), *read_contexts("dev"), *read_contexts("test")]
    assert {row.row_id for row in read if perspective not in row.agreed} == otherwise
