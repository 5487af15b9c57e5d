"""Two processes train together as one would on the rows of both; killed and resumed, too."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")

from accelerate.commands.launch import (  # noqa: E402
    _validate_launch_command,
    launch_command_parser,
)
from accelerate.utils.launch import (  # noqa: E402
    prepare_deepspeed_cmd_env,
    prepare_multi_gpu_env,
)

from contextface_ros.language.huggingface_sight import image_processor  # noqa: E402
from tests.tiny_instructions import MadeData  # noqa: E402
from training import checkpoint  # noqa: E402
from training.data.conversations import read_conversations  # noqa: E402
from training.data.instructions import InstructionMaker  # noqa: E402
from training.data.mixture import Mixture  # noqa: E402
from training.data.scenes import annotated_scenes  # noqa: E402
from training.instruct_config import InstructConfig  # noqa: E402
from training.llava import load_for_training, load_words  # noqa: E402
from training.trainer import learning_rate_factor  # noqa: E402

FILE = Path(__file__).parents[2] / "training" / "configs" / "tiny.yaml"
WORKER = Path(__file__).with_name("rank_worker.py")
HANG_S = 100
STEPS = 6

SPREADS = {
    "ddp": "DistributedDataParallel False",
    "fsdp": "FSDPContextFaceModule True",
    "zero2": "DeepSpeedEngine False",
}
"""What each of configs/accelerate wraps the model in, and whether its weights are shards."""


def environment(spread: str) -> dict[str, str]:
    """What `accelerate launch` tells its processes with the config file of that name."""
    file = FILE.with_name("accelerate") / f"{spread}.yaml"
    parser = launch_command_parser()
    options, _, _ = _validate_launch_command(
        parser.parse_args(["--config_file", str(file), "script.py"])
    )
    if spread == "zero2":
        options.deepspeed_fields_from_accelerate_config = ""
        return {**prepare_deepspeed_cmd_env(options)[1], "DS_ACCELERATOR": "cpu"}
    return dict(prepare_multi_gpu_env(options))


@pytest.fixture(scope="module")
def config(tiny_llava: Path) -> InstructConfig:
    """With a projector that learns, so that batches without an image could hang too."""
    read = InstructConfig.read(FILE)
    return replace(
        read,
        base=replace(read.base, path=str(tiny_llava)),
        lora=replace(read.lora, dropout=0.0, projector=True),
        variation=replace(read.variation, image=0.0),
        steps=STEPS,
        save_every=2,
    )


def mixtures(config: InstructConfig, data: MadeData) -> list[Mixture]:
    words = load_words(config)
    maker = InstructionMaker(
        words.vocabulary, words.image, config.prompt, config.variation, config.max_tokens
    )
    scenes = annotated_scenes(data.annotations, data.images, data.targets)
    talk = read_conversations(data.vqa, data.images)
    processor = image_processor(words.image.size)
    options = {
        "seed": config.seed,
        "batch": config.batch,
        "batches": config.steps * config.accumulate,
        "ranks": 2,
    }
    return [
        Mixture(scenes, talk, maker, processor, config.tasks, rank=rank, **options)
        for rank in range(2)
    ]


@pytest.fixture(scope="module")
def alone(config: InstructConfig, made_data: MadeData) -> tuple[list[float], dict[str, object]]:
    """Losses and weights of one process that takes the batches of both ranks in turn."""
    ranks = mixtures(config, made_data)
    module = load_for_training(config).train()
    weights = checkpoint.learned(module)
    options = {"betas": config.betas, "weight_decay": config.weight_decay}
    optimizer = torch.optim.AdamW(weights.values(), **options)
    curve = []
    for step in range(config.steps):
        optimizer.param_groups[0]["lr"] = config.learning_rate * learning_rate_factor(step, config)
        said = []
        for number in range(step * config.accumulate, (step + 1) * config.accumulate):
            for rank in ranks:
                losses = module(rank[number])
                said.append(losses.response.item())
                loss = losses.response + config.face_weight * losses.face
                (loss / (2 * config.accumulate)).backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), config.clip)
        optimizer.step()
        optimizer.zero_grad()
        curve.append(sum(said) / len(said))
    return curve, dict(checkpoint.take(module, None).weights)


def train(spread: str, die_at: int, arguments: list[str]) -> list[int]:
    """Start both ranks; their exit statuses. A rank that waits for ever fails the test."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        **environment(spread),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(WORKER), spread, str(die_at), *arguments]
    ranks = [
        subprocess.Popen(command, env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    try:
        return [rank.wait(timeout=HANG_S) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()


@pytest.mark.timeout(2 * HANG_S)
@pytest.mark.parametrize("spread", SPREADS)
def test_two_ranks_learn_what_one_would_and_go_on_when_killed(
    spread: str, config: InstructConfig, made_data: MadeData, alone, tmp_path: Path
) -> None:
    if spread == "zero2" and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed: pip install deepspeed")
    # The last batch of a step is where ranks wait for each other's gradients: some have no face
    # for the head, some no image for the projector, which learns too.
    waits = [mixtures(config, made_data)[0][number] for number in range(1, 2 * STEPS, 2)]
    assert any(len(batch.face_rows) == 0 for batch in waits)
    assert any(batch.pixels is None for batch in waits)
    config.write(tmp_path / "config.yaml")
    run = tmp_path / "run"
    arguments = [str(tmp_path / "config.yaml"), *made_data.arguments, "--run", str(run)]

    assert train(spread, 5, arguments) == [-9, -9]
    assert checkpoint.read_place(run / "checkpoint", config) == checkpoint.Place(4, 2)
    assert train(spread, -1, arguments) == [0, 0]

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    spreads = (run / "spread.txt").read_text().splitlines()
    assert set(spreads) == {SPREADS[spread]}
    assert len(spreads) == 2 * len(lines)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 5, 6]
    again = {line["step"]: line["response"] for line in lines}
    assert lines[4]["response"] == again[5]  # the step that was lost, to the last bit
    curve, weights = alone
    assert [again[step + 1] for step in range(STEPS)] == pytest.approx(curve, rel=1e-5)
    learned = checkpoint.take(checkpoint.load_checkpoint(run), None).weights
    assert learned.keys() == weights.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(learned[name], weight, rtol=1e-3, atol=1e-4)
