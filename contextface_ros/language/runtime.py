"""How a language model runs on the machine at hand."""

from __future__ import annotations

from dataclasses import dataclass

from contextface_ros.errors import BadInput
from contextface_ros.types import DEVICES

FLASH_ATTENTION = ("auto", "on", "off")

ALL_LAYERS = -1
SHORTEST_CONTEXT = 256
LONGEST_CONTEXT = 131_072


@dataclass(frozen=True)
class Runtime:
    """What a user chooses; nothing of it changes what the model means.

    Attributes:
        device: "auto" for the best that works, or one of DEVICES, which is then insisted on.
        threads: CPU threads.
        gpu_layers: layers that go to the GPU where one is used; ALL_LAYERS for every one. Fewer
            fit in a smaller memory, and are slower.
        flash_attention: attention in one fused kernel: "auto" where the back end has it.
        context_length: positions in the cache of keys and values, of the longest text or of several
            that are read together, an image included. It costs memory in proportion.

    Raises:
        BadInput: a value out of range, on creation.
    """

    device: str = "auto"
    threads: int = 2
    gpu_layers: int = ALL_LAYERS
    flash_attention: str = "auto"
    context_length: int = 2048

    def __post_init__(self) -> None:
        _require_choice("device", self.device, DEVICES)
        _require_choice("flash_attention", self.flash_attention, FLASH_ATTENTION)
        if self.threads < 1:
            raise BadInput(f"threads is {self.threads}, it must be at least 1")
        if self.gpu_layers < ALL_LAYERS:
            raise BadInput(f"gpu_layers is {self.gpu_layers}, it must be {ALL_LAYERS} or more")
        if not SHORTEST_CONTEXT <= self.context_length <= LONGEST_CONTEXT:
            raise BadInput(
                f"context_length is {self.context_length}, it must lie in "
                f"{SHORTEST_CONTEXT} to {LONGEST_CONTEXT}"
            )


def _require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise BadInput(f"{name} {value!r} is unknown, known are: {', '.join(choices)}")
