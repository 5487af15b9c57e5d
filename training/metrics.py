"""The figures of the paper's tables, for labels and for faces.

WAR is accuracy, UAR the mean of the recalls. L2 is the mean squared error over the coefficients.
FD is the Frechet distance between two Gaussians, without a root and summed over the coefficients.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from contextface_ros.types import EMOTIONS

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]


def confusion(truth: Labels, said: Labels) -> Labels:
    """(7, 7) counts: rows are what is true, columns what was said, in the order of EMOTIONS."""
    counts = np.zeros((len(EMOTIONS), len(EMOTIONS)), dtype=np.int64)
    np.add.at(counts, (truth, said), 1)
    return counts


def recalls(truth: Labels, said: Labels) -> npt.NDArray[np.float64]:
    """(7,) recall of each class; NaN for one that does not occur."""
    out = np.full(len(EMOTIONS), np.nan)
    for label in np.unique(truth):
        out[label] = (said[truth == label] == label).mean()
    return out


def uar(truth: Labels, said: Labels) -> float:
    """Unweighted average recall over the classes that occur, 0..1."""
    return float(np.nanmean(recalls(truth, said)))


def war(truth: Labels, said: Labels) -> float:
    """Weighted average recall, which is accuracy, 0..1."""
    return float((truth == said).mean())


def f1(truth: Labels, said: Labels) -> npt.NDArray[np.float64]:
    """(7,) F1 of each class; 0 where nothing is right."""
    hits = np.array([((truth == c) & (said == c)).sum() for c in range(len(EMOTIONS))])
    total = np.array([(truth == c).sum() + (said == c).sum() for c in range(len(EMOTIONS))])
    return 2.0 * hits / np.maximum(total, 1)


def l2(said: Floats, truth: Floats, known: Mask | None = None) -> float:
    """Mean squared error over rows (N) and coefficients (100).

    Args:
        said: (N, 100).
        truth: (N, 100).
        known: (100,) or (N, 100), which coefficients of the truth are annotated; all by default.
            The others count nowhere: a code of 50 coefficients says nothing about the rest.
    """
    squares = (said.astype(np.float64) - truth.astype(np.float64)) ** 2
    if known is None:
        return float(np.mean(squares))
    return float(squares[np.broadcast_to(known, squares.shape)].mean())


def frechet(said: Floats, truth: Floats, known: Mask | None = None) -> float:
    """Frechet distance of two sets of faces, (N, 100) and (M, 100).

    |mu_p - mu_g|^2 + tr(S_p + S_g - 2 (S_p^1/2 S_g S_p^1/2)^1/2), by symmetric eigen-decomposition
    in float64 with eigenvalues cut at 0: a basis of lower rank makes S singular.

    With `known`, (100,) or one row a face, the distance is over the coefficients that every face
    has: a covariance takes whole rows.
    """
    p, g = (shared(faces, known).astype(np.float64) for faces in (said, truth))
    s_p, s_g = (np.atleast_2d(np.cov(faces, rowvar=False, ddof=0)) for faces in (p, g))
    root = _root(s_p)
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ s_g @ root), 0.0, None)).sum()
    apart = float(((p.mean(axis=0) - g.mean(axis=0)) ** 2).sum())
    return apart + float(np.trace(s_p) + np.trace(s_g)) - 2.0 * float(cross)


def shared(faces: Floats, known: Mask | None) -> Floats:
    """(N, K): the coefficients that every face has, by a mask of (100,) or (N, 100)."""
    return faces if known is None else faces[:, np.atleast_2d(known).all(axis=0)]


def _root(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T


def noise_floor(truth: Floats, seed: int = 0) -> float:
    """FD between two halves of the truth: nothing measured on so few rows can be below it."""
    order = np.random.default_rng(seed).permutation(len(truth))
    half = len(order) // 2
    return frechet(truth[order[:half]], truth[order[half:]])


def interval(
    figure: Callable[[npt.NDArray[np.int64]], float], rows: int, draws: int = 200, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of a figure of row indices."""
    random = np.random.default_rng(seed)
    drawn = [figure(random.integers(0, rows, rows)) for _ in range(draws)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def rank(truth: Floats) -> int:
    """Rank of the covariance of a set of faces."""
    return int(np.linalg.matrix_rank(np.cov(truth.astype(np.float64), rowvar=False)))
