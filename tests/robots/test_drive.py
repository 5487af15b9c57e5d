from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.prototypes import prototype_faces
from contextface_ros.robots.description import Robot, parse_robot, read_robot
from contextface_ros.robots.drive import LONGEST_STEP_S, Drive

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "config" / "robots").glob("*.yaml"))

anything = arrays.arrays(np.float32, 52, elements=st.floats(width=32))
steps = st.lists(st.tuples(anything, st.floats()), min_size=1, max_size=12)


@pytest.fixture(params=EXAMPLES, ids=lambda file: file.stem, scope="module")
def robot(request: pytest.FixtureRequest) -> Robot:
    return read_robot(request.param)


@given(steps=steps)
def test_no_limit_and_no_speed_is_exceeded_whatever_comes_in(
    robot: Robot, steps: list[tuple[np.ndarray, float]]
) -> None:
    drive = Drive(robot)
    for weights, elapsed_s in steps:
        before = drive.commands.copy()
        after = drive.step(weights, elapsed_s)
        for channel, old, new in zip(robot.channels, before, after, strict=True):
            assert channel.lower <= new <= channel.upper
            usable = min(max(elapsed_s, 0.0), LONGEST_STEP_S) if elapsed_s > 0 else 0.0
            assert abs(new - old) <= channel.max_speed * usable + 1e-9


def test_a_face_that_stays_is_reached_and_a_face_at_rest_is_neutral(robot: Robot) -> None:
    drive = Drive(robot)
    weights = np.linspace(0, 1, 52, dtype=np.float32)
    for _ in range(200):
        drive.step(weights, 0.033)
    assert drive.commands == pytest.approx(drive.goal(weights))
    neutral = [channel.neutral for channel in robot.channels]
    assert drive.goal(np.zeros(52, np.float32)) == pytest.approx(neutral)


def test_the_seven_emotions_look_different_on_every_example(robot: Robot) -> None:
    drive = Drive(robot)
    span = np.array([channel.upper - channel.lower for channel in robot.channels])
    goals = {name: drive.goal(face) / span for name, face in prototype_faces().items()}
    for one, a in goals.items():
        for other, b in goals.items():
            assert one == other or np.abs(a - b).max() > 0.15, (one, other)


def test_an_example_moves_with_every_unit_that_it_names(robot: Robot) -> None:
    drive = Drive(robot)
    named = {name for channel in robot.channels for name in channel.weights}
    for name in named:
        face = np.zeros(52, np.float32)
        face[ARKIT_NAMES.index(name)] = 1.0
        assert np.abs(drive.goal(face) - drive.goal(face * 0)).max() > 0.005, name


GOOD: dict[str, Any] = {
    "name": "one",
    "output": "joint_trajectory",
    "topic": "commands",
    "rate_hz": 30,
    "channels": [
        {
            "name": "jaw",
            "unit": "rad",
            "neutral": 0.0,
            "lower": 0.0,
            "upper": 0.4,
            "max_speed": 6.0,
            "weights": {"jawOpen": 0.4},
        }
    ],
}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"channels": []}, "channels is empty: give a list of one channel at least"),
        ({"output": "smoke"}, "output is 'smoke': use one of joint_trajectory, float64_multi_arr"),
        ({"rate_hz": 1e9}, "rate_hz is 1e+09: give one above 0 and at most 240"),
        ({"colour": "red"}, "unknown key 'colour': take it out or correct its name"),
        ({"channels": [*GOOD["channels"]] * 2}, "channel 'jaw' is there twice"),
    ],
)
def test_a_wrong_robot_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=r"^here: ") as caught:
        parse_robot({**GOOD, **changes}, "here")
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lower": 0.5}, "its limits are crossed: lower is 0.5, upper is 0.4"),
        ({"neutral": 2}, "neutral is 2: it must lie within 0 to 0.4"),
        ({"max_speed": 0}, "max_speed is 0: it must be above 0"),
        ({"upper": float("nan")}, "upper is nan: it must be finite"),
        ({"upper": "wide"}, "upper is 'wide': it must be a number"),
        ({"upper": 10**400}, "upper is inf: it must be finite"),
        ({"weights": {"jaw_open": 1}}, "'jaw_open' is no face unit: use ARKit's names"),
        ({"weights": ["jawOpen"]}, "weights must be a table of ARKit names"),
        ({"weights": {"jawOpen": True}}, "weight of jawOpen is True: it must be a number"),
    ],
)
def test_a_wrong_channel_is_one_sentence_with_its_name(
    changes: dict[str, Any], sentence: str
) -> None:
    values = copy.deepcopy(GOOD)
    values["channels"][0] |= changes
    with pytest.raises(BadInput, match=r"^here, channel 1 \(jaw\): ") as caught:
        parse_robot(values, "here")
    assert sentence in str(caught.value)


@pytest.mark.parametrize("key", list(GOOD["channels"][0]))
def test_a_channel_that_lacks_something_says_what(key: str) -> None:
    values = copy.deepcopy(GOOD)
    del values["channels"][0][key]
    with pytest.raises(BadInput, match=f"{key} is missing"):
        parse_robot(values, "here")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*GOOD, *GOOD["channels"][0]]), inner, max_size=6)
        ),
    )
)
def test_whatever_yaml_may_hold_is_refused_in_a_sentence(values: object) -> None:
    with pytest.raises(BadInput):
        parse_robot(values, "here")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"a: &a [*a]", b"", b"!!python/name:os.x"])
def test_a_file_that_is_none_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "robot.yaml").write_bytes(content)
    with pytest.raises(BadInput, match=r"robot\.yaml"):
        read_robot(tmp_path / "robot.yaml")


def test_the_page_s_example_is_read(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "robots.md").read_text()
    block = page.split("```yaml\n")[1].split("```")[0]
    assert parse_robot(yaml.safe_load(block), "page").channels[0].name == "jaw"
