"""Least squares with every unknown between 0 and 1, for many right-hand sides at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]


def solve_box(quadratic: Float64Array, linear: Float64Array, rounds: int = 100) -> Float64Array:
    """Minimise w'Qw/2 - b'w over 0 <= w <= 1.

    The projected Newton method: unknowns that rest on a bound and are pushed against it stay; the
    others take a Newton step, cut off at the bounds and shortened until the value falls. It ends
    exactly, after a handful of rounds. (Bertsekas, "Projected Newton methods for optimization
    problems with simple constraints", SIAM Journal on Control and Optimization 20(2), 1982.)

    Args:
        quadratic: Q, (N, N), symmetric, positive semi-definite.
        linear: b, (..., N).
        rounds: limit on the rounds of one problem.

    Returns:
        (..., N) float64 in 0..1.
    """
    # A breath of ridge makes Q definite where two unknowns do the same thing.
    ridge = 1e-9 * float(np.trace(quadratic)) / len(quadratic)
    definite = quadratic + ridge * np.eye(len(quadratic))
    rows = [_solve_one(definite, row, rounds) for row in linear.reshape(-1, len(quadratic))]
    return np.array(rows, dtype=np.float64).reshape(linear.shape)


def _solve_one(quadratic: Float64Array, linear: Float64Array, rounds: int) -> Float64Array:
    w = np.zeros_like(linear)
    tolerance = 1e-10 * (1.0 + float(np.abs(linear).max()))
    for _ in range(rounds):
        slope = quadratic @ w - linear
        free = ~(((w <= 0.0) & (slope >= 0.0)) | ((w >= 1.0) & (slope <= 0.0)))
        if not free.any() or np.abs(slope[free]).max() <= tolerance:
            break
        step = np.zeros_like(w)
        step[free] = np.linalg.solve(quadratic[np.ix_(free, free)], -slope[free])
        w = _descend(quadratic, slope, w, step)
    return w


def _descend(
    quadratic: Float64Array, slope: Float64Array, w: Float64Array, step: Float64Array
) -> Float64Array:
    """Go along `step`, cut off at the bounds, as far as the value falls."""
    length = 1.0
    while length > 1e-12:
        move = np.clip(w + length * step, 0.0, 1.0) - w
        # Change of the value; Armijo's rule with the gradient along the projected move.
        if move @ (slope + 0.5 * quadratic @ move) <= 1e-4 * float(slope @ move):
            return w + move
        length *= 0.5
    return w
