from __future__ import annotations

import json

import numpy as np
import pytest

from contextface_ros.face.blendshapes import ARKIT_NAMES, action_units_to_blendshapes
from contextface_ros.face.open_head import OpenHead
from contextface_ros.record import records
from contextface_ros.types import EMOTIONS, OPEN_BASIS, Emotion, Expression, Prediction

HEAD = OpenHead.load()


def prediction(units: dict[str, float], basis: str = OPEN_BASIS) -> Prediction:
    probabilities = np.full(7, 0.05, np.float32)
    probabilities[EMOTIONS.index(Emotion.HAPPY)] = 0.7
    beta = HEAD.encode(action_units_to_blendshapes(units))
    face = Expression(basis, beta, np.zeros(3, np.float32), intensity=0.5)
    return Prediction(Emotion.HAPPY, probabilities, 0.5, 0.1, face, used_image=False)


def test_a_smile_is_told_by_name() -> None:
    (record,) = records([prediction({"AU6": 0.5, "AU12": 0.6})], HEAD)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["emotion"] == "Happy"
    assert list(record["probabilities"]) == [emotion.value for emotion in EMOTIONS]
    assert sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert len(record["expression"]) == 100
    assert list(record["blendshapes"]) == list(ARKIT_NAMES)
    assert record["blendshapes"]["mouthSmileLeft"] == pytest.approx(0.6, abs=0.05)
    assert record["action_units"]["AU12"] == pytest.approx(0.6, abs=0.05)
    assert "AU4" not in record["action_units"]
    assert all(0 <= weight <= 1 for weight in record["blendshapes"].values())


def test_several_keep_their_order_and_bases() -> None:
    faces = [
        prediction({"AU12": 0.8}),
        prediction({"AU12": 0.8}, basis="flame2020"),
        prediction({"AU4": 0.8}),
    ]
    smile, foreign, frown = records(faces, HEAD)
    assert "AU12" in smile["action_units"]
    assert foreign["blendshapes"] == foreign["action_units"] == {}
    assert foreign["basis"] == "flame2020"
    assert len(foreign["expression"]) == 100
    assert "AU4" in frown["action_units"]
    assert records([], HEAD) == []
