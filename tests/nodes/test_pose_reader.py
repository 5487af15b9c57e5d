"""Poses that name some of the units, or what is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.msg import Blendshapes
from contextface_ros.nodes.pose_reader import PoseReader

poses = st.dictionaries(st.sampled_from(ARKIT_NAMES), st.floats(-9, 9, width=32))


def message(pose: dict[str, float]) -> Blendshapes:
    return Blendshapes(names=list(pose), weights=list(pose.values()))


@given(st.lists(poses, min_size=1, max_size=4))
def test_a_pose_changes_what_it_names_and_nothing_else(sequence: list[dict[str, float]]) -> None:
    reader, expected = PoseReader(), dict.fromkeys(ARKIT_NAMES, 0.0)
    for pose in sequence:
        before = reader.weights
        kept = before.copy()
        reader.read(message(pose))
        expected |= {name: min(max(weight, 0.0), 1.0) for name, weight in pose.items()}
        np.testing.assert_allclose(reader.weights, list(expected.values()), rtol=1e-6)
        assert [n for n, named in zip(ARKIT_NAMES, reader.named, strict=True) if named] == [
            name for name in ARKIT_NAMES if name in pose
        ]
        np.testing.assert_array_equal(before, kept)  # who holds it may be another thread


@given(
    names=st.lists(st.sampled_from([*ARKIT_NAMES, "", "jawopen"]), max_size=4, unique=True),
    weights=st.lists(st.floats(width=32), max_size=4),
)
def test_a_pose_that_is_wrong_is_refused_whole(names: list[str], weights: list[float]) -> None:
    reader = PoseReader()
    reader.read(message({"jawOpen": 0.5}))
    before, fits = reader.weights, len(names) == len(weights) and set(names) <= set(ARKIT_NAMES)
    if fits and all(map(math.isfinite, weights)):
        reader.read(Blendshapes(names=names, weights=weights))
        return
    with pytest.raises(BadInput, match="left out"):
        reader.read(Blendshapes(names=names, weights=weights))
    assert reader.weights is before
    reader.read(message({"jawOpen": 0.25}))  # what was refused is forgotten
    assert reader.weights[ARKIT_NAMES.index("jawOpen")] == 0.25
