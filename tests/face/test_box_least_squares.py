from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contextface_ros.face.box_least_squares import solve_box


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.booleans())
def test_the_answer_is_the_minimum(seed: int, size: int, singular: bool) -> None:
    """The conditions of Karush, Kuhn and Tucker, which hold at the minimum and nowhere else."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((max(size // 2, 1) if singular else 2 * size, size))
    quadratic = directions.T @ directions
    linear = 3 * rng.standard_normal((4, size))
    answers = solve_box(quadratic, linear)
    assert answers.shape == linear.shape
    assert answers.min() >= 0 and answers.max() <= 1
    for w, b in zip(answers, linear, strict=True):
        slope = quadratic @ w - b
        scale = 1e-5 * (1 + np.abs(b).max() + np.abs(quadratic).max())
        assert (slope[w == 0] >= -scale).all()
        assert (slope[w == 1] <= scale).all()
        assert np.abs(slope[(w > 0) & (w < 1)]).max(initial=0) <= scale


def test_inside_the_box_it_is_plain_least_squares() -> None:
    rng = np.random.default_rng(3)
    matrix, inside = rng.standard_normal((40, 10)), rng.uniform(0.1, 0.9, 10)
    found = solve_box(matrix.T @ matrix, (matrix @ inside) @ matrix)
    np.testing.assert_allclose(found, inside, atol=1e-6)


def test_two_bounds_by_hand() -> None:
    # (w0 - 2)^2 + (w1 + 1)^2 + (w2 - 0.25)^2
    found = solve_box(2 * np.eye(3), np.array([4.0, -2.0, 0.5]))
    np.testing.assert_allclose(found, [1.0, 0.0, 0.25], atol=1e-8)
