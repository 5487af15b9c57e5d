"""From an expression in a named basis to the 52 ARKit weights that show it."""

from __future__ import annotations

from functools import cache

import numpy as np

from contextface_ros.errors import BadInput
from contextface_ros.face.open_head import OpenHead
from contextface_ros.types import EXPRESSION_SIZE, OPEN_BASIS, Expression, Float32Array

LARGEST_COEFFICIENT = 10.0
"""In standard deviations. Faces of people lie mostly within 2; beyond this it is no face."""


def blendshapes_of(expression: Expression) -> Float32Array:
    """Find the ARKit weights that come nearest to an expression.

    Args:
        expression: from anywhere: nothing about it is taken for granted.

    Returns:
        (52,) float32 in 0..1, in the order of ARKIT_NAMES; the eyeLook weights are 0.

    Raises:
        BadInput: an unknown basis, a wrong number of coefficients, or one that is no face's.
    """
    if expression.basis != OPEN_BASIS:
        raise BadInput(
            f"the basis {expression.basis[:40]!r} is not known here: send {OPEN_BASIS!r}"
        )
    return _open_head().decode(_checked(expression.coefficients))


def _checked(coefficients: Float32Array) -> Float32Array:
    if coefficients.shape != (EXPRESSION_SIZE,):
        raise BadInput(f"coefficients of shape {coefficients.shape}: send {EXPRESSION_SIZE}")
    fit = np.abs(coefficients) <= LARGEST_COEFFICIENT  # written so that NaN does not fit
    if not fit.all():
        k = int(np.flatnonzero(~fit)[0])
        raise BadInput(
            f"coefficient {k} is {coefficients[k]:g}: those of a face are finite and within"
            f" {LARGEST_COEFFICIENT:g} standard deviations"
        )
    return coefficients


@cache
def _open_head() -> OpenHead:
    return OpenHead.load()
