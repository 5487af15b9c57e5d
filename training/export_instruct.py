r"""From a run of `training.instruct` to a bundle.

    python -m training.export_instruct runs/7b models/7b --quantise Q4_K_M
    python -m training.export_instruct runs/7b models/7b-adapter --quantise Q8_0 --adapter
    python -m training.export_instruct runs/7b models/7b-nf4 --backend huggingface --precision nf4

For llama.cpp: model-{TYPE}.gguf (base and adapter in one, or apart), mmproj.gguf of a model that
sees, face_head.onnx, bundle.yaml, card.md. For transformers a folder model/ in their place. What
the rounding of the weights costs is measured against float16 and written into card and manifest.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from contextface_ros.base_weights import BaseWeights
from contextface_ros.bundle import BACKENDS, PRECISIONS, Adapter, Bundle, BundleFile, save_bundle
from contextface_ros.errors import BadInput, ContextFaceError
from contextface_ros.language.runtime import Runtime
from contextface_ros.types import Context, Perspective
from training.bundle_card import write_card
from training.data.contexts import read_contexts
from training.face_head import write_head
from training.fidelity import Cost, ask, cost
from training.gguf_language import FILE_TYPES, quantise, write_language
from training.gguf_vision import write_mmproj
from training.gguf_vocabulary import gguf_vocabulary
from training.merged import Merged, load_merged

WHOLE = "F16"
"""What a quantised model is measured against."""


@dataclass(frozen=True)
class Plan:
    """What is exported, and as what.

    Attributes:
        run: folder of the training run.
        folder: of the bundle, whose name it gets.
        backend: llama_cpp or huggingface.
        quantise: for llama_cpp, one of FILE_TYPES.
        precision: for huggingface, one of PRECISIONS.
        adapter: for llama_cpp, whether the LoRA stays a file of its own.
        version: of the bundle.
        trained_on: the training data in one paragraph.
        licences: of each part, by name.
    """

    run: Path
    folder: Path
    backend: str = "llama_cpp"
    quantise: str = "Q4_K_M"
    precision: str = "bfloat16"
    adapter: bool = False
    version: str = "0.1.0"
    trained_on: str = ""
    licences: dict[str, str] = field(default_factory=dict)


def export(plan: Plan, contexts: Sequence[Context], runtime: Runtime | None = None) -> Bundle:
    """Write a bundle, and measure what its rounding costs.

    Args:
        plan: what and where.
        contexts: that the two versions are asked; none: nothing is measured.
        runtime: of the measurement.

    Raises:
        BadInput: the run cannot be exported so; says why.
        BadBundle: what was written does not load.
    """
    if plan.adapter and plan.backend != "llama_cpp":
        raise BadInput("an adapter apart is for llama_cpp: leave out --adapter")
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        lora = plan.folder / "adapter.gguf" if plan.adapter else None
        with torch.no_grad():
            merged = load_merged(plan.run, lora)
            write_head(merged.projection, plan.folder / "face_head.onnx")
            write = _write_llama_cpp if plan.backend == "llama_cpp" else _write_huggingface
            bundle = write(plan, merged)
        del merged
        return _measure(plan, bundle, contexts, runtime or Runtime())
    except OSError as error:
        raise BadInput(f"{plan.folder} cannot be written: {error.strerror or error}") from error


def _write_llama_cpp(plan: Plan, merged: Merged) -> Bundle:
    """Write the float16 model and what belongs to it. Returns the bundle on that model."""
    rows = merged.language.get_input_embeddings().weight.shape[0]
    vocabulary = gguf_vocabulary(merged.words.tokenizer, merged.words.vocabulary, rows)
    write_language(merged.language, vocabulary, _model_file(plan, WHOLE))
    mmproj = None
    if merged.words.image is not None:
        write_mmproj(merged.language, plan.folder / "mmproj.gguf")
        mmproj = BundleFile("mmproj.gguf")
    return dataclasses.replace(
        _manifest(plan, merged),
        base=BaseWeights(path=_model_file(plan, WHOLE).name),
        mmproj=mmproj,
        adapter=Adapter("adapter.gguf") if plan.adapter else None,
    )


def _write_huggingface(plan: Plan, merged: Merged) -> Bundle:
    model = merged.language.to(getattr(torch, merged.config.base.precision))
    model.save_pretrained(plan.folder / "model")
    merged.words.tokenizer.save_pretrained(plan.folder / "model")
    return dataclasses.replace(_manifest(plan, merged), precision=plan.precision)


def _manifest(plan: Plan, merged: Merged) -> Bundle:
    config = merged.config
    return Bundle(
        name=plan.folder.resolve().name,
        version=plan.version,
        backend=plan.backend,
        prompt=config.prompt,
        basis=config.basis,
        hidden_size=merged.projection[0].in_features,
        face_token=config.face_token,
        base=BaseWeights(path="model"),
        face_head=BundleFile("face_head.onnx"),
        licences=plan.licences,
        trained_on=plan.trained_on
        or f"{config.steps} steps on {config.base.path or config.base.file}",
    )


def _model_file(plan: Plan, kind: str) -> Path:
    return plan.folder / f"model-{kind}.gguf"


def _measure(plan: Plan, whole: Bundle, contexts: Sequence[Context], runtime: Runtime) -> Bundle:
    """Round the weights, ask both versions, and write manifest and card of the rounded one."""
    whole, rounded = _versions(plan, whole)
    price = None
    if contexts and rounded != whole:
        reference = ask(save_bundle(whole, plan.folder), contexts, runtime)
        bundle = save_bundle(rounded, plan.folder)
        price = cost(reference, ask(bundle, contexts, runtime))
        rounded = dataclasses.replace(bundle, metrics=price.metrics("rounding"))
    bundle = save_bundle(rounded, plan.folder)
    if bundle.backend == "llama_cpp" and plan.quantise != WHOLE:
        _model_file(plan, WHOLE).unlink()
    write_card(bundle, _rounding(plan), price)
    _tell(bundle, price)
    return bundle


def _versions(plan: Plan, bundle: Bundle) -> tuple[Bundle, Bundle]:
    """The bundle with whole weights, and as it shall be."""
    if plan.backend == "huggingface":
        return dataclasses.replace(bundle, precision="float32"), bundle
    if plan.quantise == WHOLE:
        return bundle, bundle
    target = _model_file(plan, plan.quantise)
    quantise(_model_file(plan, WHOLE), target, plan.quantise)
    return bundle, dataclasses.replace(bundle, base=BaseWeights(path=target.name))


def _rounding(plan: Plan) -> str:
    return plan.quantise if plan.backend == "llama_cpp" else plan.precision


def _tell(bundle: Bundle, price: Cost | None) -> None:
    size = sum(file.stat().st_size for file in bundle.folder.rglob("*") if file.is_file())
    print(f"{bundle.folder}: {bundle.name} {bundle.version}, {size / 1e6:,.0f} MB")
    if price is not None:
        print(price.table())


def dev_contexts(count: int) -> list[Context]:
    """As many of the project's own contexts, of the dev part, evenly over all of them."""
    rows = read_contexts("dev")
    step = max(1, len(rows) // max(1, count))
    return [row.context(Perspective.SPEAKER) for row in rows[::step][:count]]


def image_contexts(file: Path, images: Path | None, count: int) -> list[Context]:
    """As many contexts of annotated images, each with its image. Raises BadInput."""
    from training.evaluation.cases import read_set

    cases = read_set(file, images, None).cases
    step = max(1, len(cases) // max(1, count))
    return [case.context for case in cases[::step][:count]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    options = _parser().parse_args(arguments)
    try:
        contexts = dev_contexts(options.contexts)
        if options.annotations is not None:
            contexts += image_contexts(options.annotations, options.images, options.contexts)
        licences = dict(entry.split("=", 1) for entry in options.licence if "=" in entry)
        plan = Plan(
            options.run,
            options.bundle,
            options.backend,
            options.quantise,
            options.precision,
            options.adapter,
            options.version,
            options.trained_on,
            licences,
        )
        export(plan, contexts, Runtime(threads=options.threads))
    except ContextFaceError as error:
        sys.exit(f"error: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.export_instruct", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("run", type=Path, help="folder of a run of training.instruct")
    parser.add_argument("bundle", type=Path, help="folder of the bundle to write")
    parser.add_argument("--backend", choices=BACKENDS, default="llama_cpp", help="what runs it")
    parser.add_argument(
        "--quantise", choices=tuple(FILE_TYPES), default="Q4_K_M", help="weights for llama_cpp"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="bfloat16", help="weights for huggingface"
    )
    parser.add_argument("--adapter", action="store_true", help="keep the LoRA apart (llama_cpp)")
    parser.add_argument("--contexts", type=int, default=48, help="to measure with; 0 for none")
    parser.add_argument("--annotations", type=Path, help="annotated images to measure with, too")
    parser.add_argument("--images", type=Path, help="folder of these images")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of the measurement")
    parser.add_argument("--version", default="0.1.0", help="version of the bundle")
    parser.add_argument("--trained-on", default="", help="the training data, in a paragraph")
    parser.add_argument(
        "--licence", action="append", default=[], metavar="PART=TEXT", help="may be repeated"
    )
    return parser


if __name__ == "__main__":
    main()
