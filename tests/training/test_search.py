"""Trials differ from the recipe in one thing, and what was trained is not trained again."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")

from training import dev, search, train  # noqa: E402
from training.config import Stage, TrainConfig  # noqa: E402
from training.data.contexts import read_contexts  # noqa: E402
from training.data.split import in_share  # noqa: E402
from training.search import Trial, draw, measured, table, trials  # noqa: E402
from training.train import Sources  # noqa: E402

CONFIG = TrainConfig.read(Path(train.__file__).parent / "configs" / "nano.yaml")
pytestmark = pytest.mark.usefixtures("one_thread")

FIGURES = {"uar_speaker": 0.6, "uar_listener": 0.4, "l2_over_mean": 0.3, "minutes": 3.0}


@given(st.text(max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_a_smaller_share_is_part_of_a_larger_one(scenario: str, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert in_share(scenario, 1.0) and not in_share(scenario, 0.0)
    assert in_share(scenario, large) or not in_share(scenario, small)


def test_a_share_holds_about_as_many_scenarios_as_it_says() -> None:
    scenarios = {row.scenario for row in read_contexts("train")}
    for share in search.SHARES:
        seen = sum(in_share(scenario, share) for scenario in scenarios)
        assert seen == pytest.approx(share * len(scenarios), rel=0.15)


def test_every_trial_differs_from_the_recipe_in_one_thing() -> None:
    recipe, *others = trials(CONFIG, 0.25)
    assert len({trial.name for trial in others}) == len(others) > 10
    for trial in others:
        different = {
            key
            for key, value in asdict(trial.config).items()
            if value != asdict(recipe.config)[key]
        }
        assert different == {{"seed": "seed", "rank": "model"}.get(trial.group, "stages")}, (
            trial.name
        )
    scales = {t.config.model.lora_alpha / t.config.model.lora_rank for t in (recipe, *others)}
    assert len(scales) == 1


def test_a_trial_is_trained_once_and_its_figures_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev, "CONTEXTS", 2)
    rows = read_contexts("train")[:2]
    monkeypatch.setattr(train, "read_contexts", lambda part: rows)
    stage = Stage("contexts", 1, contexts=True, texts_per_class=0, learning_rate=1e-3)
    config = replace(CONFIG, model=replace(CONFIG.model, lora_rank=2), stages=(stage,))
    figures = measured(Trial("recipe", "", config), Sources(), tmp_path)
    assert set(figures) == {"uar_speaker", "uar_listener", "l2_over_mean", "minutes"}
    entries = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    assert entries[-1]["dev"].items() <= figures.items()

    monkeypatch.setattr(search, "Run", None)  # would fail if it were asked
    assert measured(Trial("recipe", "", config), Sources(), tmp_path) == figures


def test_the_table_and_the_curve_show_what_was_measured(tmp_path: Path) -> None:
    results = {"recipe": FIGURES, "share 1": FIGURES | {"uar_speaker": 0.7, "uar_texts": 0.5}}
    recipe, whole = table(results).splitlines()[2:]
    assert recipe == "| recipe | 0.600 | 0.400 |  | 0.300 | 3.0 |"
    assert whole == "| share 1 | 0.700 | 0.400 | 0.500 | 0.300 | 3.0 |"
    draw(results, 0.25, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5000
