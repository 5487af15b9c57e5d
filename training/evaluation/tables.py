"""The report on the screen: the paper's tables, with the published figures beside ours."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from training.evaluation import baselines, published
from training.evaluation.labels import Figures
from training.evaluation.report import Report

WIDTH = 125
CAVEAT = "The paper's figures are of other data, another model and another basis: no comparison."


def show(report: Report, console: Console | None = None) -> None:
    """Print every table of a report."""
    console = console or Console()
    if not console.is_terminal:  # a file or a pipe, which rich takes for 80 columns
        console = Console(file=console.file, width=WIDTH)
    for title, figures in report.tables.items():
        if "uar" in figures:
            console.print(_emotions(report, title, figures))
        elif "l2" in figures:
            console.print(_faces(title, figures))
        else:
            console.print(_strength(title, figures))
    console.print(CAVEAT, style="dim")
    if report.baselines:
        console.print(f"The baselines learned from {report.learned_from}.", style="dim")


def _emotions(report: Report, title: str, ours: Figures) -> Table:
    table = Table(title=f"{title}: F1 by class, in %", title_justify="left")
    table.add_column("")
    for emotion in published.ORDER:
        table.add_column(emotion.value[:3], justify="right")
    for name in ("mean F1", "UAR (95 %)", "WAR", "n"):
        table.add_column(name, justify="right")
    table.add_row(report.model, *_label_cells(ours), style="bold")
    for name, figures in report.baselines.items():
        if title in figures:
            table.add_row(baselines.TITLES[name], *_label_cells(figures[title]))
    if (paper := published.EMOTION.get(title.split()[-1])) is not None:
        f1 = [_percent(value) for value in paper.f1]
        mean = _percent(sum(paper.f1) / len(paper.f1))
        table.add_row(
            published.NAME, *f1, mean, _percent(paper.uar), _percent(paper.war), "", style="dim"
        )
    return table


def _label_cells(figures: Mapping[str, float]) -> list[str]:
    interval = f"{_percent(figures['uar_low'])} to {_percent(figures['uar_high'])}"
    return [
        *(_percent(figures[f"f1_{emotion.value.lower()}"]) for emotion in published.ORDER),
        _percent(figures["f1_macro"]),
        f"{_percent(figures['uar'])} ({interval})",
        _percent(figures["war"]),
        f"{figures['n']:,.0f}",
    ]


def _faces(title: str, f: Figures) -> Table:
    table = Table(
        title=f"{title}: {f['n']:,.0f} faces of rank {f['rank']:.0f}",
        title_justify="left",
        caption=(
            f"FD between two halves of the truth (the noise floor): {f['fd_noise_floor']:.3f}. FD "
            "does not see which face belongs to which row, so Random has none."
        ),
        caption_justify="left",
    )
    table.add_column("")
    for name in ("L2 (95 %)", "over Mean (95 %)", "FD (95 %)", "over Mean"):
        table.add_column(name, justify="right")
    table.add_row(
        "Ours",
        f"{f['l2']:.4f} ({f['l2_low']:.4f} to {f['l2_high']:.4f})",
        f"{f['l2_over_mean']:.3f} ({f['l2_over_mean_low']:.3f} to {f['l2_over_mean_high']:.3f})",
        f"{f['fd']:.3f} ({f['fd_low']:.3f} to {f['fd_high']:.3f})",
        f"{f['fd_over_mean']:.3f}",
        style="bold",
    )
    table.add_row("Mean", f"{f['l2_mean']:.4f}", "1", f"{f['fd_mean']:.3f}", "1")
    over = f["l2_random"] / f["l2_mean"]
    table.add_row("Random", f"{f['l2_random']:.4f}", f"{over:.3f}", "-", "-")
    l2, fd = f["l2_prediction_to_mean"], f["fd_prediction_to_mean"]
    table.add_row("paper's wording: ours to Mean", f"{l2:.4f}", "", f"{fd:.3f}", "")
    l2 = f["l2_prediction_to_random"]
    table.add_row("paper's wording: ours to Random", f"{l2:.4f}", "", "-", "")
    for name, values in published.FACE.get(title.split()[-1], {}).items():
        table.add_row(
            f"{published.NAME}: {name.capitalize()}",
            f"{values.l2:.2f}",
            "",
            f"{values.fd:.2f}",
            "",
            style="dim",
        )
    return table


def _strength(title: str, figures: Figures) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_row("pairs of one emotion, one clearly stronger", f"{figures['pairs']:,.0f}")
    table.add_row("of them with the stronger face on the right one", _percent(figures["right"]))
    return table


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f}"
