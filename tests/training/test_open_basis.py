"""The shipped basis is the one that the contexts and the mesh give, and has the promised scale."""

from __future__ import annotations

import numpy as np
import pytest

from contextface_ros.face import makehuman
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.open_head import OpenHead
from training.data.contexts import CONTEXTS
from training.open_basis import MOVING, build, context_faces, covariance

SMILE = (-0.647260, -1.614145, 2.916552, 1.742396, 0.754862, -0.011227)
NORM = 34.027017


@pytest.fixture(scope="module")
def shipped() -> OpenHead:
    return OpenHead.load()


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return context_faces(CONTEXTS)


def test_the_basis_can_be_made_again(shipped: OpenHead) -> None:
    made = build(CONTEXTS)
    np.testing.assert_allclose(made["encoder"], shipped.encoder, atol=1e-6)
    np.testing.assert_allclose(made["gram"], shipped.gram, rtol=1e-9, atol=1e-12)
    assert str(made["source"]) == shipped.source


def test_the_basis_is_the_one_that_nano_was_trained_in(shipped: OpenHead) -> None:
    """Change the name of the basis when these numbers change: faces of old models need it."""
    smile = shipped.encode({"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0})
    np.testing.assert_allclose(smile[:6], SMILE, atol=1e-5)
    assert np.linalg.norm(shipped.encoder) == pytest.approx(NORM, abs=1e-4)


def test_one_coefficient_is_one_standard_deviation(shipped: OpenHead, faces: np.ndarray) -> None:
    encoder = shipped.encoder[:44, MOVING]
    spread = encoder @ covariance(faces[:, MOVING]) @ encoder.T
    np.testing.assert_allclose(spread, np.eye(44), atol=1e-6)


def test_the_spread_in_closed_form_is_that_of_a_drawn_set(faces: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    faces = faces[:, MOVING]
    drawn = rng.random((200_000, 44)) * (rng.random((200_000, 44)) < 0.25)
    chosen = faces[rng.integers(len(faces), size=len(drawn))]
    sampled = np.cov(np.concatenate([chosen, drawn]).T, bias=True)
    np.testing.assert_allclose(covariance(faces), sampled, atol=1.5e-3)


def test_components_are_principal_components_of_the_vertices(shipped: OpenHead) -> None:
    units = makehuman.read_head(makehuman.find_files()).units.reshape(52, -1)
    components = np.linalg.pinv(shipped.encoder[:44]).T @ units  # (44, 3 V)
    products = components @ components.T
    sizes = np.sqrt(np.diag(products))
    assert (np.diff(sizes) <= 1e-12).all(), "the largest comes first"
    np.testing.assert_allclose(products / np.outer(sizes, sizes), np.eye(44), atol=1e-6)


def test_what_carries_no_coefficient(shipped: OpenHead) -> None:
    assert np.linalg.matrix_rank(shipped.encoder) == 44
    assert not shipped.encoder[44:].any()
    gaze = [name.startswith("eyeLook") for name in ARKIT_NAMES]
    assert sum(gaze) == 8
    assert not shipped.encoder[:, gaze].any()


def test_faces_of_the_contexts_live_near_zero(shipped: OpenHead, faces: np.ndarray) -> None:
    coefficients = shipped.encode(faces)[:, :44]
    assert np.quantile(np.abs(coefficients), 0.98) < 2.5
    assert 0.3 < np.sqrt((coefficients**2).mean()) < 1.0
