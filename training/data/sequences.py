r"""Annotated texts as token trees, and batches of them.

Both perspectives of one context share its text, so one sequence is a tree: the trunk is everything
up to the question, and each branch asks about one face and answers. A branch sees the trunk and
itself, which is exactly what it would see alone, and the text is computed once.

    trunk                                branch
    Read the face.\n Quote: ... \n    -+-  ... the person expresses Happy. The 3D facial mesh is
                                      +-  ... the listener expresses Sad. The 3D facial mesh is
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import numpy.typing as npt
import torch

from contextface_ros import prompts
from contextface_ros.face.blendshapes import action_units_to_blendshapes
from contextface_ros.face.open_head import OpenHead
from contextface_ros.types import EMOTIONS, Context, Emotion, Float32Array, Perspective
from training.data.contexts import AnnotatedContext
from training.data.corpus import LabelledText
from training.data.scenes import Scene


@dataclass(frozen=True)
class Vocabulary:
    """What of a tokenizer is needed to write sequences.

    Attributes:
        tokenize: ids of a piece of text, special tokens neither added nor recognised.
        begin: ids that a sequence begins with.
        face: id of the token that plays <FACE>.
        end: id that ends a response.
    """

    tokenize: prompts.Tokenize
    begin: tuple[int, ...]
    face: int
    end: int


@dataclass(frozen=True)
class Branch:
    """A question about one face, and its answer.

    Attributes:
        ids: the question's ids, and the answer's if there is a face or a response.
        perspective: whose face it is.
        question: length of the question; its last position predicts the emotion.
        emotion: index of the emotion in EMOTIONS.
        beta: (100,) float32 expression, or None where a row has no face.
        face_at: position in `ids` that predicts <FACE>, or None without a face.
        response: whether the whole response is in `ids`, to be learned word by word.
    """

    ids: tuple[int, ...]
    perspective: Perspective
    question: int
    emotion: int
    beta: Float32Array | None
    face_at: int | None
    response: bool


@dataclass(frozen=True)
class TokenTree:
    """One context with the faces that are known for it."""

    trunk: tuple[int, ...]
    branches: tuple[Branch, ...]

    def __len__(self) -> int:
        return len(self.trunk) + sum(len(branch.ids) for branch in self.branches)


@dataclass(frozen=True)
class Batch:
    """Trees of about one length, padded.

    Attributes:
        ids, positions: (B, L) int64.
        mask: (B, 1, L, L) bool, True where a position is seen.
        emotion_rows, emotion_columns, emotions: (N,) int64, one entry a branch.
        weights: (N,) float32, weight of each branch in the loss.
        face_rows, face_columns: (M,) int64; betas: (M, 100) float32; face_weights: (M,) float32.
        response_rows, response_columns, response_targets: (R,) int64.
        tokens: number of positions that are not padding.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    emotion_rows: torch.Tensor
    emotion_columns: torch.Tensor
    emotions: torch.Tensor
    weights: torch.Tensor
    face_rows: torch.Tensor
    face_columns: torch.Tensor
    betas: torch.Tensor
    face_weights: torch.Tensor
    response_rows: torch.Tensor
    response_columns: torch.Tensor
    response_targets: torch.Tensor
    tokens: int
    known = None  # every coefficient of every face is

    def inputs(self) -> dict[str, torch.Tensor]:
        """What the language model is called with."""
        return {
            "input_ids": self.ids,
            "position_ids": self.positions,
            "attention_mask": self.mask,
        }


@dataclass(frozen=True)
class Augmentation:
    """How training texts are varied; each a probability. All zero for evaluation.

    Attributes:
        background: a quote gets its scenario in words as the situation behind it.
        recognised: a quote loses case and punctuation, as from a plain speech recogniser.
        response: the whole response is learned word by word, <FACE> included.
    """

    background: float = 0.0
    recognised: float = 0.0
    response: float = 0.0


class TreeMaker:
    """Writes trees with one vocabulary, in one prompt version."""

    def __init__(self, vocabulary: Vocabulary, version: prompts.PromptVersion) -> None:
        self._vocabulary = vocabulary
        self._version = version
        self._head = OpenHead.load()

    def from_context(
        self, row: AnnotatedContext, augmentation: Augmentation, random: Random
    ) -> TokenTree:
        """A tree with both perspectives' faces."""
        background = row.topic if random.random() < augmentation.background else None
        context = _vary(row.context(Perspective.SPEAKER, background), augmentation, random)
        response = random.random() < augmentation.response
        branches = []
        for perspective in row.agreed:
            face = row.face(perspective)
            asked = replace(context, perspective=perspective)
            branches.append(
                self._branch(asked, face.emotion, self.beta(face.action_units), response)
            )
        return TokenTree(self._trunk(context), tuple(branches))

    def from_text(self, row: LabelledText, augmentation: Augmentation, random: Random) -> TokenTree:
        """A tree with the speaker's emotion only."""
        context = _vary(row.context, augmentation, random)
        return TokenTree(
            self._trunk(context), (self._branch(context, row.emotion, None, response=False),)
        )

    def from_scene(self, scene: Scene, augmentation: Augmentation, random: Random) -> TokenTree:
        """A tree with the one perspective of a scene, and its face where it has one."""
        context = Context(scene.quote, scene.situation, scene.perspective)
        context = _vary(context, augmentation, random)
        beta = scene.target.coefficients if scene.target is not None else None
        branch = self._branch(context, scene.emotion, beta, response=False)
        return TokenTree(self._trunk(context), (branch,))

    def beta(self, action_units: dict[str, float]) -> Float32Array:
        """(100,) float32 expression of a face in action units, in the open basis."""
        return self._head.encode(action_units_to_blendshapes(action_units))

    def _trunk(self, context: Context) -> tuple[int, ...]:
        prompt = prompts.prompt(context, self._version)
        pieces = prompt.prefix + prompt.text
        return self._vocabulary.begin + tuple(prompts.token_ids(pieces, self._vocabulary.tokenize))

    def _branch(
        self, context: Context, emotion: Emotion, beta: Float32Array | None, response: bool
    ) -> Branch:
        tokenize = self._vocabulary.tokenize
        ids = prompts.token_ids(prompts.prompt(context, self._version).question, tokenize)
        question = len(ids)
        if beta is not None or response:
            ids += prompts.token_ids(prompts.mesh_tail(emotion), tokenize)
        face_at = len(ids) - 1 if beta is not None else None
        if response:
            ids += [self._vocabulary.face, *tokenize(prompts.END), self._vocabulary.end]
        index = EMOTIONS.index(emotion)
        return Branch(tuple(ids), context.perspective, question, index, beta, face_at, response)


def _vary(context: Context, augmentation: Augmentation, random: Random) -> Context:
    if context.quote is None or random.random() >= augmentation.recognised:
        return context
    bare = re.sub(r"[^\w\s']", " ", context.quote.lower())
    return replace(context, quote=bare) if bare.strip() else context


def batches(
    trees: Sequence[TokenTree], tokens: int, listener_weight: float, random: Random | None
) -> Iterator[Batch]:
    """Batches of at most `tokens` positions with padding, each of trees of about one length.

    With `random` the batches come in a drawn order, and trees of one length in another each time.
    """
    order = list(range(len(trees)))
    if random is not None:
        random.shuffle(order)
    order.sort(key=lambda index: len(trees[index]))
    groups: list[list[TokenTree]] = [[]]
    for index in order:
        if groups[-1] and len(trees[index]) * (len(groups[-1]) + 1) > tokens:
            groups.append([])
        groups[-1].append(trees[index])
    if random is not None:
        random.shuffle(groups)
    for group in groups:
        if group:
            yield collate(group, listener_weight)


def collate(trees: Sequence[TokenTree], listener_weight: float) -> Batch:
    """One batch of the given trees. Branches of listeners have a weight of their own."""
    length = max(len(tree) for tree in trees)
    ids = np.zeros((len(trees), length), dtype=np.int64)
    positions = np.zeros_like(ids)
    segment = np.full_like(ids, -1)  # 0 the trunk, 1.. the branches, -1 padding
    emotion: list[tuple[int, int, int, float]] = []
    face: list[tuple[int, int, float]] = []
    betas: list[Float32Array] = []
    response: list[tuple[int, int, int]] = []
    for row, tree in enumerate(trees):
        trunk = len(tree.trunk)
        ids[row, :trunk] = tree.trunk
        positions[row, :trunk] = np.arange(trunk)
        segment[row, :trunk] = 0
        at = trunk
        for number, branch in enumerate(tree.branches, start=1):
            end = at + len(branch.ids)
            ids[row, at:end] = branch.ids
            positions[row, at:end] = trunk + np.arange(end - at)
            segment[row, at:end] = number
            weight = 1.0 if branch.perspective is Perspective.SPEAKER else listener_weight
            emotion.append((row, at + branch.question - 1, branch.emotion, weight))
            if branch.beta is not None and branch.face_at is not None:
                face.append((row, at + branch.face_at, weight))
                betas.append(branch.beta)
            if branch.response:
                first = branch.question - 1
                response += [
                    (row, at + place, branch.ids[place + 1])
                    for place in range(first, len(branch.ids) - 1)
                ]
            at = end
    rows, columns, emotions, weights = _columns(emotion, 4)
    face_rows, face_columns, face_weights = _columns(face, 3)
    response_rows, response_columns, response_targets = _columns(response, 3)
    return Batch(
        ids=torch.from_numpy(ids),
        positions=torch.from_numpy(positions),
        mask=torch.from_numpy(_tree_mask(segment)),
        emotion_rows=rows.long(),
        emotion_columns=columns.long(),
        emotions=emotions.long(),
        weights=weights.float(),
        face_rows=face_rows.long(),
        face_columns=face_columns.long(),
        betas=torch.from_numpy(np.array(betas, dtype=np.float32).reshape(-1, 100)),
        face_weights=face_weights.float(),
        response_rows=response_rows.long(),
        response_columns=response_columns.long(),
        response_targets=response_targets.long(),
        tokens=int((segment >= 0).sum()),
    )


def _tree_mask(segment: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """(B, 1, L, L): a position sees what stands before it in the trunk and in its own branch."""
    length = segment.shape[1]
    before = np.tril(np.ones((length, length), dtype=bool))
    own = segment[:, :, None] == segment[:, None, :]
    trunk = segment[:, None, :] == 0
    seen = before & (own | trunk)
    seen |= np.eye(length, dtype=bool)  # padding sees itself: a softmax over nothing is NaN
    return seen[:, None]


def _columns(rows: Sequence[tuple[float, ...]], width: int) -> tuple[torch.Tensor, ...]:
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, width)
    return tuple(table[:, column] for column in range(width))
