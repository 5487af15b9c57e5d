"""The node `vmc`: the face on a VRM avatar that another application shows.

    face/blendshapes --expressions--> names and strengths --packets--> UDP

However many poses come, the newest goes out each period. The application may start late, end and
come back.
"""

from __future__ import annotations

import time

import numpy as np
from rclpy.node import Node

from contextface_ros.avatars.vrm import expressions
from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.nodes import process
from contextface_ros.nodes.followed_face import FollowedFace
from contextface_ros.nodes.parameters import NodeParameters, VmcParameters
from contextface_ros.types import Float32Array

_WARN_EVERY_S = 60.0  # an avatar that is not there now may not be wanted now


class Vmc(Node):
    """Tells the avatar, whatever becomes of it."""

    def __init__(self) -> None:
        """Start to send. Raises MissingDependency without the extra, BadInput without a host."""
        super().__init__("vmc")
        from contextface_ros.avatars.vmc import Application, packets

        declared = NodeParameters(self, VmcParameters)
        self._settings = declared.read()
        declared.locked = True
        if not self._settings.host:
            raise BadInput("no host is given: set the parameter host, such as 127.0.0.1")
        self._packets = packets
        self._application = Application(self._settings.host, self._settings.port)
        self._face = FollowedFace(self, self._settings.hold_s)
        self._start_s = time.monotonic()
        self._warned_s = -_WARN_EVERY_S
        self.create_timer(1.0 / self._settings.rate_hz, self._on_period)
        self.get_logger().info(f"{self._settings.names} to {self._place}")

    def close(self) -> None:
        """Leave the avatar at rest."""
        self._send(np.zeros(len(ARKIT_NAMES), np.float32))
        self._application.close()

    @property
    def _place(self) -> str:
        return f"{self._settings.host}, port {self._settings.port}"

    def _on_period(self) -> None:
        self._send(self._face.weights(time.monotonic()))

    def _send(self, weights: Float32Array) -> None:
        values = expressions(weights, self._settings.names, self._face.played())
        try:
            self._application.send(self._packets(values, time.monotonic() - self._start_s))
        except ConnectionRefusedError:
            self._warn("nobody listens there: start the avatar's application, and let it receive")
        except OSError as error:
            self._warn(f"{error.strerror}: set host and port to those of the application")

    def _warn(self, what: str) -> None:
        now_s = time.monotonic()
        if now_s - self._warned_s >= _WARN_EVERY_S:
            self._warned_s = now_s
            self.get_logger().warning(f"the avatar at {self._place} is not reached: {what}")


def main() -> int:
    """Entry point of the executable `vmc`."""
    return process.run(Vmc)


if __name__ == "__main__":
    raise SystemExit(main())
