"""A robot's channels, as config/robots/*.yaml describes them.

    name: servo_head
    output: joint_trajectory          # or float64_multi_array
    topic: face_controller/joint_trajectory
    rate_hz: 30
    channels:
      - name: jaw
        unit: rad
        neutral: 0.0
        lower: 0.0
        upper: 0.45
        max_speed: 6.0                # units a second
        weights: {jawOpen: 0.45}      # units, for the whole of a face unit

A channel goes to neutral + the sum of weights times face units, within its limits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

import yaml

from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import ARKIT_NAMES

LARGEST_RATE_HZ = 240.0
MAX_BYTES = 1 << 20


class Output(str, Enum):
    """What the commands are published as."""

    JOINT_TRAJECTORY = "joint_trajectory"
    """trajectory_msgs/JointTrajectory, for ros2_control's joint_trajectory_controller."""
    FLOAT64_MULTI_ARRAY = "float64_multi_array"
    """std_msgs/Float64MultiArray, for its forward_command_controller, in the order of channels."""


@dataclass(frozen=True)
class Channel:
    """One servo, or one value of a light.

    Attributes:
        name: of the joint, or of whatever it is.
        unit: of all its numbers, such as rad or "1".
        neutral: where it is while the face is at rest.
        lower, upper: it never leaves these.
        max_speed: units a second.
        weights: units by which a face unit moves it when fully raised, by ARKit name.
    """

    name: str
    unit: str
    neutral: float
    lower: float
    upper: float
    max_speed: float
    weights: Mapping[str, float]


@dataclass(frozen=True)
class Robot:
    """A robot's face.

    Attributes:
        name: such as servo_head.
        output: type of the commands.
        topic: that they are published on; relative names are in the node's namespace.
        rate_hz: commands a second.
        channels: in the order in which they are commanded.
    """

    name: str
    output: Output
    topic: str
    rate_hz: float
    channels: tuple[Channel, ...]


def read_robot(file: Path) -> Robot:
    """Read and check a description.

    Raises:
        BadInput: it cannot be read, or a value is missing, unknown or impossible; names the file,
            the channel and what to do.
    """
    try:
        if file.stat().st_size > MAX_BYTES:
            raise BadInput(f"{file} is too large for a robot's description")
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise BadInput(f"{file} is no YAML: {' '.join(str(error).split())}") from error
    return parse_robot(values, str(file))


def parse_robot(values: object, where: str) -> Robot:
    """The robot in what YAML held. Raises BadInput, which begins with `where`."""
    row = _mapping(values, [field.name for field in fields(Robot)], where)
    outputs = [output.value for output in Output]
    if row["output"] not in outputs:
        _refuse(where, f"output is {row['output']!r}: use one of {', '.join(outputs)}")
    rate_hz = _number(row["rate_hz"], "rate_hz", where)
    if not 0 < rate_hz <= LARGEST_RATE_HZ:
        _refuse(where, f"rate_hz is {rate_hz:g}: give one above 0 and at most {LARGEST_RATE_HZ:g}")
    if not isinstance(row["channels"], list) or not row["channels"]:
        _refuse(where, "channels is empty: give a list of one channel at least")
    channels = tuple(_channel(value, k, where) for k, value in enumerate(row["channels"], start=1))
    names = [channel.name for channel in channels]
    if twice := [name for name in names if names.count(name) > 1]:
        _refuse(where, f"channel {twice[0]!r} is there twice: give each a name of its own")
    return Robot(
        name=_text(row["name"], "name", where),
        output=Output(row["output"]),
        topic=_text(row["topic"], "topic", where),
        rate_hz=rate_hz,
        channels=channels,
    )


def _channel(value: object, number: int, where: str) -> Channel:
    where = f"{where}, channel {number}"
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        where += f" ({value['name'][:40]})"
    row = _mapping(value, [field.name for field in fields(Channel)], where)
    lower, upper, neutral, speed = (
        _number(row[key], key, where) for key in ("lower", "upper", "neutral", "max_speed")
    )
    if lower >= upper:
        _refuse(where, f"its limits are crossed: lower is {lower:g}, upper is {upper:g}")
    if not lower <= neutral <= upper:
        _refuse(where, f"neutral is {neutral:g}: it must lie within {lower:g} to {upper:g}")
    if speed <= 0:
        _refuse(where, f"max_speed is {speed:g}: it must be above 0")
    weights = row["weights"]
    if not isinstance(weights, dict):
        _refuse(where, "weights must be a table of ARKit names and numbers, such as {jawOpen: 0.4}")
    if unknown := [name for name in weights if name not in ARKIT_NAMES]:
        _refuse(where, f"{unknown[0]!r} is no face unit: use ARKit's names, such as jawOpen")
    return Channel(
        name=_text(row["name"], "name", where),
        unit=_text(row["unit"], "unit", where),
        neutral=neutral,
        lower=lower,
        upper=upper,
        max_speed=speed,
        weights={name: _number(w, f"weight of {name}", where) for name, w in weights.items()},
    )


def _mapping(value: object, keys: list[str], where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(where, f"this is no table: it must have {', '.join(keys)}")
    if missing := [key for key in keys if key not in value]:
        _refuse(where, f"{missing[0]} is missing: it must have {', '.join(keys)}")
    if extra := [key for key in value if key not in keys]:
        _refuse(where, f"unknown key {extra[0]!r}: take it out or correct its name")
    return value


def _number(value: object, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(where, f"{key} is {value!r}: it must be a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        _refuse(where, f"{key} is {number}: it must be finite")
    return number


def _text(value: object, key: str, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        _refuse(where, f"{key} is {value!r}: give a text that is not empty")
    return value


def _refuse(where: str, what: str) -> NoReturn:
    raise BadInput(f"{where}: {what}")
