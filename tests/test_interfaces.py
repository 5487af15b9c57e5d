"""The messages as they are built, against the nouns of types.py."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from contextface_ros.types import EMOTIONS, EXPRESSION_SIZE, Perspective

msg = pytest.importorskip("contextface_ros.msg", reason="the interfaces are not built: make build")


def test_labels_and_their_order_are_those_of_the_core() -> None:
    for place, emotion in enumerate(EMOTIONS):
        assert getattr(msg.Emotion, emotion.name) == emotion.value
        assert getattr(msg.Emotion, f"INDEX_{emotion.name}") == place
    assert len(msg.Emotion().probabilities) == len(EMOTIONS)


def test_perspectives_are_those_of_the_core() -> None:
    assert msg.Emotion.SPEAKER == Perspective.SPEAKER.value
    assert msg.Emotion.LISTENER == Perspective.LISTENER.value


def test_expression_holds_the_coefficients_and_the_jaw() -> None:
    expression = msg.Expression()
    assert expression.expression.shape == (EXPRESSION_SIZE,)
    assert expression.expression.dtype == np.float32
    assert expression.jaw_pose.shape == (3,)
    with pytest.raises(AssertionError):
        msg.Expression(expression=[0.0] * (EXPRESSION_SIZE - 1), check_fields=True)


def test_a_message_survives_the_wire() -> None:
    from rclpy.serialization import deserialize_message, serialize_message

    sent = msg.Blendshapes(names=["jawOpen", "mouthSmileLeft"], weights=[0.25, 1.0])
    received = deserialize_message(serialize_message(sent), msg.Blendshapes)
    assert received == sent

    face = msg.Expression(basis="open-1", intensity=0.5)
    face.expression = np.linspace(-2, 2, EXPRESSION_SIZE, dtype=np.float32)
    assert deserialize_message(serialize_message(face), msg.Expression) == face


@pytest.mark.parametrize(
    "name", ["Blendshapes.msg", "Emotion.msg", "Expression.msg", "Express.srv"]
)
def test_every_field_is_explained(prefix: Path, name: str) -> None:
    """A comment stands right above each field and each group of constants."""
    folder = prefix / "share" / "contextface_ros" / name.rpartition(".")[2]
    above = ""
    for line in (folder / name).read_text().splitlines():
        is_constant = re.match(r"\w+ [A-Z_]+=", line) is not None
        if line and line != "---" and not line.startswith("#"):
            explained = above.startswith("#") or (is_constant and above) or "Expression" in line
            assert explained, f"{name}: no comment above {line!r}"
        above = line
