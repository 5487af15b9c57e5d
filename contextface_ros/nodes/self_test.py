"""Sends this machine a message, from one process to another, and says how it went.

    contextface doctor

Prints the middleware and the latency, exit code 0; or what is wrong, exit code 1. Two
processes, because what breaks in a container is what lies between them: shared memory of another
user, or a network without multicast.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import uuid

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String

from contextface_ros.interpreter import python_command

_PATIENCE_S = 10.0
_PERIOD_S = 0.05
_PUBLISH = "--publish"


def main() -> int:
    """Listen, or with --publish TOPIC send until ended."""
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    name = f"contextface_self_test_{uuid.uuid4().hex[:8]}"
    if _PUBLISH in sys.argv:
        return _publish(rclpy.create_node(f"{name}_sender"), sys.argv[-1])
    node = rclpy.create_node(name)
    middleware = rclpy.get_rmw_implementation_identifier()
    sender = subprocess.Popen(python_command("contextface_ros.nodes.self_test", _PUBLISH, name))
    try:
        latency_ms = _listen(node, name)
    finally:
        sender.terminate()
        sender.wait()
        node.destroy_node()
        rclpy.try_shutdown()
    if latency_ms is None:
        print(f"{middleware}: no message came through within {_PATIENCE_S:.0f} s")
        return 1
    print(f"{middleware}: a message of another process arrived within {latency_ms:.1f} ms")
    return 0


def _listen(node: Node, topic: str) -> float | None:
    """How old the first message was when it came, or None if none does."""
    latencies_ms: list[float] = []

    def on_message(message: String) -> None:  # its data is when it was sent, by the same clock
        latencies_ms.append((time.monotonic() - float(message.data)) * 1000)

    node.create_subscription(String, topic, on_message, 10)
    end = time.monotonic() + _PATIENCE_S
    while not latencies_ms and time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=_PERIOD_S)
    return latencies_ms[0] if latencies_ms else None


def _publish(node: Node, topic: str) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    publisher = node.create_publisher(String, topic, 10)
    end = time.monotonic() + 2 * _PATIENCE_S  # it does not outlive a listener that was killed
    while time.monotonic() < end:
        publisher.publish(String(data=repr(time.monotonic())))
        time.sleep(_PERIOD_S)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
