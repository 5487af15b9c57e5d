from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contextface_ros.errors import BadInput
from contextface_ros.face.flame import FlameModel, rotation
from contextface_ros.face.open_head import OpenHead
from contextface_ros.face.registration import register
from tests.flame_like import FlameLike, flame_like


def model_of(like: FlameLike) -> FlameModel:
    return FlameModel._from_fields(like.fields)


def units_of(head: OpenHead) -> np.ndarray:
    return np.einsum("vxk,ku->uvx", head.model.expression_directions, head.encoder)


def relative_errors(head: OpenHead, like: FlameLike, flame: FlameModel) -> np.ndarray:
    """Of each known unit: what the transfer gets wrong of what it should move."""
    placed = register(head, flame)
    wanted = like.units[:, placed.vertices][like.known]
    got = placed.carried(units_of(head))[like.known]
    return np.linalg.norm(got - wanted, axis=(1, 2)) / np.linalg.norm(wanted, axis=(1, 2))


def test_face_units_arrive_where_another_person_has_them(
    head: OpenHead, like: FlameLike, flame: FlameModel
) -> None:
    errors = relative_errors(head, like, flame)
    assert np.median(errors) < 0.08
    assert errors.max() < 0.15


def test_every_vertex_that_a_unit_moves_has_its_place(
    head: OpenHead, like: FlameLike, flame: FlameModel
) -> None:
    placed = register(head, flame)
    assert len(np.unique(placed.vertices)) == len(placed.vertices) > 3000
    here = (like.units[:, placed.vertices] ** 2).sum(axis=(1, 2))[like.known]
    assert (here > 0.95 * (like.units**2).sum(axis=(1, 2))[like.known]).all()
    assert np.percentile(placed.distance_m, 95) < 1e-3
    np.testing.assert_allclose(placed.shares.sum(axis=1), 1, atol=1e-9)
    assert placed.shares.min() >= 0


def test_a_head_of_another_size_that_looks_elsewhere(head: OpenHead) -> None:
    turn = (0.4, -0.3, 0.2)
    like = flame_like(head, seed=1, turn=turn, scale=1.3, noise_m=2e-4, proportions=False)
    placed = register(head, model_of(like))
    assert placed.scale == pytest.approx(1.3, rel=0.02)
    off = rotation(turn).T @ placed.turn
    assert np.arccos((np.trace(off) - 1) / 2) < 0.05
    errors = relative_errors(head, like, model_of(like))
    assert np.median(errors) < 0.08


def test_the_mouth_is_not_confused(head: OpenHead, flame: FlameModel) -> None:
    """What follows the jaw of one head follows that of the other, on either lip."""
    placed = register(head, flame)
    jaw = (placed.shares * head.model.skin_weights[placed.corners, 2]).sum(axis=1)
    theirs = flame.skin_weights[placed.vertices, 2]
    assert (np.abs(jaw - theirs) > 0.5).mean() < 0.005


@pytest.mark.parametrize(
    ("joint", "says"), [(2, "opens no mouth"), (4, "no two eyes")], ids=["no jaw", "one eye"]
)
def test_a_model_that_is_no_head(flame: FlameModel, head: OpenHead, joint: int, says: str) -> None:
    weights, regressor = flame.skin_weights.copy(), flame.joint_regressor.copy()
    if joint == 2:
        weights[:, 1] += weights[:, 2]
        weights[:, 2] = 0
    else:
        regressor[4] = regressor[3]
    with pytest.raises(BadInput, match=says):
        register(head, replace(flame, skin_weights=weights, joint_regressor=regressor))
