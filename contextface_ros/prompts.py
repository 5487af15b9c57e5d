"""The instruction and response formats of the paper, Sec. 3.2: the one place they are written.

A prompt is a list of pieces. A piece is either ours (template) or a person's (user text). Each
piece is turned into token ids by itself, with special tokens off, so that a person may say
"<FACE>" or "<|im_start|>" and is read as having said just that.

Two orders of the same pieces exist, and a bundle names the one that it was trained on:

    edge    instruction, image, text, question    only what stands before the text can be cached
    paper   text, question, instruction           as published

An image stands between prefix and text in both. The response is "... {Emotion}. The 3D facial mesh
is <FACE>." in both. Two more prompts have the same three parts: `situation_prompt`, which asks for
the scenario behind a quote, and `conversation_prompt`, for free questions about a picture.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from contextface_ros.errors import BadInput
from contextface_ros.types import EMOTIONS, Context, Emotion, Perspective

PromptVersion = Literal["edge", "paper"]

MAX_TEXT_LENGTH = 4000
"""Longest quote or situation, in characters. A minute of fast speech has about 1,200."""

INSTRUCTION = "Read the face.\n"
PAPER_INSTRUCTION = "Name the emotion and give the 3D facial mesh.\n"
IMAGINE = "Imagine the situation.\n"
PAPER_IMAGINE = "Imagine the situation behind the words, then name the emotion.\n"
AFTER_IMAGE = "\n"
SUBJECT = {Perspective.SPEAKER: "person", Perspective.LISTENER: "listener"}
MESH = ". The 3D facial mesh is"
END = "."

Tokenize = Callable[[str], list[int]]
"""Token ids of a string: no special tokens are added, none are recognised in the text."""


@dataclass(frozen=True)
class Prompt:
    """The pieces of one prompt, in order.

    Attributes:
        prefix: what is the same for every context, and can stay in the KV cache. An image comes
            after it, followed by AFTER_IMAGE.
        text: what the person said or the situation that the person is in.
        question: what is asked about it; the next token is the first of the emotion's word.
    """

    prefix: tuple[str, ...]
    text: tuple[str, ...]
    question: tuple[str, ...]


def clean_text(text: str) -> str:
    """Make a person's text fit for a prompt: one line, composed Unicode, no control characters.

    Raises:
        BadInput: if nothing is left, or more than MAX_TEXT_LENGTH characters.
    """
    if len(text) > MAX_TEXT_LENGTH:
        raise BadInput(
            f"The text has {len(text):,} characters; shorten it to at most {MAX_TEXT_LENGTH:,}."
        )
    visible = "".join(_plain(character) for character in unicodedata.normalize("NFC", text))
    cleaned = " ".join(visible.split())
    if not any(character.isprintable() and not character.isspace() for character in cleaned):
        raise BadInput("The text is empty; send what was said or a situation in words.")
    return cleaned


def _plain(character: str) -> str:
    """A space for what cannot be seen, ASCII for numerals, the character itself otherwise.

    Tokenizers disagree about numerals outside ASCII: transformers and llama.cpp split them apart
    differently.
    """
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        return " "
    if character.isascii() or not unicodedata.category(character).startswith("N"):
        return character
    return f"{unicodedata.numeric(character):g}"


def prompt(context: Context, version: PromptVersion) -> Prompt:
    """The prompt for a context, ending where the word of the emotion begins.

    Raises:
        BadInput: if the context has neither quote nor situation, or one that cannot be used.
    """
    if context.quote is None and context.situation is None:
        raise BadInput("The context is empty; give a quote, a situation or both.")
    text: list[str] = []
    if context.situation is not None:
        text += ["Situation:", " " + clean_text(context.situation), "\n"]
    if context.quote is not None:
        text += ["Quote:", " " + clean_text(context.quote), "\n"]
    question = considering("situation" if context.quote is None else "quote", context.perspective)
    if version == "paper":
        return Prompt((), tuple(text), (PAPER_INSTRUCTION, question))
    return Prompt((INSTRUCTION,), tuple(text), (question,))


def considering(kind: str, perspective: Perspective = Perspective.SPEAKER) -> str:
    """What comes right before the word of the emotion. `kind` is "quote" or "situation"."""
    return f"Considering the {kind}, the {SUBJECT[perspective]} expresses"


def situation_prompt(quote: str, version: PromptVersion) -> Prompt:
    """Ask for the scenario behind a quote, with the person in a red box on the image (Sec. 3.2).

    Raises:
        BadInput: if the quote cannot be used.
    """
    text = ("Quote:", " " + clean_text(quote), "\n")
    if version == "paper":
        return Prompt((), text, (PAPER_IMAGINE, "Situation:"))
    return Prompt((IMAGINE,), text, ("Situation:",))


def situation_answer(situation: str, emotion: Emotion) -> tuple[str, ...]:
    """The response to `situation_prompt`: the scenario, then the emotion in a closing sentence.

    Raises:
        BadInput: if the situation cannot be used.
    """
    return (" " + clean_text(situation), "\n", considering("situation"), " " + emotion.value, END)


def conversation_prompt(question: str) -> Prompt:
    """A free question, worded as for LLaVA 1.5; the answer begins with a space.

    Raises:
        BadInput: if the question cannot be used.
    """
    return Prompt(("USER:",), (" " + clean_text(question),), (" ASSISTANT:",))


def mesh_tail(emotion: Emotion) -> tuple[str, ...]:
    """What follows the question up to, and without, <FACE>. Its last state predicts <FACE>."""
    return (" " + emotion.value, MESH)


def token_ids(pieces: Sequence[str], tokenize: Tokenize) -> list[int]:
    """Token ids of pieces, each tokenized by itself: the same in training and at run time."""
    return [token for piece in pieces for token in tokenize(piece)]


def emotion_tokens(tokenize: Tokenize) -> list[int]:
    """First token of each emotion's word, in the order of EMOTIONS.

    Raises:
        ValueError: if two emotions begin with the same token in this vocabulary.
    """
    first = [token_ids(mesh_tail(emotion)[:1], tokenize)[0] for emotion in EMOTIONS]
    if len(set(first)) != len(first):
        raise ValueError(f"This vocabulary does not tell the emotions apart: {first}.")
    return first
