from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from contextface_ros import prompts  # noqa: E402
from contextface_ros.types import EMOTIONS, Emotion, Perspective  # noqa: E402
from training.data.contexts import AnnotatedContext, Face  # noqa: E402
from training.data.corpus import LabelledText  # noqa: E402
from training.data.sequences import (  # noqa: E402
    Augmentation,
    Branch,
    TokenTree,
    TreeMaker,
    Vocabulary,
    batches,
    collate,
)

BEGIN, FACE, END = 1, 2, 3
WORDS = Vocabulary(lambda text: [4 + b for b in text.encode()], (BEGIN,), FACE, END)

ROW = AnnotatedContext(
    row_id="x-1",
    scenario="x-1: a broken vase",
    kind="quote",
    text="Oh NO, the Vase!",
    intensity=0.7,
    speaker=Face(Emotion.SAD, {"AU15": 0.8}),
    listener=Face(Emotion.SURPRISE, {"AU5": 0.9}),
    hard=False,
)


@pytest.fixture(scope="module")
def maker() -> TreeMaker:
    return TreeMaker(WORDS, "edge")


@st.composite
def trees(draw: st.DrawFn) -> list[TokenTree]:
    ids = st.lists(st.integers(4, 99), min_size=1, max_size=12).map(tuple)

    def branch() -> Branch:
        question, answer = draw(ids), draw(ids)
        has_face, response = draw(st.booleans()), draw(st.booleans())
        beta = np.full(100, draw(st.integers(-3, 3)), np.float32) if has_face else None
        face_at = len(question) + len(answer) - 1 if has_face else None
        who, emotion = draw(st.sampled_from(Perspective)), draw(st.integers(0, 6))
        return Branch(question + answer, who, len(question), emotion, beta, face_at, response)

    return [
        TokenTree(draw(ids), tuple(branch() for _ in range(draw(st.integers(1, 2)))))
        for _ in range(draw(st.integers(1, 10)))
    ]


@pytest.fixture(scope="module")
def tiny_llama() -> object:
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
    )
    return LlamaModel(config).eval()


@given(made=trees())
@settings(max_examples=15, deadline=None)
def test_a_branch_sees_what_it_would_see_alone(tiny_llama: object, made: list[TokenTree]) -> None:
    batch = collate(made, 0.5)
    with torch.no_grad():
        together = tiny_llama(
            input_ids=batch.ids,
            position_ids=batch.positions,
            attention_mask=batch.mask,
            use_cache=False,
        ).last_hidden_state
        assert torch.isfinite(together).all()
        for row, tree in enumerate(made):
            at = len(tree.trunk)
            for branch in tree.branches:
                ids = torch.tensor([tree.trunk + branch.ids])
                alone = tiny_llama(input_ids=ids, use_cache=False).last_hidden_state[0]
                own = together[row, at : at + len(branch.ids)]
                torch.testing.assert_close(own, alone[len(tree.trunk) :], atol=1e-4, rtol=1e-4)
                at += len(branch.ids)


@given(made=trees())
@settings(deadline=None)
def test_targets_stand_where_they_are_predicted(made: list[TokenTree]) -> None:
    batch = collate(made, 0.5)
    branches = [(row, n, b) for row, t in enumerate(made) for n, b in enumerate(t.branches)]
    assert batch.tokens == sum(len(tree) for tree in made)
    assert batch.emotions.tolist() == [b.emotion for _, _, b in branches]
    assert batch.weights.tolist() == [
        1.0 if b.perspective is Perspective.SPEAKER else 0.5 for _, _, b in branches
    ]
    for (row, _, branch), r, c in zip(
        branches, batch.emotion_rows.tolist(), batch.emotion_columns.tolist(), strict=True
    ):
        assert r == row
        assert batch.ids[r, c] == branch.ids[branch.question - 1]
        assert batch.ids[r, c + 1] == branch.ids[branch.question]
    faced = [(row, b) for row, _, b in branches if b.beta is not None]
    for i, (row, branch) in enumerate(faced):
        assert batch.face_rows[i] == row
        assert batch.ids[row, batch.face_columns[i]] == branch.ids[branch.face_at]
        assert batch.betas[i].numpy() == pytest.approx(branch.beta)
    assert len(batch.betas) == len(batch.face_weights) == len(faced)
    answers = [t for _, _, b in branches if b.response for t in b.ids[b.question :]]
    assert batch.response_targets.tolist() == answers
    follow = batch.ids[batch.response_rows, batch.response_columns + 1]
    assert torch.equal(follow, batch.response_targets)


@given(made=trees(), budget=st.integers(1, 200), seed=st.none() | st.integers(0, 99))
@settings(deadline=None)
def test_batches_keep_every_tree_within_the_budget(
    made: list[TokenTree], budget: int, seed: int | None
) -> None:
    random = None if seed is None else Random(seed)
    parts = list(batches(made, budget, 0.5, random))
    for part in parts:
        assert part.ids.numel() <= budget or len(part.ids) == 1  # a tree is never cut
    rows = sorted(tuple(r for r in row.tolist() if r) for part in parts for row in part.ids)
    whole = (tree.trunk + tuple(i for b in tree.branches for i in b.ids) for tree in made)
    assert rows == sorted(whole)


def test_a_context_becomes_two_questions_on_one_trunk(maker: TreeMaker) -> None:
    tree = maker.from_context(ROW, Augmentation(), Random(0))
    assert tree.trunk[0] == BEGIN
    for perspective, branch in zip(Perspective, tree.branches, strict=True):
        face = ROW.face(perspective)
        prompt = prompts.prompt(ROW.context(perspective), "edge")
        pieces = prompt.prefix + prompt.text + prompt.question
        whole = [*prompts.token_ids(pieces, WORDS.tokenize)]
        assert list(tree.trunk[1:] + branch.ids[: branch.question]) == whole
        tail = prompts.token_ids(prompts.mesh_tail(face.emotion), WORDS.tokenize)
        assert list(branch.ids[branch.question :]) == tail
        assert branch.face_at == len(branch.ids) - 1
        assert branch.emotion == EMOTIONS.index(face.emotion)
        assert branch.beta == pytest.approx(maker.beta(face.action_units))
    assert tree.branches[0].beta != pytest.approx(tree.branches[1].beta)


def test_a_whole_response_ends_with_face_and_end(maker: TreeMaker) -> None:
    tree = maker.from_context(ROW, Augmentation(response=1.0), Random(0))
    for branch in tree.branches:
        assert branch.ids[branch.face_at + 1 :] == (FACE, *WORDS.tokenize("."), END)


def test_a_text_has_an_emotion_and_no_face(maker: TreeMaker) -> None:
    tree = maker.from_text(
        LabelledText("situation", "She is late.", Emotion.FEAR, "x"), Augmentation(), Random(0)
    )
    (branch,) = tree.branches
    assert (branch.beta, branch.face_at, branch.response) == (None, None, False)
    assert len(branch.ids) == branch.question
    assert branch.emotion == EMOTIONS.index(Emotion.FEAR)


def test_augmentation(maker: TreeMaker) -> None:
    def words(augmentation: Augmentation) -> str:
        trunk = maker.from_context(ROW, augmentation, Random(0)).trunk[1:]
        return bytes(i - 4 for i in trunk).decode()

    assert "Oh NO, the Vase!" in words(Augmentation())
    assert "Quote: oh no the vase\n" in words(Augmentation(recognised=1.0))
    assert "Situation: a broken vase\n" in words(Augmentation(background=1.0))


def test_what_a_second_reader_saw_otherwise_is_not_trained() -> None:
    row = replace(ROW, agreed=(Perspective.LISTENER,))
    tree = TreeMaker(WORDS, "edge").from_context(row, Augmentation(), Random(0))
    assert [branch.perspective for branch in tree.branches] == [Perspective.LISTENER]
