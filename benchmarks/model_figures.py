"""Put the figures of a bundle's evaluation.json into README.md and the bundle's card.

    .venv/bin/python benchmarks/model_figures.py models/nano --machine "two cores of an AMD EPYC"

What stands between `<!-- figures: begin -->` and `<!-- figures: end -->` is written anew.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from contextface_ros.types import EMOTIONS

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"(?<=<!-- figures: begin -->\n).*(?=<!-- figures: end -->)", re.DOTALL)
LABELS = {
    "speaker emotion": "speaker, written contexts",
    "speaker quote": "– of them quotes",
    "speaker situation": "– of them situations",
    "speaker hard": "– of them where the surface words mislead",
    "listener emotion": "listener, written contexts",
    "human texts": "human texts with human labels, balanced",
}

Tables = dict[str, dict[str, float]]


def emotions(tables: Tables) -> str:
    """UAR and WAR, one row a set."""
    lines = ["| emotion of | n | UAR (95 % interval) | WAR |", "|---|---|---|---|"]
    for key, name in LABELS.items():
        t = tables[key]
        interval = f"({t['uar_low']:.3f} to {t['uar_high']:.3f})"
        lines.append(f"| {name} | {t['n']:,.0f} | **{t['uar']:.3f}** {interval} | {t['war']:.3f} |")
    tail = (
        "UAR is the mean of the seven recalls, WAR the accuracy; always saying one emotion has a "
    )
    return "\n".join([*lines, "", tail + "UAR of 0.143."])


def classes(tables: Tables) -> str:
    """F1 of each class."""
    lines = [
        "| F1 | " + " | ".join(emotion.value for emotion in EMOTIONS) + " |",
        "|---|" + "---|" * len(EMOTIONS),
    ]
    for key, name in (
        ("speaker emotion", "speaker"),
        ("listener emotion", "listener"),
        ("human texts", "human texts"),
    ):
        scores = (f"{tables[key][f'f1_{emotion.value.lower()}']:.2f}" for emotion in EMOTIONS)
        lines.append(f"| {name} | " + " | ".join(scores) + " |")
    return "\n".join(lines)


def faces(tables: Tables) -> str:
    """L2 and FD beside the baselines, and how often strengths are in order."""
    lines = [
        "| face of | L2 | L2 of Mean | L2 of Random | ours / Mean (95 % interval) | FD "
        "| FD of Mean | FD, noise floor |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for who in ("speaker", "listener"):
        t = tables[f"{who} face"]
        interval = f"({t['l2_over_mean_low']:.2f} to {t['l2_over_mean_high']:.2f})"
        lines.append(
            f"| {who} | {t['l2']:.3f} | {t['l2_mean']:.3f} | {t['l2_random']:.3f} "
            f"| {t['l2_over_mean']:.2f} {interval} "
            f"| {t['fd']:.2f} | {t['fd_mean']:.2f} | {t['fd_noise_floor']:.2f} |"
        )
    strength = tables["strength"]
    lines += [
        "",
        "L2 is the mean squared error over the 100 coefficients. *Mean* answers always with the "
        "mean training face, *Random* with another row's face. FD is the Fréchet distance of the "
        "two distributions; the noise floor is that between two halves of the truth. Of two texts "
        "with the same emotion of which one is clearly stronger (by 0.3 or more), the stronger "
        f"face goes to the right one in {100 * strength['right']:.1f} % of "
        f"{strength['pairs']:,.0f} pairs.",
    ]
    return "\n".join(lines)


def fill(file: Path, bundle: Path, machine: str, tables: Tables, with_classes: bool) -> None:
    """Write the block of one page anew. Raises ValueError where the page has none."""
    shown = bundle.resolve().relative_to(ROOT)
    where = "evaluation.json" if file.parent == bundle else f"{shown}/evaluation.json"
    head = (
        f"By `python -m training.evaluate {shown} --texts text_emotion_test.tsv --write`, through "
        f"llama.cpp and ONNX Runtime as the package runs it, on {machine}. The contexts are the "
        f"held-out scenarios of the test part. All figures are in `{where}`."
    )
    parts = [head, emotions(tables), *([classes(tables)] if with_classes else []), faces(tables)]
    text = file.read_text(encoding="utf-8")
    if BLOCK.search(text) is None:
        raise ValueError(f"{file} has no lines <!-- figures: begin --> and <!-- figures: end -->")
    block = "\n\n".join(parts) + "\n"
    file.write_text(BLOCK.sub(lambda _: block, text), encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("bundle", type=Path, help="folder with an evaluation.json")
    parser.add_argument("--machine", required=True, help="where it was measured, in words")
    arguments = parser.parse_args()
    bundle = arguments.bundle.resolve()
    tables: Tables = json.loads((bundle / "evaluation.json").read_text(encoding="utf-8"))
    fill(ROOT / "README.md", bundle, arguments.machine, tables, with_classes=False)
    fill(bundle / "card.md", bundle, arguments.machine, tables, with_classes=True)


if __name__ == "__main__":
    main()
