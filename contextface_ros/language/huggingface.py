"""f_phi on transformers: one prefill for the emotion, one short tail for the hidden state.

The same single pass as in llama_cpp.py, for causal LMs and for LLaVA. For each context:

    1) prefix     kept:     the part of the prompt that never changes, read once as the model loads
    2) prefill    image, text and question; softmax over the seven emotions' first tokens
    3) tail       " {Emotion}. The 3D facial mesh is"; the last hidden state predicts <FACE>

Several contexts go through 2 and 3 as rows of one batch, over copies of the prefix's keys and
values. Padding stands on the right, where in 2 no token can see it; in 3 it is masked.

    cache    | prefix | image, text, question | padding | tail | padding |
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from contextface_ros import prompts
from contextface_ros.errors import Aborted, BadBundle, BadInput
from contextface_ros.language.huggingface_sight import sight
from contextface_ros.language.huggingface_weights import (
    QUANTISED,
    advice,
    choose_device,
    is_out_of_memory,
    load_model,
    load_tokenizer,
    with_adapter,
)
from contextface_ros.language.protocol import Reading
from contextface_ros.language.runtime import Runtime
from contextface_ros.types import EMOTIONS, Context, UInt8Array

MAX_ROWS = 8
"""Contexts read together."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Asked:
    """One prompt after the prefix, and the image whose place is in it."""

    tokens: list[int]
    image: UInt8Array | None


class HuggingFace:
    """A model of transformers with an optional adapter, owned by one thread (`abort`: any)."""

    def __init__(
        self,
        base: Path,
        prompt: prompts.PromptVersion = "edge",
        adapter: Path | None = None,
        adapter_scale: float = 1.0,
        precision: str = "bfloat16",
        runtime: Runtime | None = None,
    ) -> None:
        """Load weights whose files were checked before (`bundle.py`).

        Args:
            base: folder in transformers' format, or GGUF of a causal LM.
            prompt: version of the prompt that it was trained with.
            adapter: folder in peft's format, or GGUF on a base in GGUF.
            adapter_scale: factor on the adapter's effect.
            precision: "float32", "bfloat16", "float16", or by bitsandbytes "nf4" or "int8".
            runtime: where and how it runs; its threads are torch's, in the whole process.

        Raises:
            BadBundle: a file cannot be loaded, the adapter changes nothing, or the model is of a
                kind that is not known here.
            BadInput: a GPU is insisted on, and torch has none; or memory runs out.
            MissingDependency: bitsandbytes or peft is needed and not installed.
        """
        self._version = prompt
        self._stop = False
        self._precision = precision
        runtime = runtime or Runtime()
        self._device = choose_device(runtime.device)
        torch.set_num_threads(runtime.threads)
        self._tokenizer = load_tokenizer(base)
        self._adds_space = self._decoded_space()
        with torch.inference_mode():
            self._model: Any = load_model(base, precision, self._device)
            self._sight = sight(self._model.config)
            trained = self._model.config.get_text_config().max_position_embeddings
            self._length = min(runtime.context_length, trained)
            self._prefix_ids = self._prefix_tokens()
            if adapter is not None:
                self._apply(adapter, adapter_scale)
            self._prefix, _ = self._read_prefix()
            self._emotion_rows = self._rows_of_head()
        self._watch_for_abort()
        if runtime.device == "auto" and self._device == "cpu":
            _LOG.warning("torch finds no CUDA device: the language model runs on the CPU, slowly")

    @property
    def hidden_size(self) -> int:
        """Width D of the hidden state."""
        return int(self._model.config.get_text_config().hidden_size)

    @property
    def sees(self) -> bool:
        """Whether it has a vision tower."""
        return self._sight is not None

    def read(self, context: Context) -> Reading:
        """Read one context.

        Raises:
            BadInput: the text is empty or longer than the model can read, or memory runs out.
            Aborted: `abort` was called meanwhile.
        """
        return self.read_many([context])[0]

    def read_many(self, contexts: Sequence[Context]) -> list[Reading]:
        """Read several contexts, in order. Raises as `read` does, for any of them."""
        self._stop = False
        asked = [self._ask(context) for context in contexts]
        readings: dict[int, Reading] = {}
        for group in _groups([len(one.tokens) for one in asked], self._length):
            read = self._read_group([asked[index] for index in group])
            readings |= dict(zip(group, read, strict=True))
        return [readings[index] for index in range(len(asked))]

    def abort(self) -> None:
        """Make the `read` under way raise Aborted. Callable from any thread."""
        self._stop = True

    def tokenize(self, text: str) -> list[int]:
        """Ids of a piece of text; special tokens are neither added nor recognised."""
        text = text.removeprefix(" ") if self._adds_space else text
        ids: list[int] = self._tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=True
        )
        return ids

    def close(self) -> None:
        """Let go of the weights. Safe to call twice."""
        self._model = self._prefix = self._emotion_rows = None
        if self._device == "cuda":
            torch.cuda.empty_cache()

    # --- loading ---------------------------------------------------------------------------------

    def _decoded_space(self) -> bool:
        """Whether the tokenizer puts a space before a text of its own accord, as Llama's does."""
        ids = self._tokenizer.encode("a", add_special_tokens=False)
        return bool(self._tokenizer.decode(ids).startswith(" "))

    def _prefix_tokens(self) -> list[int]:
        bos = self._tokenizer.bos_token_id
        pieces = prompts.prompt(Context(quote="-"), self._version).prefix
        return [*([] if bos is None else [bos]), *prompts.token_ids(pieces, self.tokenize)]

    def _apply(self, adapter: Path, scale: float) -> None:
        """Apply the adapter, and see that it changes what the model makes of the prefix."""
        _, plain = self._read_prefix()
        apart = self._precision in QUANTISED
        self._model = with_adapter(self._model, adapter, scale, keep_apart=apart)
        if torch.allclose(plain, self._read_prefix()[1], atol=1e-5):
            raise BadBundle(f"The adapter {adapter} changes nothing: export it again.")

    def _read_prefix(self) -> tuple[DynamicCache, torch.Tensor]:
        """Keys and values of the prefix, and its last hidden state, (D,)."""
        cache = DynamicCache(config=self._model.config)
        if any(type(layer) is not DynamicLayer for layer in cache.layers):
            raise BadBundle(
                f"a {self._model.config.model_type} model keeps more than keys and values of all "
                "positions, which is not known here: take one with full attention, such as Llama"
            )
        if not self._prefix_ids:  # a prompt in the paper's order, and no token to begin with
            return cache, self._forward(copy.deepcopy(cache), [[0]])[0, -1]
        hidden = self._forward(cache, [self._prefix_ids])
        return cache, hidden[0, -1]

    def _rows_of_head(self) -> torch.Tensor:
        """(7, D) float32: all of the output head that is ever needed."""
        try:
            tokens = prompts.emotion_tokens(self.tokenize)
        except ValueError as error:
            raise BadBundle(str(error)) from error
        weight: torch.Tensor = self._model.get_output_embeddings().weight
        return weight[tokens].float()

    def _watch_for_abort(self) -> None:
        """Look at `_stop` before each layer of the language model and of the vision tower."""

        def check(*_: object) -> None:
            if self._stop:
                raise Aborted("Stopped before there was an answer.")

        for module in self._model.modules():
            if isinstance(module, nn.ModuleList):
                for layer in module:
                    layer.register_forward_pre_hook(check)

    # --- reading ---------------------------------------------------------------------------------

    def _ask(self, context: Context) -> _Asked:
        prompt = prompts.prompt(context, self._version)
        tokens = prompts.token_ids(prompt.text + prompt.question, self.tokenize)
        image = context.image if self._sight is not None else None
        if image is not None and self._sight is not None:
            place = [self._sight.token] * self._sight.count
            tokens = place + prompts.token_ids((prompts.AFTER_IMAGE,), self.tokenize) + tokens
        room = self._length - len(self._prefix_ids) - self._tail_room()
        if len(tokens) > room:
            what = "text" if image is None else "text, with the image,"
            raise BadInput(
                f"The {what} has {len(tokens):,} tokens; shorten it to {room:,} or fewer."
            )
        return _Asked(tokens, image)

    def _tail_room(self) -> int:
        return max(len(self._tail(index)) for index in range(len(EMOTIONS)))

    def _tail(self, emotion: int) -> list[int]:
        return prompts.token_ids(prompts.mesh_tail(EMOTIONS[emotion]), self.tokenize)

    def _read_group(self, group: Sequence[_Asked]) -> list[Reading]:
        with torch.inference_mode(), self._memory():
            cache = self._copied_prefix(len(group))
            asked = [one.tokens for one in group]
            hidden = self._forward(cache, asked, images=[one.image for one in group])
            logits = _last(hidden, asked).float() @ self._emotion_rows.T
            probabilities = logits.softmax(dim=1)
            tails = [self._tail(index) for index in probabilities.argmax(dim=1).tolist()]
            hidden = self._forward(cache, tails, after=[len(tokens) for tokens in asked])
            states = _last(hidden, tails).float().cpu().numpy()
            return [
                Reading(p, state, used_image=one.image is not None)
                for p, state, one in zip(probabilities.cpu().numpy(), states, group, strict=True)
            ]

    def _copied_prefix(self, rows: int) -> DynamicCache:
        cache = copy.deepcopy(self._prefix)
        cache.batch_repeat_interleave(rows)
        return cache

    def _forward(
        self,
        cache: DynamicCache,
        rows: Sequence[Sequence[int]],
        images: Sequence[UInt8Array | None] = (),
        after: Sequence[int] = (),
    ) -> torch.Tensor:
        """Run the trunk over rows of ids, padded on the right, and add them to the cache.

        Args:
            cache: of as many rows.
            rows: ids, of any lengths.
            images: of the rows in which one has its place; None for the others.
            after: how many positions after the prefix each row has in the cache; the others there
                are padding. Empty right after the prefix.

        Returns:
            (B, L, D) hidden states after the final norm.
        """
        width = max(map(len, rows))
        # The image's token would ask for an image, so padding is a token of the row itself.
        ids = torch.tensor([[*row, *[row[-1]] * (width - len(row))] for row in rows])
        inputs = {"input_ids": ids}
        if len(set(after)) > 1:
            inputs |= self._places(cache, after, width)
        if seen := [image for image in images if image is not None]:
            assert self._sight is not None
            inputs["pixel_values"] = self._sight.pixels(seen).to(self._model.dtype)
        inputs = {name: tensor.to(self._device) for name, tensor in inputs.items()}
        hidden: torch.Tensor = self._model.base_model(
            **inputs, cache=cache, use_cache=True
        ).last_hidden_state
        return hidden

    def _places(
        self, cache: DynamicCache, after: Sequence[int], width: int
    ) -> dict[str, torch.Tensor]:
        """Positions and mask of rows that go on after rows of several lengths."""
        prefix = len(self._prefix_ids)
        lengths = torch.tensor(after)[:, None]  # (B, 1)
        columns = torch.arange(cache.get_seq_length() - prefix)
        mask = torch.ones(len(after), cache.get_seq_length() + width, dtype=torch.int64)
        mask[:, prefix : cache.get_seq_length()] = columns < lengths
        return {"attention_mask": mask, "position_ids": prefix + lengths + torch.arange(width)}

    @contextmanager
    def _memory(self) -> Iterator[None]:
        """Say in one sentence that memory ran out."""
        try:
            yield
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise BadInput(
                f"memory ran out on {self._device}: shorten the text, or "
                f"{advice(self._precision, self._device)}"
            ) from error


def _last(hidden: torch.Tensor, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """(B, D): of (B, L, D), the states of the rows' last tokens."""
    ends = torch.tensor([len(row) - 1 for row in rows], device=hidden.device)
    return hidden[torch.arange(len(rows), device=hidden.device), ends]


def _groups(lengths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Indices of rows read together, which are of about one length: so little is padded.

    A group has at most `room` positions, padding included, and at least one row.
    """
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        width = lengths[index]  # the longest so far
        if group and (len(group) == MAX_ROWS or width * (len(group) + 1) > room):
            yield group
            group = []
        group.append(index)
    if group:
        yield group
