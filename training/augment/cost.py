"""What an augmentation will cost, and what it did. Prices are data, with their source."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from contextface_ros.errors import BadInput
from contextface_ros.vision.image import check_compressed
from training.augment.answer import Answer, Stop
from training.augment.folder import LabelledImage
from training.augment.prompt import SCHEMA, SYSTEM, Request

PRICES = Path(__file__).with_name("prices.yaml")

_CHARACTERS_PER_TOKEN = 3.5  # of English; 4 is usual, so this errs upwards
_PIXELS_PER_TOKEN = 750  # Anthropic's rule for pictures, its docs, page "Vision"
_OUTPUT_TOKENS = 150  # of an answer without thinking, at the lengths that the prompt asks for
_MEASURED_FROM = 20  # answers from which their mean is better than the rules above


@dataclass(frozen=True)
class Price:
    """USD for a million tokens.

    Attributes:
        input_usd: of requests.
        output_usd: of answers.
        batch_discount: what a batch costs of that, 0..1.
        source: where the numbers are from, with the day.
    """

    input_usd: float
    output_usd: float
    batch_discount: float
    source: str

    def of(self, answer: Answer) -> float:
        """USD of one answer."""
        share = self.batch_discount if answer.half_price else 1.0
        tokens = self.input_usd * answer.input_tokens + self.output_usd * answer.output_tokens
        return share * tokens / 1e6


@dataclass(frozen=True)
class Tally:
    """What a number of answers took.

    Attributes:
        answers: how many.
        input_tokens: of all requests.
        output_tokens: of all answers.
        usd: what they cost; None where no price is known.
    """

    answers: int
    input_tokens: int
    output_tokens: int
    usd: float | None

    @property
    def words(self) -> str:
        """The tally on one line."""
        usd = "no price known" if self.usd is None else f"{self.usd:.2f} USD"
        return (
            f"{self.answers:,} requests, {self.input_tokens:,} tokens in,"
            f" {self.output_tokens:,} tokens out, {usd}"
        )


def find_price(annotator: str, given: tuple[float, float] | None) -> Price | None:
    """The price of an annotator: the given one, that of the table, or None.

    Raises:
        BadInput: a given price that is none.
    """
    table = yaml.safe_load(PRICES.read_text(encoding="utf-8"))
    discount = float(table["batch_discount"])
    if given is not None:
        if not all(math.isfinite(usd) and usd >= 0 for usd in given):
            raise BadInput(f"the price {given[0]:g} {given[1]:g} is none: give USD, 0 or more")
        return Price(given[0], given[1], discount, "given on the command line")
    listed = table["models"].get(annotator)
    if listed is None:
        return None
    return Price(
        float(listed[0]), float(listed[1]), discount, f"{table['source']}, read {table['read']}"
    )


def tally(answers: Iterable[Answer], price: Price | None) -> Tally:
    """What these answers took."""
    counted = list(answers)
    return Tally(
        answers=len(counted),
        input_tokens=sum(answer.input_tokens for answer in counted),
        output_tokens=sum(answer.output_tokens for answer in counted),
        usd=sum(price.of(answer) for answer in counted) if price else None,
    )


def estimate(
    images: Sequence[LabelledImage],
    longest_side: int | None,
    answered: Sequence[Answer],
    price: Price | None,
    *,
    batch: bool,
) -> Tally:
    """What the answers for these images will take.

    From the mean of the answers that were paid for already, if there are enough of them; else from
    the length of the prompt and the size of each picture. Thinking is then not counted.

    Args:
        images: those that are still to be asked about.
        longest_side: that the pictures are scaled down to; None where none is sent.
        answered: answers of the same annotator to the same prompt.
        price: of the annotator.
        batch: whether they will be asked in batches.
    """
    if len(answered) >= _MEASURED_FROM:
        mean_input = math.ceil(sum(answer.input_tokens for answer in answered) / len(answered))
        output = math.ceil(sum(answer.output_tokens for answer in answered) / len(answered))
        expected = [Answer("", answered[0].stop, mean_input, output, batch) for _ in images]
    else:
        expected = [_expected(image, longest_side, batch=batch) for image in images]
    return tally(expected, price)


def _expected(image: LabelledImage, longest_side: int | None, *, batch: bool) -> Answer:
    request = Request(image.emotion, b"" if longest_side else None, boxed=True)
    text = len(SYSTEM) + len(str(SCHEMA)) + len(request.text)
    pixels = _pixels(image.path, longest_side) if longest_side else 0
    tokens = math.ceil(text / _CHARACTERS_PER_TOKEN) + math.ceil(pixels / _PIXELS_PER_TOKEN)
    return Answer("", Stop.DONE, tokens, _OUTPUT_TOKENS, batch)


def _pixels(path: Path, longest_side: int) -> int:
    """Of the picture that is sent; 0 for an image that does not decode and is not sent."""
    try:
        height, width = check_compressed(path.read_bytes())
    except (BadInput, OSError):
        return 0
    scale = min(1.0, longest_side / max(height, width))
    return round(scale * height) * round(scale * width)
