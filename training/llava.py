"""LLaVA, or a causal LM without eyes, as a ContextFaceModule that can be trained.

    load_for_training(config)    the base, an adapter and a face projection, both fresh
    attach(base, config, words)  the same on a base that is already there
    load_words(config)           tokenizer, <FACE>, and the place of an image among the tokens

`LlavaForConditionalGeneration` and a causal LM look the same from outside: `model` is the trunk
that ends in hidden states, the output head is beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GgufConfig,
    LlavaForConditionalGeneration,
)

from contextface_ros import prompts
from contextface_ros.errors import BadInput, MissingDependency
from contextface_ros.language.huggingface_weights import WHOLE
from training.data.instructions import ImageSlot
from training.data.sequences import Vocabulary
from training.face_token import add_face_token, make_room
from training.instruct_config import BaseConfig, InstructConfig
from training.lora import adapt
from training.memory import is_out_of_memory
from training.model import ContextFaceModule, vocabulary


@dataclass(frozen=True)
class Words:
    """How a base reads.

    Attributes:
        tokenizer: transformers' own, with <FACE> in it.
        vocabulary: what of it sequences need.
        image: the place of an image, or None for a model that cannot see.
    """

    tokenizer: Any
    vocabulary: Vocabulary
    image: ImageSlot | None


def load_words(config: InstructConfig) -> Words:
    """Tokenizer, <FACE> and image slot of a base. Raises BadInput if it cannot be read."""
    where, options = _source(config.base)
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, **options)
    except (OSError, ValueError) as error:
        raise BadInput(f"no tokenizer could be read from {where}: {_first_line(error)}") from error
    face = add_face_token(tokenizer, config.face_token)
    words = vocabulary(tokenizer, tokenizer.convert_ids_to_tokens(face))
    return Words(tokenizer, words, image_slot(_architecture(config.base)))


def image_slot(architecture: Any) -> ImageSlot | None:
    """Where LLaVA's configuration puts an image; None for a model that has no vision tower."""
    if architecture.model_type != "llava":
        return None
    vision = architecture.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    whole = architecture.vision_feature_select_strategy == "full"
    return ImageSlot(architecture.image_token_index, patches + whole, vision.image_size)


def load_for_training(config: InstructConfig, device: str | None = None) -> ContextFaceModule:
    """A base with a fresh adapter and a fresh face projection.

    Args:
        config: of the run.
        device: where the weights go as they are read, "cuda:0" for one; None for the CPU.
            Quantised ones cannot be moved later.

    Raises:
        BadInput: the base cannot be read; says why.
        MissingDependency: bitsandbytes is needed and not installed.
    """
    return attach(load_base(config.base, device), config, load_words(config).vocabulary)


def attach(base: Any, config: InstructConfig, words: Vocabulary) -> ContextFaceModule:
    """An adapter and a face projection, both fresh, on a base; it is changed in place."""
    torch.manual_seed(config.seed)
    make_room(base, words.face)
    if config.gradient_checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    language = adapt(base, config.lora, words.face)
    return ContextFaceModule(
        language,
        prompts.emotion_tokens(words.tokenize),
        base.config.get_text_config().hidden_size,
        autocast=config.base.precision == "bfloat16",
    )


def load_base(config: BaseConfig, device: str | None = None) -> Any:
    """The base alone. Raises as `load_for_training` does."""
    where, options = _source(config)
    kind = AutoModelForCausalLM
    if _architecture(config).model_type == "llava":
        kind = LlavaForConditionalGeneration
    if config.quantise != "none":
        options["quantization_config"] = _quantisation(config)
    elif config.package:
        options["quantization_config"] = GgufConfig(dequantize=True)
    if device is not None or config.quantise != "none":
        options["device_map"] = {"": device or "cpu"}
    try:
        return kind.from_pretrained(
            where,
            dtype=getattr(torch, config.precision),
            attn_implementation=config.attention,
            **options,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        raise BadInput(f"no model could be read from {where}: {_first_line(error)}") from error


def _quantisation(config: BaseConfig) -> BitsAndBytesConfig:
    """Weights in 4 bits as QLoRA has them (Dettmers et al., 2023), or in 8."""
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise MissingDependency(
            "a quantised base needs bitsandbytes: pip install -r requirements/train.txt"
        ) from None
    if config.quantise == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=WHOLE)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, config.precision),
        bnb_4bit_quant_storage=getattr(torch, config.precision),  # so that FSDP can cut it
        llm_int8_skip_modules=WHOLE,
    )


def _source(config: BaseConfig) -> tuple[str, dict[str, Any]]:
    """Where transformers finds a base, and what it must be told about it."""
    if config.package:
        try:
            return str(resources.files(config.package)), {"gguf_file": config.file}
        except ModuleNotFoundError:
            raise MissingDependency(
                f"the base is in the package {config.package}: pip install it first"
            ) from None
    return config.path, {"revision": config.revision} if config.revision else {}


def _architecture(config: BaseConfig) -> Any:
    where, options = _source(config)
    if not config.package and Path(where).is_absolute() and not Path(where).is_dir():
        raise BadInput(f"there is no model in {where}: set base.path to the folder of one")
    try:
        return AutoConfig.from_pretrained(where, **options)
    except (OSError, ValueError) as error:
        raise BadInput(
            f"no model could be read from {where}: set base.path to a folder, or to a name on the"
            f" hub ({_first_line(error)})"
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
