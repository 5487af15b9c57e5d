from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contextface_ros.errors import BadInput
from contextface_ros.types import EMOTIONS, Emotion
from training.data.annotations import (
    Annotation,
    TargetFile,
    TargetKind,
    format_annotation,
    parse_annotation,
    read_annotations,
    write_annotations,
)

GOOD = Annotation(
    image="Happy/0001.png",
    image_sha256="0" * 64,
    emotion=Emotion.HAPPY,
    situation="Her brother steps off the train.",
    quote="There you are!",
    box=(10, 20, 30, 40),
    target=TargetFile("Happy/0001.npy", TargetKind.INFERNO),
    annotator="anthropic/claude-test",
    prompt_version="1-abc",
)

texts = st.text(min_size=1).filter(lambda text: bool(text.strip()))


@given(
    st.builds(
        Annotation,
        image=st.just("a/b.jpg"),
        image_sha256=st.just("a" * 64),
        emotion=st.sampled_from(EMOTIONS),
        situation=texts,
        quote=st.none() | texts,
        box=st.none() | st.tuples(*[st.integers(1, 5000)] * 4),
        target=st.none() | st.builds(TargetFile, st.just("x.npy"), st.sampled_from(TargetKind)),
        annotator=st.just("human"),
        prompt_version=st.text(),
    )
)
def test_what_is_written_is_read(annotation: Annotation) -> None:
    line = format_annotation(annotation)
    assert "\n" not in line
    assert parse_annotation(line, "here") == annotation


def test_a_file_of_them(tmp_path: Path) -> None:
    file = tmp_path / "annotations.jsonl"
    rows = [GOOD, replace(GOOD, quote="A line\u2028in a line.", target=None, box=None)]
    assert write_annotations(file, rows) == 2
    assert read_annotations(file) == rows
    assert [path.name for path in tmp_path.iterdir()] == ["annotations.jsonl"]
    assert write_annotations(file, []) == 0
    assert read_annotations(file) == []


def changed(**fields: Any) -> str:
    row: dict[str, Any] = json.loads(format_annotation(GOOD))
    return json.dumps(row | fields)


def without(key: str) -> str:
    row: dict[str, Any] = json.loads(format_annotation(GOOD))
    del row[key]
    return json.dumps(row)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "this is not JSON"),
        ("", "this is not JSON"),
        ("[" * 100_000, "this is not JSON"),
        ("[1]", "no JSON object"),
        (without("quote"), "quote is missing"),
        (without("box"), "box is missing"),
        (changed(emotoin="Happy"), "unknown field 'emotoin'"),
        (changed(emotion="Contempt"), "use one of Angry, Sad"),
        (changed(emotion=["Happy"]), "use one of Angry, Sad"),
        (changed(situation=None, quote=None), "neither a situation nor a quote"),
        (changed(quote="  "), "quote is empty"),
        (changed(quote=7), "quote is 7: it must be text"),
        (changed(image="../secret.png"), "below the folder"),
        (changed(image="/etc/passwd"), "below the folder"),
        (changed(image_sha256="abc"), "64 hex digits"),
        (changed(box=[1, 2, 3]), "in whole pixels"),
        (changed(box=[1, 2, 3.5, 4]), "in whole pixels"),
        (changed(box=[True, 2, 3, 4]), "in whole pixels"),
        (changed(box=[1, 2, 0, 4]), "above 0"),
        (changed(target={"file": "a.npy"}), "file and kind"),
        (changed(target={"file": "a.npy", "kind": "smirk"}), "use one of inferno"),
        (changed(annotator=""), "say who wrote"),
    ],
)
def test_a_bad_line_is_refused_in_one_sentence(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "annotations.jsonl"
    file.write_text(format_annotation(GOOD) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        read_annotations(file)
    assert str(caught.value).startswith(f"{file}, line 2: ")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.jsonl").write_bytes(b"\xe9\n")
    for name in ("latin.jsonl", "missing.jsonl"):
        with pytest.raises(BadInput, match="cannot be read"):
            read_annotations(tmp_path / name)


def test_a_failed_write_leaves_nothing_half_done(tmp_path: Path) -> None:
    place = tmp_path / "annotations.jsonl"
    place.mkdir()
    with pytest.raises(BadInput, match="cannot be written"):
        write_annotations(place, [GOOD])
    assert list(tmp_path.iterdir()) == [place] and not list(place.iterdir())
