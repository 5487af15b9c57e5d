"""How steadily the face moves, what that costs, and how soon it answers.

    .venv/bin/python benchmarks/motion.py [--minutes 10] [--markdown docs/motion_figures.md]

Two ways, one after the other, each a process of its own on this machine, watched over DDS:

    face_player  the installed node, as it is shipped
    naive        what one would otherwise write: one node whose timer is called 60 times a second,
                 steps every weight a little towards its goal, and publishes a message made anew;
                 expressions are decoded where they come in. It neither blinks nor breathes.

    rate, jitter   of the poses as a subscriber receives them; jitter is how far the time between
                   two is from a sixtieth of a second
    late           of the face_player, by its own account: publishing after its deadline
    CPU, memory    of the process, from /proc; growth from a tenth of the run on, when all is loaded
    latency        expression published -> the first pose received that differs by 1e-5 in a weight,
                   at any phase of the frame; for this the face_player's idle is off, and it holds

An expression comes every 2 s during the run, as from a lively conversation. The last line printed
is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from machine import machine
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from contextface_ros import bringup
from contextface_ros.console import progress_bar
from contextface_ros.face.open_head import OpenHead
from contextface_ros.msg import Blendshapes, Emotion, Expression
from contextface_ros.nodes import qos
from contextface_ros.types import EMOTIONS, OPEN_BASIS

RATE_HZ = 60.0
EVERY_S = 2.0  # between two expressions
LATENCY_SAMPLES = 40
SETTLED_S = 1.5  # after which a face stands still to 1e-6
DIFFERS = 1e-5  # in a weight, by which a pose is another
QUIET = ("-p", "idle:=false", "-p", "hold:=1000.0")

NAIVE = """
import rclpy
from rclpy.node import Node
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.open_head import OpenHead
from contextface_ros.msg import Blendshapes, Expression
from contextface_ros.nodes import qos


class Naive(Node):
    def __init__(self):
        super().__init__("naive")
        self.head = OpenHead.load()
        self.weights = [0.0] * 52
        self.goal = [0.0] * 52
        self.publisher = self.create_publisher(Blendshapes, "face/blendshapes", qos.POSE)
        self.create_subscription(Expression, "expression", self.on_expression, qos.LAST_ANSWER)
        self.create_timer(1 / 60, self.on_timer)

    def on_expression(self, message):
        self.goal = [float(w) for w in self.head.decode(message.expression)]

    def on_timer(self):
        self.weights = [w + 0.15 * (g - w) for w, g in zip(self.weights, self.goal)]
        message = Blendshapes()
        message.header.stamp = self.get_clock().now().to_msg()
        message.names = list(ARKIT_NAMES)
        message.weights = self.weights
        self.publisher.publish(message)


rclpy.init()
rclpy.spin(Naive())
"""


@dataclass(frozen=True)
class Figures:
    """Of one way.

    Attributes:
        rate_hz: poses received a second.
        jitter_p50_ms: median of |time between two poses - 1/60 s|.
        jitter_p99_ms: 99th percentile.
        jitter_max_ms: the largest.
        late_p99_ms: by its own account, over its last 10 s; None where there is none.
        missed: deadlines left out, by its own account.
        cpu_percent: of one core.
        memory_mb: resident at the end, in MB of 10^6 bytes.
        growth_kb: of that since a tenth of the run had passed, in kB of 10^3 bytes.
        latency_p50_ms: expression published -> first changed pose received.
        latency_max_ms: the longest of them.
    """

    rate_hz: float
    jitter_p50_ms: float
    jitter_p99_ms: float
    jitter_max_ms: float
    late_p99_ms: float | None
    missed: int | None
    cpu_percent: float
    memory_mb: float
    growth_kb: float
    latency_p50_ms: float
    latency_max_ms: float


class Watcher:
    """Publishes expressions and receives poses."""

    def __init__(self, namespace: str) -> None:
        self.node = Node("motion_benchmark", namespace=namespace, use_global_arguments=False)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._expression = self.node.create_publisher(Expression, "expression", qos.LAST_ANSWER)
        self._emotion = self.node.create_publisher(Emotion, "emotion", qos.LAST_ANSWER)
        self.node.create_subscription(Blendshapes, "face/blendshapes", self._on_pose, qos.POSE)
        self.node.create_subscription(
            DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS
        )
        self.received_s: list[float] = []
        self.newest = Blendshapes()
        self.status: dict[str, str] = {}
        head, random = OpenHead.load(), np.random.default_rng(0)
        faces = np.where(random.random((50, 52)) < 0.2, random.random((50, 52)), 0.0)
        self._faces = head.encode(faces)  # (50, 100)
        self._sent = 0

    def _on_pose(self, message: Blendshapes) -> None:
        self.received_s.append(time.monotonic())
        self.newest = message

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f"{self.node.get_namespace()}/face_player":
                self.status = {pair.key: pair.value for pair in status.values}

    def until(self, end_s: float) -> None:
        """Receive until a time."""
        while (left_s := end_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def next_pose(self, timeout_s: float = 30.0) -> np.ndarray:
        """The weights of the next pose, (52,)."""
        count, end_s = len(self.received_s), time.monotonic() + timeout_s
        while len(self.received_s) == count:
            if time.monotonic() > end_s:
                raise RuntimeError("no pose comes")
            self._executor.spin_once(timeout_sec=0.1)
        return np.asarray(self.newest.weights)

    def express(self, label: str) -> None:
        """Publish another face, and its emotion before it, as the agent does."""
        coefficients = self._faces[self._sent % len(self._faces)]
        message = Expression(basis=OPEN_BASIS, expression=coefficients, intensity=0.5)
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._emotion.publish(Emotion(header=message.header, label=label))
        self._expression.publish(message)
        self._sent += 1

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self.node.destroy_node()


@contextmanager
def started(way: str, namespace: str, *parameters: str) -> Iterator[int]:
    """One of the two as a process. Gives its id."""
    options = bringup.Options(namespace=namespace)
    (spec,) = (s for s in bringup.describe(options) if s.name == "face_player")
    command = [*spec.command, *parameters]
    with tempfile.TemporaryDirectory() as folder:  # which holds no module that Python could find
        if way == "naive":
            script = Path(folder) / "naive.py"
            script.write_text(NAIVE)
            command = [sys.executable, str(script), "--ros-args", "-r", f"__ns:=/{namespace}"]
        process = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait(30)


def cpu_s(pid: int) -> float:
    """CPU time that a process has used, in s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Memory that a process has resident."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(way: str, duration_s: float) -> Figures:
    """Run one of the two."""
    namespace = f"motion_{os.getpid()}_{way}"
    watcher = Watcher(namespace)
    try:
        with started(way, namespace) as pid:
            watcher.next_pose()
            watcher.until(time.monotonic() + 3.0)  # it has loaded what it loads
            run = watch(way, watcher, pid, duration_s)
            jitter_ms = np.abs(np.diff(watcher.received_s) - 1 / RATE_HZ) * 1e3
            elapsed_s = watcher.received_s[-1] - watcher.received_s[0]
            rate_hz = (len(watcher.received_s) - 1) / elapsed_s
            status = dict(watcher.status)
        with started(way, namespace, *QUIET):
            latency_ms = latencies_ms(watcher)
    finally:
        watcher.close()
    return Figures(
        rate_hz=rate_hz,
        jitter_p50_ms=float(np.percentile(jitter_ms, 50)),
        jitter_p99_ms=float(np.percentile(jitter_ms, 99)),
        jitter_max_ms=float(jitter_ms.max()),
        late_p99_ms=float(status["late p99 (ms)"]) if status else None,
        missed=int(status["missed"]) if status else None,
        latency_p50_ms=float(np.percentile(latency_ms, 50)),
        latency_max_ms=float(np.max(latency_ms)),
        **run,
    )


def watch(way: str, watcher: Watcher, pid: int, duration_s: float) -> dict[str, float]:
    """Let it run, with an expression every 2 s; CPU and memory of that."""
    watcher.received_s.clear()
    start_s, start_cpu_s = time.monotonic(), cpu_s(pid)
    early_bytes = 0
    rounds = round(duration_s / EVERY_S)
    with progress_bar(rounds) as advance:
        for i in range(rounds):
            watcher.express(EMOTIONS[i % len(EMOTIONS)].value)
            watcher.until(start_s + (i + 1) * EVERY_S)
            if i == rounds // 10:
                early_bytes = resident_bytes(pid)
            advance(i + 1, way)
    late_bytes = resident_bytes(pid)
    return {
        "cpu_percent": 100 * (cpu_s(pid) - start_cpu_s) / (time.monotonic() - start_s),
        "memory_mb": late_bytes / 1e6,
        "growth_kb": (late_bytes - early_bytes) / 1e3,
    }


def latencies_ms(watcher: Watcher) -> list[float]:
    """Expression published -> first changed pose received, from a face that stands still."""
    watcher.next_pose()
    watcher.until(time.monotonic() + 2.0)
    samples_ms = []
    random = np.random.default_rng(1)
    for _ in range(LATENCY_SAMPLES):
        watcher.until(time.monotonic() + SETTLED_S)
        before = watcher.next_pose()
        watcher.until(time.monotonic() + random.random() / RATE_HZ)
        start_s = time.monotonic()
        watcher.express("Happy")
        while np.abs(watcher.next_pose() - before).max() <= DIFFERS:
            if time.monotonic() - start_s > 5.0:
                raise RuntimeError("nothing changes")
        samples_ms.append((watcher.received_s[-1] - start_s) * 1e3)
    return samples_ms


ROWS = {
    "rate_hz": ("poses a second", "{:.2f}", "60"),
    "jitter_p50_ms": ("jitter, median, ms", "{:.2f}", ""),
    "jitter_p99_ms": ("jitter, p99, ms", "{:.2f}", "< 4"),
    "jitter_max_ms": ("jitter, largest, ms", "{:.1f}", ""),
    "late_p99_ms": ("late by its own account, p99, ms", "{:.2f}", ""),
    "missed": ("deadlines left out", "{}", ""),
    "cpu_percent": ("CPU, % of one core", "{:.2f}", "< 8"),
    "memory_mb": ("resident memory, MB", "{:.1f}", ""),
    "growth_kb": ("growth of it in the run, kB", "{:.0f}", "none"),
    "latency_p50_ms": ("expression → first changed pose, median, ms", "{:.1f}", ""),
    "latency_max_ms": ("expression → first changed pose, longest, ms", "{:.1f}", "< 25"),
}


def table(figures: dict[str, Figures]) -> str:
    """The figures in Markdown, beside each other, with their ratio."""
    player, naive = figures["face_player"], figures["naive"]
    lines = ["| | face_player | naive | naive / face_player | aim |", "|---|---|---|---|---|"]
    for name, (words, form, aim) in ROWS.items():
        one, other = getattr(player, name), getattr(naive, name)
        cells = [form.format(x) if x is not None else "" for x in (one, other)]
        ratio = f"{other / one:.2f}" if one and other is not None else ""
        lines.append(f"| {words} | {' | '.join(cells)} | {ratio} | {aim} |")
    return "\n".join(lines)


def page(result: dict[str, object], figures: dict[str, Figures]) -> str:
    """The page with the figures."""
    return f"""# Figures of the motion

Made by `benchmarks/motion.py` on {result["machine"]} (load average {result["load_average"]}
before it), {result["minutes"]:g} minutes of each way, an expression every {EVERY_S:g} s.

{table(figures)}

*naive* is one node with an rclpy timer at 60 Hz that makes its message anew each time; its text
is in the script. It steps weights towards their goal, and neither blinks, breathes, holds nor
decays. Jitter is seen from a subscriber, another Python process, whose own delays are in it.
"""


def main() -> int:
    """Measure, print, write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="of each way")
    parser.add_argument("--markdown", type=Path, help="write the page here")
    args = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    load_average = round(os.getloadavg()[0], 2)
    rclpy.init(args=[])
    try:
        figures = {way: measure(way, 60 * args.minutes) for way in ("face_player", "naive")}
    finally:
        rclpy.try_shutdown()
    result: dict[str, object] = {
        "machine": machine(),
        "load_average": load_average,
        "minutes": args.minutes,
        **{way: asdict(f) for way, f in figures.items()},
    }
    print(f"{result['machine']}, load average {load_average} before it")
    print(table(figures))
    if args.markdown:
        args.markdown.write_text(page(result, figures))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
