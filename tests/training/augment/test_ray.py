"""The same by Ray Data, in a Ray that is started on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("anthropic", reason="anthropic is not installed: run `make setup-train`")
pytest.importorskip("ray", reason="ray is not installed: run `make setup-train`")

from tests.training.augment.commands import augment, events, reasons, start
from tests.training.augment.endpoint import Endpoint
from tests.training.augment.test_resume import wait_for
from training.data.annotations import read_annotations

LOCAL = ("--ray-address", "local", "--ray-workers", "1", "--concurrency", "2")


def test_ray_does_what_the_loop_does_and_goes_on_where_it_was_killed(
    make_images: Callable[..., Path], tmp_path: Path, endpoint: Endpoint
) -> None:
    folder = make_images(Happy=8, Anger=4)
    (folder / "Anger" / "x.jpg").write_bytes(b"no image")
    out = tmp_path / "ray.jsonl"
    endpoint.delay_s = 0.3
    run = start(folder, out, endpoint, *LOCAL)
    wait_for(lambda: len(events(out, "answer")) >= 2)
    run.kill()
    run.communicate()
    kept = len(events(out, "answer"))
    endpoint.delay_s = 0.0
    run = start(folder, out, endpoint, *LOCAL)
    _, said = run.communicate(timeout=100)
    assert run.returncode == 0, said
    assert reasons(out) == {"Anger/x.jpg": "unreadable image"}
    assert 2 <= kept < 12 and len(endpoint.seen) == 12
    assert len(endpoint.requests) <= 12 + 3 * 2  # blocks of two that were under way

    plain = tmp_path / "plain.jsonl"
    assert augment(folder, plain, endpoint) == 0
    assert read_annotations(plain) == read_annotations(out)


def test_a_cluster_that_is_not_there(
    make_images: Callable[..., Path],
    tmp_path: Path,
    endpoint: Endpoint,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.jsonl"
    assert augment(make_images(Happy=1), out, endpoint, "--ray-address", "here:there") == 2
    assert "no Ray cluster answers at here:there" in capsys.readouterr().err
