"""Through the real SDK, against an endpoint on this machine that speaks its wire format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("anthropic", reason="anthropic is not installed: run `make setup-train`")

from contextface_ros.types import Emotion
from tests.training.augment.commands import augment, events, reasons
from tests.training.augment.endpoint import (
    GOOD,
    Endpoint,
    Reply,
    in_words,
)
from training.data.annotations import TargetFile, TargetKind, read_annotations

Images = Callable[..., Path]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.mark.parametrize("structure", ["json_schema", "tool"])
def test_each_image_is_annotated_once(
    make_images: Images, out: Path, endpoint: Endpoint, structure: str
) -> None:
    folder = make_images(Happy=2, Anger=1)
    for _ in range(2):
        assert augment(folder, out, endpoint, "--structure", structure) == 0
        assert len(endpoint.requests) == 3
    rows = read_annotations(out)
    assert [row.image for row in rows] == ["Anger/0000.jpg", "Happy/0000.jpg", "Happy/0001.jpg"]
    assert [row.emotion for row in rows] == [Emotion.ANGRY, Emotion.HAPPY, Emotion.HAPPY]
    assert {row.situation for row in rows} == {GOOD["situation"]}
    assert {row.annotator for row in rows} == {"anthropic/claude-test"}
    told = [request["messages"][0]["content"][1]["text"] for request in endpoint.requests]
    assert sum("anger" in text for text in told) == 1
    assert sum("happiness" in text for text in told) == 2


def test_overload_is_waited_for(make_images: Images, out: Path, endpoint: Endpoint) -> None:
    endpoint.errors = [429, 529, 500]
    assert augment(make_images(Happy=2), out, endpoint) == 0
    assert endpoint.errors == [] and len(endpoint.requests) == 2
    assert len(read_annotations(out)) == 2


def test_rejects_are_counted_by_reason(make_images: Images, out: Path, endpoint: Endpoint) -> None:
    folder = make_images(Happy=7)
    (folder / "Happy" / "x.jpg").write_bytes(b"\xff\xd8\xff and no more")
    (folder / "Happy" / "y.jpg").write_bytes((folder / "Happy" / "0000.jpg").read_bytes())
    replies = [
        in_words(GOOD),
        in_words("I cannot help with this.", "refusal"),
        in_words('{"person_vis', "max_tokens"),
        in_words(GOOD | {"person_visible": False, "situation": "", "quote": ""}),
        in_words(GOOD | {"quote": "I am so angry!"}),
        in_words("Here is your context!"),
        in_words(GOOD | {"mood": "fine"}),
    ]
    endpoint.reply = lambda request: replies[len(endpoint.requests)]
    assert augment(folder, out, endpoint, "--concurrency", "1") == 0
    assert reasons(out) == {
        "Happy/0001.jpg": "refusal",
        "Happy/0002.jpg": "cut short",
        "Happy/0003.jpg": "no person",
        "Happy/0004.jpg": "emotion word leaked",
        "Happy/0005.jpg": "bad JSON",
        "Happy/0006.jpg": "wrong fields",
        "Happy/x.jpg": "unreadable image",
        "Happy/y.jpg": "duplicate image",
    }
    assert [row.image for row in read_annotations(out)] == ["Happy/0000.jpg"]

    endpoint.reply = lambda request: in_words(GOOD)
    assert augment(folder, out, endpoint, "--again", "emotion word leaked") == 0
    assert len(endpoint.requests) == 8
    assert [row.image for row in read_annotations(out)] == ["Happy/0000.jpg", "Happy/0004.jpg"]


def test_the_card_says_what_is_there(make_images: Images, out: Path, endpoint: Endpoint) -> None:
    folder = make_images(Happy=2, Sad=1)
    (folder / "Sad" / "x.jpg").write_bytes(b"no image")
    assert augment(folder, out, endpoint, "--price", "2", "10") == 0
    card = out.with_suffix(".card")
    text = (card / "card.md").read_text()
    for line in (
        "| Happy | 2 | 2 | 100% |",
        "| Sad | 2 | 1 | 50% |",
        "| unreadable image | 1 |",
        "| asked | 3 requests, 1,500 tokens in, 180 tokens out, 0.00 USD |",
        "| annotator | anthropic/claude-test |",
    ):
        assert line in text
    for name in ("classes", "rejects", "words"):
        plot = cv2.imread(str(card / f"{name}.png"))
        assert plot is not None and np.unique(plot.reshape(-1, 3), axis=0).shape[0] > 10


def test_targets_are_attached_and_bad_ones_named(
    make_images: Images, tmp_path: Path, out: Path, endpoint: Endpoint
) -> None:
    folder, codes = make_images(Happy=3), tmp_path / "codes"
    (codes / "Happy").mkdir(parents=True)
    np.save(codes / "Happy" / "0000.npy", np.zeros(100, np.float32))
    np.save(codes / "Happy" / "0001.npy", np.full(100, np.nan, np.float32))
    assert augment(folder, out, endpoint, "--targets", str(codes)) == 0
    targets = [row.target for row in read_annotations(out)]
    assert targets == [TargetFile("Happy/0000.npy", TargetKind.INFERNO), None, None]
    card = (out.with_suffix(".card") / "card.md").read_text()
    assert "| faces | 1 found, 1 missing, 1 bad |" in card
    assert "bad face of Happy/0001.jpg" in card and "coefficient 0 is nan" in card


def test_a_wrong_key_ends_it_at_once(
    make_images: Images, out: Path, endpoint: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.errors = [401] * 50
    assert augment(make_images(Happy=20), out, endpoint, "--concurrency", "2") == 2
    assert len(endpoint.errors) >= 47  # those that were under way
    assert not out.exists()
    assert "claude-test cannot be asked: 401" in capsys.readouterr().err


def test_no_key_is_said_before_anything_is_asked(
    make_images: Images,
    out: Path,
    endpoint: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))  # nor in a file of the user's
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert augment(make_images(Happy=1), out, endpoint) == 2
    assert "ANTHROPIC_API_KEY is not set" in capsys.readouterr().err


def test_failures_in_a_row_end_it_and_cost_nothing(
    make_images: Images, out: Path, endpoint: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_images(Happy=12)
    endpoint.errors = [400] * 5
    assert augment(folder, out, endpoint, "--concurrency", "1") == 2
    assert "5 requests in a row failed: 400" in capsys.readouterr().err
    assert endpoint.requests == []
    endpoint.errors = [400]
    assert augment(folder, out, endpoint, "--concurrency", "1") == 3  # one is still to be asked
    assert augment(folder, out, endpoint) == 0
    assert len(endpoint.requests) == 12 and max(endpoint.seen.values()) == 1


def test_an_estimate_asks_nothing_and_a_budget_holds(
    make_images: Images, out: Path, endpoint: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_images(Happy=3)
    assert augment(folder, out, endpoint, "--estimate", "--price", "1000", "1000") == 0
    assert "estimate: 3 requests" in capsys.readouterr().err
    assert augment(folder, out, endpoint, "--budget-usd", "1", "--price", "1000", "1000") == 2
    assert "above the budget of 1.00 USD" in capsys.readouterr().err
    assert augment(folder, out, endpoint, "--budget-usd", "1") == 2
    assert "give --price" in capsys.readouterr().err
    assert endpoint.requests == [] and not out.exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--structure", "json_object"], "use json_schema or tool"),
        (["--detector", "/no/such.onnx"], "/no/such.onnx"),
    ],
)
def test_a_wrong_argument_is_said(
    make_images: Images,
    out: Path,
    endpoint: Endpoint,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    said: str,
) -> None:
    assert augment(make_images(Happy=1), out, endpoint, *more) == 2
    assert said in capsys.readouterr().err and endpoint.requests == []


def test_a_place_that_cannot_be_written_is_said_first(
    make_images: Images, tmp_path: Path, endpoint: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_images(Happy=1)
    for place, said in (("a.txt", "must end in .jsonl"), ("no/a.jsonl", "there is no folder")):
        assert augment(folder, tmp_path / place, endpoint) == 2
        assert said in capsys.readouterr().err
    assert endpoint.requests == []


# Message Batches


def in_batches(folder: Path, out: Path, endpoint: Endpoint) -> int:
    return augment(folder, out, endpoint, "--batches", "--poll-s", "0.02")


def test_a_batch_is_handed_in_and_collected(
    make_images: Images, out: Path, endpoint: Endpoint
) -> None:
    endpoint.looks = 2
    folder = make_images(Happy=2, Fear=2)
    for _ in range(2):
        assert in_batches(folder, out, endpoint) == 0
        assert len(endpoint.batches) == 1 and len(endpoint.requests) == 4
    assert len(read_annotations(out)) == 4
    assert all(event["half_price"] for event in events(out, "answer"))
    assert augment(folder, out, endpoint) == 0  # by the other route there is nothing left
    assert len(endpoint.requests) == 4


def test_what_a_batch_did_not_do_is_asked_again(
    make_images: Images, out: Path, endpoint: Endpoint
) -> None:
    wrong = {"type": "error", "error": {"type": "invalid_request_error", "message": "too large"}}
    ends: list[Reply] = [
        {"type": "expired"},
        {"type": "canceled"},
        *[{"type": "errored", "error": wrong}] * 6,
    ]

    def result(request: Reply) -> Reply:
        if ends:
            return ends.pop()
        return {"type": "succeeded", "message": endpoint.answer(request["params"])}

    endpoint.results_of = result
    endpoint.looks = 0
    folder = make_images(Happy=10)
    assert in_batches(folder, out, endpoint) == 3
    assert len(read_annotations(out)) == 2
    assert list(reasons(out).values()) == ["request failed"] * 8
    assert in_batches(folder, out, endpoint) == 0
    assert [len(batch) for batch in endpoint.batches.values()] == [10, 8]
    assert len(read_annotations(out)) == 10 and max(endpoint.seen.values()) == 1


def test_a_batch_whose_name_was_lost_is_found(
    make_images: Images, out: Path, endpoint: Endpoint
) -> None:
    endpoint.lose_next_batch = True
    endpoint.looks = 1
    folder = make_images(Happy=3)
    assert in_batches(folder, out, endpoint) == 2
    assert len(endpoint.batches) == 1 and not out.exists()
    assert in_batches(folder, out, endpoint) == 0
    assert len(endpoint.batches) == 1
    assert len(read_annotations(out)) == 3


def test_a_batch_that_was_never_handed_in_is_sent(
    make_images: Images, out: Path, endpoint: Endpoint
) -> None:
    endpoint.looks = 0
    sending = {"event": "sending", "token": "t", "annotator": "anthropic/claude-test", "at": 0}
    journal = out.with_name("out.jsonl.journal")
    journal.write_text(json.dumps(sending | {"boxes": {"d" * 64: None}}) + "\n")
    assert in_batches(make_images(Happy=1), out, endpoint) == 0
    assert len(endpoint.batches) == 1 and len(read_annotations(out)) == 1
