"""The regions of the face, so that one of them can be lent to another animator."""

from __future__ import annotations

from enum import Enum

import numpy as np
import numpy.typing as npt

from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import ARKIT_NAMES


class Region(str, Enum):
    """Each of the 52 units belongs to one region."""

    BROWS = "brows"
    EYES = "eyes"
    MOUTH = "mouth"
    JAW = "jaw"


# Cheeks and nose move with the lids when a smile or a sneer is felt, and not with speech, so a
# mouth can be lent to a lip-sync while they stay with the emotion.
_STEMS = {
    Region.BROWS: ("brow",),
    Region.EYES: ("eye", "cheekSquint", "noseSneer"),
    Region.MOUTH: ("mouth", "cheekPuff", "tongue"),
    Region.JAW: ("jaw",),
}


def units_of(regions: frozenset[Region]) -> npt.NDArray[np.bool_]:
    """Which units belong to the regions, (52,) in the order of ARKIT_NAMES."""
    stems = tuple(stem for region in regions for stem in _STEMS[region])
    return np.array([name.startswith(stems) for name in ARKIT_NAMES])


def parse_regions(text: str) -> frozenset[Region]:
    """Read names of regions, with commas between them; an empty text names none.

    Raises:
        BadInput: an unknown name.
    """
    names = {name.strip().lower() for name in text.split(",")} - {""}
    known = {region.value for region in Region}
    if unknown := sorted(names - known):
        raise BadInput(
            f"{unknown[0][:40]!r} is no region of the face: name {', '.join(r for r in Region)},"
            " with commas between them"
        )
    return frozenset(Region(name) for name in names)
