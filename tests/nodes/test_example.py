"""The example of a face controller, in Python: the real script hears a real expression."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed: run `make setup`")

from rclpy.node import Node  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402

from contextface_ros.msg import Expression  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "face_controller" / "scripts" / "face_controller.py"
NAMESPACE = "/example_of_a_controller"


@pytest.fixture
def publisher() -> Iterator[Node]:
    context = rclpy.context.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("teller", namespace=NAMESPACE, context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.parametrize(
    ("basis", "line"),
    [("open-1", "intensity 0.50, beta 1.25, 0.00, 0.00 ..."), ("flame2020", "I do not know the")],
)
def test_a_controller_that_starts_late_hears_the_last_expression(
    publisher: Node, basis: str, line: str
) -> None:
    last = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    topic = publisher.create_publisher(Expression, "expression", last)
    face = Expression(basis=basis, intensity=0.5)
    face.expression[0] = 1.25
    topic.publish(face)
    command = [sys.executable, str(SCRIPT), "--ros-args", "-r", f"__ns:={NAMESPACE}"]
    controller = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert controller.stderr is not None
        until = time.monotonic() + 30.0
        for said in controller.stderr:
            if line in said or time.monotonic() > until:
                break
        assert line in said
    finally:
        controller.kill()
        controller.wait()


def test_the_example_in_c_subscribes_as_the_one_in_python_does() -> None:
    """It is not compiled here: there are no wheels of rclcpp."""
    code = (SCRIPT.parents[1] / "src" / "face_controller.cpp").read_text()
    assert "QoS(1).transient_local()" in code
    assert '"open-1"' in code
    assert "face.expression[" in code
    listed = (SCRIPT.parents[1] / "CMakeLists.txt").read_text()
    assert "src/face_controller.cpp" in listed
    assert "scripts/face_controller.py" in listed
