from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")

from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from contextface_ros.errors import BadInput  # noqa: E402
from contextface_ros.language.huggingface_sight import image_processor  # noqa: E402
from tests.tiny_instructions import MadeData  # noqa: E402
from training.data.conversations import read_conversations  # noqa: E402
from training.data.instruction_batch import InstructionBatch  # noqa: E402
from training.data.instructions import InstructionMaker  # noqa: E402
from training.data.mixture import Mixture  # noqa: E402
from training.data.scenes import annotated_scenes  # noqa: E402
from training.instruct_config import BaseConfig, InstructConfig  # noqa: E402
from training.llava import load_for_training, load_words  # noqa: E402
from training.model import ContextFaceModule  # noqa: E402
from training.throughput import flops_per_token  # noqa: E402

FILE = Path(__file__).parents[2] / "training" / "configs" / "tiny.yaml"


@pytest.fixture
def config(tiny_llava: Path) -> InstructConfig:
    read = InstructConfig.read(FILE)
    return replace(
        read, base=replace(read.base, path=str(tiny_llava)), lora=replace(read.lora, dropout=0.0)
    )


@pytest.fixture(scope="module")
def batches(tiny_llava: Path, made_data: MadeData) -> dict[str, InstructionBatch]:
    """One batch of each task; the expressions partly with images."""
    read = InstructConfig.read(FILE)
    words = load_words(replace(read, base=replace(read.base, path=str(tiny_llava))))
    mixture = Mixture(
        annotated_scenes(made_data.annotations, made_data.images, made_data.targets),
        read_conversations(made_data.vqa, made_data.images),
        InstructionMaker(words.vocabulary, words.image, "edge", read.variation, 256),
        image_processor(words.image.size),
        read.tasks,
        seed=1,
        batch=4,
        batches=20,
    )
    return {batch.task: batch for batch in (mixture[n] for n in range(20))}


def total(module: ContextFaceModule, batch: InstructionBatch) -> torch.Tensor:
    losses = module(batch)
    return losses.response + 10 * losses.face


def learning(module: ContextFaceModule) -> set[str]:
    return {name for name, p in module.named_parameters() if p.requires_grad}


def test_clip_and_all_else_that_is_frozen_has_no_gradient(config: InstructConfig, batches) -> None:
    module = load_for_training(config)
    total(module, batches["situation"]).backward()
    names = learning(module)
    assert all("lora_" in n or "token_adapter" in n or n.startswith("projection.") for n in names)
    assert not any("vision_tower" in n or "multi_modal_projector" in n for n in names)
    assert {n.split(".")[-4] for n in names if "lora_" in n} == {"q_proj", "v_proj"}
    assert {n for n, p in module.named_parameters() if p.grad is not None} == names


def test_the_published_run_trains_embedding_and_head_whole(config: InstructConfig) -> None:
    paper = InstructConfig.read(FILE.with_name("paper_13b.yaml"))
    module = load_for_training(replace(paper, base=config.base))
    whole = {n.rsplit(".", 4)[1] for n in learning(module) if "modules_to_save" in n}
    assert whole == {"embed_tokens", "lm_head"}
    shapes = [tuple(p.shape) for p in module.projection.parameters()]
    assert shapes == [(64, 64), (64,), (100, 64), (100,)]
    assert {p.dtype for p in module.parameters() if p.requires_grad} == {torch.float32}


def test_the_projector_learns_where_it_is_switched_on(config: InstructConfig, batches) -> None:
    """On a batch without an image too it has a gradient, of zero: other ranks wait for it."""
    module = load_for_training(replace(config, lora=replace(config.lora, projector=True)))
    names = {n for n in learning(module) if "multi_modal_projector" in n}
    assert len(names) == 4
    blind = replace(batches["situation"], pixels=None)
    total(module, blind).backward()
    weights = dict(module.named_parameters())
    assert all(not weights[name].grad.any() for name in names)
    total(module, batches["situation"]).backward()
    assert all(weights[name].grad.any() for name in names)


def test_the_loss_is_that_of_transformers(config: InstructConfig, batches) -> None:
    """Logits only where labels are, no mask on the padding: the same as with all of it."""
    module = load_for_training(config).eval()
    for batch in batches.values():
        labels = torch.full_like(batch.ids, -100)
        labels[batch.response_rows, batch.response_columns + 1] = batch.response_targets
        ends = [int(labels[row].ne(-100).nonzero().max()) for row in range(len(labels))]
        padding = torch.arange(batch.ids.shape[1])[None] > torch.tensor(ends)[:, None]
        with torch.no_grad():
            reference = module.language(
                **batch.inputs(), attention_mask=(~padding).long(), labels=labels
            )
            losses = module(batch)
        torch.testing.assert_close(losses.response, reference.loss, rtol=1e-5, atol=1e-5)


def test_the_face_comes_from_the_state_that_predicts_its_token(
    config: InstructConfig, batches
) -> None:
    module, batch = load_for_training(config).eval(), batches["expression"]
    face = load_words(config).vocabulary.face
    with torch.no_grad():
        betas = module.betas(module.hidden_states(batch), batch)
        whole = module.language(**batch.inputs(), output_hidden_states=True)
        for row in range(len(batch.ids)):
            at = batch.ids[row].tolist().index(face) - 1
            alone = module.projection(whole.hidden_states[-1][row, at])
            torch.testing.assert_close(betas[row], alone)


def test_only_known_coefficients_count(config: InstructConfig, batches) -> None:
    module, batch = load_for_training(config).eval(), batches["expression"]
    half = torch.zeros_like(batch.known)
    half[:, :50] = True
    far = torch.where(half, batch.betas, batch.betas + 1000.0)
    with torch.no_grad():
        told = module(replace(batch, known=half, betas=far)).face
        error = (module.betas(module.hidden_states(batch), batch) - batch.betas)[:, :50]
    torch.testing.assert_close(told, (error**2).mean())


def test_a_batch_without_a_face_joins_the_head_with_zero(config: InstructConfig, batches) -> None:
    module = load_for_training(config)
    losses = module(batches["vqa"])
    (losses.response + losses.face).backward()
    assert losses.face == 0
    for weight in module.projection.parameters():
        assert weight.grad is not None
        assert not weight.grad.any()


@pytest.mark.parametrize("embeddings", ["full", "face_token"])
def test_the_row_of_the_face_token_learns(config: InstructConfig, batches, embeddings: str) -> None:
    config = replace(config, lora=replace(config.lora, embeddings=embeddings), face_token="<FACE>")
    module = load_for_training(config)
    face = load_words(config).vocabulary.face
    before = module.unembedding.detach().clone()
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=0.1)
    batch = batches["expression"]
    batch = replace(batch, response_targets=batch.response_targets.clone())
    batch.response_targets[-3] = face
    total(module, batch).backward()
    optimizer.step()
    moved = (module.unembedding.detach() - before).abs().amax(dim=1) > 0
    assert moved[face]
    assert moved.sum() > 1000 if embeddings == "full" else moved.sum() == 1


@pytest.mark.parametrize(
    ("quantise", "precision"), [("none", "bfloat16"), ("nf4", "bfloat16"), ("int8", "bfloat16")]
)
def test_first_steps_in_few_bits(
    config: InstructConfig, batches, quantise: str, precision: str
) -> None:
    """QLoRA's weights are packed, and what learns learns: each part of the loss falls."""
    base = replace(config.base, quantise=quantise, precision=precision)
    module = load_for_training(replace(config, base=base, gradient_checkpointing=True)).train()
    kinds = {type(p).__name__ for n, p in module.named_parameters() if "q_proj.base_layer" in n}
    assert kinds == {{"none": "Parameter", "nf4": "Params4bit", "int8": "Int8Params"}[quantise]}
    for sees in (module.trunk.vision_tower, module.trunk.multi_modal_projector):
        assert {type(weight).__name__ for weight in sees.parameters()} == {"Parameter"}
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=2e-2)
    before = {task: module(batch) for task, batch in batches.items()}
    for _ in range(6):
        for batch in batches.values():
            total(module, batch).backward()
            optimizer.step()
            optimizer.zero_grad()
    after = {task: module(batch) for task, batch in batches.items()}
    for task in batches:
        assert after[task].response < before[task].response - 0.05
    assert after["expression"].face < 0.9 * before["expression"].face


def test_checkpointed_activations_change_nothing(config: InstructConfig, batches) -> None:
    gradients = []
    for checkpointing in (False, True):
        module = load_for_training(replace(config, gradient_checkpointing=checkpointing)).train()
        total(module, batches["expression"]).backward()
        gradients.append([p.grad for p in module.parameters() if p.requires_grad])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_a_language_model_without_eyes_trains_too(
    made_data: MadeData, config: InstructConfig, tmp_path: Path
) -> None:
    """Images are left out of its prompts; where embedding and head are tied, they stay so."""
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    llama = LlamaConfig(vocab_size=49152, num_attention_heads=2, tie_word_embeddings=True, **shape)
    LlamaForCausalLM(llama).save_pretrained(tmp_path)
    load_words(config).tokenizer.save_pretrained(tmp_path)
    for embeddings in ("face_token", "full"):
        lora = replace(config.lora, embeddings=embeddings)
        config = replace(config, base=BaseConfig(path=str(tmp_path)), lora=lora)
        words = load_words(config)
        assert words.image is None
        scenes = annotated_scenes(made_data.annotations, made_data.images, made_data.targets)[:2]
        maker = InstructionMaker(words.vocabulary, None, "edge", config.variation, 256)
        ratios = {"expression": 1.0}
        batch = Mixture(scenes, [], maker, None, ratios, seed=0, batch=2, batches=1)[0]
        module = load_for_training(config)
        optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=0.1)
        total(module, batch).backward()
        optimizer.step()
        assert len(batch.betas) == 2
        language = module.language
        assert torch.equal(language.get_input_embeddings().weight, module.unembedding)


def test_the_operations_of_a_token_are_those_of_the_layers(config: InstructConfig) -> None:
    counts = []
    for quantise in ("none", "nf4"):
        base = replace(config.base, quantise=quantise)
        module = load_for_training(replace(config, base=base))
        counts.append(flops_per_token(module.trunk.language_model))
    layer = 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128 + 2 * 64
    assert counts == [4 * (2 * layer + 64)] * 2


def test_a_base_that_is_not_there_is_told_in_one_sentence(config: InstructConfig) -> None:
    with pytest.raises(BadInput, match=r"no model in /nowhere: set base\.path"):
        load_for_training(replace(config, base=BaseConfig(path="/nowhere")))


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_download_that_was_cut_off_is_told_in_one_sentence(
    config: InstructConfig, tiny_llava: Path, tmp_path: Path, file: str
) -> None:
    folder = shutil.copytree(tiny_llava, tmp_path / "base")
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match=r"could be read from .*base") as told:
        load_for_training(replace(config, base=BaseConfig(path=str(folder))))
    assert "\n" not in str(told.value)
