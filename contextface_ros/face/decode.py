"""Expressions in named bases: the 52 ARKit weights that show one, and one basis into another.

The open basis is known to the package. A basis of FLAME is known once the user's own file was
calibrated (`contextface calibrate`), from then on for every process.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from contextface_ros.errors import BadInput
from contextface_ros.face.calibration import FLAME_BASES, Calibration, load_calibration
from contextface_ros.face.open_head import OpenHead
from contextface_ros.types import EXPRESSION_SIZE, OPEN_BASIS, Expression, Float32Array

BASES = (OPEN_BASIS, *FLAME_BASES)
"""The bases that have a name here."""

LARGEST_COEFFICIENT = 10.0
"""In standard deviations. Faces of people lie mostly within 2; beyond this it is no face."""

LARGEST_TURN_RAD = 1.0
"""Of a jaw about any axis. Mouths open by up to 0.6 rad."""


def blendshapes_of(expression: Expression) -> Float32Array:
    """Find the ARKit weights that come nearest to an expression.

    Args:
        expression: from anywhere: nothing about it is taken for granted.

    Returns:
        (52,) float32 in 0..1, in the order of ARKIT_NAMES; the eyeLook weights are 0.

    Raises:
        BadInput: an unknown basis, one of FLAME that is not calibrated here, a wrong number of
            coefficients, or one that is no face's.
        BadBundle: the calibration's file is broken.
    """
    check_basis(expression.basis)
    coefficients = _checked(
        expression.coefficients, EXPRESSION_SIZE, LARGEST_COEFFICIENT, "coefficient"
    )
    if expression.basis == OPEN_BASIS:
        return _open_head().decode(coefficients)
    jaw = _checked(expression.jaw_pose, 3, LARGEST_TURN_RAD, "jaw angle")
    weights: Float32Array = _calibration(expression.basis).decode(coefficients[None], jaw[None])[0]
    return weights


def in_basis(expression: Expression, basis: str) -> Expression:
    """Write an expression in another basis, by way of the ARKit weights that show it.

    Raises:
        BadInput, BadBundle: as `blendshapes_of`, for either basis.
    """
    if basis == expression.basis:
        return expression
    check_basis(basis)
    weights = blendshapes_of(expression)
    if basis == OPEN_BASIS:
        coefficients, jaw = _open_head().encode(weights), np.zeros(3, np.float32)
    else:
        coefficients, jaw = _calibration(basis).encode(weights)
    return Expression(basis, coefficients, jaw, expression.intensity)


def check_basis(basis: str) -> None:
    """Raise BadInput unless a basis can be used here, BadBundle if its calibration is broken."""
    if basis not in BASES:
        raise BadInput(f"the basis {basis[:40]!r} is not known here: use one of {', '.join(BASES)}")
    if basis != OPEN_BASIS:
        _calibration(basis)


def _checked(
    values: npt.NDArray[np.float32], size: int, largest: float, what: str
) -> npt.NDArray[np.float32]:
    if values.shape != (size,):
        raise BadInput(f"{what}s of shape {values.shape}: send {size}")
    fit = np.abs(values) <= largest  # written so that NaN does not fit
    if not fit.all():
        k = int(np.flatnonzero(~fit)[0])
        unit = "standard deviations" if size == EXPRESSION_SIZE else "rad"
        raise BadInput(
            f"{what} {k} is {values[k]:g}: those of a face are finite and within {largest:g} {unit}"
        )
    return values


@cache
def _open_head() -> OpenHead:
    return OpenHead.load()


@cache  # of what could be read: an error is raised anew each time
def _calibration(basis: str) -> Calibration:
    return load_calibration(basis)
