"""Figures of the emotions that a model names."""

from __future__ import annotations

from contextface_ros.types import EMOTIONS
from training import metrics

Figures = dict[str, float]


def label_figures(labels: metrics.Labels, answers: metrics.Labels) -> Figures:
    """UAR with its interval, WAR, and F1 of each class."""
    low, high = metrics.interval(lambda i: metrics.uar(labels[i], answers[i]), len(labels))
    f1 = metrics.f1(labels, answers)
    return {
        "n": float(len(labels)),
        "uar": metrics.uar(labels, answers),
        "uar_low": low,
        "uar_high": high,
        "war": metrics.war(labels, answers),
        "f1_macro": float(f1.mean()),
        **{f"f1_{e.value.lower()}": float(f1[i]) for i, e in enumerate(EMOTIONS)},
    }
