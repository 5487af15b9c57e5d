from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")

from accelerate.state import AcceleratorState  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from contextface_ros.errors import BadInput, MissingDependency  # noqa: E402
from tests.tiny_instructions import MadeData, make_data  # noqa: E402
from training import checkpoint, instruct  # noqa: E402
from training.data.conversations import read_conversations  # noqa: E402
from training.data.scenes import annotated_scenes  # noqa: E402
from training.instruct_config import InstructConfig  # noqa: E402
from training.model import ContextFaceModule  # noqa: E402
from training.step_log import StepLog  # noqa: E402
from training.throughput import peak_flops  # noqa: E402
from training.trainer import Trainer, learning_rate_factor, make_accelerator  # noqa: E402

FILE = Path(__file__).parents[2] / "training" / "configs" / "tiny.yaml"


class Killed(Exception):
    pass


@pytest.fixture(autouse=True)
def quiet_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_num_threads(threads)


@pytest.fixture
def config(tiny_llava: Path) -> InstructConfig:
    read = InstructConfig.read(FILE)
    return replace(read, base=replace(read.base, path=str(tiny_llava)))


@pytest.fixture
def train(made_data: MadeData):
    scenes = annotated_scenes(made_data.annotations, made_data.images, made_data.targets)
    talk = read_conversations(made_data.vqa, made_data.images)

    def start(config: InstructConfig, run: Path) -> list[dict[str, float]]:
        AcceleratorState._reset_state(reset_partial_state=True)
        instruct.instruct(config, scenes, talk, run)
        return figures(run)

    return start


def figures(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def curve(lines: list[dict[str, float]]) -> dict[int, tuple[float, ...]]:
    """What a step computed, without what it took."""
    known = ("response", "face", "norm", "emotion_accuracy", "learning_rate")
    return {line["step"]: tuple(line.get(name) for name in known) for line in lines}


def die_before(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Trainer._guarded_step

    def dying(trainer: Trainer, stream: object) -> dict[str, float]:
        if trainer.step == step:
            raise Killed
        return whole(trainer, stream)

    monkeypatch.setattr(Trainer, "_guarded_step", dying)


def break_before(step: int, monkeypatch: pytest.MonkeyPatch, how) -> None:
    """From a step on, the model does something else than its forward pass."""
    forward, calls = ContextFaceModule.forward, []

    def broken(module, batch, label_smoothing=0.0):
        calls.append(None)
        if len(calls) > 2 * step:  # two batches a step
            return how(module, batch)
        return forward(module, batch, label_smoothing)

    monkeypatch.setattr(ContextFaceModule, "forward", broken)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_killed_run_goes_on_with_the_same_losses(
    config: InstructConfig, train, tmp_path: Path, monkeypatch, workers: int
) -> None:
    """With dropout and other processes reading ahead, to the last bit."""
    config = replace(config, workers=workers, save_every=3)
    whole = train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        die_before(5, patch)
        with pytest.raises(Killed):
            train(config, tmp_path / "killed")
    train(config, tmp_path / "killed")
    lines = figures(tmp_path / "killed")
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 4, 5, 6, 7, 8]
    assert curve(lines) == curve(whole)
    for file in (checkpoint.ADAPTER, checkpoint.PROJECTION, checkpoint.OPTIMIZER):
        a, b = (load_file(tmp_path / run / "checkpoint" / file) for run in ("whole", "killed"))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_leaves_what_export_and_eyes_read(config, train, tmp_path: Path) -> None:
    lines = train(config, tmp_path)
    assert len(lines) == config.steps
    first = lines[0]
    assert first["tokens_per_s"] > 0
    assert 0.1 < first["memory_gb"] < 100
    assert "mfu" not in first  # nobody's data sheet says what this processor can do
    assert any("face" in line for line in lines)
    assert list((tmp_path / "tensorboard").glob("events*"))
    saved = InstructConfig.read(tmp_path / "checkpoint" / "config.yaml")
    assert saved == config
    model = checkpoint.load_checkpoint(tmp_path)
    projection = load_file(tmp_path / "checkpoint" / checkpoint.PROJECTION)
    assert torch.equal(model.projection[2].weight, projection["2.weight"])
    trained = {n: p for n, p in checkpoint.learned(model).items() if "lora_B" in n}
    assert all(weight.any() for weight in trained.values())  # zero when fresh


@pytest.mark.parametrize("name", ["paper_13b", "7b_qlora"])
def test_every_recipe_trains_and_goes_on(
    name: str, config: InstructConfig, train, tmp_path: Path, monkeypatch
) -> None:
    """On a tiny base and few rows, all else as it is shipped: NF4, bfloat16, checkpointing."""
    read = InstructConfig.read(FILE.with_name(f"{name}.yaml"))
    small = {"steps": 3, "batch": 2, "accumulate": 2, "workers": 0, "save_every": 1}
    base = replace(read.base, path=config.base.path)
    read = replace(read, base=base, basis="open-1", **small)
    whole = train(read, tmp_path / "whole")
    with monkeypatch.context() as patch:
        die_before(2, patch)
        with pytest.raises(Killed):
            train(read, tmp_path / "killed")
    assert curve(train(read, tmp_path / "killed")) == curve(whole)
    model = checkpoint.load_checkpoint(tmp_path / "killed")
    kinds = {type(p).__name__ for n, p in model.named_parameters() if "q_proj.base_layer" in n}
    assert kinds == {{"paper_13b": "Parameter", "7b_qlora": "Params4bit"}[name]}


def test_the_learning_rate_rises_then_falls_to_nothing(config: InstructConfig) -> None:
    config = replace(config, steps=100, warm_up_steps=10)
    rates = [learning_rate_factor(step, config) for step in range(100)]
    assert rates[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[-1] == pytest.approx(1 / 90)


def test_out_of_memory_says_what_to_lower_and_keeps_what_was_learned(
    config: InstructConfig, train, tmp_path: Path, monkeypatch
) -> None:
    """A real allocation that no machine can serve, in the third step; none was saved before."""
    config = replace(config, save_every=100)
    whole = train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        break_before(2, patch, lambda *_: torch.empty(1 << 50))
        with pytest.raises(BadInput) as told:
            train(config, tmp_path / "run")
    message = str(told.value)
    assert message.startswith("out of memory at batch 2 on cpu: lower batch to 1 (and set accum")
    assert "accumulate to 4" in message
    assert "gradient_checkpointing to true" in message
    assert "until step 2" in message
    assert "\n" not in message
    assert checkpoint.read_place(tmp_path / "run" / "checkpoint", config).step == 2
    lines = train(config, tmp_path / "run")
    assert [line["step"] for line in lines] == list(range(1, 9))  # none was taken again
    assert curve(lines) == curve(whole)


def test_a_model_that_does_not_fit_is_told_before_it_trains(
    config: InstructConfig, train, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(instruct, "load_for_training", lambda *_: torch.empty(1 << 50))
    with pytest.raises(BadInput, match=r"does not fit in the memory of cpu: set base\.quantise"):
        train(config, tmp_path)


def test_other_failures_are_not_taken_for_a_lack_of_memory(
    config: InstructConfig, train, tmp_path: Path, monkeypatch
) -> None:
    break_before(0, monkeypatch, lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        train(config, tmp_path)


def test_a_loss_that_is_no_number_stops_the_run_before_it_is_learned(
    config: InstructConfig, train, tmp_path: Path, monkeypatch
) -> None:
    def no_number(module, batch):
        losses = whole(module, batch)
        return replace(losses, response=losses.response * float("nan"))

    whole = ContextFaceModule.forward
    break_before(3, monkeypatch, no_number)
    with pytest.raises(BadInput, match=r"loss of step 4 is no number: lower learning_rate"):
        train(config, tmp_path)
    kept = load_file(tmp_path / "checkpoint" / checkpoint.ADAPTER)
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())
    assert checkpoint.read_place(tmp_path / "checkpoint", config).step == 3


def test_an_image_that_breaks_on_the_way_costs_no_step(
    config: InstructConfig, tmp_path: Path, monkeypatch
) -> None:
    """All files are swapped after three steps; put back, the run goes on as if nothing was."""
    config = replace(config, workers=1, save_every=100, steps=10)
    data = make_data(tmp_path / "data")
    files = {file: file.read_bytes() for file in data.images.rglob("*.png")}
    forward = ContextFaceModule.forward

    def swap(module, batch):
        for file in files:
            file.write_bytes(b"another")
        return forward(module, batch)

    config.write(tmp_path / "config.yaml")
    arguments = [str(tmp_path / "config.yaml"), *data.arguments, "--run"]
    instruct.main([*arguments, str(tmp_path / "whole")])
    with monkeypatch.context() as patch:
        break_before(3, patch, swap)
        # an annotated one by its checksum, one of the free questions by its bytes
        what = r"\.png(: .*neither JPEG nor PNG| is not the image that was annotated)"
        with pytest.raises(SystemExit, match=what) as told:
            instruct.main([*arguments, str(tmp_path / "run")])
    assert "\n" not in str(told.value)
    done = len(figures(tmp_path / "run"))
    assert 3 <= done < 10
    assert checkpoint.read_place(tmp_path / "run" / "checkpoint", config).step == done
    for file, good in files.items():
        file.write_bytes(good)
    instruct.main([*arguments, str(tmp_path / "run")])
    assert curve(figures(tmp_path / "run")) == curve(figures(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"seed": 8}, "with seed 7, this config has 8"),
        ({"steps": 9}, "steps 8, this config has 9"),
        ({"lora": {"rank": 8}}, r"lora\.rank 4, this config has 8"),
        ({"tasks": {"expression": 1.0}}, r"tasks\.situation 0\.3, this config has None"),
    ],
)
def test_a_checkpoint_of_another_config_is_refused(
    config: InstructConfig, train, tmp_path: Path, change, what: str
) -> None:
    short = replace(config, steps=8)
    train(short, tmp_path)
    if "lora" in change:
        change = {"lora": replace(config.lora, **change["lora"])}
    with pytest.raises(BadInput, match=what) as told:
        train(replace(short, **change), tmp_path)
    assert "another --run" in str(told.value)
    assert checkpoint.read_place(tmp_path / "checkpoint", short).step == 8


def test_what_computes_nothing_may_change_on_the_way(config, train, tmp_path: Path) -> None:
    train(config, tmp_path)
    train(replace(config, save_every=99, workers=1), tmp_path)


def test_a_checkpoint_that_does_not_fit_is_told(config, train, tmp_path: Path) -> None:
    train(config, tmp_path)
    folder = tmp_path / "checkpoint"
    adapter = folder / checkpoint.ADAPTER
    whole = adapter.read_bytes()
    adapter.write_bytes(whole[:-100])
    with pytest.raises(BadInput, match="does not fit its base"):
        checkpoint.load_checkpoint(tmp_path)
    adapter.write_bytes(whole)
    other = replace(config, lora=replace(config.lora, targets=("q_proj",)))
    other.write(folder / "config.yaml")
    with pytest.raises(BadInput, match=r"does not fit its base: .*v_proj"):
        checkpoint.load_checkpoint(tmp_path)
    with pytest.raises(BadInput, match="no checkpoint in"):
        checkpoint.load_checkpoint(tmp_path / "tensorboard")


def test_a_run_that_died_between_two_names_is_found(config, train, tmp_path: Path) -> None:
    train(config, tmp_path)
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.old")
    assert checkpoint.find(tmp_path) == tmp_path / "checkpoint.old"
    train(config, tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system with room for one checkpoint and the figures, not for two."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=280k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted here: that needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_leaves_the_last_checkpoint_whole(
    config: InstructConfig, train, tmp_path: Path, small_disk: Path
) -> None:
    """The one on the way is told and passed over; at the end the run says so, and can go on."""
    whole = curve(train(config, tmp_path / "whole"))
    size = sum(f.stat().st_size for f in (tmp_path / "whole/checkpoint").rglob("*") if f.is_file())
    assert 150_000 < size < 200_000  # fits once, with the figures, and not twice
    with pytest.raises(BadInput, match=r"No space left on device.*free some space") as told:
        train(config, small_disk)
    assert "\n" not in str(told.value)
    assert checkpoint.read_place(small_disk / "checkpoint", config).step == 4
    assert not (small_disk / "checkpoint.new").exists()
    grow = ["mount", "-o", "remount,size=32m", str(small_disk)]
    subprocess.run(grow, check=True)
    again = curve(train(config, small_disk))
    assert {step: again[step] for step in range(5, 9)} == {s: whole[s] for s in range(5, 9)}


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED"])
def test_a_spread_that_does_not_happen_is_refused(config, name: str, monkeypatch) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    if name == "DEEPSPEED" and importlib.util.find_spec("deepspeed") is None:
        with pytest.raises(MissingDependency, match="pip install deepspeed"):
            make_accelerator(config)
        return
    with pytest.raises(BadInput, match=f"{name} is asked for, but accelerate runs 1 process"):
        make_accelerator(config)


def test_only_devices_with_a_data_sheet_have_a_peak(monkeypatch) -> None:
    assert peak_flops(torch.device("cpu")) is None
    for name, peak in {
        "NVIDIA H100 80GB HBM3": 989e12,
        "NVIDIA H100 PCIe": 756e12,
        "NVIDIA L40S": 362e12,
        "NVIDIA L40": 181e12,
        "NVIDIA L4": 121e12,
        "NVIDIA T4": None,
    }.items():
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _, name=name: name)
        assert peak_flops(torch.device("cuda")) == peak


def test_the_command_line_ends_in_one_sentence(made_data, tmp_path: Path, tiny_llava) -> None:
    arguments = [str(FILE), "--base", str(tiny_llava), "--run", str(tmp_path / "run")]
    with pytest.raises(SystemExit, match=r"^error: the task situation has no rows"):
        instruct.main(arguments)
    with pytest.raises(SystemExit, match=r"^error: .*nothing\.jsonl cannot be read"):
        instruct.main([*arguments, "--annotations", str(tmp_path / "nothing.jsonl")])


def test_an_ablation_trains_the_tasks_of_its_row(
    made_data: MadeData, tmp_path: Path, tiny_llava: Path
) -> None:
    arguments = [str(FILE), "--base", str(tiny_llava), *made_data.arguments]
    instruct.main([*arguments, "--ablation", "neither", "--run", str(tmp_path)])
    named = {key for line in figures(tmp_path) for key in line if key.startswith("response_")}
    assert named == {"response_vqa"}


def test_wandb_is_asked_for_by_name_only(tmp_path: Path) -> None:
    if importlib.util.find_spec("wandb") is not None:
        pytest.skip("wandb is installed: it would want an account")
    with pytest.raises(MissingDependency, match="pip install wandb"):
        StepLog(tmp_path, "faces")
