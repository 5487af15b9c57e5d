r"""Fine-tune ContextFace.

    python -m training.train training/configs/nano.yaml --texts TRAIN.tsv --run runs/nano
    python -m training.train training/configs/nano.yaml --texts TRAIN.tsv --run runs/more \
        --start models/nano --stages "contexts again"
    python -m training.train training/configs/retrain.yaml --own MINE.jsonl --run runs/mine \
        --start models/nano

Writes to the run's folder: the config, metrics.jsonl (one line every few steps and one an epoch),
and checkpoint.pt after every few minutes and every epoch, from which the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from tqdm import tqdm

from contextface_ros.errors import BadInput, ContextFaceError
from training.config import Stage, TrainConfig
from training.data.contexts import read_contexts
from training.data.corpus import balanced, read_corpus
from training.data.own import OwnTexts, read_own
from training.data.sequences import Batch, TokenTree, TreeMaker, batches
from training.data.split import in_share
from training.dev import DevSet
from training.model import ContextFaceModule, build, load_tokenizer, vocabulary
from training.optimizer import MasterAdamW
from training.start import start_from

CHECKPOINT_EVERY_S = 300.0
LOG_EVERY_STEPS = 10


@dataclass
class Place:
    """Where a run is: the next batch to train on. Everything drawn follows from (seed, place)."""

    stage: int = 0
    epoch: int = 0
    step: int = 0


@dataclass(frozen=True)
class Sources:
    """What a run is made from, beside the contexts of the project.

    Attributes:
        texts: human texts with labels, text_emotion_train.tsv; None for none.
        own: a user's own labelled texts; None for none.
        start: bundle to continue from; None for the base.
    """

    texts: Path | None = None
    own: Path | None = None
    start: Path | None = None


class Run:
    """One training run: its model, its data, and its folder."""

    def __init__(self, config: TrainConfig, sources: Sources, folder: Path) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.folder = folder
        words = vocabulary(load_tokenizer(config.model), config.model.face_token)
        self.model = build(config.model, words)
        if sources.start is not None:
            start_from(sources.start, self.model)
        self.optimizer = MasterAdamW(
            (p for p in self.model.parameters() if p.requires_grad),
            config.betas,
            config.weight_decay,
            config.clip,
        )
        self._maker = TreeMaker(words, config.prompt)
        self._contexts = read_contexts("train")
        self._texts = read_corpus(sources.texts, "train") if sources.texts else []
        self._own = read_own(sources.own) if sources.own else OwnTexts()
        _require_sources(config, sources)
        texts = read_corpus(sources.texts, "dev") if sources.texts else []
        self._dev = DevSet.make(self._maker, texts, self._own.dev, config.seed)
        self.place = Place()

    def trees(self, stage: Stage, number: int, epoch: int) -> list[TokenTree]:
        """The trees of one epoch, drawn from (seed, stage, epoch)."""
        seed = f"{self.config.seed}/{number}/{epoch}"
        random = Random(seed)
        texts = balanced(self._texts, stage.texts_per_class, random.randrange(2**31))
        vary = self.config.augmentation
        trees = [self._maker.from_text(row, vary, random) for row in texts]
        if stage.contexts:
            rows = (
                row for row in self._contexts if row.agreed and in_share(row.scenario, stage.share)
            )
            trees += [self._maker.from_context(row, vary, random) for row in rows]
        own = self._own.train * stage.own
        return trees + [self._maker.from_scene(scene, vary, random) for scene in own]

    def epoch_batches(self, stage: Stage, number: int, epoch: int) -> list[Batch]:
        """The batches of one epoch, in their order."""
        random = Random(f"{self.config.seed}/{number}/{epoch}/order")
        trees = self.trees(stage, number, epoch)
        return list(batches(trees, self.config.batch_tokens, self.config.listener_weight, random))

    def train(self) -> None:
        """All stages, from the place of the last checkpoint."""
        self._resume()
        for number, stage in enumerate(self.config.stages):
            if number < self.place.stage:
                continue
            for epoch in range(self.place.epoch, stage.epochs):
                self._epoch(number, stage, epoch)
                self.place = Place(number, epoch + 1, 0)
                self._note(
                    {"dev": self._dev.measure(self.model), "stage": stage.name, "epoch": epoch}
                )
                self.save()
            self.place = Place(number + 1, 0, 0)
        self.save()

    def _epoch(self, number: int, stage: Stage, epoch: int) -> None:
        todo = self.epoch_batches(stage, number, epoch)
        total = len(todo) * stage.epochs
        saved = time.monotonic()
        progress = tqdm(
            todo, initial=self.place.step, total=len(todo), desc=f"{stage.name} {epoch + 1}"
        )
        self.model.train()
        for step in range(self.place.step, len(todo)):
            rate = self._learning_rate(stage, epoch * len(todo) + step, total)
            figures = self.step(todo[step], rate)
            self.place = Place(number, epoch, step + 1)
            progress.update()
            if step % LOG_EVERY_STEPS == 0:
                progress.set_postfix({key: f"{value:.3f}" for key, value in figures.items()})
                self._note({"stage": stage.name, "epoch": epoch, "step": step, **figures})
            if time.monotonic() - saved > CHECKPOINT_EVERY_S:
                self.save()
                saved = time.monotonic()
        progress.close()

    def step(self, batch: Batch, learning_rate: float) -> dict[str, float]:
        """One update. Returns the parts of the loss."""
        began = time.monotonic()
        config = self.config
        losses = self.model(batch, config.label_smoothing)
        loss = (
            losses.emotion
            + config.face_weight * losses.face
            + config.response_weight * losses.response
        )
        loss.backward()
        norm = self.optimizer.step(learning_rate)
        return {
            "emotion": losses.emotion.item(),
            "face": losses.face.item(),
            "response": losses.response.item(),
            "norm": norm,
            "rate": learning_rate,
            "tokens_per_s": batch.tokens / (time.monotonic() - began),
        }

    def _learning_rate(self, stage: Stage, step: int, total: int) -> float:
        """Linear warm-up, then a cosine to a fraction of the peak."""
        warm = min(1.0, (step + 1) / self.config.warm_up_steps)
        final = self.config.final_learning_rate
        cosine = final + (1 - final) * 0.5 * (1 + math.cos(math.pi * step / total))
        return stage.learning_rate * warm * cosine

    def _note(self, entry: dict[str, object]) -> None:
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")

    def save(self) -> None:
        """Write the checkpoint; a kill in the middle leaves the one before."""
        new = self.folder / "checkpoint.new"
        place = (self.place.stage, self.place.epoch, self.place.step)
        torch.save({"optimizer": self.optimizer.state_dict(), "place": place}, new)
        new.replace(self.folder / "checkpoint.pt")

    def _resume(self) -> None:
        checkpoint = self.folder / "checkpoint.pt"
        if not checkpoint.exists():
            return
        saved = torch.load(checkpoint, weights_only=True)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.place = Place(*saved["place"])
        tqdm.write(f"going on from {self.place}")


def _require_sources(config: TrainConfig, sources: Sources) -> None:
    for stage in config.stages:
        if stage.texts_per_class and sources.texts is None:
            raise BadInput(f"stage {stage.name!r} draws human texts: give the file with --texts")
        if stage.own and sources.own is None:
            raise BadInput(f"stage {stage.name!r} is of your own texts: give the file with --own")
        if sources.own is not None and not any(stage.own for stage in config.stages):
            raise BadInput("no stage sees your own texts: set own in a stage of the config")


def load_trained(config: TrainConfig, folder: Path) -> ContextFaceModule:
    """The model of a run, from its checkpoint."""
    words = vocabulary(load_tokenizer(config.model), config.model.face_token)
    model = build(config.model, words)
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)
    optimizer = MasterAdamW(
        (p for p in model.parameters() if p.requires_grad), config.betas, 0.0, config.clip
    )
    optimizer.load_state_dict(saved["optimizer"])
    return model.eval()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--texts", type=Path, help="text_emotion_train.tsv")
    parser.add_argument("--own", type=Path, help="your own labelled texts, JSONL or TSV")
    parser.add_argument("--run", type=Path, default=Path("runs/nano"), help="folder of the run")
    parser.add_argument("--start", type=Path, help="bundle to continue from, instead of the base")
    parser.add_argument("--stages", nargs="+", help="names of the stages to run, all by default")
    arguments = parser.parse_args()
    arguments.run.mkdir(parents=True, exist_ok=True)
    shutil.copy(arguments.config, arguments.run / "config.yaml")
    config = TrainConfig.read(arguments.config).only(arguments.stages)
    sources = Sources(arguments.texts, arguments.own, arguments.start)
    try:
        Run(config, sources, arguments.run).train()
    except ContextFaceError as error:
        raise SystemExit(f"training.train: {error}") from error


if __name__ == "__main__":
    main()
