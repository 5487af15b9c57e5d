"""A tokenizer of transformers as the vocabulary of a GGUF, checked against llama.cpp's reading.

Two kinds are known, as Llama's families use them:

- byte-level BPE (SmolLM2, Llama 3): tokens and merges, and the name of the rule that splits a text
  into words. llama.cpp has these rules built in; the one that reads as the tokenizer does is found
  by trying.
- SentencePiece (Llama 2, Vicuna, LLaVA 1.5): tokens and scores. tokenizer.json has merges in their
  place, in the order of the scores; so the rank of a merge is the score.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import llama_cpp

from contextface_ros.errors import BadInput
from training.data.sequences import Vocabulary

SPLITTING = ("smollm", "llama-bpe", "gpt-2", "qwen2", "tekken", "default")
"""llama.cpp's names of rules that are tried, the likely first."""

PROBES = (
    "We won! I can't believe it!",
    " Happy",
    ". The 3D facial mesh is",
    "Read the face.\n",
    "Ça va? Größe, naïve — “quoted” … 100 %, 3.50, 12345, it's we'll",
    "<|im_end|> <s> <FACE> [INST]",
    "こんにちは、元気？ 👩‍👩‍👧 🤷🏽",
    "  two  spaces\n\nand lines\t.",
)

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class GgufVocabulary:
    """What a GGUF says of a vocabulary.

    Attributes:
        kind: `tokenizer.ggml.model`, "gpt2" or "llama".
        splitting: `tokenizer.ggml.pre`.
        tokens: by id, one a row of the embedding.
        types: of each, as gguf.TokenType.
        merges: of BPE.
        scores: of SentencePiece.
        begin, end, unknown: ids; None where there is none.
    """

    kind: str
    splitting: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    scores: list[float]
    begin: int
    end: int
    unknown: int | None

    def write(self, writer: gguf.GGUFWriter) -> None:
        """Add its keys to a file."""
        writer.add_tokenizer_model(self.kind)
        writer.add_tokenizer_pre(self.splitting)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        if self.kind == "gpt2":
            writer.add_token_merges(self.merges)
        else:
            writer.add_token_scores(self.scores)
        writer.add_add_space_prefix(self.kind == "llama")
        writer.add_add_bos_token(True)
        writer.add_bos_token_id(self.begin)
        writer.add_eos_token_id(self.end)
        if self.unknown is not None:
            writer.add_unk_token_id(self.unknown)


def gguf_vocabulary(tokenizer: Any, words: Vocabulary, rows: int) -> GgufVocabulary:
    """The vocabulary of a tokenizer, under which llama.cpp splits texts as it does.

    Args:
        tokenizer: a fast one of transformers, <FACE> in it.
        words: how training uses it.
        rows: of the embedding; those that no token uses are filled up.

    Raises:
        BadInput: it is of another kind, or llama.cpp reads differently under every rule.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    if state["model"]["type"] != "BPE":
        raise BadInput(f"the tokenizer is a {state['model']['type']}: BPE is known for GGUF")
    if not words.begin:
        raise BadInput("the tokenizer has no token that begins a text: llama.cpp expects one")
    sentencepiece = bool(state["model"].get("byte_fallback"))
    for splitting in ("default",) if sentencepiece else SPLITTING:
        made = _make(tokenizer, state, rows, sentencepiece, splitting)
        if _reads_alike(made, words.tokenize):
            return made
    raise BadInput("llama.cpp splits texts otherwise than this tokenizer: it cannot be exported")


def _make(
    tokenizer: Any, state: dict[str, Any], rows: int, sentencepiece: bool, splitting: str
) -> GgufVocabulary:
    names = {index: token for token, index in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    tokens = [names.get(index, f"[PAD{index}]") for index in range(rows)]
    types = [_type(index, names, added, tokenizer.unk_token_id) for index in range(rows)]
    pairs = [
        tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge)
        for merge in state["model"]["merges"]
    ]
    rank: dict[str, int] = {}
    for place, (left, right) in enumerate(pairs):
        rank.setdefault(left + right, place)
    return GgufVocabulary(
        kind="llama" if sentencepiece else "gpt2",
        splitting=splitting,
        tokens=tokens,
        types=types,
        merges=[f"{left} {right}" for left, right in pairs],
        # Pieces of one character come of no merge, and last.
        scores=[-float(rank.get(token, len(pairs))) for token in tokens],
        begin=tokenizer.bos_token_id,
        end=tokenizer.eos_token_id,
        unknown=tokenizer.unk_token_id,
    )


def _type(index: int, names: dict[int, str], added: dict[int, Any], unknown: int | None) -> int:
    if index not in names:
        return int(gguf.TokenType.UNUSED)
    if index == unknown:
        return int(gguf.TokenType.UNKNOWN)
    if index in added:  # llama.cpp finds a USER_DEFINED one in a person's text
        special = added[index].special
        return int(gguf.TokenType.CONTROL if special else gguf.TokenType.USER_DEFINED)
    is_byte = _BYTE.fullmatch(names[index]) is not None
    return int(gguf.TokenType.BYTE if is_byte else gguf.TokenType.NORMAL)


def _reads_alike(vocabulary: GgufVocabulary, tokenize: Callable[[str], Sequence[int]]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocabulary.gguf"
        writer = gguf.GGUFWriter(file, "llama")
        vocabulary.write(writer)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        parameters = llama_cpp.llama_model_default_params()
        parameters.vocab_only = True
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_load_from_file(str(file).encode(), parameters)
    if not model:
        return False
    try:
        vocab = llama_cpp.llama_model_get_vocab(model)
        strip = vocabulary.kind == "llama"
        return all(_ids(vocab, text, strip) == list(tokenize(text)) for text in PROBES)
    finally:
        llama_cpp.llama_model_free(model)


def _ids(vocab: Any, text: str, strip: bool) -> list[int]:
    """As the run time asks (`language.llama_cpp.LlamaCpp.tokenize`)."""
    data = (text.removeprefix(" ") if strip else text).encode()
    room = len(data) + 2
    ids = (llama_cpp.llama_token * room)()
    return list(ids[: llama_cpp.llama_tokenize(vocab, data, len(data), ids, room, False, False)])
