"""Least squares with every unknown between 0 and 1, for many right-hand sides at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

_TOGETHER = 128
"""Problems that are solved side by side: enough for NumPy, few enough for the processor's cache."""


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
    rows = np.asarray(linear, dtype=np.float64).reshape(-1, len(quadratic))
    w: Float64Array = np.zeros_like(rows)
    for start in range(0, len(rows), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        w[part] = _solve(definite, rows[part], rounds)
    return np.asarray(w.reshape(np.shape(linear)))


def _solve(quadratic: Float64Array, linear: Float64Array, rounds: int) -> Float64Array:
    """Solve problems (B, N) side by side; one that is solved drops out."""
    solution = np.zeros_like(linear)
    tolerance = 1e-10 * (1.0 + np.abs(linear).max(axis=1, initial=0.0))
    pending = np.arange(len(linear))
    for _ in range(rounds):
        w = solution[pending]
        slope = w @ quadratic - linear[pending]
        free = ~(((w <= 0.0) & (slope >= 0.0)) | ((w >= 1.0) & (slope <= 0.0)))
        moving = np.abs(slope * free).max(axis=1, initial=0.0) > tolerance[pending]
        pending, w, slope, free = pending[moving], w[moving], slope[moving], free[moving]
        if not len(pending):
            break
        # The rows and columns of what stays become those of the identity.
        system = np.where(free[:, :, None] & free[:, None, :], quadratic, 0.0)
        system[:, np.arange(w.shape[1]), np.arange(w.shape[1])] += ~free
        step = np.linalg.solve(system, -(slope * free)[..., np.newaxis])[..., 0]
        solution[pending] = _descend(quadratic, slope, w, step)
    return solution


def _descend(
    quadratic: Float64Array, slope: Float64Array, w: Float64Array, step: Float64Array
) -> Float64Array:
    """Go along `step`, cut off at the bounds, as far as the value falls. All (B, N)."""
    result: Float64Array = w.copy()
    length = 1.0
    going = np.arange(len(w))
    while length > 1e-12 and len(going):
        move = np.clip(w[going] + length * step[going], 0.0, 1.0) - w[going]
        # Change of the value; Armijo's rule with the gradient along the projected move.
        change = (move * (slope[going] + 0.5 * move @ quadratic)).sum(axis=1)
        falls = change <= 1e-4 * (move * slope[going]).sum(axis=1)
        result[going[falls]] = w[going[falls]] + move[falls]
        going = going[~falls]
        length *= 0.5
    return result
