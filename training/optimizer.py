"""AdamW with float32 master weights for parameters that live in bfloat16."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


class MasterAdamW:
    """AdamW on float32 copies; the parameters are their roundings.

    A bfloat16 has 8 bits of mantissa: an update below 1/256 of a weight would be lost.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        betas: tuple[float, float],
        weight_decay: float,
        clip: float,
    ) -> None:
        self._parameters = list(parameters)
        self._masters = [nn.Parameter(p.detach().float().clone()) for p in self._parameters]
        self._adam = torch.optim.AdamW(
            self._masters, lr=0.0, betas=betas, weight_decay=weight_decay, fused=True
        )
        self._clip = clip

    def step(self, learning_rate: float) -> float:
        """One update from the parameters' gradients. Returns the norm before clipping."""
        for parameter, master in zip(self._parameters, self._masters, strict=True):
            master.grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None
        norm = nn.utils.clip_grad_norm_(self._masters, self._clip)
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        self._adam.step()
        self._publish()
        return float(norm)

    def state_dict(self) -> dict[str, Any]:
        """Masters and moments."""
        return {"masters": [m.detach() for m in self._masters], "adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; the parameters follow."""
        for master, saved in zip(self._masters, state["masters"], strict=True):
            master.data.copy_(saved)
        self._adam.load_state_dict(state["adam"])
        self._publish()

    @torch.no_grad()
    def _publish(self) -> None:
        for parameter, master in zip(self._parameters, self._masters, strict=True):
            parameter.copy_(master)
