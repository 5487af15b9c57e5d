"""How long from an utterance to a face, beside the ways one would do without the single pass.

    .venv/bin/python benchmarks/latency.py [--markdown docs/latency.md]

One model, one fixed list of utterances of 20 words, everything in one run and in turns, so that
what else the machine does falls on all alike:

    agent      utterance published -> expression received, through the installed agent, its own
               process, over DDS
    pass       ContextFace.predict alone; what the agent takes more is ROS
    chat       (a) llama-cpp-python's high-level API: a chat completion names the emotion, then an
               embedding call gives the hidden state
    generate   (b) same prompt and same cached prefix; the response is generated token by token up
               to <FACE>, and the hidden state is the one that predicted it

The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import llama_cpp
import numpy as np
import rclpy
from machine import machine
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String

from contextface_ros import bringup, prompts
from contextface_ros.bundle import Bundle, load_bundle
from contextface_ros.contextface import ContextFace
from contextface_ros.face.head import FaceHead
from contextface_ros.language.llama_cpp import LlamaCpp, _Piece
from contextface_ros.language.runtime import Runtime
from contextface_ros.msg import Expression
from contextface_ros.nodes import qos
from contextface_ros.types import EMOTIONS, Context, Float32Array

THREADS = 2
WARM_UP = 3  # rounds over one utterance that are not counted
STARTS = 3
NAME_TOKENS = 3  # what the longest word of an emotion needs
REST_S = 0.05  # before each sample: the threads of the one before spin for a while
TIMEOUT_S = 30.0
AIMS = {
    "median_ms": 100.0,
    "times_faster_than_chat": 3.0,
    "ros_overhead_ms": 5.0,
    "memory_mb": 400.0,
    "ready_s": 3.0,
}

UTTERANCES = tuple(Path(__file__).with_name("utterances.txt").read_text().splitlines())
"""20 utterances of 20 words, of every emotion and of none."""


class ThroughAgent:
    """The agent as its own process, spoken to over DDS. Closed by `started`."""

    def __init__(self, bundle: str, namespace: str) -> None:
        options = bringup.Options(model=bundle, namespace=namespace, face=False)
        (spec,) = bringup.describe(options)
        self.node = Node("latency", namespace=namespace, use_global_arguments=False)
        self._speech = self.node.create_publisher(String, "speech", qos.UTTERANCE)
        self.node.create_subscription(Expression, "expression", self._hear, qos.LAST_ANSWER)
        self._heard = threading.Event()
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._spinning = threading.Thread(target=self._executor.spin, daemon=True)
        self._spinning.start()
        start = time.monotonic()
        self.process = subprocess.Popen(spec.command, stderr=subprocess.DEVNULL)
        asyncio.run(bringup.activate(self.node, spec.path))
        self.ready_s = time.monotonic() - start
        end = start + TIMEOUT_S
        while not self._speech.get_subscription_count():
            if time.monotonic() > end:
                raise RuntimeError("the agent does not listen")
            time.sleep(0.01)

    def _hear(self, _: Expression) -> None:
        self._heard.set()

    def __call__(self, text: str) -> None:
        """Say it, and wait for the face."""
        self._heard.clear()
        self._speech.publish(String(data=text))
        if not self._heard.wait(TIMEOUT_S):
            raise RuntimeError(f"no expression came for {text!r}")

    @property
    def peak_memory_mb(self) -> float:
        """The most that the process ever had resident, in MB of 10^6 bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (kib,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(kib) * 1024 / 1e6

    def close(self) -> None:
        """End the process and leave the graph."""
        self.process.terminate()
        self.process.wait(TIMEOUT_S)
        self._executor.shutdown()
        self._spinning.join()
        self.node.destroy_node()


@contextmanager
def started(bundle: str) -> Iterator[ThroughAgent]:
    """An agent in a namespace that nobody else uses."""
    agent = ThroughAgent(bundle, f"latency_{os.getpid()}_{time.monotonic_ns()}")
    try:
        yield agent
    finally:
        agent.close()


class ChatThenEmbed:
    """(a) Two calls of llama-cpp-python's high-level API, as its documentation shows them.

    The chat asks in the words that the model was trained on and gets no more tokens than the word
    of an emotion needs, whatever it says. The hidden state is that of the last token of prompt and
    response.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._llm = llama_cpp.Llama(
            model_path=str(bundle.base_path),
            lora_path=str(bundle.adapter_path) if bundle.adapter_path else None,
            embedding=True,
            n_ctx=2048,
            n_threads=THREADS,
            n_threads_batch=THREADS,
            verbose=False,
        )
        self._head = FaceHead(bundle.face_head_path, "cpu")
        self.answer = ""
        self.tokens = 0

    def __call__(self, text: str) -> Float32Array:
        """(100,) coefficients."""
        pieces = prompts.prompt(Context(quote=text), "edge")
        asked = "".join((*pieces.prefix, *pieces.text, *pieces.question))
        chat = self._llm.create_chat_completion(
            [{"role": "user", "content": asked}],
            temperature=0.0,
            max_tokens=NAME_TOKENS,
            stop=["."],
        )
        self.answer = chat["choices"][0]["message"]["content"].strip()
        self.tokens = chat["usage"]["completion_tokens"]
        states = self._llm.embed(f"{asked} {self.answer}{prompts.MESH}")
        # A chat tells a word, no distribution.
        even = np.full(len(EMOTIONS), 1 / len(EMOTIONS), np.float32)
        return self._head.project(np.asarray(states[-1], np.float32), even)


class GenerateThenProject(LlamaCpp):
    """(b) The response generated greedily, from the same cached prefix."""

    def __init__(self, bundle: Bundle) -> None:
        runtime = Runtime(device="cpu", threads=THREADS)
        super().__init__(bundle.base_path, adapter=bundle.adapter_path, runtime=runtime)
        self._face_head = FaceHead(bundle.face_head_path, "cpu")
        text = bundle.face_token.encode()
        ids = (llama_cpp.llama_token * 8)()
        count = llama_cpp.llama_tokenize(self._vocab, text, len(text), ids, 8, False, True)
        if count != 1:
            raise RuntimeError(f"{bundle.face_token} is {count} tokens of this vocabulary")
        self._face_id = int(ids[0])
        self.response: list[int] = []
        self.reached_face = False

    def __call__(self, text: str) -> Float32Array:
        """(100,) coefficients; `response` and `reached_face` tell what was generated."""
        self._cache_prefix()
        llama_cpp.llama_memory_seq_cp(self._memory, 0, 1, -1, -1)
        context = Context(quote=text)
        position = len(self._prefix)
        tokens = self._ask(context).tokens
        self.response, self.reached_face = [], False
        at = self._decode([_Piece([1], position, tokens)], hidden=False)[1]
        probabilities = self._probabilities(self._logits(at))
        while True:
            token = int(self._logits(at).argmax())
            self.reached_face = token == self._face_id
            if self.reached_face or len(self.response) == self._tail_room():
                break
            position += len(tokens)
            tokens = [token]
            self.response.append(token)
            at = self._decode([_Piece([1], position, tokens)], hidden=True)[1]
        hidden = self._hidden_state(at)
        llama_cpp.llama_memory_seq_rm(self._memory, 1, -1, -1)
        return self._face_head.project(hidden, probabilities)


@dataclass(frozen=True)
class Times:
    """Of one way, in ms."""

    median_ms: float
    p99_ms: float

    @classmethod
    def of(cls, samples_ms: list[float]) -> Times:
        """Summarise."""
        return cls(statistics.median(samples_ms), float(np.percentile(samples_ms, 99)))


def measure(ways: dict[str, Callable[[str], object]], rounds: int) -> dict[str, Times]:
    """Time the ways in turns over all utterances."""
    for way in ways.values():
        for _ in range(WARM_UP):
            way(UTTERANCES[0])
    samples_ms: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for text in UTTERANCES:
            for name, way in ways.items():
                time.sleep(REST_S)
                start = time.perf_counter()
                way(text)
                samples_ms[name].append((time.perf_counter() - start) * 1e3)
    return {name: Times.of(samples) for name, samples in samples_ms.items()}


def run(bundle_name: str, rounds: int) -> dict[str, object]:
    """All measurements, as the JSON object that is printed."""
    bundle = load_bundle(bundle_name)
    ready_s = []
    for _ in range(STARTS - 1):
        with started(bundle_name) as agent:
            ready_s.append(agent.ready_s)
    chat, generate = ChatThenEmbed(bundle), GenerateThenProject(bundle)
    face = ContextFace.load(bundle_name, Runtime(threads=THREADS, device="cpu"))
    with started(bundle_name) as agent, face:
        ready_s.append(agent.ready_s)
        times = measure(
            {
                "agent": agent,
                "pass": lambda text: face.predict(Context(quote=text)),
                "chat": chat,
                "generate": generate,
            },
            rounds,
        )
        memory_mb = agent.peak_memory_mb
    named = agreement(chat, generate)
    generate.close()
    return {
        "machine": machine(),
        "bundle": f"{bundle.name} {bundle.version}",
        "threads": THREADS,
        "samples": rounds * len(UTTERANCES),
        "load_average": round(os.getloadavg()[0], 2),
        "times": {name: asdict(t) for name, t in times.items()},
        "median_ms": times["agent"].median_ms,
        "ros_overhead_ms": times["agent"].median_ms - times["pass"].median_ms,
        "times_faster_than_chat": times["chat"].median_ms / times["pass"].median_ms,
        "times_faster_than_generate": times["generate"].median_ms / times["pass"].median_ms,
        "memory_mb": memory_mb,
        "ready_s": statistics.median(ready_s),
        **named,
    }


def agreement(chat: ChatThenEmbed, generate: GenerateThenProject) -> dict[str, float]:
    """Shares of utterances for which the other ways gave what a face needs at all."""
    words = {emotion.value for emotion in EMOTIONS}
    named, reached, chat_tokens, tokens = 0, 0, 0, 0
    for text in UTTERANCES:
        chat(text)
        generate(text)
        named += chat.answer in words
        reached += generate.reached_face
        chat_tokens += chat.tokens
        tokens += len(generate.response)
    n = len(UTTERANCES)
    return {
        "chat_named_an_emotion": named / n,
        "chat_tokens": chat_tokens / n,
        "generate_reached_face": reached / n,
        "generate_tokens": tokens / n,
    }


def table(result: dict[str, object]) -> str:
    """The result in Markdown."""
    times: dict[str, dict[str, float]] = result["times"]  # type: ignore[assignment]
    single = times["pass"]["median_ms"]
    says = {
        "agent": "agent: utterance published → expression received",
        "pass": "single pass alone (`ContextFace.predict`)",
        "chat": "(a) chat completion, then embedding call",
        "generate": "(b) generate, then project; same prompt and cache",
    }
    lines = ["| | median, ms | p99, ms | times the single pass |", "|---|---|---|---|"]
    for name, t in times.items():
        row = (says[name], f"{t['median_ms']:.1f}", f"{t['p99_ms']:.1f}")
        lines.append(f"| {' | '.join(row)} | {t['median_ms'] / single:.2f} |")
    lines += ["", "| | measured | aim |", "|---|---|---|"]
    for key, (what, sign, unit) in {
        "median_ms": ("median, 20 words", "<", "ms"),
        "times_faster_than_chat": ("faster than (a)", "≥", "times"),
        "ros_overhead_ms": ("ROS overhead (agent − single pass)", "<", "ms"),
        "memory_mb": ("peak resident memory of the agent", "<", "MB"),
        "ready_s": ("process started → active", "<", "s"),
    }.items():
        lines.append(f"| {what} | {result[key]:.1f} {unit} | {sign} {AIMS[key]:g} {unit} |")
    return "\n".join(lines)


def page(result: dict[str, object]) -> str:
    """docs/latency.md."""
    return f"""# Latency

Made by `benchmarks/latency.py` on {result["machine"]}, bundle {result["bundle"]},
{result["threads"]} threads, {result["samples"]} samples of each way, taken in turns.

{table(result)}

Between agent and benchmark lie two processes and DDS. Of {STARTS} starts the median is
given; the files were in the page cache.

(a) asks in the words the model was trained on and is cut off after the
{result["chat_tokens"]:.1f} tokens that the word of an emotion needs, which is the shortest it
could be: within the chat template it named one of the seven in
{result["chat_named_an_emotion"]:.0%} of the utterances. The embedding call then reads prompt and
response again. (b) generated {result["generate_tokens"]:.1f} tokens and reached <FACE> in
{result["generate_reached_face"]:.0%} of them.
"""


def main() -> int:
    """Measure, print, write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="nano", help="name or folder of a bundle")
    parser.add_argument("--rounds", type=int, default=10, help="over all utterances")
    parser.add_argument("--markdown", type=Path, help="write the page here")
    args = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rclpy.init(args=[])
    try:
        result = run(args.bundle, args.rounds)
    finally:
        rclpy.try_shutdown()
    print(f"{result['machine']}, load average {result['load_average']}")
    print(table(result))
    if args.markdown:
        args.markdown.write_text(page(result))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
