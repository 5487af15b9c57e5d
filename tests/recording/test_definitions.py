"""Schemas are read with the parser of another library, and its types with real messages."""

from __future__ import annotations

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sensor_msgs.msg import CompressedImage, Image
from trajectory_msgs.msg import JointTrajectory

from contextface_ros.errors import ContextFaceError
from contextface_ros.nodes.recorder import TOPICS, definition_text
from contextface_ros.recording.definitions import complete_definition, needed_types

KINDS = {topic.kind for topic in TOPICS} | {Image, CompressedImage, DiagnosticArray}


def name_of(kind: type, between: str = "/") -> str:
    return f"{kind.__module__.partition('.')[0]}{between}{kind.__name__}"


@pytest.mark.parametrize("kind", sorted(KINDS, key=name_of), ids=name_of)
def test_a_schema_is_all_that_another_library_needs(kind: type) -> None:
    types = get_types_from_msg(
        complete_definition(name_of(kind), definition_text), name_of(kind, "/msg/")
    )
    store = get_typestore(Stores.EMPTY)
    store.register(types)
    message = store.deserialize_cdr(serialize_message(kind()), name_of(kind, "/msg/"))
    assert {name.removeprefix("_") for name in kind.get_fields_and_field_types()} <= set(
        dir(message)
    )


def test_each_type_is_there_once_however_often_it_is_needed() -> None:
    text = complete_definition("trajectory_msgs/JointTrajectory", definition_text)
    assert name_of(JointTrajectory) == "trajectory_msgs/JointTrajectory"
    assert [line for line in text.splitlines() if line.startswith("MSG: ")] == [
        "MSG: std_msgs/Header",
        "MSG: trajectory_msgs/JointTrajectoryPoint",
        "MSG: builtin_interfaces/Time",
        "MSG: builtin_interfaces/Duration",
    ]


def test_a_type_that_needs_itself_by_way_of_another_ends() -> None:
    texts = {"p/A": "B b\n", "p/B": "q/C[<=3] c\np/A[] back\n", "q/C": "int8 x\n"}
    assert complete_definition("p/A", texts.__getitem__).count("MSG: ") == 2


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("std_msgs/Header header", ["std_msgs/Header"]),
        ("std_msgs/msg/Header header", ["std_msgs/Header"]),
        ("  Point[3] corners # three", ["own/Point"]),
        ("geometry_msgs/Pose[] poses", ["geometry_msgs/Pose"]),
        ("string<=10[<=5] names", []),
        ("float32[99] intensity", []),
        ("uint8 INNER_BROW_RAISER=1", []),
        ('string ANGRY="std_msgs/Header header"', []),
        ("# std_msgs/Header header", []),
        ("int32 count 5", []),
        ("", []),
        ("---", []),
    ],
)
def test_the_types_of_fields(line: str, needed: list[str]) -> None:
    assert list(needed_types(line, "own")) == needed


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert all(name.count("/") == 1 for name in needed_types(text, "own"))


@pytest.mark.parametrize("name", ["no_such_package/Header", "std_msgs/NoSuchType"])
def test_a_type_that_is_not_installed_is_named(name: str) -> None:
    with pytest.raises(ContextFaceError, match=name):
        definition_text(name)
