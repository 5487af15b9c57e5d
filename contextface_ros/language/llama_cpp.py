"""f_phi on llama.cpp: one prefill for the emotion, one short tail for the hidden state.

The answer's form is fixed, so nothing is generated (the paper's reference generates it token by
token). For each context:

    1) prefix     cached:   the part of the prompt that never changes, in sequence 0
    2) prefill    image, text and question; softmax over the seven emotions' first tokens
    3) tail       " {Emotion}. The 3D facial mesh is"; the last hidden state predicts <FACE>

Several contexts go through 2 and 3 together, each as a sequence that starts as a copy of
sequence 0. What neighbours begin with alike, such as one text asked for speaker and listener, is
read once, and an image too. This file knows llama.cpp's API; `eyes.py` knows mtmd's.
"""

from __future__ import annotations

import ctypes
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from contextface_ros import prompts
from contextface_ros.errors import Aborted, BadBundle, BadInput
from contextface_ros.language.fast_weights import fast_weights
from contextface_ros.language.protocol import Reading
from contextface_ros.language.runtime import ALL_LAYERS, SHORTEST_CONTEXT, Runtime
from contextface_ros.types import EMOTIONS, Context, Float32Array, UInt8Array

MAX_SEQUENCES = 8
"""Contexts read together."""

_LOG = logging.getLogger(__name__)
_ABORTED = 2  # llama_decode's result when the abort callback said so
_NO_SLOT = 1  # ... and when the cache has no room
_EVERY_LAYER = 1000  # llama.cpp takes as many as there are
_FLASH_ATTENTION = {
    "auto": llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _log(level: int, text: bytes, _: Any) -> None:
    """Send llama.cpp's lines to logging. Held by the module: C keeps a pointer to it."""
    # Its warnings are advice to developers ("pooling type ..."); its errors are worth a line.
    _LOG.log(
        logging.ERROR if level == 4 else logging.DEBUG, "%s", text.decode(errors="replace").rstrip()
    )


@dataclass(frozen=True)
class _Piece:
    """Tokens to decode from a position on, in one sequence or in several that share them."""

    sequences: Sequence[int]
    first_position: int
    tokens: Sequence[int]


@dataclass(frozen=True)
class _Asked:
    """One prompt after the prefix.

    Attributes:
        tokens: from behind the image on, or of the whole.
        image: (H, W, 3) uint8 RGB, or None.
        length: how many positions both take.
    """

    tokens: list[int]
    image: UInt8Array | None
    length: int


class LlamaCpp:
    """A GGUF model with an optional LoRA adapter and eyes, owned by one thread (`abort`: any)."""

    def __init__(
        self,
        base: Path,
        prompt: prompts.PromptVersion = "edge",
        adapter: Path | None = None,
        adapter_scale: float = 1.0,
        mmproj: Path | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        """Load weights whose files were checked before (`bundle.py`).

        Args:
            base: GGUF of the language model.
            prompt: version of the prompt that the adapter was trained with.
            adapter: GGUF of a LoRA adapter.
            adapter_scale: factor on the adapter's effect.
            mmproj: GGUF of vision tower and projector; without one, images are left out.
            runtime: where and how it runs; `Runtime()` by default.

        Raises:
            BadBundle: llama.cpp cannot load a file, or the adapter changes nothing.
            BadInput: a GPU is insisted on, and this llama.cpp has none; or an image does not fit
                into the context length.
        """
        self._model: Any = None
        self._context: Any = None
        self._batch: Any = None
        self._eyes: Any = None
        self._image_batch: Any = None
        self._version = prompt
        runtime = runtime or Runtime()
        self._length = runtime.context_length
        self._stop = False
        llama_cpp.llama_log_set(_log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        try:
            self._load(base, runtime)
            self._prefix = self._prefix_tokens()
            if adapter is not None:
                self._apply(adapter, adapter_scale)
            self._emotion_tokens = prompts.emotion_tokens(self.tokenize)
            if mmproj is not None:
                self._open_eyes(mmproj, runtime)
        except BaseException:
            self.close()
            raise
        self._prefix_cached = False

    @property
    def hidden_size(self) -> int:
        """Width D of the hidden state."""
        return int(llama_cpp.llama_model_n_embd(self._model))

    @property
    def sees(self) -> bool:
        """Whether it has a vision tower."""
        return self._eyes is not None

    def read(self, context: Context) -> Reading:
        """Read one context.

        Raises:
            BadInput: the text is empty or longer than the model can read, or the image is none.
            Aborted: `abort` was called meanwhile.
        """
        return self.read_many([context])[0]

    def read_many(self, contexts: Sequence[Context]) -> list[Reading]:
        """Read several contexts, in order. Raises as `read` does, for any of them."""
        self._stop = False
        asked = [self._ask(context) for context in contexts]
        readings: list[Reading] = []
        for group in _groups(asked, self._length - len(self._prefix), self._tail_room()):
            readings += self._read_group(group)
        return readings

    def abort(self) -> None:
        """Make the `read` under way raise Aborted. Callable from any thread."""
        self._stop = True

    def tokenize(self, text: str) -> list[int]:
        """Ids of a piece of text; special tokens are neither added nor recognised."""
        if self._adds_space:
            text = text.removeprefix(" ")
        data = text.encode()
        room = len(data) + 2  # a token stands for at least a byte; Llama's adds a space
        tokens = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(self._vocab, data, len(data), tokens, room, False, False)
        return list(tokens[:count])

    def close(self) -> None:
        """Free native memory, in the order that llama.cpp needs. Safe to call twice."""
        if self._eyes is not None:
            self._eyes.close()
        for batch in (self._image_batch, self._batch):
            if batch is not None:
                llama_cpp.llama_batch_free(batch)
        if self._context is not None:
            llama_cpp.llama_free(self._context)
        if self._model is not None:
            llama_cpp.llama_model_free(self._model)  # its adapters with it
        self._eyes = self._image_batch = self._batch = self._context = self._model = None

    # --- loading ---------------------------------------------------------------------------------

    def _load(self, base: Path, runtime: Runtime) -> None:
        has_gpu = llama_cpp.llama_supports_gpu_offload()
        if runtime.device not in ("auto", "cpu") and not has_gpu:
            raise BadInput(
                f"device {runtime.device} is asked for, but this llama-cpp-python was built for "
                "the CPU: build it with CMAKE_ARGS=-DGGML_CUDA=on, or use device auto"
            )
        model = llama_cpp.llama_model_default_params()
        on_gpu = has_gpu and runtime.device != "cpu"
        self._on_gpu = on_gpu
        layers = _EVERY_LAYER if runtime.gpu_layers == ALL_LAYERS else runtime.gpu_layers
        model.n_gpu_layers = layers if on_gpu else 0
        base = base if on_gpu else fast_weights(base, runtime.threads)
        self._model = llama_cpp.llama_model_load_from_file(str(base).encode(), model)
        if not self._model:
            raise BadBundle(f"llama.cpp cannot load {base}: get the file again.")
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._vocabulary_size = llama_cpp.llama_vocab_n_tokens(self._vocab)
        # SentencePiece vocabularies put a space before a text of their own accord.
        self._adds_space = llama_cpp.llama_vocab_type(self._vocab) == llama_cpp.LLAMA_VOCAB_TYPE_SPM
        context = llama_cpp.llama_context_default_params()
        context.n_ctx = context.n_batch = self._length
        # Each output has room for the logits of a whole vocabulary, so no more than are needed.
        context.n_outputs_max = MAX_SEQUENCES * self._tail_room()
        context.n_seq_max = MAX_SEQUENCES + 1
        context.kv_unified = True  # the prefix is in memory once, whatever reads it
        context.n_threads = context.n_threads_batch = runtime.threads
        context.flash_attn_type = _FLASH_ATTENTION[runtime.flash_attention]
        context.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_NONE
        self._abort_callback = llama_cpp.ggml_abort_callback(lambda _: self._stop)
        context.abort_callback = self._abort_callback
        self._context = llama_cpp.llama_init_from_model(self._model, context)
        if not self._context:
            raise BadBundle(f"llama.cpp cannot make a context for {base}: free some memory.")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(self._length, 0, MAX_SEQUENCES)

    def _open_eyes(self, mmproj: Path, runtime: Runtime) -> None:
        from contextface_ros.language.eyes import Eyes

        self._eyes = Eyes(
            mmproj,
            self._model,
            threads=runtime.threads,
            on_gpu=self._on_gpu,
            flash_attention=_FLASH_ATTENTION[runtime.flash_attention],
            log=_log,
            stopped=lambda: self._stop,
        )
        count, needed = self._eyes.count, self._eyes.count + len(self._prefix) + SHORTEST_CONTEXT
        if self._length < needed:
            raise BadInput(
                f"context_length is {self._length}, and an image alone takes {count} of it: "
                f"set it to {needed} or more"
            )
        self._image_batch = llama_cpp.llama_batch_init(count, self.hidden_size, MAX_SEQUENCES)

    def _prefix_tokens(self) -> list[int]:
        bos = llama_cpp.llama_vocab_bos(self._vocab)
        begin = [] if bos == llama_cpp.LLAMA_TOKEN_NULL else [bos]
        pieces = prompts.prompt(Context(quote="-"), self._version).prefix
        return begin + prompts.token_ids(pieces, self.tokenize)

    def _apply(self, adapter: Path, scale: float) -> None:
        """Apply the adapter, and see that it changes what the model says.

        A binding that took an adapter and ignored it was seen in the wild.
        """
        plain = self._next_logits()
        lora = llama_cpp.llama_adapter_lora_init(self._model, str(adapter).encode())
        if not lora:
            raise BadBundle(f"llama.cpp cannot load the adapter {adapter}: get the file again.")
        adapters = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(lora)
        if llama_cpp.llama_set_adapters_lora(
            self._context, adapters, 1, (ctypes.c_float * 1)(scale)
        ):
            raise BadBundle(f"llama.cpp cannot apply the adapter {adapter}: update llama.cpp.")
        if np.allclose(plain, self._next_logits(), atol=1e-4):
            raise BadBundle(f"The adapter {adapter} changes nothing: export it again.")

    def _next_logits(self) -> Float32Array:
        """(V,) float32 after the prefix, on an empty cache that is left empty."""
        llama_cpp.llama_memory_clear(self._memory, False)
        self._decode([_Piece([0], 0, self._prefix or [0])], hidden=False)
        logits = self._logits(len(self._prefix or [0]) - 1)
        llama_cpp.llama_memory_clear(self._memory, False)
        return logits

    # --- reading ---------------------------------------------------------------------------------

    def _ask(self, context: Context) -> _Asked:
        prompt = prompts.prompt(context, self._version)
        image = context.image if self._eyes is not None else None
        pieces, length, what = prompt.text + prompt.question, 0, "text"
        if image is not None:
            self._eyes.check(image)
            pieces, length = (prompts.AFTER_IMAGE, *pieces), self._eyes.count
            what = "text, with the image,"
        tokens = prompts.token_ids(pieces, self.tokenize)
        length += len(tokens)
        room = self._length - len(self._prefix) - self._tail_room()
        if length > room:
            raise BadInput(f"The {what} has {length:,} tokens; shorten it to {room:,} or fewer.")
        return _Asked(tokens, image, length)

    def _tail_room(self) -> int:
        return max(len(self._tail(index)) for index in range(len(EMOTIONS)))

    def _tail(self, emotion: int) -> list[int]:
        return prompts.token_ids(prompts.mesh_tail(EMOTIONS[emotion]), self.tokenize)

    def _read_group(self, group: Sequence[_Asked]) -> list[Reading]:
        try:
            self._cache_prefix()
            for sequence in range(1, len(group) + 1):
                llama_cpp.llama_memory_seq_cp(self._memory, 0, sequence, -1, -1)
            asked = dict(enumerate(group, start=1))
            pieces = [piece for alike in _by_image(asked) for piece in self._prefill(alike)]
            last = self._decode(pieces, hidden=False)
            probabilities = [self._probabilities(self._logits(last[i])) for i in asked]
            tails = [
                _Piece([i], len(self._prefix) + one.length, self._tail(int(p.argmax())))
                for (i, one), p in zip(asked.items(), probabilities, strict=True)
            ]
            last = self._decode(tails, hidden=True)
            hidden = [self._hidden_state(last[i]) for i in asked]
        except BaseException:
            self._forget()
            raise
        for sequence in range(1, len(group) + 1):
            llama_cpp.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        return [
            Reading(p, h, used_image=one.image is not None)
            for p, h, one in zip(probabilities, hidden, group, strict=True)
        ]

    def _prefill(self, alike: Mapping[int, _Asked]) -> Iterator[_Piece]:
        """Pieces of prompts with one and the same image, which is read at once, or with none."""
        position = len(self._prefix)
        image = next(iter(alike.values())).image
        if image is not None:
            embeddings = self._eyes.see(image)
            self._decode_image(list(alike), position, embeddings)
            position += len(embeddings)
        return _shared({i: one.tokens for i, one in alike.items()}, position)

    def _cache_prefix(self) -> None:
        if self._prefix_cached or not self._prefix:
            return
        self._decode([_Piece([0], 0, self._prefix)], hidden=False)
        self._prefix_cached = True

    def _forget(self) -> None:
        """Empty the cache: after a decode that failed nobody knows what is in it."""
        llama_cpp.llama_memory_clear(self._memory, False)
        self._prefix_cached = False

    def _decode(self, pieces: Sequence[_Piece], hidden: bool) -> dict[int, int]:
        """Run the model over pieces. Returns, of each sequence, the batch index of its last token.

        With `hidden` every token becomes an output (llama.cpp knows no other way to give hidden
        states), so it is for short tails.
        """
        batch = self._batch
        batch.n_tokens = 0
        last: dict[int, int] = {}
        for piece in pieces:
            for offset, token in enumerate(piece.tokens):
                at = batch.n_tokens
                batch.token[at] = token
                batch.pos[at] = piece.first_position + offset
                batch.n_seq_id[at] = len(piece.sequences)
                for place, sequence in enumerate(piece.sequences):
                    batch.seq_id[at][place] = sequence
                batch.logits[at] = hidden
                batch.n_tokens += 1
            last |= dict.fromkeys(piece.sequences, batch.n_tokens - 1)
        for at in last.values():
            batch.logits[at] = True
        self._run(batch, hidden)
        return last

    def _decode_image(self, sequences: list[int], position: int, image: Float32Array) -> None:
        """Put an image's (T, D) embeddings into the cache, for several sequences at once."""
        batch = self._image_batch
        batch.n_tokens = len(image)
        ctypes.memmove(batch.embd, np.ascontiguousarray(image).ctypes.data, image.nbytes)
        for at in range(len(image)):
            batch.pos[at] = position + at
            batch.n_seq_id[at] = len(sequences)
            for place, sequence in enumerate(sequences):
                batch.seq_id[at][place] = sequence
            batch.logits[at] = False
        self._run(batch, hidden=False)

    def _run(self, batch: Any, hidden: bool) -> None:
        llama_cpp.llama_set_embeddings(self._context, hidden)
        result = llama_cpp.llama_decode(self._context, batch)
        if self._stop or result == _ABORTED:
            raise Aborted("Stopped before there was an answer.")
        if result == _NO_SLOT:
            raise BadInput("The text does not fit in the model's memory; shorten it.")
        if result:
            raise BadBundle(f"llama.cpp failed with {result}; its log says why.")

    def _logits(self, at: int) -> Float32Array:
        pointer = llama_cpp.llama_get_logits_ith(self._context, at)
        return np.array(np.ctypeslib.as_array(pointer, (self._vocabulary_size,)), np.float32)

    def _hidden_state(self, at: int) -> Float32Array:
        pointer = llama_cpp.llama_get_embeddings_ith(self._context, at)
        return np.array(np.ctypeslib.as_array(pointer, (self.hidden_size,)), np.float32)

    def _probabilities(self, logits: Float32Array) -> Float32Array:
        """(7,) float32: softmax over the first tokens of the seven words."""
        seven = logits[self._emotion_tokens]
        weights = np.exp(seven - seven.max())
        return np.asarray(weights / weights.sum(), dtype=np.float32)


def _shared(prompts_: Mapping[int, list[int]], position: int) -> Iterator[_Piece]:
    """Prompts by sequence as pieces, in which neighbours that begin alike share the beginning."""
    for _, neighbours in itertools.groupby(prompts_.items(), lambda row: row[1][0]):
        alike = dict(neighbours)
        tokens = next(iter(alike.values()))
        length = _common_length(list(alike.values()))
        yield _Piece(list(alike), position, tokens[:length])
        ends = {sequence: row[length:] for sequence, row in alike.items() if len(row) > length}
        yield from _shared(ends, position + length)


def _common_length(rows: Sequence[list[int]]) -> int:
    columns = zip(*rows, strict=False)  # ends with the shortest
    return sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))


def _by_image(asked: Mapping[int, _Asked]) -> list[dict[int, _Asked]]:
    """Prompts by sequence, split by the image before them, none being one of them too."""
    split: list[dict[int, _Asked]] = []
    for sequence, one in asked.items():
        for alike in split:
            if _same(next(iter(alike.values())).image, one.image):
                alike[sequence] = one
                break
        else:
            split.append({sequence: one})
    return split


def _same(one: UInt8Array | None, other: UInt8Array | None) -> bool:
    if one is None or other is None:
        return one is other
    return one is other or np.array_equal(one, other)


def _groups(asked: Sequence[_Asked], room: int, tail: int) -> Iterator[list[_Asked]]:
    """Runs of prompts that fit in the cache together, each with its tail."""
    group: list[_Asked] = []
    used = 0
    for one in asked:
        need = one.length + tail
        if group and (used + need > room or len(group) == MAX_SEQUENCES):
            yield group
            group, used = [], 0
        group.append(one)
        used += need
    if group:
        yield group
