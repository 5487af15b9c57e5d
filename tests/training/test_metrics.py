from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training import metrics

seeds = st.integers(0, 2**32 - 1)


def faces(seed: int, rows: int = 40, width: int = 100, rank: int = 30) -> np.ndarray:
    """(rows, width) float32 faces of lower rank, off the origin, as in the open basis."""
    random = np.random.default_rng(seed)
    basis = random.normal(size=(rank, width)) / np.sqrt(rank)
    return (random.normal(size=(rows, rank)) @ basis + random.normal(size=width)).astype(np.float32)


def labels(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_l2_identities(seed: int) -> None:
    a, b = faces(seed), faces(seed + 1)
    assert metrics.l2(a, a) == 0
    assert metrics.l2(a, b) == pytest.approx(metrics.l2(b, a))
    shift = (a.astype(np.float64) + 0.5).astype(np.float32)
    assert metrics.l2(shift, a) == pytest.approx(0.25, rel=1e-4)
    scaled = metrics.l2(2 * a, 2 * b)
    assert scaled == pytest.approx(4 * metrics.l2(a, b), rel=1e-5)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_fd_of_equal_sets_is_zero_whatever_their_order(seed: int) -> None:
    truth = faces(seed)
    order = np.random.default_rng(seed).permutation(len(truth))
    spread = np.trace(np.cov(truth, rowvar=False, ddof=0))
    assert metrics.frechet(truth[order], truth) == pytest.approx(0, abs=1e-5 * spread)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_fd_of_one_face_said_always_is_spread_and_bias(seed: int) -> None:
    truth = faces(seed).astype(np.float64)
    constant = truth.mean(axis=0) + np.random.default_rng(seed).normal(size=truth.shape[1])
    said = np.broadcast_to(constant, truth.shape)
    spread = np.trace(np.cov(truth, rowvar=False, ddof=0))
    bias = ((constant - truth.mean(axis=0)) ** 2).sum()
    assert metrics.frechet(said, truth) == pytest.approx(spread + bias, rel=1e-6)


@given(seeds, st.floats(0, 3))
@settings(max_examples=25, deadline=None)
def test_fd_of_livelier_faces(seed: int, gain: float) -> None:
    """Deviations times a gain: the roots of the covariances commute, FD is (gain - 1)^2 tr S."""
    truth = faces(seed).astype(np.float64)
    mean = truth.mean(axis=0)
    spread = np.trace(np.cov(truth, rowvar=False, ddof=0))
    fd = metrics.frechet(mean + gain * (truth - mean), truth)
    assert fd == pytest.approx((gain - 1) ** 2 * spread, rel=1e-5, abs=1e-5 * spread)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_fd_is_symmetric_not_negative_and_blind_to_rotation(seed: int) -> None:
    a, b = faces(seed).astype(np.float64), faces(seed + 1, rows=70).astype(np.float64)
    fd = metrics.frechet(a, b)
    assert fd > 0
    assert metrics.frechet(b, a) == pytest.approx(fd, rel=1e-6)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(100, 100)))[0]
    assert metrics.frechet(a @ turn, b @ turn) == pytest.approx(fd, rel=1e-6)


def test_fd_in_one_dimension_is_the_textbook_formula() -> None:
    """(m_p - m_g)^2 + (s_p - s_g)^2, embedded in two columns of which one is still."""
    p = np.array([[0.0, 0.0], [2.0, 0.0]])  # mean 1, deviation 1
    g = np.array([[1.0, 0.0], [7.0, 0.0]])  # mean 4, deviation 3
    assert metrics.frechet(p, g) == pytest.approx(3**2 + 2**2)


def test_recall_accuracy_and_f1_by_hand() -> None:
    truth = labels(0, 0, 0, 0, 1, 1, 5)
    said = labels(0, 0, 0, 1, 1, 5, 5)
    recalls = metrics.recalls(truth, said)
    assert recalls[[0, 1, 5]] == pytest.approx([0.75, 0.5, 1.0])
    assert np.isnan(recalls[[2, 3, 4, 6]]).all()
    assert metrics.uar(truth, said) == pytest.approx((0.75 + 0.5 + 1.0) / 3)
    assert metrics.war(truth, said) == pytest.approx(5 / 7)
    # Hits 3, 1, 1 over true and said: 4 + 3, 2 + 2, 1 + 2.
    expected = np.zeros(7)
    expected[[0, 1, 5]] = [6 / 7, 2 / 4, 2 / 3]
    assert metrics.f1(truth, said) == pytest.approx(expected)


def test_one_answer_for_everything_has_the_uar_of_chance() -> None:
    truth = np.repeat(np.arange(7), [1, 2, 3, 40, 5, 6, 7])
    said = np.full_like(truth, 3)
    assert metrics.uar(truth, said) == pytest.approx(1 / 7)
    assert metrics.war(truth, said) == pytest.approx(40 / 64)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60))
def test_label_figures_stay_in_range_and_ignore_order(pairs: list[tuple[int, int]]) -> None:
    truth, said = np.array(pairs, dtype=np.int64).T
    for figure in (metrics.uar, metrics.war):
        assert 0 <= figure(truth, said) <= 1
        assert figure(truth[::-1], said[::-1]) == pytest.approx(figure(truth, said))
        assert figure(truth, truth) == 1
    f1 = metrics.f1(truth, said)
    assert ((f1 >= 0) & (f1 <= 1)).all()


def test_the_interval_holds_the_figure_and_narrows_with_rows() -> None:
    right = np.random.default_rng(0).random(4000) < 0.7
    low, high = metrics.interval(lambda rows: right[:100][rows].mean(), 100)
    assert low < right[:100].mean() < high
    lower, higher = metrics.interval(lambda rows: right[rows].mean(), 4000)
    assert lower < right.mean() < higher
    assert higher - lower < (high - low) / 3
    assert metrics.interval(lambda rows: right[rows].mean(), 4000) == (lower, higher)


def test_the_noise_floor_falls_with_rows() -> None:
    many = faces(0, rows=2000)
    assert 0 < metrics.noise_floor(many) < metrics.noise_floor(many[:100])


def test_the_rank_is_that_of_the_basis() -> None:
    random = np.random.default_rng(1)
    assert metrics.rank(random.normal(size=(200, 12)) @ random.normal(size=(12, 100)) + 3) == 12


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_what_is_not_known_counts_nowhere(seed: int) -> None:
    said, truth = faces(seed), faces(seed + 1)
    half = np.arange(100) < 50
    wild = truth.copy()
    wild[:, 50:] = 1e3
    assert metrics.l2(said, wild, half) == pytest.approx(metrics.l2(said[:, :50], truth[:, :50]))
    alone = metrics.frechet(said[:, :50], truth[:, :50])
    assert metrics.frechet(said, wild, half) == pytest.approx(alone, rel=1e-6)
    rows = np.ones(truth.shape, dtype=bool)
    rows[3:] = half  # three faces whole, the others in part
    assert metrics.frechet(said, wild, rows) == pytest.approx(alone, rel=1e-6)
    squares = (said - truth) ** 2
    mixed = (squares[:3].sum() + squares[3:, :50].sum()) / rows.sum()
    wild[:3] = truth[:3]
    assert metrics.l2(said, wild, rows) == pytest.approx(mixed, rel=1e-4)
    everything = np.ones(100, dtype=bool)
    assert metrics.l2(said, truth, everything) == pytest.approx(metrics.l2(said, truth))
    assert metrics.frechet(said, truth, everything) == metrics.frechet(said, truth)


def test_a_confusion_counts_rows_as_true_and_columns_as_said() -> None:
    counts = metrics.confusion(labels(0, 0, 1, 6), labels(0, 1, 1, 5))
    assert counts.sum() == 4
    assert counts[0, 0] == counts[0, 1] == counts[1, 1] == counts[6, 5] == 1
