"""Pictures of an evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from contextface_ros.errors import MissingDependency
from contextface_ros.types import EMOTIONS
from training.metrics import Labels


def draw_confusion(counts: Labels, title: str, file: Path) -> None:
    """Draw a confusion matrix as a PNG: shares of each true class in colour, counts in numbers.

    Args:
        counts: (7, 7), rows true, columns said, in the order of EMOTIONS.
        title: above it.
        file: to write.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependency(
            "pictures need matplotlib: pip install -r requirements/train.txt"
        ) from None
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display, and without pyplot's global state
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    names = [emotion.value for emotion in EMOTIONS]
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(title=title, xlabel="answered", ylabel="annotated")
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour)
    figure.colorbar(image, label="share of the annotated class")
    figure.savefig(file, dpi=120)
