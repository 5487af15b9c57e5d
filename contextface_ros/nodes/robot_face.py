"""The node `robot_face`: the face's units in, a robot's joint commands out.

    face/blendshapes --Drive--> trajectory_msgs/JointTrajectory or std_msgs/Float64MultiArray

However many poses come, one command goes out each period, within every channel's limits and speed.
When the poses stop, the robot holds its face for a while, then goes to neutral.
"""

from __future__ import annotations

import time
from pathlib import Path

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Float64MultiArray, MultiArrayDimension
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from contextface_ros.errors import BadInput
from contextface_ros.nodes import process, qos
from contextface_ros.nodes.followed_face import FollowedFace
from contextface_ros.nodes.parameters import NodeParameters, RobotFaceParameters
from contextface_ros.robots.description import Output, Robot, read_robot
from contextface_ros.robots.drive import Commands, Drive


class RobotFace(Node):
    """Owns the robot's commands."""

    def __init__(self) -> None:
        """Read the robot's description. Raises BadInput where it is missing or wrong."""
        super().__init__("robot_face")
        declared = NodeParameters(self, RobotFaceParameters)
        settings = declared.read()
        declared.locked = True
        if not settings.robot:
            raise BadInput("no robot is given: set the parameter robot to a file that describes it")
        self._robot = read_robot(Path(settings.robot))
        self._drive = Drive(self._robot)
        self._face = FollowedFace(self, settings.hold_s)
        self._stepped_s = time.monotonic()
        self._commands = self._publisher(self._robot)
        self.create_timer(1.0 / self._robot.rate_hz, self._on_period)
        self.get_logger().info(
            f"{self._robot.name}: {len(self._robot.channels)} channels on {self._robot.topic}"
        )

    def close(self) -> None:
        """Leave the face as it is: whoever drives the servos holds them."""

    def _publisher(self, robot: Robot) -> Publisher:
        kind = JointTrajectory if robot.output is Output.JOINT_TRAJECTORY else Float64MultiArray
        return self.create_publisher(kind, robot.topic, qos.POSE)

    def _on_period(self) -> None:
        now_s = time.monotonic()
        commands = self._drive.step(self._face.weights(now_s), now_s - self._stepped_s)
        self._stepped_s = now_s
        self._publish(commands)

    def _publish(self, commands: Commands) -> None:
        names = [channel.name for channel in self._robot.channels]
        if self._robot.output is Output.FLOAT64_MULTI_ARRAY:
            message = Float64MultiArray(data=commands.tolist())
            size = len(names)
            message.layout.dim = [
                MultiArrayDimension(label=",".join(names), size=size, stride=size)
            ]
            self._commands.publish(message)
            return
        period = Duration(seconds=1.0 / self._robot.rate_hz).to_msg()
        point = JointTrajectoryPoint(positions=commands.tolist(), time_from_start=period)
        # A stamp of zero: to be carried out at once, whatever the clocks of both sides say.
        self._commands.publish(JointTrajectory(joint_names=names, points=[point]))


def main() -> int:
    """Entry point of the executable `robot_face`."""
    return process.run(RobotFace)


if __name__ == "__main__":
    raise SystemExit(main())
