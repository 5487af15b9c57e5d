"""One model through both back ends, beside the way that the published code goes.

    .venv/bin/python benchmarks/backends.py [--bundle nano] [--rounds 3] [--device auto]

One bundle on a base in GGUF, one fixed list of utterances of 20 words, everything in one run and
in turns, so that what else the machine does falls on all alike:

    llama_cpp          the single pass as shipped
    float32, bfloat16  the single pass of the huggingface back end
    nf4, int8          the same by bitsandbytes, from a folder that the run writes
    generate           transformers' `generate` writes the response up to <FACE>, then a forward
                       over all of it gives the hidden state, then the face head; in bfloat16

Each way is also compared with float32: how often it names the same emotion, and where it does, the
cosine of the hidden state and the difference of the face. The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from rich.progress import track

from contextface_ros import prompts
from contextface_ros.base_weights import BaseWeights
from contextface_ros.bundle import Bundle, load_bundle, save_bundle
from contextface_ros.contextface import ContextFace
from contextface_ros.face.head import FaceHead
from contextface_ros.language.huggingface import HuggingFace
from contextface_ros.language.protocol import Reading
from contextface_ros.language.runtime import Runtime
from contextface_ros.types import Context, Float32Array

LONGEST_RESPONSE = 32  # tokens; the one that was trained has 10 or 11
UTTERANCES = tuple(Path(__file__).with_name("utterances.txt").read_text().splitlines())

Way = Callable[[str], tuple[Reading, Float32Array]]
"""An utterance in, a reading and the (100,) face out."""


@dataclass(frozen=True)
class Result:
    """One way's figures.

    Attributes:
        median_ms: of one utterance.
        same_emotion: share of utterances with the emotion that float32 names.
        cosine: smallest of the hidden states' with float32's, where the emotion is the same.
        beta_rms: root mean square difference of the faces' coefficients, there.
    """

    median_ms: float
    same_emotion: float
    cosine: float
    beta_rms: float


class GenerateThenForward:
    """The published way: the answer is generated, and read again as a whole for the face."""

    def __init__(self, language: HuggingFace, head: FaceHead, bundle: Bundle) -> None:
        self._language, self._head = language, head
        self._model, self._tokenizer = language._model, language._tokenizer
        self._version: prompts.PromptVersion = "paper" if bundle.prompt == "paper" else "edge"
        self._face = self._tokenizer.convert_tokens_to_ids(bundle.face_token)
        self._words = prompts.emotion_tokens(language.tokenize)
        self.tokens = 0
        self.reached_face = 0
        self.calls = 0

    @torch.inference_mode()
    def __call__(self, text: str) -> tuple[Reading, Float32Array]:
        """Its emotion is the first word of the seven in the response."""
        prompt = prompts.prompt(Context(quote=text), self._version)
        pieces = prompt.prefix + prompt.text + prompt.question
        bos = [] if self._tokenizer.bos_token_id is None else [self._tokenizer.bos_token_id]
        ids = [*bos, *prompts.token_ids(pieces, self._language.tokenize)]
        asked = torch.tensor([ids], device=self._model.device)
        whole = self._model.generate(
            asked,
            attention_mask=torch.ones_like(asked),
            max_new_tokens=LONGEST_RESPONSE,
            do_sample=False,
            eos_token_id=[self._face, self._tokenizer.eos_token_id],
            pad_token_id=self._tokenizer.eos_token_id,
        )
        hidden = self._model(whole, output_hidden_states=True).hidden_states[-1][0]
        response = whole[0, len(ids) :].tolist()
        self.calls += 1
        self.tokens += len(response)
        self.reached_face += response[-1] == self._face
        state = hidden[-2].float().cpu().numpy()  # it predicted the last token
        said = np.isin(self._words, response).astype(np.float32)
        said /= max(1.0, said.sum())  # text says which emotion, not how sure it is
        return Reading(said, state, used_image=False), self._head.project(state, said)


def single_pass(face: ContextFace) -> Way:
    """The way of `ContextFace.predict`."""

    def way(text: str) -> tuple[Reading, Float32Array]:
        reading = face._language.read(Context(quote=text))
        return reading, face._head.project(reading.hidden_state, reading.probabilities)

    return way


def as_huggingface(bundle: Bundle, folder: Path, **changes: Any) -> Bundle:
    """The same bundle for the huggingface back end, in a folder of its own."""
    folder.mkdir(exist_ok=True)
    for path in (bundle.face_head_path, bundle.adapter_path):
        if path is not None:
            shutil.copy(path, folder)
    changed = dataclasses.replace(bundle, name=folder.name, backend="huggingface", **changes)
    return save_bundle(changed, folder)


def write_whole(language: HuggingFace, folder: Path) -> Path:
    """Base and adapter as one folder in transformers' format."""
    language._model.save_pretrained(folder)
    language._tokenizer.save_pretrained(folder)
    return folder


def measure(ways: Mapping[str, Way], rounds: int) -> dict[str, Result]:
    """Everything in turns; the first round is not timed."""
    times_ms: dict[str, list[float]] = {name: [] for name in ways}
    read: dict[str, list[tuple[Reading, Float32Array]]] = {name: [] for name in ways}
    for number in track(range(rounds + 1), description="rounds"):
        for text in UTTERANCES:
            for name, way in ways.items():
                start = time.perf_counter()
                answer = way(text)
                if number > 0:
                    times_ms[name].append((time.perf_counter() - start) * 1e3)
                else:
                    read[name].append(answer)
    whole = read["float32"]
    return {
        name: Result(statistics.median(times_ms[name]), *compare(read[name], whole))
        for name in ways
    }


def compare(
    read: list[tuple[Reading, Float32Array]], whole: list[tuple[Reading, Float32Array]]
) -> tuple[float, float, float]:
    """`same_emotion`, `cosine` and `beta_rms` of a Result."""
    cosines, squares = [], []
    for (ours, beta), (theirs, expected) in zip(read, whole, strict=True):
        if ours.probabilities.argmax() == theirs.probabilities.argmax():
            a, b = ours.hidden_state, theirs.hidden_state
            cosines.append(float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))))
            squares.append(float(((beta - expected) ** 2).mean()))
    if not cosines:
        return 0.0, float("nan"), float("nan")
    return len(cosines) / len(read), min(cosines), float(np.sqrt(np.mean(squares)))


def run(name: str, rounds: int, runtime: Runtime, quantised: bool) -> dict[str, Any]:
    """All measurements, as the JSON object that is printed."""
    bundle = load_bundle(name)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def load(which: Bundle) -> ContextFace:
            return stack.enter_context(ContextFace.load(which.folder, runtime))

        def converted(precision: str, **changes: Any) -> ContextFace:
            made = as_huggingface(bundle, scratch / precision, precision=precision, **changes)
            return load(made)

        faces = {"llama_cpp": load(bundle), "float32": converted("float32")}
        faces["bfloat16"] = converted("bfloat16")
        if quantised:
            base = write_whole(faces["float32"]._language, scratch / "whole")
            for precision in ("nf4", "int8"):
                where = BaseWeights(path=str(base))
                faces[precision] = converted(precision, base=where, adapter=None)
        half = faces["bfloat16"]
        generate = GenerateThenForward(half._language, half._head, bundle)
        ways: dict[str, Way] = {key: single_pass(face) for key, face in faces.items()}
        results = measure({**ways, "generate": generate}, rounds)
    return {
        "machine": machine(),
        "device": torch.cuda.get_device_name() if half._language._device == "cuda" else "cpu",
        "bundle": f"{bundle.name} {bundle.version}",
        "threads": runtime.threads,
        "load_average": round(os.getloadavg()[0], 2),
        "samples": rounds * len(UTTERANCES),
        "generated_tokens": generate.tokens / generate.calls,
        "reached_face": generate.reached_face / generate.calls,
        "generate_over_bfloat16": results["generate"].median_ms / results["bfloat16"].median_ms,
        "results": {key: asdict(result) for key, result in results.items()},
    }


def table(result: dict[str, Any]) -> str:
    """The result in Markdown."""
    times = {name: figures["median_ms"] for name, figures in result["results"].items()}
    lines = [
        "| | median, ms | times llama_cpp | times bfloat16 | same emotion as float32 "
        "| least cosine | beta, RMS difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, figures in result["results"].items():
        row = (
            name,
            f"{figures['median_ms']:.1f}",
            f"{figures['median_ms'] / times['llama_cpp']:.2f}",
            f"{figures['median_ms'] / times['bfloat16']:.2f}",
            f"{figures['same_emotion']:.0%}",
            f"{figures['cosine']:.4f}",
            f"{figures['beta_rms']:.4f}",
        )
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def main() -> int:
    """Measure and print."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="nano", help="a llama_cpp bundle on a base in GGUF")
    parser.add_argument("--rounds", type=int, default=3, help="over all utterances")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--whole-only", action="store_true", help="leave out nf4 and int8")
    args = parser.parse_args()
    runtime = Runtime(threads=args.threads, device=args.device)
    result = run(args.bundle, args.rounds, runtime, not args.whole_only)
    print(f"{result['machine']}, on {result['device']}, load average {result['load_average']}")
    print(
        f"generate wrote {result['generated_tokens']:.1f} tokens and reached <FACE> in "
        f"{result['reached_face']:.0%}; it takes {result['generate_over_bfloat16']:.2f} times the "
        "single pass in bfloat16"
    )
    print(table(result))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
