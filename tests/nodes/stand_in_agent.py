"""The agent as a process of its own, with a model whose answers and delays the text decides.

Real inference is either too quick or too slow to test what happens during it. Only the model is
replaced; the node, its thread and its topics are the real ones.
"""

from __future__ import annotations

import re
import threading
import time
from functools import partial

import numpy as np

from contextface_ros.errors import Aborted, BadBundle
from contextface_ros.language.runtime import Runtime
from contextface_ros.nodes import process
from contextface_ros.nodes.agent import Agent
from contextface_ros.types import (
    EMOTIONS,
    EXPRESSION_SIZE,
    OPEN_BASIS,
    Context,
    Emotion,
    Expression,
    Prediction,
)


class StandIn:
    """Answers "happy ..." with Happy and so on, and "think 3" after 3 s."""

    device = "stand-in"

    def __init__(self, sees: bool) -> None:
        self.sees = sees
        self._aborted = threading.Event()
        self._owner = threading.get_ident()

    @classmethod
    def load(cls, bundle: str, runtime: Runtime) -> StandIn:
        if bundle == "corrupt":
            raise BadBundle("corrupt/adapter.gguf has a wrong checksum: copy the bundle again")
        if bundle == "slow":
            time.sleep(30.0)
        if bundle == "broken":
            raise RuntimeError("a bug in the loader")
        return cls(sees=bundle == "seeing")

    def predict(self, context: Context) -> Prediction:
        assert threading.get_ident() == self._owner, "the model is used by two threads"
        text = context.quote or context.situation or ""
        if seconds := re.search(r"think ([\d.]+)", text):
            self._aborted.clear()
            if self._aborted.wait(float(seconds[1])):
                raise Aborted("aborted")
        if seconds := re.search(r"deaf ([\d.]+)", text):  # native code that cannot be aborted
            time.sleep(float(seconds[1]))
        if "divide by zero" in text:
            raise ZeroDivisionError("a bug in the model")
        emotion = next((e for e in EMOTIONS if e.value.lower() in text.lower()), Emotion.NEUTRAL)
        coefficients = np.full(EXPRESSION_SIZE, len(text) / 100, np.float32)
        if "not a number" in text:
            coefficients[7] = np.nan
        probabilities = np.full(len(EMOTIONS), 0.05, np.float32)
        probabilities[EMOTIONS.index(emotion)] = 0.7
        face = Expression(OPEN_BASIS, coefficients, np.zeros(3, np.float32), intensity=0.5)
        return Prediction(
            emotion, probabilities, 0.1, 0.2, face, used_image=context.image is not None
        )

    def abort(self) -> None:
        self._aborted.set()

    def close(self) -> None:
        assert threading.get_ident() == self._owner, "the model is freed by another thread"


if __name__ == "__main__":
    raise SystemExit(process.run(partial(Agent, StandIn.load)))
