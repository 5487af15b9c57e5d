"""What every language back end offers: a context in, a Reading out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from contextface_ros.types import Context, Float32Array


@dataclass(frozen=True)
class Reading:
    """What the language model makes of one context.

    Attributes:
        probabilities: (7,) float32 over EMOTIONS.
        hidden_state: (D,) float32, the last hidden state at the position that predicts <FACE>.
        used_image: whether an image was among the inputs of this reading.
    """

    probabilities: Float32Array
    hidden_state: Float32Array
    used_image: bool


class LanguageModel(Protocol):
    """One loaded model. Not thread safe, except for `abort`: one thread owns it."""

    @property
    def hidden_size(self) -> int:
        """Width D of the hidden state."""

    @property
    def sees(self) -> bool:
        """Whether the image of a context reaches it."""

    def read(self, context: Context) -> Reading:
        """Read one context. Raises BadInput (text empty or too long) or Aborted."""

    def read_many(self, contexts: Sequence[Context]) -> list[Reading]:
        """Read several contexts, in order, faster than one by one."""

    def abort(self) -> None:
        """Make the `read` under way raise Aborted soon. Callable from any thread."""

    def close(self) -> None:
        """Free native memory. Safe to call twice."""
