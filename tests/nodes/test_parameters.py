"""Parameters: one dataclass, from which the node, the params file and the README's table come."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from contextface_ros.face.head import DEVICES
from contextface_ros.face.live_head import LIVE_BASES
from contextface_ros.nodes import parameters
from contextface_ros.nodes.parameters import (
    AgentParameters,
    CameraParameters,
    FaceImageParameters,
    FacePlayerParameters,
    RobotFaceParameters,
    ViewerParameters,
    VmcParameters,
)

KINDS = [
    AgentParameters,
    FacePlayerParameters,
    CameraParameters,
    ViewerParameters,
    RobotFaceParameters,
    FaceImageParameters,
    VmcParameters,
]


def test_the_heads_that_can_be_chosen_are_those_there_are() -> None:
    (basis,) = (spec for spec in fields(FaceImageParameters) if spec.name == "basis")
    assert basis.metadata["choices"] == LIVE_BASES


def test_the_params_file_is_the_one_made_from_the_dataclass(prefix: Path) -> None:
    shipped = prefix / "share" / "contextface_ros" / "config" / "agent.yaml"
    assert shipped.read_text() == parameters.yaml_text(), (
        "config/agent.yaml differs from nodes/parameters.py: write the text of"
        " contextface_ros.nodes.parameters.yaml_text() into it"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_params_file_holds_every_default(kind: type) -> None:
    text = yaml.safe_load(parameters.yaml_text("node", kind))
    values = text["/**/node"]["ros__parameters"]
    assert kind(**values) == kind()
    assert {name: type(value) for name, value in values.items()} == {
        spec.name: type(spec.default) for spec in fields(kind)
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_is_described_and_has_a_default_that_is_allowed(kind: type) -> None:
    for spec in fields(kind):
        assert len(spec.metadata["description"]) > 20, spec.name
        assert spec.metadata["description"].endswith("."), spec.name
        low, high = spec.metadata["minimum"], spec.metadata["maximum"]
        if isinstance(spec.default, (int, float)) and not isinstance(spec.default, bool):
            assert low <= spec.default <= high, spec.name
        if spec.metadata["choices"]:
            assert spec.default in spec.metadata["choices"], spec.name


def test_the_table_has_a_row_for_every_parameter() -> None:
    rows = parameters.markdown_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [spec.name for spec in fields(AgentParameters)]
    assert all(row.count("|") == 5 for row in rows), "a cell holds a bar"


@given(low=st.integers(-1000, 1000), size=st.integers(0, 1000), whole=st.booleans())
def test_ranges_are_told_in_words(low: int, size: int, whole: bool) -> None:
    default = low if whole else float(low)
    field = parameters.parameter(default, "Some number.", minimum=low, maximum=low + size)
    words = parameters.allowed(_named(field, default))
    assert words == f"{'an integer' if whole else 'a decimal number'} from {low} to {low + size}"


def _named(field: object, default: object) -> object:
    field.default = default  # type: ignore[attr-defined]
    return field


@pytest.mark.parametrize("kind", KINDS)
def test_the_docs_show_the_tables_made_from_the_dataclasses(kind: type) -> None:
    page = (Path(__file__).parents[2] / "docs" / "ros.md").read_text()
    assert parameters.markdown_table(kind) in page, f"docs/ros.md has another table of {kind}"


def test_the_devices_are_those_that_the_face_head_knows() -> None:
    (device,) = (spec for spec in fields(AgentParameters) if spec.name == "device")
    assert device.metadata["choices"] == DEVICES
