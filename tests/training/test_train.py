from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")

from peft import LoraConfig, get_peft_model  # noqa: E402
from torch import nn  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from contextface_ros.types import EMOTIONS, Perspective  # noqa: E402
from training import dev, train  # noqa: E402
from training.config import Stage, TrainConfig  # noqa: E402
from training.data.sequences import Batch, Branch, TokenTree, collate  # noqa: E402
from training.model import LINEAR_LAYERS, ContextFaceModule  # noqa: E402
from training.optimizer import MasterAdamW  # noqa: E402
from training.train import Run, Sources, load_trained  # noqa: E402

CONFIG_FILE = Path(train.__file__).parent / "configs" / "nano.yaml"
SPEAKER = Perspective.SPEAKER
ADAM = {"betas": (0.9, 0.95), "weight_decay": 0.0, "clip": 1.0}


pytestmark = pytest.mark.usefixtures("one_thread")


def tiny_module() -> ContextFaceModule:
    """ContextFace on a random Llama of two layers."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    base = LlamaForCausalLM(config).to(torch.bfloat16)
    adapter = LoraConfig(r=4, lora_alpha=8, target_modules=list(LINEAR_LAYERS))
    language = get_peft_model(base, adapter, autocast_adapter_dtype=False)
    return ContextFaceModule(language, list(range(7)), config.hidden_size)


def tiny_batch() -> Batch:
    """One tree an emotion; its text's first token tells which."""
    random = torch.Generator().manual_seed(0)
    trees = []
    for emotion in range(7):
        beta = torch.randn(100, generator=random).numpy()
        branch = Branch((40, 41, emotion, 42), SPEAKER, 2, emotion, beta, 3, response=True)
        trees.append(TokenTree((1, 20 + emotion, 30), (branch,)))
    return collate(trees, 0.5)


def trainable(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def test_only_the_adapter_and_the_projection_learn() -> None:
    module = tiny_module()
    names = [name for name, p in module.named_parameters() if p.requires_grad]
    assert names
    assert all("lora_" in name or name.startswith("projection.") for name in names)


def test_steps_reduce_every_part_of_the_loss() -> None:
    module, batch = tiny_module(), tiny_batch()
    optimizer = MasterAdamW(trainable(module), **ADAM)
    before = module(batch)
    for _ in range(60):
        losses = module(batch)
        (losses.emotion + losses.face + losses.response).backward()
        optimizer.step(0.01)
    after = module(batch)
    assert after.emotion < 0.8 * before.emotion
    assert after.face < 0.1 * before.face
    assert after.response < 0.9 * before.response


def test_a_batch_without_faces_and_responses_has_a_loss_to_learn_from() -> None:
    tree = TokenTree((1, 20), (Branch((40, 41), SPEAKER, 2, 5, None, None, response=False),))
    losses = tiny_module()(collate([tree], 0.5))
    (losses.emotion + losses.face + losses.response).backward()
    assert losses.face == losses.response == 0
    assert torch.isfinite(losses.emotion)


def test_small_updates_are_not_lost_in_bfloat16() -> None:
    """Steps of 1e-4 on a weight of 1, whose neighbour in bfloat16 is 1/256 below."""
    kept = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    lost = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    ours = MasterAdamW([kept], **ADAM)
    plain = torch.optim.AdamW([lost], lr=1e-4, betas=ADAM["betas"], weight_decay=0.0)
    for _ in range(200):
        kept.grad, lost.grad = torch.ones_like(kept), torch.ones_like(lost)
        ours.step(1e-4)
        plain.step()
    assert (lost == 1).all()
    assert kept.float().mean().item() == pytest.approx(1 - 200 * 1e-4, abs=1 / 256)
    assert kept.dtype == torch.bfloat16


def test_gradients_are_clipped_and_their_norm_told() -> None:
    weight = nn.Parameter(torch.zeros(4))
    optimizer = MasterAdamW([weight], **ADAM)
    weight.grad = torch.full((4,), 50.0)
    assert optimizer.step(0.1) == pytest.approx(100.0)
    assert weight.grad is None


def test_an_optimizer_goes_on_from_its_state() -> None:
    def steps(module: ContextFaceModule, optimizer: MasterAdamW, number: int) -> None:
        for _ in range(number):
            module(tiny_batch()).emotion.backward()
            optimizer.step(0.01)

    whole, first, second = tiny_module(), tiny_module(), tiny_module()
    steps(whole, MasterAdamW(trainable(whole), **ADAM), 6)
    stopped = MasterAdamW(trainable(first), **ADAM)
    steps(first, stopped, 3)
    resumed = MasterAdamW(trainable(second), **ADAM)
    resumed.load_state_dict(stopped.state_dict())
    steps(second, resumed, 3)
    for a, b in zip(trainable(whole), trainable(second), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    rows = ["kind\ttext\temotion\tsource\tsplit"]
    for split in ("train", "dev"):
        for emotion in EMOTIONS:
            rows.append(f'quote\tI feel "{emotion.value}" here.\t{emotion.value}\tmine\t{split}')
    file = tmp_path / "texts.tsv"
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


class Killed(Exception):
    """Stands for the plug being pulled."""


class MortalRun(Run):
    """A run that dies in its third step."""

    steps = 0

    def step(self, batch: Batch, learning_rate: float) -> dict[str, float]:
        self.steps += 1
        if self.steps == 3:
            raise Killed
        return super().step(batch, learning_rate)


@pytest.mark.timeout(400)
def test_a_killed_run_goes_on_to_the_same_weights(
    tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real base, a few texts, in batches of two or so, saved after every step."""
    monkeypatch.setattr(train, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(dev, "CONTEXTS", 2)
    # Faces of all 5,000 training contexts are not needed here.
    monkeypatch.setattr(train, "read_contexts", lambda part: [])
    config = TrainConfig.read(CONFIG_FILE)
    config = replace(
        config,
        model=replace(config.model, lora_rank=2),
        batch_tokens=60,
        stages=(Stage("texts", 1, contexts=False, texts_per_class=1, learning_rate=1e-3),),
    )

    def weights(kind: type[Run], folder: Path) -> list[torch.Tensor]:
        folder.mkdir(exist_ok=True)
        run = kind(config, Sources(texts), folder)
        run.train()
        return [p.detach() for p in trainable(run.model)]

    whole = weights(Run, tmp_path / "whole")
    with pytest.raises(Killed):
        weights(MortalRun, tmp_path / "killed")
    resumed = weights(Run, tmp_path / "killed")
    for a, b in zip(whole, resumed, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    loaded = load_trained(config, tmp_path / "killed")
    for a, b in zip(trainable(loaded), resumed, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    assert "dev" in json.loads(lines[-1])
