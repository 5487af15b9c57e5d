from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contextface_ros.batch import MAX_LINE_BYTES, Row, answer_file, read_rows
from contextface_ros.contextface import ContextFace
from contextface_ros.errors import Aborted, BadInput
from contextface_ros.types import Context, Perspective
from tests.tiny_bundle import make_tiny_bundle


def rows(*lines: object) -> list[Row]:
    data = b"".join(
        (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines
    )
    return list(read_rows(io.BytesIO(data)))


def test_good_rows() -> None:
    assert rows(
        {"id": "a", "kind": "quote", "text": "Oh!"},
        {"id": 7, "kind": "situation", "text": "It rains.", "emotion": "Sad", "au": {"AU1": 1}},
        {"kind": "quote", "text": "Oh!", "situation": "It rains.", "perspective": "listener"},
    ) == [
        Row("a", Context(quote="Oh!")),
        Row(7, Context(situation="It rains.")),
        Row(3, Context(quote="Oh!", situation="It rains.", perspective=Perspective.LISTENER)),
    ]


def test_a_perspective_for_rows_that_name_none() -> None:
    lines = io.BytesIO(b'{"kind": "quote", "text": "Oh!"}')
    (row,) = read_rows(lines, Perspective.LISTENER)
    assert row.context == Context(quote="Oh!", perspective=Perspective.LISTENER)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "empty"),
        (b" \t\r", "empty"),
        (b"{", "not JSON"),
        (b'{"kind": "quote", "text": "a"} {}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"kind": "quote", "text": "\xff"}', "not UTF-8"),
        (b'{"kind": "quote", "text": "' + b"x" * MAX_LINE_BYTES + b'"}', "longer than 1 MB"),
        ([], "not a JSON object"),
        (7, "not a JSON object"),
        (None, "not a JSON object"),
        ({}, "kind is null"),
        ({"kind": "Quote", "text": "a"}, 'kind is "Quote"'),
        ({"kind": "quote"}, "text is null"),
        ({"kind": "quote", "text": 7}, "text is 7"),
        ({"kind": "quote", "text": ["x" * 999]}, 'text is ["xxx'),
        ({"kind": "quote", "text": " \n\u0000"}, "empty"),
        ({"kind": "quote", "text": "x" * 5000}, "5,000 characters"),
        ({"kind": "quote", "text": "a", "situation": " "}, "empty"),
        ({"kind": "quote", "text": "a", "situation": 7}, "situation must be a text"),
        ({"kind": "situation", "text": "a", "situation": "b"}, "beside a quote"),
        ({"kind": "quote", "text": "a", "perspective": "god"}, 'perspective is "god"'),
    ],
)
def test_bad_rows_say_why_and_harm_no_neighbour(line: object, message: str) -> None:
    good = {"id": "good", "kind": "quote", "text": "Oh!"}
    before, bad, after = rows(good, line, good)
    assert before == after == Row("good", Context(quote="Oh!"))
    assert bad.context is None
    assert message in bad.error
    assert len(bad.error) < 200
    assert bad.id == 2


@pytest.mark.parametrize("given_id", [None, True, 1.5, [], {}, "x" * 1001])
def test_an_id_that_cannot_be_given_back_is_the_line_s_number(given_id: object) -> None:
    assert [row.id for row in rows({"id": given_id, "kind": "quote", "text": "a"})] == [1]


def test_a_byte_order_mark_and_windows_line_ends() -> None:
    data = b'\xef\xbb\xbf{"kind": "quote", "text": "a"}\r\n{"kind": "quote", "text": "b"}\r\n'
    assert [row.context for row in read_rows(io.BytesIO(data))] == [
        Context(quote="a"),
        Context(quote="b"),
    ]


@settings(max_examples=300, deadline=2000)
@given(st.lists(st.binary(max_size=40) | st.just(b'{"kind": "quote", "text": "a"}')))
def test_as_many_rows_as_lines_whatever_they_hold(lines: list[bytes]) -> None:
    data = b"\n".join(line.replace(b"\n", b" ") for line in lines)
    count = data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
    assert len(list(read_rows(io.BytesIO(data)))) == count


# --- with the model -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ContextFace:
    with ContextFace.load(make_tiny_bundle(tmp_path_factory.mktemp("m") / "tiny").folder) as model:
        yield model


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join((li if isinstance(li, str) else json.dumps(li)) + "\n" for li in lines))
    return path


def test_every_line_is_answered_in_order(model: ContextFace, tmp_path: Path) -> None:
    contexts = [{"id": f"row {i}", "kind": "quote", "text": f"I have {i} dogs"} for i in range(70)]
    contexts[40] = {"id": "row 40", "kind": "quote"}  # type: ignore[dict-item]
    source = write(tmp_path / "in.jsonl", *contexts[:50], "{", "", *contexts[50:])
    seen = []
    done = answer_file(model, source, tmp_path / "out.jsonl", on_progress=seen.append)
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert (done.rows, done.bad, done.bytes_read) == (72, 3, source.stat().st_size)
    assert [progress.rows for progress in seen] == [32, 64, 72]
    ids = [f"row {i}" for i in range(50)] + [51, 52] + [f"row {i}" for i in range(50, 70)]
    assert [answer["id"] for answer in answers] == ids
    assert [i for i, answer in enumerate(answers) if "error" in answer] == [40, 50, 51]
    assert all(len(answer["expression"]) == 100 for answer in answers if "error" not in answer)


def test_an_answer_is_that_of_predict(model: ContextFace, tmp_path: Path) -> None:
    texts = ["They are taking my house.", "We won!", "A wasp is in my sleeve."]
    source = write(tmp_path / "in.jsonl", *({"kind": "quote", "text": text} for text in texts))
    answer_file(model, source, tmp_path / "out.jsonl")
    for text, line in zip(texts, (tmp_path / "out.jsonl").read_text().splitlines(), strict=True):
        answer, alone = json.loads(line), model.predict(Context(quote=text))
        assert answer["emotion"] == alone.emotion.value
        assert answer["expression"] == pytest.approx(alone.expression.coefficients, abs=0.02)


def test_files_that_cannot_be_used(model: ContextFace, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"kind": "quote", "text": "a"})
    with pytest.raises(BadInput, match="read and written at once"):
        answer_file(model, source, tmp_path / "." / "in.jsonl")
    assert source.read_text()
    with pytest.raises(BadInput, match=r"absent\.jsonl: No such file"):
        answer_file(model, tmp_path / "absent.jsonl", tmp_path / "out.jsonl")
    with pytest.raises(BadInput, match="No such file"):
        answer_file(model, source, tmp_path / "no folder" / "out.jsonl")


def test_an_empty_file_has_no_answers(model: ContextFace, tmp_path: Path) -> None:
    done = answer_file(model, write(tmp_path / "in.jsonl"), tmp_path / "out.jsonl")
    assert (done.rows, (tmp_path / "out.jsonl").read_text()) == (0, "")


def test_what_was_answered_before_an_interruption_is_kept(
    model: ContextFace, tmp_path: Path
) -> None:
    lines = [{"kind": "quote", "text": f"number {i}"} for i in range(40)]

    def interrupt(_: object) -> None:
        raise Aborted("stopped")

    with pytest.raises(Aborted):
        answer_file(
            model,
            write(tmp_path / "in.jsonl", *lines),
            tmp_path / "out.jsonl",
            on_progress=interrupt,
        )
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 32
