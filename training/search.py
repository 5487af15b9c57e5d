"""One thing changed at a time, and what dev says: the table and the curve of docs/nano.md.

    python -m training.search training/configs/nano.yaml --texts text_emotion_train.tsv \
        --run runs/search --share 0.25 --markdown docs/search.md --picture docs/images/search.png

Every trial trains from the base, for one epoch over a share of the contexts with its share of human
texts, and is measured on the dev part once, in PyTorch. A trial that was finished is not repeated,
one that was cut off goes on. Small differences are noise: `seeds` shows how much of it there is.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from training.config import Stage, TrainConfig
from training.train import Run, Sources

SHARES = (0.125, 0.25, 0.5, 1.0)
RANKS = (8, 16, 64)
LEARNING_RATES = (1e-4, 6e-4, 1.2e-3)
MIXES = (0, 4)  # human texts, in those of the recipe
SEEDS = (1, 2)
COLUMNS = ("uar_speaker", "uar_listener", "uar_texts", "l2_over_mean")


@dataclass(frozen=True)
class Trial:
    """A recipe that differs from the base recipe in one thing.

    Attributes:
        group: what differs.
        value: its value.
        config: the whole recipe.
    """

    group: str
    value: str
    config: TrainConfig

    @property
    def name(self) -> str:
        """For folders and tables."""
        return f"{self.group} {self.value}".strip()


def trials(base: TrainConfig, share: float) -> Iterator[Trial]:
    """All of them, the recipe itself first."""
    stage = next(stage for stage in base.stages if stage.contexts)
    recipe = replace(base, stages=(_seen(stage, share),))
    yield Trial("recipe", "", recipe)
    for seed in SEEDS:
        yield Trial("seed", str(seed), replace(recipe, seed=base.seed + seed))
    for value in SHARES:
        if value != share:
            yield Trial("share", f"{value:g}", replace(base, stages=(_seen(stage, value),)))
    for rank in RANKS:
        # alpha / rank, the scale of the update, stays
        alpha = round(base.model.lora_alpha * rank / base.model.lora_rank)
        model = replace(base.model, lora_rank=rank, lora_alpha=alpha)
        yield Trial("rank", str(rank), replace(recipe, model=model))
    for rate in LEARNING_RATES:
        (seen,) = recipe.stages
        changed = replace(seen, learning_rate=rate)
        yield Trial("learning rate", f"{rate:g}", replace(recipe, stages=(changed,)))
    for times in MIXES:
        (seen,) = recipe.stages
        changed = replace(seen, texts_per_class=times * seen.texts_per_class)
        yield Trial("human texts", f"x {times}", replace(recipe, stages=(changed,)))
    texts = next((stage for stage in base.stages if not stage.contexts), None)
    if texts is not None:
        first = replace(texts, texts_per_class=round(share * texts.texts_per_class))
        yield Trial("order", "human texts first", replace(recipe, stages=(first, *recipe.stages)))


def _seen(stage: Stage, share: float) -> Stage:
    return replace(
        stage, epochs=1, share=share, texts_per_class=round(share * stage.texts_per_class)
    )


def measured(trial: Trial, sources: Sources, folder: Path) -> dict[str, float]:
    """What dev says after the trial, which is trained unless it was."""
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "dev.json"
    if not done.exists():
        began_s = time.monotonic()
        Run(trial.config, sources, folder).train()
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        dev = [entry["dev"] for entry in map(json.loads, lines) if "dev" in entry][-1]
        dev["minutes"] = (time.monotonic() - began_s) / 60
        done.write_text(json.dumps(dev), encoding="utf-8")
        (folder / "checkpoint.pt").unlink()  # a trial's weights are of no use
    return dict(json.loads(done.read_text(encoding="utf-8")))


def table(results: dict[str, dict[str, float]]) -> str:
    """The trials as Markdown."""
    rows = [
        "| trial | UAR speaker | UAR listener | UAR human texts | L2 / Mean | minutes |",
        "|---|---|---|---|---|---|",
    ]
    for name, dev in results.items():
        cells = " | ".join(f"{dev[key]:.3f}" if key in dev else "" for key in COLUMNS)
        rows.append(f"| {name} | {cells} | {dev['minutes']:.1f} |")
    return "\n".join(rows) + "\n"


def draw(results: dict[str, dict[str, float]], share: float, picture: Path) -> None:
    """The learning curve over the shares."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    curve = {float(name.split()[1]): dev for name, dev in results.items() if "share" in name}
    curve[share] = results["recipe"]
    shares = sorted(curve)
    figure, axes = pyplot.subplots(figsize=(5, 3.2), layout="constrained")
    for key, label in zip(COLUMNS[:3], ("speaker", "listener", "human texts"), strict=True):
        if all(key in curve[value] for value in shares):
            axes.plot(shares, [curve[value][key] for value in shares], "o-", label=label)
    axes.set(xscale="log", xlabel="share of the training scenarios", ylabel="UAR on dev")
    axes.set_xticks(shares, [f"{value:g}" for value in shares])
    axes.minorticks_off()
    axes.legend()
    figure.savefig(picture, dpi=150)
    pyplot.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--texts", type=Path, help="text_emotion_train.tsv")
    parser.add_argument("--run", type=Path, default=Path("runs/search"))
    parser.add_argument("--share", type=float, default=0.25, help="of the contexts, in a trial")
    parser.add_argument("--only", nargs="+", metavar="GROUP", help="such as share rank")
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    parser.add_argument("--picture", type=Path, help="draw the learning curve here")
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    for trial in trials(TrainConfig.read(options.config), options.share):
        if options.only and trial.group not in ("recipe", *options.only):
            continue
        print(trial.name, flush=True)
        folder = options.run / f"{options.share:g}" / trial.name.replace(" ", "_")
        results[trial.name] = measured(trial, Sources(texts=options.texts), folder)
    text = table(results)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.picture:
        draw(results, options.share, options.picture)


if __name__ == "__main__":
    main()
