"""Image files as the vision tower sees them: the person meant in a red box, padded to a square."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from contextface_ros.errors import BadInput
from contextface_ros.types import UInt8Array
from contextface_ros.vision.detectors import Box
from contextface_ros.vision.image import decode_compressed
from contextface_ros.vision.target import draw_red_box


@dataclass(frozen=True)
class Picture:
    """An image file, read only when its turn comes.

    Attributes:
        file: where it is.
        box: face of the target person, (x, y, width, height) in pixels; None for no red box.
        sha256: hex checksum that it must have; None for any.
    """

    file: Path
    box: tuple[int, int, int, int] | None = None
    sha256: str | None = None

    def image(self) -> UInt8Array:
        """(H, W, 3) uint8 RGB, with a red box round the head of the target person.

        Raises:
            BadInput: the file is missing, does not decode, or is another one than was annotated.
        """
        try:
            raw = self.file.read_bytes()
        except OSError as error:
            raise BadInput(f"{self.file} cannot be read: {error.strerror}") from error
        if self.sha256 is not None and hashlib.sha256(raw).hexdigest() != self.sha256:
            raise BadInput(
                f"{self.file} is not the image that was annotated: put that one back, or annotate"
                " this one"
            )
        try:
            image = decode_compressed(raw)
            return image if self.box is None else draw_red_box(image, Box(*self.box))
        except BadInput as error:
            raise BadInput(f"{self.file}: {error}") from error

    def pixels(self, processor: Any) -> torch.Tensor:
        """(3, S, S) float32, as an image processor of transformers gives it. Raises as `image`."""
        pixels: torch.Tensor = processor(images=self.image(), return_tensors="pt")["pixel_values"][
            0
        ]
        return pixels
