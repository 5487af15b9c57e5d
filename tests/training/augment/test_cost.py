from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from contextface_ros.errors import BadInput
from training.augment.answer import Answer, Stop
from training.augment.cost import PRICES, Price, estimate, find_price, tally
from training.augment.folder import LabelledImage, read_folder

PRICE = Price(2.0, 10.0, 0.5, "here")
ANSWER = Answer("", Stop.DONE, 1000, 200)


def test_every_price_has_a_source_and_a_day() -> None:
    table = yaml.safe_load(PRICES.read_text())
    assert table["source"].startswith("https://") and table["read"].year >= 2026
    for model, (given, taken) in table["models"].items():
        price = find_price(model, None)
        assert price is not None and 0 < given <= taken
        assert (price.input_usd, price.output_usd) == (given, taken)
        assert table["source"] in price.source and str(table["read"]) in price.source


def test_a_price_can_be_given() -> None:
    assert find_price("openai/mine", None) is None
    price = find_price("openai/mine", (0.5, 1.0))
    assert price is not None and price.input_usd == 0.5
    for bad in ((-1.0, 0.0), (float("nan"), 1.0)):
        with pytest.raises(BadInput, match="is none"):
            find_price("openai/mine", bad)


def test_a_tally_adds_up() -> None:
    both = tally([ANSWER, replace(ANSWER, half_price=True)], PRICE)
    assert (both.answers, both.input_tokens, both.output_tokens) == (2, 2000, 400)
    assert both.usd == pytest.approx(0.004 + 0.002)
    assert "2 requests" in both.words and "0.01 USD" in both.words
    assert tally([ANSWER], None).usd is None


def image(folder: Path, height: int, width: int) -> LabelledImage:
    (folder / "Happy").mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "Happy" / "a.png"), np.zeros((height, width, 3), np.uint8))
    return read_folder(folder).images[0]


def test_an_estimate_grows_with_the_picture_up_to_its_scale(tmp_path: Path) -> None:
    sizes = [(300, 400), (600, 800), (1200, 1600), (1500, 2000)]
    tokens = []
    for size in sizes:
        one = [image(tmp_path, *size)]
        tokens.append(estimate(one, 800, [], PRICE, batch=False).input_tokens)
    assert tokens[0] + (480_000 - 120_000) / 750 == tokens[1]
    assert tokens[1] == tokens[2] == tokens[3]
    unseen = estimate(one, None, [], PRICE, batch=False).input_tokens
    assert unseen < tokens[0]


def test_a_batch_costs_half(tmp_path: Path) -> None:
    one = [image(tmp_path, 300, 400)]
    single, batch = (estimate(one, 800, [], PRICE, batch=b).usd for b in (False, True))
    assert single is not None and batch == pytest.approx(single / 2)


def test_what_was_measured_replaces_the_rule(make_images: Callable[..., Path]) -> None:
    images = read_folder(make_images(Happy=3)).images
    expected = estimate(images, 800, [ANSWER] * 20, PRICE, batch=False)
    assert (expected.input_tokens, expected.output_tokens) == (3000, 600)
    assert expected.usd == pytest.approx(3 * 0.004)
    assert estimate(images, 800, [ANSWER] * 19, PRICE, batch=False).input_tokens != 3000
