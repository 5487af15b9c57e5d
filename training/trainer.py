"""The training loop of instruction tuning, on one device or on many.

    (seed, number) -> Mixture -> batch          own rows on each rank, the same task on all
                   -> ContextFaceModule         cross-entropy + lambda L2
                   -> backward, `accumulate` times
                   -> clip -> AdamW -> figures  one step
                   -> checkpoint                now and then

How the model is spread (DDP, FSDP, ZeRO-2) is accelerate's business and stands in
configs/accelerate/; precision is ours, so that the face projection stays in float32 everywhere.
"""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, GradientAccumulationPlugin
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from contextface_ros.errors import BadInput, MissingDependency
from training import checkpoint
from training.checkpoint import Place
from training.data.instruction_batch import InstructionBatch
from training.data.mixture import Mixture
from training.instruct_config import TASKS, InstructConfig
from training.memory import advice, is_out_of_memory
from training.model import ContextFaceModule, Losses
from training.step_log import StepLog
from training.throughput import flops_per_token, memory_gb, peak_flops

_DEEPSPEED = "deepspeed"


def make_accelerator(config: InstructConfig) -> Accelerator:
    """The processes that train together, as `accelerate launch` or a plain start set them up.

    Raises:
        BadInput: FSDP or DeepSpeed is asked for where accelerate has none.
        MissingDependency: DeepSpeed is asked for and not installed.
    """
    if _asked_for("DEEPSPEED") and importlib.util.find_spec("deepspeed") is None:
        raise MissingDependency("ZeRO needs DeepSpeed: pip install deepspeed")
    steps = GradientAccumulationPlugin(num_steps=config.accumulate, sync_with_dataloader=False)
    accelerator = Accelerator(gradient_accumulation_plugin=steps, mixed_precision="no")
    _require_what_was_asked(accelerator)
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        plugin = accelerator.state.deepspeed_plugin
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = config.batch
        plugin.deepspeed_config["gradient_accumulation_steps"] = config.accumulate
        plugin.deepspeed_config["gradient_clipping"] = config.clip
    return accelerator


def _asked_for(name: str) -> bool:
    """Whether `accelerate launch` was told to spread the model so."""
    return os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() == "true"


def _require_what_was_asked(accelerator: Accelerator) -> None:
    """Refuse to train whole copies of a model that was to be spread.

    Without several GPUs accelerate falls back to just that, and says nothing.
    """
    for name, kind in (("FSDP", DistributedType.FSDP), ("DEEPSPEED", DistributedType.DEEPSPEED)):
        if _asked_for(name) and accelerator.distributed_type != kind:
            raise BadInput(
                f"{name} is asked for, but accelerate runs {accelerator.num_processes} process(es)"
                f" on {accelerator.device} without it: launch on GPUs, or with another config file"
            )


class Trainer:
    """One run: its model, its batches and its folder."""

    def __init__(
        self,
        config: InstructConfig,
        accelerator: Accelerator,
        model: ContextFaceModule,
        mixture: Mixture,
        run: Path,
        log: StepLog | None,
    ) -> None:
        """Prepare, and go on from the run's last checkpoint if it has one.

        Args:
            config: of the run.
            accelerator: from `make_accelerator`.
            model: fresh, on any device.
            mixture: batches of this rank.
            run: folder of the run; every rank sees the same.
            log: of the main process; None on the others.

        Raises:
            BadInput: the checkpoint is of another config.
        """
        self.config = config
        self.step = 0
        self._accelerator = accelerator
        self._run = run
        self._log = log
        self._mixture = mixture
        self._flops = flops_per_token(_language_model(model))
        self._peak = peak_flops(accelerator.device)
        last = checkpoint.find(run)
        if last is not None:
            self._begin_at(checkpoint.read_place(last, config))
            checkpoint.load_weights(last, model)
        self._plain = model
        optimizer = torch.optim.AdamW(
            checkpoint.learned(model).values(),
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
        )
        self._model, self._optimizer = accelerator.prepare(model, optimizer)
        if last is not None:
            self._load_optimizer(last)

    def train(self) -> None:
        """Train to the end.

        Raises:
            BadInput: memory or disk ran out, an image cannot be used, or the loss is no number;
                says what to do. What was learned until then is kept.
        """
        self._model.train()
        bar = tqdm(
            initial=self.step,
            total=self.config.steps,
            disable=not self._accelerator.is_main_process,
        )
        stream = self._stream()
        try:
            while self.step < self.config.steps:
                figures = self._guarded_step(stream)
                self.step += 1
                bar.update()
                bar.set_postfix({name: f"{value:.3g}" for name, value in figures.items()})
                if self._log is not None:
                    self._log.add(self.step, figures)
                if self.step % self.config.save_every == 0 and self.step < self.config.steps:
                    self._try_to_save()
        finally:
            bar.close()
        self.save()

    def save(self) -> None:
        """Write the checkpoint. Every rank must call it. Raises BadInput on the main process."""
        accelerator = self._accelerator
        deepspeed = accelerator.distributed_type == DistributedType.DEEPSPEED
        if deepspeed:
            self._model.save_checkpoint(
                str(self._run / _DEEPSPEED), tag=str(self.step), exclude_frozen_parameters=True
            )
        plain = accelerator.unwrap_model(self._model)
        taken = checkpoint.take(plain, None if deepspeed else self._torch_optimizer)
        try:
            if accelerator.is_main_process:
                place = Place(self.step, accelerator.num_processes)
                checkpoint.write(self._run, plain, taken, self.config, place)
                self._forget_older_states()
        finally:
            accelerator.wait_for_everyone()

    def _forget_older_states(self) -> None:
        """DeepSpeed keeps the state of every step that it saved."""
        for state in (self._run / _DEEPSPEED).glob("*"):
            if state.is_dir() and state.name != str(self.step):
                shutil.rmtree(state, ignore_errors=True)

    def _begin_at(self, place: Place) -> None:
        self.step = place.step
        if self._accelerator.is_main_process:
            tqdm.write(f"going on after step {place.step}")
            if place.ranks != self._accelerator.num_processes:
                tqdm.write(
                    f"with {self._accelerator.num_processes} processes, not {place.ranks} as"
                    " before: from here on other rows are drawn than would have been"
                )

    def _load_optimizer(self, last: Path) -> None:
        if self._accelerator.distributed_type == DistributedType.DEEPSPEED:
            self._model.load_checkpoint(
                str(self._run / _DEEPSPEED), tag=str(self.step), load_module_strict=False
            )
        else:
            plain = self._accelerator.unwrap_model(self._model)
            checkpoint.load_moments(last, plain, self._torch_optimizer)

    @property
    def _torch_optimizer(self) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = self._optimizer.optimizer
        return optimizer

    def _stream(self) -> Iterator[InstructionBatch]:
        """This rank's batches from here on, read ahead by other processes."""
        first = self.step * self.config.accumulate
        rest = Subset(_Told(self._mixture), range(first, len(self._mixture)))
        loader: DataLoader[Any] = DataLoader(
            rest,
            batch_size=None,
            num_workers=self.config.workers,
            pin_memory=self._accelerator.device.type == "cuda",
            collate_fn=_as_is,
        )
        for batch in loader:
            if isinstance(batch, BadInput):
                raise batch
            yield batch.to(self._accelerator.device)

    def _guarded_step(self, stream: Iterator[InstructionBatch]) -> dict[str, float]:
        try:
            return self._step(stream)
        except BadInput:
            self._rescue()
            raise
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._rescue()
            raise BadInput(
                f"out of memory at batch {self.config.batch} on {self._accelerator.device}:"
                f" {advice(self.config)}; what was learned until step {self.step} is in {self._run}"
            ) from error

    def _step(self, stream: Iterator[InstructionBatch]) -> dict[str, float]:
        """One update of the weights."""
        began = time.monotonic()
        config, accelerator = self.config, self._accelerator
        rate = config.learning_rate * learning_rate_factor(self.step, config)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        sums = torch.zeros(2 * len(TASKS) + 4, device=accelerator.device)
        norm: Any = 0.0
        tokens = 0
        for number in range(self.step * config.accumulate, (self.step + 1) * config.accumulate):
            batch = next(stream)
            _seed(config.seed, number, accelerator.process_index)
            with accelerator.accumulate(self._model):
                losses = self._model(batch)
                accelerator.backward(self._loss(losses))
                sums += _parts(losses, batch)
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(self._model.parameters(), config.clip)
                    self._require_finite(sums)
                self._optimizer.step()
                self._optimizer.zero_grad()
            tokens += batch.tokens
        seconds = time.monotonic() - began
        sums = accelerator.reduce(sums, "sum")
        return self._figures(sums.tolist(), norm, rate, tokens / seconds)

    def _loss(self, losses: Losses) -> torch.Tensor:
        config = self.config
        loss = losses.response + config.face_weight * losses.face
        return loss + config.emotion_weight * losses.emotion

    def _figures(
        self, sums: list[float], norm: Any, rate: float, tokens_per_s: float
    ) -> dict[str, float]:
        """Means over the batches of a step, on all ranks; what none of them had is left out."""
        batches, response = sums[: len(TASKS)], sums[len(TASKS) : 2 * len(TASKS)]
        faced, face, emotions, right = sums[2 * len(TASKS) :]
        figures = {"response": sum(response) / sum(batches)}
        for task, count, value in zip(TASKS, batches, response, strict=True):
            if count:
                figures[f"response_{task}"] = value / count
        if faced:
            figures["face"] = face / faced
        if emotions:
            figures["emotion_accuracy"] = right / emotions
        figures |= {"norm": float(norm or 0.0), "learning_rate": rate}
        figures["tokens_per_s"] = tokens_per_s * self._accelerator.num_processes
        if self._peak is not None:
            figures["mfu"] = tokens_per_s * self._flops / self._peak
        figures["memory_gb"] = memory_gb(self._accelerator.device)
        return figures

    def _require_finite(self, sums: torch.Tensor) -> None:
        if not math.isfinite(float(sums.sum())):
            raise BadInput(
                f"the loss of step {self.step + 1} is no number: lower learning_rate, which is"
                f" {self.config.learning_rate:g}; the last checkpoint in {self._run} is whole"
            )

    def _try_to_save(self) -> None:
        """A checkpoint on the way; a full disk is told, and is no reason to stop."""
        try:
            self.save()
        except BadInput as error:
            tqdm.write(f"step {self.step}: {error}")

    def _rescue(self) -> None:
        """Keep the steps since the last checkpoint. Alone only: other ranks would not come."""
        self._torch_optimizer.zero_grad()
        if self._accelerator.num_processes == 1 and self.step:
            self._try_to_save()


class _Told(Dataset[Any]):
    """A mixture whose bad inputs are items: worker processes would wrap them in a traceback."""

    def __init__(self, mixture: Mixture) -> None:
        self._mixture = mixture

    def __getitem__(self, number: int) -> InstructionBatch | BadInput:
        try:
            return self._mixture[number]
        except BadInput as error:
            return error


def learning_rate_factor(step: int, config: InstructConfig) -> float:
    """Linear warm-up, then a linear fall to 0 at the end; 0..1."""
    if step < config.warm_up_steps:
        return (step + 1) / config.warm_up_steps
    return (config.steps - step) / max(1, config.steps - config.warm_up_steps)


def _as_is(batch: Any) -> Any:
    return batch


def _seed(seed: int, number: int, rank: int) -> None:
    """Dropout follows from the number of the batch too."""
    torch.manual_seed(hash((seed, number, rank)) % 2**63)


def _parts(losses: Losses, batch: InstructionBatch) -> torch.Tensor:
    """(10,) float32 sums that the figures of a step are made of.

    Batches of each task, their response losses, then: batches with faces, their face loss,
    emotions named, emotions right.
    """
    response = losses.response.detach().float()
    mine = [float(task == batch.task) for task in TASKS]
    faced = float(len(batch.face_rows) > 0)
    given = torch.tensor([*mine, *mine, faced, faced, len(batch.emotions), 1.0])
    given = given.to(response.device, non_blocking=True)
    one = torch.ones_like(response)
    values = [one] * len(TASKS) + [response] * len(TASKS)
    values += [one, losses.face.detach().float(), one, losses.right.float()]
    return given * torch.stack(values)


def _language_model(model: ContextFaceModule) -> Any:
    return getattr(model.trunk, "language_model", model.trunk)
