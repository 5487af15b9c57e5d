#!/usr/bin/env python3
"""The smallest face controller: receives each expression, and the last one if it starts late."""

import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile

from contextface_ros.msg import Expression


def show(face: Expression) -> None:
    """Move the face: here your servos, or your avatar."""
    if face.basis != "open-1":  # numbers without their basis mean nothing
        node.get_logger().warning(f"I do not know the basis {face.basis}")
        return
    first = ", ".join(f"{beta:.2f}" for beta in face.expression[:3])
    node.get_logger().info(f"intensity {face.intensity:.2f}, beta {first} ...")


rclpy.init()
node = rclpy.create_node("face_controller")
last = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
node.create_subscription(Expression, "expression", show, last)
rclpy.spin(node)
