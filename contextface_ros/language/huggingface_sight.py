"""A camera frame as LLaVA sees it: a square of pixels, and its place among the tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from contextface_ros.types import UInt8Array


@dataclass(frozen=True)
class Sight:
    """What is known of a vision tower.

    Attributes:
        token: id of the token that holds an image's place.
        count: how many of them an image takes.
        processor: makes pixels of images.
    """

    token: int
    count: int
    processor: Any

    def pixels(self, images: Sequence[UInt8Array]) -> torch.Tensor:
        """(I, 3, S, S) float32 of (H, W, 3) uint8 RGB images of any sizes."""
        made = self.processor(
            images=list(images), return_tensors="pt", input_data_format="channels_last"
        )
        pixels: torch.Tensor = made["pixel_values"]
        return pixels


def sight(config: Any) -> Sight | None:
    """That of a model's configuration; None for a model that has no vision tower."""
    if config.model_type != "llava":
        return None
    vision = config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    whole = config.vision_feature_select_strategy == "full"  # CLIP's class token too
    return Sight(config.image_token_id, patches + whole, image_processor(vision.image_size))


def image_processor(size: int) -> LlavaImageProcessorPil:
    """What turns a picture into pixels for CLIP: padded to a square, as LLaVA 1.5 was trained.

    The processor that comes with a checkpoint may cut the edges off, and with them the person.
    """
    return LlavaImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}, do_pad=True
    )
