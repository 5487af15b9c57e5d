from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")

from contextface_ros.errors import BadInput  # noqa: E402
from contextface_ros.language.huggingface_sight import image_processor  # noqa: E402
from tests.tiny_instructions import MadeData  # noqa: E402
from training.data.conversations import read_conversations  # noqa: E402
from training.data.instructions import InstructionMaker  # noqa: E402
from training.data.mixture import Mixture, length_groups, task_order  # noqa: E402
from training.data.scenes import annotated_scenes, require_basis, written_scenes  # noqa: E402
from training.instruct_config import TASKS, InstructConfig, Variation  # noqa: E402
from training.llava import load_words  # noqa: E402

RATIOS = {"situation": 0.3, "expression": 0.4, "vqa": 0.3}


@pytest.fixture(scope="module")
def mixture(tiny_llava: Path, made_data: MadeData):
    values = {"base": {"path": str(tiny_llava)}, "lora": {}, "tasks": RATIOS}
    words = load_words(InstructConfig.of(values))
    scenes = annotated_scenes(made_data.annotations, made_data.images, made_data.targets)
    talk = read_conversations(made_data.vqa, made_data.images)
    maker = InstructionMaker(words.vocabulary, words.image, "edge", Variation(), 256)
    processor = image_processor(words.image.size)

    def make(rank: int = 0, ranks: int = 1, ratios=RATIOS, batch: int = 2, talk=talk) -> Mixture:
        options = {"seed": 3, "batch": batch, "batches": 60, "rank": rank, "ranks": ranks}
        return Mixture(scenes, talk, maker, processor, ratios, **options)

    return make


def test_tasks_come_at_their_ratios_and_follow_from_the_seed() -> None:
    order = task_order(5, RATIOS, 20_000)
    shares = np.bincount(order, minlength=3) / len(order)
    assert shares == pytest.approx([0.3, 0.4, 0.3], abs=0.015)
    assert np.array_equal(order[:100], task_order(5, RATIOS, 100))
    assert not np.array_equal(order[:100], task_order(6, RATIOS, 100))
    assert set(task_order(5, {"expression": 2.0, "vqa": 1.0}, 500)) == {1, 2}


def test_ranks_have_the_same_task_and_share_the_rows(mixture) -> None:
    ranks = [mixture(rank, 3) for rank in range(3)]
    for number in range(12):
        assert {rank[number].task for rank in ranks} == {TASKS[ranks[0].order[number]]}
    for task in range(3):
        epoch = np.flatnonzero(ranks[0].order == task)[:4]  # 21 rows, six a batch
        rows = [row for rank in ranks for number in epoch for row in rank.rows(number)]
        assert len(rows) == 24
        assert len(set(rows)) == 21


def test_each_row_is_seen_once_an_epoch(mixture) -> None:
    mine = mixture(batch=3)  # 21 rows: seven batches an epoch
    for task in range(3):
        numbers = np.flatnonzero(mine.order == task)[:14]
        first, second = ([r for n in half for r in mine.rows(n)] for half in np.split(numbers, 2))
        assert sorted(first) == sorted(second) == list(range(21))
        assert first != second


def test_a_batch_is_a_function_of_its_number(mixture) -> None:
    forth, back = mixture(), mixture()
    for number in reversed(range(12)):
        back[number]
    for number in range(12):
        a, b = forth[number], back[number]
        assert torch.equal(a.ids, b.ids)
        assert (a.pixels is None) == (b.pixels is None)
        assert a.pixels is None or torch.equal(a.pixels, b.pixels)


def test_situations_and_free_questions_bring_their_images(mixture) -> None:
    mine = mixture()
    for number in range(20):
        batch = mine[number]
        if batch.task != "expression":
            assert batch.pixels.shape == (2, 3, 56, 56)
        assert (len(batch.face_rows) > 0) == (batch.task == "expression")


def test_the_red_box_reaches_the_pixels(mixture, made_data: MadeData) -> None:
    scene = annotated_scenes(made_data.annotations, made_data.images, None)[0]
    seen = scene.picture.pixels(image_processor(56))
    without = replace(scene.picture, box=None).pixels(image_processor(56))
    assert seen.shape == (3, 56, 56)
    more = (seen - without).abs().sum(dim=0) > 0.2
    assert 0 < more.sum() < more.numel() / 2


@given(
    lengths=st.lists(st.integers(1, 500), min_size=1, max_size=300),
    size=st.integers(1, 16),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_groups_hold_every_row(lengths: list[int], size: int, seed: int) -> None:
    rows = ["x" * n for n in lengths]
    groups = length_groups(rows, size, Random(seed))
    assert {len(group) for group in groups} == {size}
    counts = Counter(index for group in groups for index in group)
    assert set(counts) == set(range(len(rows)))
    assert counts.total() - len(rows) < size


def test_groups_waste_little_on_padding() -> None:
    random = Random(0)
    rows = ["x" * random.randint(10, 400) for _ in range(2000)]

    def waste(groups: list[tuple[int, ...]]) -> float:
        longest = sum(max(len(rows[i]) for i in group) * len(group) for group in groups)
        return 1 - sum(len(rows[i]) for group in groups for i in group) / longest

    order = random.sample(range(2000), 2000)
    drawn = [tuple(order[at : at + 8]) for at in range(0, 2000, 8)]
    assert waste(drawn) > 0.35
    assert waste(length_groups(rows, 8, random)) < 0.03


def test_a_task_without_rows_is_refused(mixture) -> None:
    with pytest.raises(BadInput, match=r"vqa has no rows.*--vqa"):
        mixture(talk=[])
    assert len(mixture(talk=[], ratios={"expression": 1.0})) == 60


def test_an_image_that_changed_or_does_not_decode_is_named(tmp_path: Path, made_data) -> None:
    scene = annotated_scenes(made_data.annotations, made_data.images, None)[0]
    file = tmp_path / "other.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n not quite")
    broken = replace(scene.picture, file=file, sha256=None)
    with pytest.raises(BadInput, match=r"other\.png: "):
        broken.pixels(image_processor(56))
    with pytest.raises(BadInput, match=r"other\.png is not the image that was annotated"):
        replace(scene.picture, file=file).pixels(image_processor(56))
    with pytest.raises(BadInput, match="cannot be read"):
        replace(broken, file=tmp_path / "none.png").pixels(image_processor(56))
    with pytest.raises(BadInput, match=r"is .* the right folder"):
        annotated_scenes(made_data.annotations, tmp_path, None)


def test_a_face_in_another_basis_is_refused(made_data: MadeData) -> None:
    scenes = annotated_scenes(made_data.annotations, made_data.images, made_data.targets)
    require_basis(scenes, "open-1")
    with pytest.raises(BadInput, match=r"in the basis open-1, the run's is flame2020"):
        require_basis(scenes, "flame2020")


def test_the_written_contexts_are_scenes_of_both_perspectives() -> None:
    scenes = written_scenes("dev")
    assert len({scene.perspective for scene in scenes}) == 2
    assert all(scene.target.known.all() and scene.picture is None for scene in scenes)


GOOD = {"from": "human", "value": "<image>\nWho?"}, {"from": "gpt", "value": "Me."}


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ({}, "must hold a list"),
        ([{"id": 1}], "conversation 0: it must be an object"),
        ([{"conversations": [GOOD[0]]}], "question and an answer"),
        ([{"conversations": [GOOD[1], GOOD[0]]}], "human comes first"),
        ([{"conversations": [GOOD[0], {"from": "gpt"}]}], "has no text"),
        ([{"conversations": [{"from": "human", "value": "<image>"}, GOOD[1]]}], "no words"),
        ([{"conversations": [{"from": "human", "value": "a" * 4001}, GOOD[1]]}], "longer than"),
        ([{"conversations": list(GOOD), "image": "../a.png"}], "below the folder"),
        ([{"conversations": list(GOOD), "image": "none.png"}], "there is no image"),
    ],
)
def test_conversations_of_another_form_are_refused(tmp_path: Path, rows, what: str) -> None:
    file = tmp_path / "talk.json"
    file.write_text(json.dumps(rows))
    with pytest.raises(BadInput, match=what):
        read_conversations(file, tmp_path)


def test_conversations_lose_the_mark_of_the_image(tmp_path: Path, made_data: MadeData) -> None:
    first = read_conversations(made_data.vqa, made_data.images)[0]
    assert first.turns[0][0] == "What colour is it?"
    assert read_conversations(made_data.vqa, None) == []  # all of them need an image
    (tmp_path / "a").write_text("[")
    with pytest.raises(BadInput, match="cannot be read as JSON"):
        read_conversations(tmp_path / "a", None)
