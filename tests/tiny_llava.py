"""A random LLaVA of a few megabytes, in every respect but size like llava-1.5-7b-hf.

Its tokenizer is SmolLM2's, from the base weights of nano, with `<image>` added; like llava-1.5's,
its matrices have a few more rows than the tokenizer has tokens.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import torch
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from tests.tiny_bundle import BASE

IMAGE_TOKEN = "<image>"
IMAGE_SIZE = 56
PATCH_SIZE = 14
IMAGE_TOKENS = (IMAGE_SIZE // PATCH_SIZE) ** 2


def make_tiny_llava(
    folder: Path, *, hidden_size: int = 64, layers: int = 2, projector_act: str = "gelu"
) -> Path:
    """Write one to a folder with `save_pretrained`, processor and tokenizer included.

    Args:
        folder: made if it is not there.
        hidden_size: of the language model; a multiple of 32.
        layers: of the language model.
        projector_act: "gelu" for a projector of two layers, "linear" for one that is linear.
    """
    resource = Path(str(resources.files(BASE.package))) / BASE.resource
    tokenizer = AutoTokenizer.from_pretrained(resource.parent, gguf_file=resource.name)
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            projection_dim=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=IMAGE_SIZE,
            patch_size=PATCH_SIZE,
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer) + 63,
            hidden_size=hidden_size,
            intermediate_size=2 * hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
            initializer_range=0.1,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=IMAGE_TOKENS,
        projector_hidden_act=projector_act,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    model = LlavaForConditionalGeneration(config)
    processor = LlavaProcessor(
        image_processor=LlavaImageProcessorPil(
            size={"shortest_edge": IMAGE_SIZE},
            crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
            do_pad=True,
        ),
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        image_token=IMAGE_TOKEN,
        num_additional_image_tokens=1,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
