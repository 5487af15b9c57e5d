"""Weights for the huggingface back end: a base in some precision, with its adapter in place.

The base is a folder in transformers' format or a GGUF (which transformers de-quantises), the
adapter a folder in peft's format or a GGUF. Nothing is downloaded, no pickle is opened, and no
code that comes with weights is run.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GgufConfig,
    LlavaForConditionalGeneration,
)

from contextface_ros.errors import BadBundle, BadInput, ContextFaceError, MissingDependency
from contextface_ros.language.gguf_adapter import read_lora
from contextface_ros.language.weights_folder import model_type

INSTALL = "pip install 'contextface_ros[huggingface]'"

COMPUTED_IN = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "nf4": torch.bfloat16,
    "int8": torch.float16,  # bitsandbytes rounds the inputs of its int8 products from float16
}
"""What each precision of a bundle computes in."""

QUANTISED = ("nf4", "int8")

WHOLE = ["lm_head", "model.vision_tower", "model.multi_modal_projector"]
"""What stays as it is in a quantised model, in training too: it is small, learns, or sees badly
otherwise. transformers matches these from the start of a module's whole name."""


def choose_device(wish: str) -> str:
    """Where torch computes, "cuda" or "cpu".

    Args:
        wish: "auto" takes a GPU if there is one, "cpu" none; any other name insists on one.

    Raises:
        BadInput: a GPU is insisted on, and torch has none.
    """
    if wish == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wish == "auto":
        return "cpu"
    raise BadInput(
        f"device {wish} is asked for, but torch {torch.__version__} finds no CUDA device here: "
        "install a torch that is built for CUDA, or use device auto"
    )


def load_tokenizer(base: Path) -> Any:
    """The tokenizer of a base. Raises BadBundle."""
    where, options = _source(base)
    with loading(base):
        return AutoTokenizer.from_pretrained(
            where, local_files_only=True, trust_remote_code=False, **options
        )


def load_model(base: Path, precision: str, device: str) -> Any:
    """A causal LM, or LLaVA, ready to be called.

    Args:
        base: folder or GGUF file, checked before.
        precision: one of COMPUTED_IN; a GGUF cannot be in one of QUANTISED.
        device: "cpu" or "cuda".

    Raises:
        BadBundle: weights are missing or broken.
        BadInput: they do not fit into memory; says what takes less.
        MissingDependency: bitsandbytes is needed and not installed.
    """
    where, options = _source(base)
    kind = AutoModelForCausalLM
    if precision in QUANTISED:
        options["quantization_config"] = _quantisation(precision)
    elif base.is_file():
        options["quantization_config"] = GgufConfig(dequantize=True)
    if base.is_dir():
        options["use_safetensors"] = True
        if model_type(base) == "llava":
            kind = LlavaForConditionalGeneration
    with loading(base, precision, device):
        model, found = kind.from_pretrained(
            where,
            dtype=COMPUTED_IN[precision],
            device_map={"": device},
            attn_implementation="sdpa",
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    # transformers makes up what it does not find.
    if lacking := sorted(found["missing_keys"]):
        raise BadBundle(
            f"{base} lacks {len(lacking)} of the model's tensors, {lacking[0]} among them: get it "
            "again from where it came"
        )
    return model.eval().requires_grad_(False)


def with_adapter(model: Any, adapter: Path, scale: float, keep_apart: bool) -> Any:
    """The model with a LoRA adapter in place, changed in place.

    Args:
        model: as `load_model` gives it.
        adapter: folder in peft's format, or GGUF file for a model whose weights are whole.
        scale: factor on its effect.
        keep_apart: compute the adapter beside the weights, which a quantised model needs; else it
            is added to them, which costs nothing later.

    Raises:
        BadBundle: it cannot be read, or does not fit the model.
        MissingDependency: peft is needed and not installed.
    """
    with loading(adapter):
        if adapter.is_file():
            _add_gguf(model, adapter, scale)
            return model
        peft = _import_peft()
        warnings.filterwarnings("error", message=".*missing adapter keys.*")
        adapted = peft.PeftModel.from_pretrained(
            model, adapter, is_trainable=False, local_files_only=True
        )
        for layer in adapted.modules():
            if isinstance(layer, peft.tuners.lora.LoraLayer):
                layer.scale_layer(scale)
        merged = adapted.base_model.model if keep_apart else adapted.merge_and_unload()
    return merged.eval().requires_grad_(False)


@contextmanager
def loading(what: Path, precision: str | None = None, device: str | None = None) -> Iterator[None]:
    """Whatever the libraries say of a broken file, in one sentence; and no bar but on a terminal.

    Raises:
        BadInput: memory ran out.
        MissingDependency: a library is not installed.
        BadBundle: anything else went wrong.
    """
    bar = transformers.utils.logging.is_progress_bar_enabled()
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            yield
    except ContextFaceError:
        raise
    except ImportError as error:
        raise MissingDependency(f"{_first_line(error)}: {INSTALL}") from error
    except Exception as error:  # an unsound folder can raise nearly anything in there
        if is_out_of_memory(error):
            raise BadInput(
                f"{what} does not fit into memory: {advice(precision, device)}"
            ) from error
        raise BadBundle(f"{what} cannot be loaded: {_first_line(error)}") from error
    finally:
        if bar:
            transformers.utils.logging.enable_progress_bar()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a GPU, or this machine, has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def advice(precision: str | None, device: str | None) -> str:
    """What takes less memory."""
    ways = [] if precision == "nf4" else ["set precision in bundle.yaml to nf4"]
    if device == "cuda":
        ways.append("use device cpu, or free the GPU's memory (nvidia-smi names who holds it)")
    else:
        ways.append("close other programs, or take a smaller bundle")
    return ", or ".join(ways)


def _source(base: Path) -> tuple[Path, dict[str, Any]]:
    """Where transformers finds a base, and what it must be told about it."""
    return (base.parent, {"gguf_file": base.name}) if base.is_file() else (base, {})


def _quantisation(precision: str) -> BitsAndBytesConfig:
    """Weights in 4 bits as QLoRA has them (Dettmers et al., 2023), or in 8 (LLM.int8, 2022)."""
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise MissingDependency(f"precision {precision} needs bitsandbytes: {INSTALL}") from None
    if precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=WHOLE)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=COMPUTED_IN[precision],
        llm_int8_skip_modules=WHOLE,
    )


def _import_peft() -> Any:
    try:
        import peft
    except ImportError:
        raise MissingDependency(f"an adapter in a folder needs peft: {INSTALL}") from None
    return peft


def _add_gguf(model: Any, adapter: Path, scale: float) -> None:
    config = model.config
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for pair in read_lora(adapter, heads):
        weight = model.base_model.get_submodule(pair.matrix).weight
        delta = torch.from_numpy(scale * pair.delta()).to(weight.device)
        weight.copy_(weight.float() + delta)  # rounded once


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
