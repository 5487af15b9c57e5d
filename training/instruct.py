r"""Instruction tuning of ContextFace (Sec. 3.2 to 4 of the paper).

    python -m training.instruct training/configs/7b_qlora.yaml \
        --annotations sfew.jsonl --images SFEW/Train --targets codes --run runs/7b
    accelerate launch --config_file training/configs/accelerate/zero2.yaml \
        -m training.instruct training/configs/paper_13b.yaml ...

The run's folder gets config.yaml, metrics.jsonl, tensorboard/ and checkpoint/, from which the same
command goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import DistributedType

from contextface_ros.errors import BadInput, ContextFaceError
from contextface_ros.language.huggingface_sight import image_processor
from training.data.conversations import Conversation, read_conversations
from training.data.instructions import InstructionMaker
from training.data.mixture import Mixture
from training.data.scenes import Scene, annotated_scenes, require_basis, written_scenes
from training.instruct_config import ABLATIONS, InstructConfig
from training.llava import load_for_training, load_words
from training.memory import is_out_of_memory, weights_advice
from training.step_log import StepLog
from training.trainer import Trainer, make_accelerator


def instruct(
    config: InstructConfig,
    scenes: Sequence[Scene],
    conversations: Sequence[Conversation],
    run: Path,
    wandb_project: str | None = None,
) -> None:
    """Train a run to its end, or go on with it.

    Args:
        config: of the run.
        scenes: for Situation and Expression Generation.
        conversations: for VQA.
        run: folder of the run; made if it is not there.
        wandb_project: of Weights & Biases; None for none.

    Raises:
        BadInput: data, base or checkpoint cannot be used, or memory or disk ran out.
        MissingDependency: a package is not installed.
    """
    accelerator = make_accelerator(config)
    require_basis(scenes, config.basis)
    words = load_words(config)
    mixture = Mixture(
        scenes,
        conversations,
        InstructionMaker(
            words.vocabulary, words.image, config.prompt, config.variation, config.max_tokens
        ),
        image_processor(words.image.size) if words.image else None,
        config.tasks,
        seed=config.seed,
        batch=config.batch,
        batches=config.steps * config.accumulate,
        rank=accelerator.process_index,
        ranks=accelerator.num_processes,
    )
    log = None
    if accelerator.is_main_process:
        _prepare(run, config)
        log = StepLog(run, wandb_project)
    accelerator.wait_for_everyone()
    try:
        _trainer(config, accelerator, mixture, run, log).train()
    finally:
        if log is not None:
            log.close()
        if accelerator.distributed_type != DistributedType.NO:
            accelerator.end_training()


def _trainer(
    config: InstructConfig,
    accelerator: Accelerator,
    mixture: Mixture,
    run: Path,
    log: StepLog | None,
) -> Trainer:
    try:
        model = load_for_training(config, _device(accelerator, config))
        return Trainer(config, accelerator, model, mixture, run, log)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        smaller = [*weights_advice(config), "take a smaller base", "spread it by FSDP"]
        raise BadInput(
            f"the model does not fit in the memory of {accelerator.device}: {', or '.join(smaller)}"
        ) from error


def _device(accelerator: Accelerator, config: InstructConfig) -> str | None:
    """Where the weights are read to: at once to where they stay, unless they are cut first."""
    cut = accelerator.distributed_type == DistributedType.FSDP and config.base.quantise == "none"
    return None if cut else str(accelerator.device)


def _prepare(run: Path, config: InstructConfig) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
        config.write(run / "config.yaml")
    except OSError as error:
        raise BadInput(f"{run} cannot be written: {error.strerror}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    options = _parser().parse_args(arguments)
    try:
        config = InstructConfig.read(options.config)
        if options.base is not None:
            config = replace(config, base=replace(config.base, path=str(options.base)))
        if options.ablation is not None:
            config = config.ablate(options.ablation)
        scenes = [
            scene
            for file in options.annotations
            for scene in annotated_scenes(file, options.images, options.targets)
        ]
        if options.contexts:
            scenes += written_scenes("train")
        conversations = []
        if options.vqa is not None:
            conversations = read_conversations(options.vqa, options.vqa_images)
        instruct(config, scenes, conversations, options.run, options.wandb)
    except ContextFaceError as error:
        sys.exit(f"error: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.instruct", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("config", type=Path, help="such as training/configs/7b_qlora.yaml")
    parser.add_argument("--run", type=Path, default=Path("runs/instruct"), help="folder of the run")
    parser.add_argument("--base", help="model to start from, in place of the config's")
    parser.add_argument(
        "--annotations", type=Path, nargs="+", default=[], help="files that training.augment wrote"
    )
    parser.add_argument("--images", type=Path, help="folder of the annotated images")
    parser.add_argument("--targets", type=Path, help="folder of the faces to train towards")
    parser.add_argument(
        "--contexts", action="store_true", help="add the contexts that come with this project"
    )
    parser.add_argument("--vqa", type=Path, help="a file in LLaVA-Instruct-150K's format")
    parser.add_argument("--vqa-images", type=Path, help="folder of its images")
    parser.add_argument(
        "--ablation", choices=tuple(ABLATIONS), help="tasks of one row of the paper's Table 3"
    )
    parser.add_argument("--wandb", metavar="PROJECT", help="log to Weights & Biases too")
    return parser


if __name__ == "__main__":
    main()
