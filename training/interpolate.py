"""Weights between where a training run began and where it ended.

A point on the way reads new texts better than the end does: weights that lie on one slope of the
loss can be averaged, and the mean has forgotten less (Wortsman et al., Robust Fine-Tuning of
Zero-Shot Models, CVPR 2022; Izmailov et al., Averaging Weights Leads to Wider Optima, UAI 2018).
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from training.model import ContextFaceModule
from training.start import start_from


def move_toward(model: ContextFaceModule, bundle_folder: Path, share: float) -> None:
    """Move the adapter toward the bundle that the run began from, in place, in float32.

    The face head stays as it ended: it learned from the last hidden states, and half-way back it
    fits the annotated faces worse (docs/log.md).

    Args:
        model: the end of the run.
        bundle_folder: where it began.
        share: 0 stays at the end, 1 goes all the way back.

    Raises:
        ValueError: a share outside 0..1.
        BadBundle: the bundle's matrices have other shapes than the model's.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"the share is {share}, it must lie in 0..1")
    began = copy.deepcopy(model.float())
    start_from(bundle_folder, began)
    with torch.no_grad():
        for own, other in zip(
            model.language.parameters(), began.language.parameters(), strict=True
        ):
            if own.requires_grad:
                own.lerp_(other, share)
