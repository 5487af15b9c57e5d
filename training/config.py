"""What a training run is made of: YAML in, frozen dataclasses out."""

from __future__ import annotations

from dataclasses import dataclass
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
    """

    name: str
    epochs: int
    contexts: bool
    texts_per_class: int
    learning_rate: float


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
