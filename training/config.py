"""What a training run is made of: YAML in, frozen dataclasses out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from contextface_ros.prompts import PromptVersion
from training.data.sequences import Augmentation
from training.model import ModelConfig


@dataclass(frozen=True)
class Stage:
    """One pass over a mix of data, with a learning rate of its own.

    Attributes:
        epochs: how often the contexts are seen; other texts are drawn afresh each time.
        contexts: whether the contexts with faces are in the mix.
        texts_per_class: number of human texts a class and epoch.
        learning_rate: at the peak.
        own: how often an epoch sees each of the user's own texts, where there are any.
        share: of the training scenarios that are seen, 0..1; a smaller share is part of a larger
            one. For learning curves.
    """

    name: str
    epochs: int
    contexts: bool
    texts_per_class: int
    learning_rate: float
    own: int = 0
    share: float = 1.0


@dataclass(frozen=True)
class TrainConfig:
    """One run. See configs/nano.yaml for what each value is for."""

    seed: int
    prompt: PromptVersion
    model: ModelConfig
    betas: tuple[float, float]
    weight_decay: float
    clip: float
    warm_up_steps: int
    final_learning_rate: float
    batch_tokens: int
    label_smoothing: float
    face_weight: float
    response_weight: float
    listener_weight: float
    augmentation: Augmentation
    stages: tuple[Stage, ...]

    @classmethod
    def read(cls, file: Path) -> TrainConfig:
        """Read a YAML file. Raises TypeError naming an unknown or missing key."""
        values: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        values["model"] = ModelConfig(**values["model"])
        values["augmentation"] = Augmentation(**values["augmentation"])
        values["stages"] = tuple(Stage(**stage) for stage in values["stages"])
        values["betas"] = tuple(values["betas"])
        return cls(**values)

    def only(self, stages: Sequence[str] | None) -> TrainConfig:
        """The run with the named stages alone, all with None. Raises ValueError for others."""
        if stages is None:
            return self
        known = [stage.name for stage in self.stages]
        if unknown := [name for name in stages if name not in known]:
            raise ValueError(
                f"there is no stage {unknown[0]!r}, the config has: {', '.join(known)}"
            )
        return replace(self, stages=tuple(s for s in self.stages if s.name in stages))
