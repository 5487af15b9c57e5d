"""`contextface record`: the topics of the agent and of the face, into an MCAP file.

    speech, situation, attention, emotion, expression, face/blendshapes --bytes--> Bag

Messages go from the wire into the file as they are, none is decoded.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from contextface_ros.errors import ContextFaceError
from contextface_ros.msg import Blendshapes, Emotion, Expression
from contextface_ros.nodes import process, qos
from contextface_ros.recording.bag import Bag
from contextface_ros.recording.definitions import complete_definition

IMAGES = {"none": None, "raw": Image, "compressed": CompressedImage}
"""What is recorded of the camera, by name."""

_FLUSH_S = 2.0  # a process that is killed loses no more; an index of a day ends within 1 s
_BACKLOG = 200  # messages of a topic that may wait while a chunk is compressed
_FOREVER = {"sec": 9223372036, "nsec": 854775807}  # as rosbag2 writes it


@dataclass(frozen=True)
class Topic:
    """A topic to record: its relative name, its type, and how its publisher offers it."""

    name: str
    kind: type[Any]
    offered: QoSProfile


TOPICS = (
    Topic("speech", String, qos.UTTERANCE),
    Topic("situation", String, qos.UTTERANCE),
    Topic("attention", String, qos.LAST_WISH),
    Topic("emotion", Emotion, qos.LAST_ANSWER),
    Topic("expression", Expression, qos.LAST_ANSWER),
    Topic("face/blendshapes", Blendshapes, qos.POSE),
)
"""What is recorded of every session."""


def record(path: Path, images: str, ros_arguments: Sequence[str]) -> int:
    """Record until SIGINT or SIGTERM.

    Args:
        path: of the file, which must not be there.
        images: one of IMAGES.
        ros_arguments: what follows --ros-args.

    Returns:
        Exit code: 0 after a signal, 2 where ROS could not start or the file could not be written.

    Raises:
        BadInput, MissingDependency: as Bag.
    """
    bag = Bag(path)
    code = process.run(partial(Recorder, bag, images), ["--ros-args", *ros_arguments])
    if code:
        bag.discard()
    return code or (0 if bag.complete else 2)


class Recorder(Node):
    """Fills a bag."""

    def __init__(self, bag: Bag, images: str) -> None:
        super().__init__("recorder")
        self._bag = bag
        self._start_s = time.monotonic()
        self._failed = False
        camera = IMAGES[images]
        topics = TOPICS if camera is None else (*TOPICS, Topic("image", camera, qos.NEWEST_FRAME))
        for topic in topics:
            self._follow(topic)
        self.create_timer(_FLUSH_S, self._on_flush)
        _say(f"recording {', '.join(bag.messages)} to {bag.path}: Ctrl-C ends it")

    def close(self) -> None:
        """End the file."""
        if not self._failed:
            self._try(self._bag.close)
        kinds = ", ".join(f"{topic} {n}" for topic, n in self._bag.messages.items() if n)
        start = "\r" if sys.stderr.isatty() else ""  # over the line that tells how far it is
        _say(f"{start}{self._progress()} in {self._bag.path}: {kinds or 'nothing was heard'}")

    def _follow(self, topic: Topic) -> None:
        offered = topic.offered
        profile = QoSProfile(
            depth=_BACKLOG, reliability=offered.reliability, durability=offered.durability
        )
        package, kind = topic.kind.__module__.partition(".")[0], topic.kind.__name__
        number = self._bag.add_topic(
            self.resolve_topic_name(topic.name),
            f"{package}/msg/{kind}",
            complete_definition(f"{package}/{kind}", definition_text),
            rosbag2_qos(offered),
        )

        def write(message: bytes, info: dict[str, int]) -> None:
            now_ns = time.time_ns()
            received_ns = info["received_timestamp"] or now_ns
            sent_ns = info["source_timestamp"] or received_ns
            self._try(partial(self._bag.write, number, message, received_ns, sent_ns))

        self.create_subscription(topic.kind, topic.name, write, profile, raw=True)

    def _on_flush(self) -> None:
        self._try(self._bag.flush)
        if sys.stderr.isatty():
            print(f"\r{self._progress()} ", end="", file=sys.stderr, flush=True)

    def _progress(self) -> str:
        seconds = time.monotonic() - self._start_s
        messages = sum(self._bag.messages.values())
        return f"{seconds:.0f} s, {messages} messages, {self._bag.size_bytes / 1e6:.2f} MB"

    def _try(self, step: Callable[[], None]) -> None:
        """Take a step that writes; where it fails, the recording ends."""
        if self._failed:
            return
        try:
            step()
        except OSError as error:
            self._failed = True
            _say(f"{self._bag.path} cannot be written any more: {error.strerror}")
            signal.raise_signal(signal.SIGINT)


def definition_text(name: str) -> str:
    """The .msg file of a type, such as std_msgs/Header, as it is installed.

    Raises:
        ContextFaceError: it is not.
    """
    package, _, kind = name.partition("/")
    # Without a sourced workspace, as with the wheels, all is in the interpreter's own prefix.
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    for prefix in filter(None, prefixes):
        file = Path(prefix, "share", package, "msg", f"{kind}.msg")
        if file.is_file():
            return file.read_text(encoding="utf-8")
    raise ContextFaceError(f"the definition of {name} is not installed: source its workspace")


def rosbag2_qos(profile: QoSProfile) -> str:
    """A quality of service in the YAML that rosbag2 keeps with a topic.

    Policies as numbers: what every release reads in a file without metadata of its own.
    """
    offered = {
        "history": profile.history.value,
        "depth": profile.depth,
        "reliability": profile.reliability.value,
        "durability": profile.durability.value,
        "deadline": _FOREVER,
        "lifespan": _FOREVER,
        "liveliness": profile.liveliness.value,
        "liveliness_lease_duration": _FOREVER,
        "avoid_ros_namespace_conventions": False,
    }
    return yaml.dump([offered], Dumper=_WithoutAliases, sort_keys=False)


class _WithoutAliases(yaml.SafeDumper):
    """Writes a value again where it comes again."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
