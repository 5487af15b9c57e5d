"""`<FACE>`: a token that the tokenizer holds in reserve, or a new one.

A reserved token changes nothing. A new one takes the first row of the embedding that no token
uses; many models have some (llava-1.5-hf has 62), so that no matrix is resized. Only a model whose
every row is taken gets 64 more, as a whole, which matrix products like.
"""

from __future__ import annotations

from typing import Any

import torch

ROWS = 64
"""Rows that are added at once, where none is free."""


def add_face_token(tokenizer: Any, name: str) -> int:
    """The id of the token that plays <FACE>, which is added to the tokenizer if it is not there."""
    if name not in tokenizer.get_vocab():
        tokenizer.add_special_tokens({"additional_special_tokens": [name]}, False)
    face: int = tokenizer.convert_tokens_to_ids(name)
    return face


@torch.no_grad()
def make_room(model: Any, face: int) -> None:
    """Give a model a row for <FACE>, if it has none.

    The new rows are the mean of the others: the same each time, and no louder than a word.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    if face < rows:
        return
    model.resize_token_embeddings(face + 1, pad_to_multiple_of=ROWS, mean_resizing=False)
    for layer in {model.get_input_embeddings(), model.get_output_embeddings()}:
        layer.weight[rows:] = layer.weight[:rows].float().mean(dim=0).to(layer.weight.dtype)
