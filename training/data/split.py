"""Which part of the data a scenario belongs to. Fixed for ever: thresholds are on the test part."""

from __future__ import annotations

import hashlib
from typing import Literal

Part = Literal["train", "dev", "test"]

TRAIN_ONLY = frozenset(
    ("day", "event", "friction", "dialogue", "account", "fact", "opposite", "both", "between")
)
"""Registers that were written after errors on the dev part had been read."""


def part_of(scenario: str) -> Part:
    """The part of a scenario (70 / 15 / 15 %), by a hash of its whole name.

    All seven rows of a scenario fall in one part, so that no topic is both trained and tested.
    """
    if scenario.split("-", 1)[0] in TRAIN_ONLY:
        return "train"
    percent = int(hashlib.sha256(scenario.encode()).hexdigest()[:8], 16) % 100
    if percent < 70:
        return "train"
    return "dev" if percent < 85 else "test"


def in_share(scenario: str, share: float) -> bool:
    """Whether a scenario is in a share of all, 0..1; whatever is in one is in each larger one."""
    digest = hashlib.sha256(f"share {scenario}".encode()).hexdigest()
    return int(digest[:8], 16) < share * 16**8
