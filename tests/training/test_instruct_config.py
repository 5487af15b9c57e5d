from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from contextface_ros.errors import BadInput
from training.instruct_config import ABLATIONS, InstructConfig

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
SHIPPED = ("paper_13b", "7b_qlora", "tiny")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_config_is_read_and_written_back(name: str, tmp_path: Path) -> None:
    config = InstructConfig.read(CONFIGS / f"{name}.yaml")
    config.write(tmp_path / "config.yaml")
    assert InstructConfig.read(tmp_path / "config.yaml") == config


def test_the_published_settings() -> None:
    config = InstructConfig.read(CONFIGS / "paper_13b.yaml")
    assert (config.lora.rank, config.lora.alpha, config.lora.dropout) == (8, 16, 0.05)
    assert config.lora.targets == ("q_proj", "v_proj")
    assert (config.lora.embeddings, config.lora.projector) == ("full", False)
    assert (config.learning_rate, config.warm_up_steps) == (5e-5, 100)
    assert (config.betas, config.weight_decay, config.clip) == ((0.9, 0.95), 0.0, 1.0)
    assert (config.batch, config.accumulate, config.steps) == (4, 10, 10 * 1000)
    assert (config.max_tokens, config.base.precision) == (1536, "bfloat16")
    assert config.tasks == {"situation": 0.3, "expression": 0.4, "vqa": 0.3}
    assert (config.face_weight, config.prompt, config.basis) == (10.0, "paper", "flame2020")


def test_each_row_of_table_3_keeps_its_tasks() -> None:
    config = InstructConfig.read(CONFIGS / "paper_13b.yaml")
    for row, tasks in ABLATIONS.items():
        assert tuple(config.ablate(row).tasks) == tasks
        assert "vqa" in tasks
    with pytest.raises(BadInput, match="one of neither, expression, situation, both"):
        config.ablate("all")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"lora": {"ranks": 4}}, r"unknown key lora\.ranks: the keys are rank, alpha"),
        ({"stpes": 4}, "unknown key stpes"),
        ({"steps": 1.5}, r"steps is 1\.5, it must be a whole number"),
        ({"steps": True}, "steps is True, it must be a whole number"),
        ({"batch": 0}, "batch is 0, it must be 1 or more"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast', it must be a number"),
        ({"learning_rate": 0}, "learning_rate must be above 0"),
        ({"prompt": "chat"}, "prompt is 'chat', it must be one of edge, paper"),
        ({"tasks": {"dance": 1.0}}, "task is 'dance', it must be one of"),
        ({"tasks": {"vqa": "much"}}, r"tasks\.vqa is 'much', it must be a number"),
        ({"tasks": {"vqa": 0}}, "no share above 0"),
        ({"tasks": {"vqa": -1}}, "must not be negative"),
        ({"tasks": None}, "tasks is missing"),
        ({"base": {}}, "either path or package"),
        ({"base": {"path": "a", "quantise": "nf3"}}, r"base\.quantise is 'nf3'"),
        ({"lora": {"dropout": 1.0}}, r"lora\.dropout is 1\.0"),
        ({"lora": {"targets": "q_proj"}}, r"lora\.targets is 'q_proj', it must be a list"),
        ({"gradient_checkpointing": "yes please"}, "it must be true or false"),
        ({"variation": {"image": 2}}, r"variation\.image is 2\.0"),
    ],
)
def test_a_config_that_is_wrong_is_told_by_its_key(tmp_path: Path, change, what: str) -> None:
    values = yaml.safe_load((CONFIGS / "tiny.yaml").read_text()) | change
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(BadInput, match=what) as told:
        InstructConfig.read(file)
    assert str(told.value).startswith(str(file))


def test_numbers_with_an_exponent_are_numbers(tmp_path: Path) -> None:
    values = yaml.safe_load((CONFIGS / "tiny.yaml").read_text())
    values["learning_rate"] = "5e-5"  # as YAML 1.1 reads 5e-5
    assert InstructConfig.of(values).learning_rate == 5e-5


@pytest.mark.parametrize("text", ["[1, 2]", "", "a: [", "base: 4"])
def test_what_is_no_config_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(BadInput, match=r"config\.yaml"):
        InstructConfig.read(file)
    with pytest.raises(BadInput, match="cannot be read"):
        InstructConfig.read(tmp_path / "none.yaml")
