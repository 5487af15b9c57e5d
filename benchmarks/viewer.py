"""What the viewer costs: a page that draws the head itself, against pictures drawn by the server.

    python benchmarks/viewer.py                        the figures
    python benchmarks/viewer.py --pictures docs/images what the page looks like, from nano

Measured is the process that serves, while `face_player` moves the face at 60 Hz and browsers take
all that is sent. The naive alternative draws each pose off-screen and streams JPEGs.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np
from machine import machine

import contextface_ros
from contextface_ros import folders

BROWSERS = (0, 1, 10)
WARM_UP_S = 3.0
CAMERA = Path(contextface_ros.__file__).parent / "vision" / "data" / "demo" / "4_right.jpg"
PICTURES = {
    "desktop": (900, 700, "light", "She said yes! We are getting married in spring!"),
    "phone": (360, 740, "dark", "Get out of my house, and never come back, you liar!"),
}


@dataclass(frozen=True)
class Figures:
    """What one way costs.

    Attributes:
        cpu_percent: of one core, in the process that serves.
        kb_s: kB a second to each browser.
        rate_hz: poses or pictures a second that each browser received.
        memory_mb: resident in the process that serves.
    """

    cpu_percent: float
    kb_s: float
    rate_hz: float
    memory_mb: float


# --- the naive alternative ------------------------------------------------------------------------


def serve_pictures() -> int:
    """A node that draws each pose it can, and streams the JPEGs."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    import rclpy
    from rclpy.node import Node

    from contextface_ros.face.live_head import LiveHead
    from contextface_ros.msg import Blendshapes
    from contextface_ros.nodes import qos

    rclpy.init()
    node = Node("naive_viewer")
    changed = threading.Condition()
    newest: dict[str, Any] = {"weights": None, "jpeg": b"", "count": 0}

    def on_pose(message: Blendshapes) -> None:
        with changed:
            newest["weights"] = np.asarray(message.weights)
            changed.notify_all()

    def draw() -> None:
        head = LiveHead(width=640, height=640)
        while True:
            with changed:
                changed.wait_for(lambda: newest["weights"] is not None)
                weights, newest["weights"] = newest["weights"], None
            picture = cv2.cvtColor(head.picture(np.clip(weights, 0, 1)), cv2.COLOR_RGB2BGR)
            jpeg = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, 85))[1].tobytes()
            with changed:
                newest["jpeg"], newest["count"] = jpeg, newest["count"] + 1
                changed.notify_all()

    class Stream(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Send what is drawn, for ever."""
            self.send_response(200)
            self.end_headers()
            count = 0
            try:
                while True:
                    with changed:
                        while newest["count"] == count:
                            changed.wait()
                        count, jpeg = newest["count"], newest["jpeg"]
                    self.wfile.write(len(jpeg).to_bytes(4, "little") + jpeg)
            except OSError:
                return

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stream)
    server.daemon_threads = True
    for target in server.serve_forever, draw:
        threading.Thread(target=target, daemon=True).start()
    node.create_subscription(Blendshapes, "face/blendshapes", on_pose, qos.POSE)
    print(f"shown at http://127.0.0.1:{server.server_address[1]}/", flush=True)
    rclpy.spin(node)
    return 0


# --- measuring ------------------------------------------------------------------------------------


def executable(name: str, *arguments: str) -> list[str]:
    """The command that starts a node of the package."""
    share = folders.share()
    assert share is not None, "build the package first: make build"
    program = share.parents[1] / "lib" / "contextface_ros" / name
    return [sys.executable, str(program), "--ros-args", *arguments]


@contextmanager
def started(command: Sequence[str], quiet: bool = True) -> Iterator[subprocess.Popen[str]]:
    """A process for the length of a with block."""
    output = subprocess.DEVNULL if quiet else subprocess.PIPE
    errors = subprocess.DEVNULL if quiet else subprocess.STDOUT
    process = subprocess.Popen(command, stdout=output, stderr=errors, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def address(process: subprocess.Popen[str]) -> str:
    """Where it says that it serves."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://[\d.]+:\d+/", line):
            return found[0]
    raise RuntimeError("it does not serve")


def used(pid: int) -> tuple[float, float]:
    """CPU seconds and resident MB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds, pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def take_poses(url: str, count: list[int]) -> None:
    """A browser of the page, from the mesh on."""
    async with aiohttp.ClientSession(headers={"Origin": url.rstrip("/")}) as session:
        async with session.get(f"{url}head.bin") as response:
            await response.read()
        async with session.ws_connect(f"{url}link") as link:
            async for message in link:
                count[0] += 1
                count[1] += len(message.data) + 2


async def take_pictures(url: str, count: list[int]) -> None:
    """A browser of the stream of pictures."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        while True:
            size = int.from_bytes(await response.content.readexactly(4), "little")
            await response.content.readexactly(size)
            count[0] += 1
            count[1] += size


async def measure(take: Any, url: str, pid: int, browsers: int, seconds: float) -> Figures:
    """Let browsers look for a while."""
    counts = [[0, 0] for _ in range(browsers)]
    tasks = [asyncio.create_task(take(url, count)) for count in counts]
    while not all(frames for frames, _ in counts):  # the first one waits for the head
        await asyncio.sleep(0.1)
    await asyncio.sleep(WARM_UP_S)
    for count in counts:
        count[:] = 0, 0
    start_s, (cpu_s, _) = time.monotonic(), used(pid)
    await asyncio.sleep(seconds)
    took_s, (cpu_after_s, memory_mb) = time.monotonic() - start_s, used(pid)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    frames, size = np.mean(counts, axis=0) if counts else (0.0, 0.0)
    share = 100 * (cpu_after_s - cpu_s) / took_s
    return Figures(share, size / took_s / 1e3, frames / took_s, memory_mb)


WAYS = {
    "viewer": (executable("viewer", "-p", "port:=0"), take_poses),
    "pictures": ([sys.executable, __file__, "--serve-pictures"], take_pictures),
}


def figures(seconds: float) -> dict[str, dict[int, Figures]]:
    """Both ways, with each number of browsers."""
    results: dict[str, dict[int, Figures]] = {}
    for way, (command, take) in WAYS.items():
        with started(executable("face_player")), started(command, quiet=False) as process:
            url = address(process)
            results[way] = {}
            for browsers in BROWSERS:
                print(f"{way}, {browsers} browsers ...", file=sys.stderr)
                run = measure(take, url, process.pid, browsers, seconds)
                results[way][browsers] = asyncio.run(run)
    return results


def table(results: dict[str, dict[int, Figures]]) -> str:
    """The figures in Markdown, beside each other, with their ratio."""
    rows = ["| browsers | | viewer | JPEG stream | JPEG stream / viewer |", "|---|---|---|---|---|"]
    names = {
        "cpu_percent": "CPU, % of one core",
        "rate_hz": "faces a second in each browser",
        "kb_s": "kB a second to each browser",
        "memory_mb": "resident memory, MB",
    }
    for browsers in BROWSERS:
        ours, theirs = results["viewer"][browsers], results["pictures"][browsers]
        for name, words in names.items():
            a, b = getattr(ours, name), getattr(theirs, name)
            if a or b:
                ratio = f"{b / a:.1f}" if a else ""
                rows.append(f"| {browsers} | {words} | {a:.1f} | {b:.1f} | {ratio} |")
    return "\n".join(rows)


# --- pictures -------------------------------------------------------------------------------------


def unhurried(folder: Path) -> str:
    """Parameters that leave a core to the browser, which has no GPU, and time to draw the face."""
    file = folder / "agent.yaml"
    file.write_text(
        "/**/agent: {ros__parameters: {threads: 1}}\n"
        "/**/face_player: {ros__parameters: {hold: 5.0}}\n"
    )
    return str(file)


def take_screenshots(folder: Path) -> None:
    """The page with nano's answers, in a real browser."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    program = next(
        p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))
    )
    gl = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
    up = [shutil.which("contextface", path=Path(sys.executable).parent) or "contextface", "up"]
    with (
        tempfile.TemporaryDirectory() as temporary,
        started([*up, "--camera", str(CAMERA), "--params-file", unhurried(Path(temporary))]),
        started(
            executable("viewer", "-p", "port:=0", "-p", "answer_timeout_s:=80.0"), quiet=False
        ) as viewer,
        sync_playwright() as playwright,
    ):
        url = address(viewer)
        browser = playwright.chromium.launch(executable_path=program, args=gl)
        for name, (width, height, scheme, text) in PICTURES.items():
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme=scheme,  # type: ignore[arg-type]
            )
            page.set_default_timeout(90_000)
            page.goto(f"{url}?detail=1")
            page.wait_for_selector("body[data-head=drawn]")
            for chip, words in ("agent", "agent"), ("face", "face, moving"), ("camera", "camera"):
                page.locator(f"#{chip}.good", has_text=words).wait_for()
            page.wait_for_timeout(3000)  # the camera's first pictures
            page.fill("#text", text)
            while not page.locator("#transcript", has_text=text).count():  # until it is active
                page.click("#ask button")
                page.locator("#ask:not(.busy)").wait_for()
                page.wait_for_timeout(300)
            page.fill("#text", "")
            page.wait_for_timeout(4000)  # to the apex
            png = page.screenshot(full_page=name == "phone")
            Image.open(io.BytesIO(png)).convert("RGB").save(
                folder / f"viewer_{name}.png", optimize=True
            )
            page.close()
        browser.close()


def main() -> int:
    """Measure, print."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="only save screenshots")
    parser.add_argument("--serve-pictures", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve_pictures:
        return serve_pictures()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    if args.pictures:
        take_screenshots(args.pictures)
        return 0
    load_average = round(os.getloadavg()[0], 2)
    results = figures(args.seconds)
    print(f"{machine()}, load average {load_average} before it")
    print(table(results))
    plain = {way: {n: asdict(f) for n, f in by.items()} for way, by in results.items()}
    print(json.dumps({"machine": machine(), "load_average": load_average, **plain}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
