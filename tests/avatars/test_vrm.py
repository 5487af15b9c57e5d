from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from contextface_ros.avatars.vrm import NAMES, expressions
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.prototypes import prototype_faces
from contextface_ros.face.regions import Region, parse_regions, units_of

faces = arrays(np.float32, len(ARKIT_NAMES), elements=st.floats(0, 1, width=32))

# Written down here once more, from the table of the protocol's page.
PAIRS = {
    "Joy": "happy", "Angry": "angry", "Sorrow": "sad", "Fun": "relaxed",
    "A": "aa", "I": "ih", "U": "ou", "E": "ee", "O": "oh",
    "Blink_L": "blinkLeft", "Blink_R": "blinkRight",
}  # fmt: skip


def face(**shapes: float) -> np.ndarray:
    return np.array([shapes.get(name, 0.0) for name in ARKIT_NAMES], np.float32)


def test_perfect_sync_has_arkits_names_with_a_capital_and_the_weights_as_they_are() -> None:
    weights = np.linspace(0, 1, len(ARKIT_NAMES), dtype=np.float32)
    told = dict(expressions(weights, "perfect_sync"))
    assert len(told) == 52
    assert {"BrowInnerUp", "JawOpen", "MouthSmileLeft", "TongueOut"} <= set(told)
    for name, weight in zip(ARKIT_NAMES, weights, strict=True):
        assert told[name[0].upper() + name[1:]] == weight


@given(faces, st.sampled_from(NAMES))
def test_whatever_the_face_is_strengths_are_within_0_and_1(weights: np.ndarray, names: str) -> None:
    told = expressions(weights, names)
    assert all(0.0 <= strength <= 1.0 for _, strength in told)
    assert len({name for name, _ in told}) == len(told)


@given(faces)
def test_both_kinds_of_presets_differ_in_their_names_alone(weights: np.ndarray) -> None:
    old, new = expressions(weights, "vrm0"), expressions(weights, "vrm1")
    assert [strength for _, strength in old] == [strength for _, strength in new]
    translated = {a: b for (a, _), (b, _) in zip(old, new, strict=True)}
    assert PAIRS.items() <= translated.items()


@pytest.mark.parametrize("names", NAMES)
def test_a_face_at_rest_asks_for_nothing(names: str) -> None:
    assert all(strength == 0 for _, strength in expressions(face(), names))


@pytest.mark.parametrize(
    ("emotion", "preset"),
    [("Happy", "happy"), ("Angry", "angry"), ("Sad", "sad"), ("Surprise", "surprised")],
)
@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_an_emotion_is_told_by_its_own_preset(emotion: str, preset: str, strength: float) -> None:
    told = dict(expressions(strength * prototype_faces()[emotion], "vrm1"))
    assert told[preset] == max(told.values())
    assert told[preset] == pytest.approx(strength, abs=0.15)
    assert sum(told.values()) - told[preset] < 0.3


@pytest.mark.parametrize("emotion", ["Fear", "Disgust"])
def test_an_emotion_without_a_preset_is_told_by_its_neighbours(emotion: str) -> None:
    told = dict(expressions(prototype_faces()[emotion], "vrm1"))
    assert sum(told[name] for name in ("sad", "angry", "surprised")) > 0.6
    assert told["happy"] < 0.1


def test_lids_and_gaze_are_told_side_by_side() -> None:
    wink = dict(expressions(face(eyeBlinkLeft=0.8), "vrm0"))
    assert wink["Blink_L"] == pytest.approx(0.8, abs=0.03) and wink["Blink_R"] == 0
    left = dict(expressions(face(eyeLookOutLeft=0.5, eyeLookInRight=0.5), "vrm0"))
    assert left["LookLeft"] == pytest.approx(0.5, abs=0.03) and left["LookRight"] == 0


def test_an_open_mouth_is_a_vowel_and_with_raised_brows_a_surprise() -> None:
    assert dict(expressions(face(jawOpen=0.6), "vrm1"))["surprised"] < 0.1
    assert dict(expressions(face(jawOpen=0.6), "vrm1"))["aa"] > 0.4


@pytest.mark.parametrize("names", NAMES)
@given(weights=faces)
def test_what_another_animator_has_is_left_alone(names: str, weights: np.ndarray) -> None:
    played = ~units_of(parse_regions("mouth,jaw"))
    told = dict(expressions(weights, names, played))
    assert told
    assert not {"JawOpen", "MouthPucker", "A", "aa", "U", "ou", "O", "oh"} & set(told)
    # Nor does it have a say in what is told.
    other = np.where(played, weights, 1 - weights).astype(np.float32)
    assert dict(expressions(other, names, played)) == told


@pytest.mark.parametrize("names", NAMES)
def test_a_face_that_is_lent_as_a_whole_is_not_told(names: str) -> None:
    nothing = np.zeros(len(ARKIT_NAMES), dtype=bool)
    assert expressions(face(jawOpen=1), names, nothing) == []
    assert len(Region) == 4
