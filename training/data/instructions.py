"""The three tasks of Sec. 3.2 as token sequences in which only the response is learned.

    situation    image with a red box, quote -> the scenario, then the emotion
    expression   situation or quote (or both, with or without the image) -> emotion and <FACE>
    vqa          image, free question -> free answer, turn by turn

    begin | instruction | image | text | question | response | end
                                                    ^^^^^^^^^^^^^^ learned
    (the paper's order has the instruction after the text)

The response to an expression is the paper's whole sentence, "Considering the quote, the person
expresses ...". A scene without a face ends with the word of the emotion, for what would come after
it is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import numpy.typing as npt

from contextface_ros import prompts
from contextface_ros.errors import BadInput
from contextface_ros.prompts import Prompt, PromptVersion
from contextface_ros.types import EMOTIONS, Context, Float32Array
from training.data import wordings
from training.data.conversations import Conversation
from training.data.pictures import Picture
from training.data.scenes import Scene
from training.data.sequences import Vocabulary
from training.instruct_config import Variation


@dataclass(frozen=True)
class ImageSlot:
    """The place of an image among the tokens.

    Attributes:
        token: id of the token that holds it.
        count: how many of them an image takes.
        size: pixels of a side of the square that the vision tower sees.
    """

    token: int
    count: int
    size: int


@dataclass(frozen=True)
class Instruction:
    """One sequence to train on.

    Attributes:
        ids: all tokens, the image's among them.
        learned: for each, whether the model learns to say it.
        picture: what stands in the image's place, or None.
        emotion: index in EMOTIONS, or None where no emotion is named.
        emotion_at: position that predicts the emotion's word, or None.
        face_at: position that predicts <FACE>, or None.
        beta: (100,) float32 expression, or None without <FACE>.
        known: (100,) bool, which coefficients count.
    """

    ids: tuple[int, ...]
    learned: tuple[bool, ...]
    picture: Picture | None = None
    emotion: int | None = None
    emotion_at: int | None = None
    face_at: int | None = None
    beta: Float32Array | None = None
    known: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class _Part:
    """A run of tokens that are learned or not. An elastic one may be cut to fit the length."""

    ids: list[int]
    learned: bool = False
    elastic: bool = False


class InstructionMaker:
    """Writes instructions in one vocabulary and one prompt version."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        image: ImageSlot | None,
        version: PromptVersion,
        variation: Variation,
        max_tokens: int,
    ) -> None:
        """Prepare to write.

        Args:
            vocabulary: of the model.
            image: the place of an image, or None for a model that cannot see.
            version: order of a prompt's parts.
            variation: how prompts of one row vary.
            max_tokens: longest sequence; texts are cut to fit.
        """
        self._words = vocabulary
        self._image = image
        self._version = version
        self._variation = variation
        self._max_tokens = max_tokens

    def situation(self, scene: Scene, random: Random) -> Instruction:
        """Situation Generation. The scene has a situation and a quote."""
        assert scene.quote is not None and scene.situation is not None
        asked = prompts.situation_prompt(scene.quote, self._version)
        asked = self._reword(asked, wordings.SITUATION[self._version], random)
        said, line, closing, word, end = (
            self._ids(piece) for piece in prompts.situation_answer(scene.situation, scene.emotion)
        )
        before = [
            *self._prompt(asked, scene.picture),
            _Part(said, learned=True, elastic=True),
            _Part(line + closing, learned=True),
        ]
        after = _Part(word + end + [self._words.end], learned=True)
        return self._instruction([*before, after], scene, emotion_part=len(before))

    def expression(self, scene: Scene, random: Random) -> Instruction:
        """Expression Generation, with a face where the scene has one."""
        asked = prompts.prompt(self._context(scene, random), self._version)
        asked = self._reword(asked, wordings.EXPRESSION[self._version], random)
        picture = scene.picture if random.random() < self._variation.image else None
        *parts, considering = self._prompt(asked, picture)
        parts.append(replace(considering, learned=True))
        word, mesh = (self._ids(piece) for piece in prompts.mesh_tail(scene.emotion))
        emotion_part = len(parts)
        parts.append(_Part(word, learned=True))
        if scene.target is None:
            return self._instruction(parts, scene, emotion_part)
        parts.append(_Part(mesh, learned=True))
        end = [*self._ids(prompts.END), self._words.end]
        parts.append(_Part([self._words.face, *end], learned=True))
        return self._instruction(parts, scene, emotion_part, face_part=len(parts) - 1)

    def vqa(self, conversation: Conversation, random: Random) -> Instruction:
        """A conversation. Turns that do not fit are left out; the first is cut if it must be."""
        parts: list[_Part] = []
        for number, (question, answer) in enumerate(conversation.turns):
            picture = conversation.picture if number == 0 else None
            turn = self._prompt(prompts.conversation_prompt(question), picture, first=number == 0)
            turn.append(_Part(self._ids(" " + answer), learned=True, elastic=True))
            turn.append(_Part([self._words.end], learned=True))
            if parts and _length(parts) + _length(turn) > self._max_tokens:
                break
            parts += turn
        return self._instruction(parts, conversation)

    def _context(self, scene: Scene, random: Random) -> Context:
        whole = Context(scene.quote, scene.situation, scene.perspective)
        if scene.quote is None or scene.situation is None:
            return whole
        if random.random() < self._variation.both:
            return whole
        one = "quote" if random.random() < 0.5 else "situation"
        return replace(whole, **{one: None})

    def _reword(self, asked: Prompt, known: tuple[str, ...], random: Random) -> Prompt:
        wording = wordings.draw(known, self._variation.own_wording, random)
        if self._version == "paper":
            return replace(asked, question=(wording, asked.question[-1]))
        return replace(asked, prefix=(wording,))

    def _prompt(self, asked: Prompt, picture: Picture | None, first: bool = True) -> list[_Part]:
        """Its parts; the last is what is said right before the answer."""
        parts = [_Part([*(self._words.begin if first else ()), *self._ids(*asked.prefix)])]
        if picture is not None and self._image is not None:
            place = [self._image.token] * self._image.count
            parts.append(_Part(place + self._ids(prompts.AFTER_IMAGE)))
        parts.append(_Part(self._ids(*asked.text), elastic=True))
        return [*parts, *(_Part(self._ids(piece)) for piece in asked.question)]

    def _ids(self, *pieces: str) -> list[int]:
        return prompts.token_ids(pieces, self._words.tokenize)

    def _instruction(
        self,
        parts: Sequence[_Part],
        row: Scene | Conversation,
        emotion_part: int | None = None,
        face_part: int | None = None,
    ) -> Instruction:
        """Join the parts. Emotion and <FACE> are predicted at the last position before theirs."""
        parts = _fit(parts, self._max_tokens)
        ids = tuple(token for part in parts for token in part.ids)
        seen = self._image is not None and self._image.token in ids
        made = Instruction(
            ids,
            tuple(part.learned for part in parts for _ in part.ids),
            picture=row.picture if seen else None,
        )
        if isinstance(row, Scene):
            made = replace(
                made,
                emotion=EMOTIONS.index(row.emotion),
                emotion_at=_length(parts[:emotion_part]) - 1,
            )
            if face_part is not None and row.target is not None:
                made = replace(
                    made,
                    face_at=_length(parts[:face_part]) - 1,
                    beta=row.target.coefficients,
                    known=row.target.known,
                )
        return made


def _length(parts: Sequence[_Part]) -> int:
    return sum(len(part.ids) for part in parts)


def _fit(parts: Sequence[_Part], limit: int) -> list[_Part]:
    """Cut the ends of texts, the longest first, until all fits; formats and images stay whole."""
    fitted = list(parts)
    while (excess := _length(fitted) - limit) > 0:
        longest = max(
            (n for n, part in enumerate(fitted) if part.elastic),
            key=lambda n: len(fitted[n].ids),
        )
        part = fitted[longest]
        if len(part.ids) <= 1:
            raise BadInput(
                f"max_tokens is {limit}, which an image and its question do not fit in: raise it"
            )
        fitted[longest] = replace(part, ids=part.ids[: max(1, len(part.ids) - excess)])
    return fitted
