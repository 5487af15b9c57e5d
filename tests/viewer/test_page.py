"""The page in a real browser, without ROS: its arithmetic, its layout, and a server that goes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from contextface_ros.face import folds
from contextface_ros.face.live_head import gaze_of
from contextface_ros.face.open_head import OpenHead
from contextface_ros.face.surface import EYES, Surface
from contextface_ros.viewer.protocol import Answer, Question, Status
from contextface_ros.viewer.server import Server
from tests.chromium import Tab, chromium

MORPH = """async (weights) => {
  const { fetchMesh } = await import("/mesh.js");
  const { Morph } = await import("/morph.js");
  const morph = new Morph(await fetchMesh("/head.bin"));
  morph.show(Float32Array.from(weights));
  const { points, normals, folds, teethLight, gaze } = morph;
  return { points: [...points], normals: [...normals], folds: [...folds], teethLight, gaze };
}"""

STREAM = """async (frames) => {
  const { PoseStream } = await import("/pose_stream.js");
  const stream = new PoseStream(1);
  const shown = [];
  for (let now = 1000; now < 3000; now += 4) {
    while (frames.length && frames[0][0] <= now) {
      const [arrival, time, weight] = frames.shift();
      stream.push(time, Float32Array.of(weight), arrival);
    }
    shown.push(stream.at(now)[0]);
  }
  return shown;
}"""


def serve(port: int = 0) -> Server:
    def ask(_: Question) -> Future[None]:
        answer: Future[None] = Future()
        answer.set_result(None)
        return answer

    return Server("127.0.0.1", port, ask)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def server() -> Iterator[Server]:
    server = serve()
    yield server
    server.close()


def test_the_browser_works_out_the_face_that_is_drawn_here(server: Server, browser: Any) -> None:
    weights = np.random.default_rng(5).uniform(0, 0.6, 52)
    tab = Tab(browser, server.url, 400, 400)
    morph = tab.page.evaluate(MORPH, weights.tolist())
    tab.page.close()

    head = OpenHead.load()
    surface = Surface(head.model, head.parts, rounds=1)
    vertices = head.vertices(head.encode(weights)).astype(float)
    shapes = dict(surface.shapes(vertices, (0.0, 0.0)))
    parts = [name for name in shapes if name not in EYES]
    points = np.concatenate([shapes[name].points for name in parts])
    assert np.abs(np.reshape(morph["points"], (-1, 3)) - points).max() < 2e-4
    skin = slice(0, len(shapes["skin"].points))
    normals = np.reshape(morph["normals"], (-1, 3))[skin]
    assert np.percentile((normals * shapes["skin"].normals).sum(axis=1), 1) > 0.98
    pairs = surface.folds.points(vertices), surface.folds.points(head.model.template)
    apart, at_rest = (np.linalg.norm(p[0::2] - p[1::2], axis=1) for p in pairs)
    depth = ((apart / at_rest - 1.0) / surface.folds.full - folds.ONSET) / (1.0 - folds.ONSET)
    assert np.allclose(morph["folds"], np.clip(depth, 0.0, folds.DEEPEST), atol=1e-3)
    assert np.allclose(morph["gaze"], gaze_of(weights), atol=1e-6)
    assert 0.3 <= morph["teethLight"] <= 1.0


def test_poses_are_shown_evenly_however_they_arrive(server: Server, browser: Any) -> None:
    """A ramp at 60 Hz whose messages come late and in clumps; then a pause, and another face."""
    random = np.random.default_rng(2)
    ramp = [(k * 1000 / 60, k / 60) for k in range(60)]  # time, weight
    late = np.maximum.accumulate([1000 + t + random.uniform(0, 25) for t, _ in ramp])
    frames = [[at, t, w] for at, (t, w) in zip(late, ramp, strict=True)]
    frames.append([2400.0, 1400.0, 0.0])
    tab = Tab(browser, server.url, 400, 400)
    shown = np.array(tab.page.evaluate(STREAM, frames))
    tab.page.close()
    steps = np.diff(shown)
    assert np.abs(steps).max() < 0.015  # nothing jumps: not at the start, not after the pause
    even = steps[130:210]  # past the glide from the face at rest
    assert np.abs(even - 4 / 1000).max() < 0.002
    assert shown[340] > 0.98 and shown[-1] < 0.02


@pytest.mark.parametrize("width", [360, 1280])
def test_whatever_is_said_fits_into_the_window(server: Server, browser: Any, width: int) -> None:
    server.show_status(Status(camera=True, camera_note="x" * 300, face_note="y" * 300))
    for quote in "W" * 4000, "<img src=x onerror=alert(1)>":
        server.show_answer(Answer("Disgust", (1 / 7,) * 7, quote, "Z" * 4000, "speaker", 0.0, None))
    tab = Tab(browser, server.url, width, 740)
    tab.wait_for_text("#said", "<img src=x")
    tab.page.wait_for_selector("#camera-card:not([hidden])")
    assert tab.overflow() <= 0
    assert tab.page.locator("main img").count() == 1  # the camera's
    tab.page.close()
    assert tab.faults == []


def test_a_server_that_comes_back_is_found_again(browser: Any) -> None:
    first = serve()
    first.show_answer(Answer("Sad", (1 / 7,) * 7, "before", "", "speaker", 0.0, None))
    tab = Tab(browser, first.url, 400, 400)
    tab.wait_for_text("#transcript", "before")
    first.close()
    tab.wait_for_text("#lost", "The viewer has ended.")
    tab.ask("Hello?")
    tab.wait_for_text("#trouble", "no connection")
    second = serve(int(first.url.rpartition(":")[2].strip("/")))
    try:
        second.show_answer(Answer("Happy", (1 / 7,) * 7, "after", "", "speaker", 0.0, None))
        tab.wait_for_text("#transcript", "after")
        tab.page.locator("#lost").wait_for(state="hidden")
        assert "before" not in tab.text("#transcript")
        tab.ask("Hello?")
        tab.page.wait_for_function("document.getElementById('trouble').hidden")
    finally:
        tab.page.close()
        second.close()
