"""What an instruction-tuning run is made of: YAML in, frozen dataclasses out.

    base: which model, in how many bits        lora: which part of it learns
    tasks: what it is asked, how often         the rest: how it is trained

configs/paper_13b.yaml holds the published settings and says what each is for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from contextface_ros.errors import BadInput
from contextface_ros.prompts import PromptVersion

Task = Literal["situation", "expression", "vqa"]
TASKS: tuple[Task, ...] = ("situation", "expression", "vqa")

ABLATIONS: dict[str, tuple[Task, ...]] = {
    "neither": ("vqa",),
    "expression": ("expression", "vqa"),
    "situation": ("situation", "vqa"),
    "both": TASKS,
}
"""Tasks that stay in each row of the paper's Table 3. VQA always does."""


@dataclass(frozen=True)
class BaseConfig:
    """The model that training starts from.

    Attributes:
        path: folder of a model in transformers' format, LLaVA's or a causal LM's, or its name on
            the Hugging Face hub. Empty where `package` is given.
        revision: commit on the hub.
        package, file: a Python package that carries a GGUF, and its name there.
        quantise: "none", "nf4" (QLoRA) or "int8".
        precision: of the frozen weights and of what is computed with them.
        attention: transformers' name of the implementation; "flash_attention_2" where installed.
    """

    path: str = ""
    revision: str | None = None
    package: str = ""
    file: str = ""
    quantise: Literal["none", "nf4", "int8"] = "none"
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    attention: str = "sdpa"

    def __post_init__(self) -> None:
        _require(
            bool(self.path) != bool(self.package), "base needs either path or package, not both"
        )
        _choice("base.quantise", self.quantise, ("none", "nf4", "int8"))
        _choice("base.precision", self.precision, ("bfloat16", "float32"))


@dataclass(frozen=True)
class AdapterConfig:
    """What learns, beside the face projection, which always does.

    Attributes:
        rank, alpha, dropout: of the LoRA.
        targets: names of the language model's matrices that get one.
        embeddings: "full" trains embedding and head whole, "face_token" only the row of <FACE>.
        projector: whether the projector between vision tower and language model learns.
    """

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.05
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    embeddings: Literal["full", "face_token"] = "full"
    projector: bool = False

    def __post_init__(self) -> None:
        _require(self.rank >= 1, f"lora.rank is {self.rank}, it must be at least 1")
        _require(0 <= self.dropout < 1, f"lora.dropout is {self.dropout}, it must be in 0..1")
        _require(len(self.targets) > 0, "lora.targets is empty: name at least one matrix")
        _choice("lora.embeddings", self.embeddings, ("full", "face_token"))


@dataclass(frozen=True)
class Variation:
    """How the prompts of one row vary; each a probability.

    Attributes:
        own_wording: the instruction is the one that the robot uses, not another wording of it.
        image: an expression is asked for with the image beside the text.
        both: quote and situation stand in one prompt, where a row has both.
    """

    own_wording: float = 0.5
    image: float = 0.25
    both: float = 0.0

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            _require(0 <= value <= 1, f"variation.{name} is {value}, it must be in 0..1")


@dataclass(frozen=True)
class InstructConfig:
    """One run of instruction tuning.

    Attributes:
        seed: everything that is drawn follows from it and the step.
        prompt: order of a prompt's parts.
        basis: expression basis of the faces; a row in another is refused.
        face_token: a token that the tokenizer holds in reserve, or a new one.
        tasks: share of the batches of each task; they are scaled to a sum of 1.
        steps: optimizer steps of the run.
        batch: rows a device and batch.
        accumulate: batches a step.
        max_tokens: longest sequence, the image's tokens among it.
        learning_rate: at the peak, after `warm_up_steps`; then it falls linearly to 0.
        betas, weight_decay, clip: of AdamW, and the norm that gradients are clipped to.
        face_weight: lambda, the weight of the L2 of faces beside the cross-entropy.
        emotion_weight: of the cross-entropy over the seven emotions alone; 0 in the paper.
        gradient_checkpointing: compute activations twice, and keep fewer of them.
        save_every: steps between checkpoints.
        workers: processes that read images.
    """

    base: BaseConfig
    lora: AdapterConfig
    tasks: Mapping[Task, float]
    variation: Variation = field(default_factory=Variation)
    seed: int = 0
    prompt: PromptVersion = "paper"
    basis: str = "flame2020"
    face_token: str = "<FACE>"
    steps: int = 10_000
    batch: int = 4
    accumulate: int = 10
    max_tokens: int = 1536
    learning_rate: float = 5e-5
    warm_up_steps: int = 100
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    clip: float = 1.0
    face_weight: float = 10.0
    emotion_weight: float = 0.0
    gradient_checkpointing: bool = True
    save_every: int = 500
    workers: int = 4

    def __post_init__(self) -> None:
        _choice("prompt", self.prompt, ("edge", "paper"))
        for name in ("steps", "batch", "accumulate", "max_tokens", "save_every"):
            value = getattr(self, name)
            _require(
                type(value) is int and value >= 1, f"{name} is {value!r}, it must be 1 or more"
            )
        for name in ("warm_up_steps", "workers"):
            value = getattr(self, name)
            _require(
                type(value) is int and value >= 0, f"{name} is {value!r}, it must be 0 or more"
            )
        for task, share in self.tasks.items():
            _choice("task", task, TASKS)
            _require(share >= 0, f"tasks.{task} is {share}, it must not be negative")
        _require(sum(self.tasks.values()) > 0, "tasks has no share above 0: name one at least")
        _require(self.learning_rate > 0, "learning_rate must be above 0")

    @classmethod
    def read(cls, file: Path) -> InstructConfig:
        """Read a YAML file.

        Raises:
            BadInput: it cannot be read, or has an unknown, missing or wrong key; names it.
        """
        try:
            values = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise BadInput(f"{file} cannot be read: {error}") from error
        try:
            return cls.of(values)
        except BadInput as error:
            raise BadInput(f"{file}: {error}") from error

    @classmethod
    def of(cls, values: Any) -> InstructConfig:
        """From the mapping that a YAML file holds. Raises BadInput."""
        _require(isinstance(values, dict), "it must hold keys and values")
        values = dict(values)
        for name in ("base", "lora", "tasks"):
            _require(isinstance(values.get(name), dict), f"{name} is missing, or not a mapping")
        values["tasks"] = {task: _number(f"tasks.{task}", x) for task, x in values["tasks"].items()}
        return _make(
            cls,
            "",
            values
            | {
                "base": _make(BaseConfig, "base.", values["base"]),
                "lora": _make(AdapterConfig, "lora.", values["lora"]),
                "variation": _make(Variation, "variation.", values.get("variation", {})),
            },
        )

    def write(self, file: Path) -> None:
        """Write the YAML that `read` reads."""
        values = dataclasses.asdict(self)
        values["tasks"] = dict(self.tasks)
        values["betas"] = list(self.betas)
        values["lora"]["targets"] = list(self.lora.targets)
        file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")

    def ablate(self, row: str) -> InstructConfig:
        """This run with the tasks of one row of the paper's Table 3: see ABLATIONS."""
        _choice("ablation", row, tuple(ABLATIONS))
        tasks = {task: share for task, share in self.tasks.items() if task in ABLATIONS[row]}
        return dataclasses.replace(self, tasks=tasks)


_Made = TypeVar("_Made")


def _make(kind: type[_Made], where: str, values: Any) -> _Made:
    """A dataclass from a mapping, with each value checked against the type of its default."""
    _require(isinstance(values, dict), f"{where.rstrip('.')} must hold keys and values")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(fields)):
        raise BadInput(f"unknown key {where}{unknown[0]}: the keys are {', '.join(fields)}")
    checked = {name: _checked(where + name, value, fields[name]) for name, value in values.items()}
    return kind(**checked)


def _checked(name: str, value: Any, known: dataclasses.Field[Any]) -> Any:
    default = known.default
    if isinstance(default, tuple):
        _require(isinstance(value, (list, tuple)), f"{name} is {value!r}, it must be a list")
        kind = type(default[0])
        return tuple(kind(item) for item in value)
    if isinstance(default, bool):
        _require(isinstance(value, bool), f"{name} is {value!r}, it must be true or false")
    elif isinstance(default, float):
        return _number(name, value)
    elif isinstance(default, (int, str)):
        kind_name = "a whole number" if isinstance(default, int) else "text"
        _require(type(value) is type(default), f"{name} is {value!r}, it must be {kind_name}")
    return value


def _number(name: str, value: Any) -> float:
    try:
        return float(value)  # YAML reads 5e-5 as text
    except (TypeError, ValueError):
        raise BadInput(f"{name} is {value!r}, it must be a number") from None


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise BadInput(what)


def _choice(name: str, value: object, known: tuple[str, ...]) -> None:
    _require(value in known, f"{name} is {value!r}, it must be one of {', '.join(known)}")
