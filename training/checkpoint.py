"""A checkpoint: what was learned, and what it takes to go on as if nothing had happened.

    RUN/checkpoint/
      config.yaml                            the run's config, whole
      adapter/adapter_model.safetensors      LoRA and rows of the vocabulary, as peft names them
      adapter/adapter_config.json
      projection.safetensors                 the face projection, float32
      optimizer.safetensors                  moments of AdamW; a folder deepspeed/ under DeepSpeed
      place.json                             the step it was written after

Export, evaluation and another run read the first four. Everything that is drawn follows from the
seed and the step (`data.mixture`), so there is no state of a random generator to keep.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from contextface_ros.errors import BadInput
from training.instruct_config import InstructConfig
from training.llava import load_for_training
from training.model import ContextFaceModule

NAME = "checkpoint"
ADAPTER = "adapter/adapter_model.safetensors"
PROJECTION = "projection.safetensors"
OPTIMIZER = "optimizer.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")

_FREE = ("workers", "save_every")
"""Keys of a config that may change while a run goes on: they change nothing that is computed."""


@dataclass(frozen=True)
class Place:
    """Where a run is: steps that were taken, and by how many processes."""

    step: int
    ranks: int


@dataclass(frozen=True)
class Snapshot:
    """All that a checkpoint holds, gathered in the memory of one process."""

    weights: Mapping[str, torch.Tensor]
    moments: Mapping[str, torch.Tensor]


def learned(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that learn, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def take(model: nn.Module, optimizer: torch.optim.Optimizer | None) -> Snapshot:
    """Gather weights and moments. Every rank must call it: shards come from all of them."""
    weights = learned(model)
    moments = {}
    if optimizer is not None:
        for name, weight in weights.items():
            for moment in MOMENTS:
                moments[f"{moment}/{name}"] = _whole(optimizer.state[weight][moment])
    return Snapshot({name: _whole(weight) for name, weight in weights.items()}, moments)


def write(
    run: Path, model: ContextFaceModule, taken: Snapshot, config: InstructConfig, place: Place
) -> None:
    """Write a checkpoint beside the last one and put it in its place. One rank calls it.

    Raises:
        BadInput: it cannot be written, for a full disk for example; the last one is untouched.
    """
    new = run / f"{NAME}.new"
    with _told(run):
        _write_parts(new, model, taken, config, place)
        old = run / f"{NAME}.old"
        if (run / NAME).exists():
            (run / NAME).replace(old)
        new.replace(run / NAME)
        shutil.rmtree(old, ignore_errors=True)


def _write_parts(
    folder: Path,
    model: ContextFaceModule,
    taken: Snapshot,
    config: InstructConfig,
    place: Place,
) -> None:
    (folder / "adapter").mkdir(parents=True, exist_ok=True)
    adapter = get_peft_model_state_dict(
        model.language,
        state_dict=_below("language.", _with_twins(model, taken.weights)),
        save_embedding_layers=False,
    )
    save_file(_plain(adapter), folder / ADAPTER)
    model.language.peft_config["default"].save_pretrained(folder / "adapter")
    save_file(_plain(_below("projection.", taken.weights)), folder / PROJECTION)
    if taken.moments:
        save_file(_plain(taken.moments), folder / OPTIMIZER)
    config.write(folder / "config.yaml")
    (folder / "place.json").write_text(json.dumps(asdict(place)) + "\n", encoding="utf-8")


def find(run: Path) -> Path | None:
    """The last whole checkpoint of a run, or None.

    A run that was killed between the two renames of `write` left the last one under its old name.
    """
    for name in (NAME, f"{NAME}.old"):
        if (run / name / "place.json").is_file():
            return run / name
    return None


def read_place(folder: Path, config: InstructConfig) -> Place:
    """Where the run of a checkpoint was.

    Raises:
        BadInput: the checkpoint is of another config; names the first key that differs.
    """
    before, now = (_flat(asdict(c)) for c in (InstructConfig.read(folder / "config.yaml"), config))
    for key in [*before, *now]:
        if key not in _FREE and before.get(key) != now.get(key):
            raise BadInput(
                f"{folder} is of a run with {key} {before.get(key)}, this config has"
                f" {now.get(key)}: go on with {folder / 'config.yaml'}, or give another --run"
            )
    return Place(**json.loads((folder / "place.json").read_text(encoding="utf-8")))


def load_weights(folder: Path, model: ContextFaceModule) -> None:
    """Put the weights of a checkpoint into a model that was built for its config.

    Raises:
        BadInput: they are missing, broken, or of another shape.
    """
    try:
        adapter, projection = load_file(folder / ADAPTER), load_file(folder / PROJECTION)
        result = set_peft_model_state_dict(model.language, adapter)
        model.projection.load_state_dict(projection)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise BadInput(f"{folder} does not fit its base: {_first_line(error)}") from error
    missing = [name for name in result.missing_keys if name in learned(model.language)]
    if missing or result.unexpected_keys:
        name = [*result.unexpected_keys, *missing][0]
        raise BadInput(f"{folder} does not fit its base: {name} is on one side only")


def load_moments(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put the optimizer where it was. Weights may be shards by now."""
    moments = load_file(folder / OPTIMIZER)
    for name, weight in learned(model).items():
        for moment in MOMENTS:
            value = moments[f"{moment}/{name}"]
            optimizer.state[weight][moment] = value if moment == "step" else _as(weight, value)


def load_checkpoint(folder: Path, device: str | None = None) -> ContextFaceModule:
    """The model of a checkpoint, for export and evaluation.

    Args:
        folder: RUN/checkpoint, or RUN itself.
        device: as for `load_for_training`.

    Raises:
        BadInput: there is none, or it does not fit its base.
    """
    found = folder if (folder / PROJECTION).is_file() else find(folder)
    if found is None:
        raise BadInput(f"there is no checkpoint in {folder}: give the folder of a run")
    model = load_for_training(InstructConfig.read(found / "config.yaml"), device)
    load_weights(found, model)
    return model.eval()


@torch.no_grad()
def _whole(value: torch.Tensor) -> torch.Tensor:
    if isinstance(value, DTensor):
        value = value.full_tensor()
    return value.detach().cpu()


def _as(weight: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    if isinstance(weight, DTensor):
        return distribute_tensor(
            value.to(weight.device), weight.device_mesh, weight.placements, src_data_rank=None
        )
    return value.to(weight.device)


def _below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _with_twins(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights under all names: peft asks for an embedding that is also the head by both."""
    names = {id(weight): name for name, weight in learned(model).items()}
    whole = dict(weights)
    for name, weight in model.named_parameters(remove_duplicate=False):
        if name not in whole and id(weight) in names:
            whole[name] = weights[names[id(weight)]].clone()  # safetensors stores nothing twice
    return whole


def _plain(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split("\n")[:2]).strip()


@contextlib.contextmanager
def _told(run: Path) -> Iterator[None]:
    """Turn a failure to write into one sentence, and free what was half written."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        shutil.rmtree(run / f"{NAME}.new", ignore_errors=True)
        reason = os.strerror(error.errno) if getattr(error, "errno", None) else str(error)
        raise BadInput(
            f"no checkpoint can be written to {run} ({reason}): free some space and give the same"
            " command again; the last checkpoint is whole"
        ) from error
