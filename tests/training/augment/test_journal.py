from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from contextface_ros.errors import BadInput
from contextface_ros.types import Emotion
from tests.training.augment.conftest import give_room
from training.augment.answer import Answer, Stop
from training.augment.journal import DiskFull, Entry, Journal, Key, Sending

ANSWER = Answer('{"quote": "ä\u2028"}', Stop.DONE, 500, 60)


def entry(number: int, text: str = ANSWER.text) -> Entry:
    return Entry(f"{number:064}", (1, 2, 3, 4), replace(ANSWER, text=text))


def test_what_is_added_is_there_again(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    unreadable = Entry("f" * 64, None, None, "cut short")
    with Journal(file) as journal:
        journal.add(entry(1))
        journal.add(unreadable)
        journal.add(entry(1, "a second thought"))
    with Journal(file) as journal:
        assert journal.entries == {e.digest: e for e in (entry(1, "a second thought"), unreadable)}
    assert [path.name for path in tmp_path.iterdir()] == ["journal"]


def test_batches_are_open_until_they_are_collected(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    first = Sending("one", "anthropic/m", 5.0, {"a": (1, 2, 3, 4), "b": None})
    second = replace(first, token="two")
    with Journal(file) as journal:
        journal.sending(first)
        journal.sent("one", "msgbatch_1")
        journal.sending(second)
    with Journal(file) as journal:
        named = replace(first, batch="msgbatch_1")
        assert journal.open_batches == {"one": named, "two": second}
        journal.collected("one")
        assert journal.open_batches == {"two": second}
    with Journal(file) as journal:
        assert journal.open_batches == {"two": second}


@pytest.mark.parametrize("cut", [1, 10, 50])
def test_a_line_that_a_crash_cut_off_is_cut_away(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "journal"
    with Journal(file) as journal:
        journal.add(entry(1))
        journal.add(entry(2))
    file.write_bytes(file.read_bytes()[:-cut])
    with Journal(file) as journal:
        assert list(journal.entries) == [entry(1).digest]
        journal.add(entry(3))
    with Journal(file) as journal:
        assert list(journal.entries) == [entry(1).digest, entry(3).digest]


@pytest.mark.parametrize(
    "line", ["{}", "[]", "nonsense", '{"event": "party"}', '{"event": "answer", "digest": "a"}']
)
def test_a_foreign_line_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "journal"
    with Journal(file) as journal:
        journal.add(entry(1))
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(BadInput, match="line 2 is no event of a journal"):
        Journal(file)


def test_two_runs_cannot_have_it(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal"), pytest.raises(BadInput, match="is in use"):
        Journal(tmp_path / "journal")
    with Journal(tmp_path / "journal"):
        pass


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be written"):
        Journal(tmp_path / "missing" / "journal")


def test_a_full_disk_loses_no_answer(small_disk: Path) -> None:
    file = small_disk / "journal"
    added = []
    with Journal(file) as journal:
        with pytest.raises(DiskFull, match="all answers are kept"):
            for number in range(1000):
                added.append(entry(number, "word " * 200))
                journal.add(added[-1])
        assert 10 < len(added) < 1000
        for number in range(1000, 1032):  # those that were under way
            added.append(entry(number, "word " * 200))
            journal.add(added[-1])
    assert all(json.loads(line) for line in file.read_text().splitlines())
    give_room(small_disk)
    with Journal(file) as journal:
        assert list(journal.entries.values()) == added


def test_a_disk_that_is_full_from_the_start(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(1 << 18))
    with pytest.raises(DiskFull, match="free some space first"):
        Journal(small_disk / "journal")


def test_a_key_holds_all_that_is_asked() -> None:
    key = Key("a" * 64, Emotion.HAPPY, "yuface", "1-a", "anthropic/m")
    others = [
        replace(key, image_sha256="b" * 64),
        replace(key, emotion=Emotion.SAD),
        replace(key, sight="none"),
        replace(key, prompt_version="1-b"),
        replace(key, annotator="openai/m"),
    ]
    assert len({k.digest for k in (key, *others)}) == 6
    assert replace(key).digest == key.digest and len(key.digest) == 64
