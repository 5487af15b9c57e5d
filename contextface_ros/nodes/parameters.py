"""ROS parameters declared from one frozen dataclass.

A node's parameters are the fields of a dataclass, each made by `parameter`. Declaration in the
node, config/agent.yaml and the table in the README all come from it, so they cannot disagree.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from contextface_ros.avatars.vrm import NAMES
from contextface_ros.errors import BadInput
from contextface_ros.face.drawn_themes import THEMES
from contextface_ros.language.runtime import (
    ALL_LAYERS,
    FLASH_ATTENTION,
    LONGEST_CONTEXT,
    SHORTEST_CONTEXT,
)
from contextface_ros.types import DEVICES

if TYPE_CHECKING:
    from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
    from rclpy.node import Node
    from rclpy.parameter import Parameter

P = TypeVar("P")

OWN_BASIS = "own"
"""In place of a basis: the one that the bundle answers in."""


def parameter(
    default: bool | int | float | str,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
) -> Any:
    """One field of a parameter dataclass.

    Args:
        default: the value without a params file; its type is the parameter's type.
        description: one sentence, with the unit.
        minimum: smallest allowed number.
        maximum: largest allowed number.
        choices: the allowed strings; empty allows any.
        live: whether a change counts at once. Otherwise it is refused while configured.
    """
    return field(
        default=default,
        metadata={
            "description": description,
            "minimum": minimum,
            "maximum": maximum,
            "choices": choices,
            "live": live,
        },
    )


@dataclass(frozen=True)
class AgentParameters:
    """Parameters of the node `agent`."""

    bundle: str = parameter(
        "nano", "Model bundle: its name, or the path of its folder (`contextface models list`)."
    )
    device: str = parameter(
        "auto",
        "Where the model runs. `auto` takes a GPU if there is one; `cuda` refuses to configure"
        " without one.",
        choices=DEVICES,
    )
    threads: int = parameter(
        2, "CPU threads of the language model, at most the physical cores.", minimum=1, maximum=256
    )
    gpu_layers: int = parameter(
        ALL_LAYERS,
        "Layers of the language model that go to the GPU, where one is used; -1 for all. Fewer fit"
        " in a smaller memory, and are slower.",
        minimum=ALL_LAYERS,
        maximum=1000,
    )
    flash_attention: str = parameter(
        "auto",
        "Attention in one fused kernel: `auto` where the back end has it for the device.",
        choices=FLASH_ATTENTION,
    )
    context_length: int = parameter(
        2048,
        "Positions of the language model's cache: the longest text, an image included. Costs memory"
        " in proportion.",
        minimum=SHORTEST_CONTEXT,
        maximum=LONGEST_CONTEXT,
    )
    basis: str = parameter(
        OWN_BASIS,
        "Expression basis of the faces that are published: the bundle's own, or another one. One of"
        " FLAME needs `contextface calibrate` first.",
        choices=(OWN_BASIS, "open-1", "flame2020", "flame2023", "flame2023_no_jaw"),
    )
    perspective: str = parameter(
        "speaker",
        "Whose face is asked for: of the one who speaks, or of the one opposite (a robot that"
        " listens: its own).",
        choices=("speaker", "listener"),
        live=True,
    )
    queue_size: int = parameter(
        8,
        "Utterances that may wait while one is answered. When full, the oldest is dropped and"
        " counted.",
        minimum=1,
        maximum=1000,
    )
    situation_max_age_s: float = parameter(
        120.0,
        "Seconds for which a situation is the background of what is said after it.",
        minimum=0.0,
        maximum=86400.0,
        live=True,
    )
    image_transport: str = parameter(
        "raw",
        "Type of the topic `image`: sensor_msgs/Image (`raw`), sensor_msgs/CompressedImage"
        " (`compressed`), or no camera (`none`).",
        choices=("raw", "compressed", "none"),
    )
    face_detector: str = parameter(
        "yuface",
        "Finds the faces on a frame, for a model that sees: `yuface`, or the path of a YuNet file.",
    )
    target: str = parameter(
        "largest",
        "Whose face is meant where there are several: the largest, or the one nearest to the"
        " middle. The topic `roi` limits where it is looked for.",
        choices=("largest", "central"),
    )
    image_max_age_s: float = parameter(
        2.0,
        "Seconds after which a camera frame is no longer shown to the model.",
        minimum=0.01,
        maximum=3600.0,
        live=True,
    )
    image_timeout_s: float = parameter(
        5.0,
        "Seconds without a frame, of a camera that is there or was, after which the agent warns.",
        minimum=0.1,
        maximum=3600.0,
        live=True,
    )


@dataclass(frozen=True)
class CameraParameters:
    """Parameters of the node `camera`."""

    source: str = parameter(
        "/dev/video0",
        "What is published: a camera (`/dev/video0`), a video file, a folder of pictures, one"
        " picture, the URL of a stream, or `demo` for the pictures of the package.",
        live=True,
    )
    rate_hz: float = parameter(
        0.0,
        "Frames a second. 0 takes the source's own rate: the camera's, the video's, one picture a"
        " second.",
        minimum=0.0,
        maximum=240.0,
        live=True,
    )
    loop: bool = parameter(
        True, "Whether a video or folder starts again when it has ended.", live=True
    )
    encoding: str = parameter(
        "rgb8",
        "How frames are published: sensor_msgs/Image in `rgb8` or `bgr8`, or"
        " sensor_msgs/CompressedImage (`jpeg`).",
        choices=("rgb8", "bgr8", "jpeg"),
    )
    jpeg_quality: int = parameter(
        85, "Quality of `jpeg` in percent.", minimum=1, maximum=100, live=True
    )
    width: int = parameter(
        0,
        "Pixels a row that a camera is asked for. 0 leaves it to the camera.",
        minimum=0,
        maximum=8192,
        live=True,
    )
    height: int = parameter(
        0,
        "Rows that a camera is asked for. 0 leaves it to the camera.",
        minimum=0,
        maximum=8192,
        live=True,
    )
    frame_id: str = parameter("camera", "Coordinate frame named in the header.", live=True)


@dataclass(frozen=True)
class ViewerParameters:
    """Parameters of the node `viewer`."""

    host: str = parameter(
        "127.0.0.1",
        "Address that the page is served at. `0.0.0.0` lets the whole network see the face and"
        " what was said, and type to the robot.",
    )
    port: int = parameter(
        8765, "Port of the page. 0 takes any that is free.", minimum=0, maximum=65535
    )
    names: str = parameter(
        "",
        "Further names, with commas between, by which browsers may ask for the page: that of a"
        " proxy, or of the robot in a name server. Addresses and the machine's own name need none.",
    )
    max_browsers: int = parameter(
        16, "Browsers that may look at once. The next is refused.", minimum=1, maximum=256
    )
    answer_timeout_s: float = parameter(
        20.0,
        "Seconds after which the page no longer waits for an answer to what was typed.",
        minimum=0.5,
        maximum=80.0,
    )
    image_transport: str = parameter(
        "raw",
        "Type of the topic `image`, as for the agent: sensor_msgs/Image (`raw`),"
        " sensor_msgs/CompressedImage (`compressed`), or no camera (`none`).",
        choices=("raw", "compressed", "none"),
    )
    image_rate_hz: float = parameter(
        8.0, "Camera pictures that are shown a second, at most.", minimum=0.1, maximum=30.0
    )
    face_detector: str = parameter(
        "yuface", "Finds the faces on a frame, as for the agent. Empty for none: no red box."
    )
    target: str = parameter(
        "largest",
        "Who gets the red box where there are several, as for the agent.",
        choices=("largest", "central"),
    )


@dataclass(frozen=True)
class RobotFaceParameters:
    """Parameters of the node `robot_face`."""

    robot: str = parameter("", "File that describes the robot's channels, such as servo_head.yaml.")
    hold_s: float = parameter(
        3.0,
        "Seconds without a pose after which the robot goes to neutral.",
        minimum=0.1,
        maximum=3600.0,
    )


@dataclass(frozen=True)
class FaceImageParameters:
    """Parameters of the node `face_image`."""

    face: str = parameter(
        "head",
        "Which face is drawn: the `head`, rendered, or the `drawn` one, flat and clear.",
        choices=("head", "drawn"),
    )
    width: int = parameter(400, "Pixels in a row of the picture.", minimum=32, maximum=2048)
    height: int = parameter(400, "Rows of pixels in the picture.", minimum=32, maximum=2048)
    rate_hz: float = parameter(
        30.0, "Pictures that are published a second.", minimum=1.0, maximum=120.0
    )
    basis: str = parameter(
        "auto",
        "Whose head is rendered: the open one (`open-1`), that of a FLAME file which was calibrated"
        " (`contextface calibrate`), or of the newest calibration if there is one (`auto`).",
        choices=("auto", "open-1", "flame2020", "flame2023", "flame2023_no_jaw"),
    )
    theme: str = parameter("sky", "Colours of the drawn face.", choices=tuple(THEMES))
    encoding: str = parameter(
        "rgb8",
        "How pictures are published: sensor_msgs/Image in `rgb8` or `bgr8`, or"
        " sensor_msgs/CompressedImage (`jpeg`).",
        choices=("rgb8", "bgr8", "jpeg"),
    )
    jpeg_quality: int = parameter(90, "Quality of `jpeg` in percent.", minimum=1, maximum=100)
    hold_s: float = parameter(
        3.0,
        "Seconds without a pose after which the face fades to neutral.",
        minimum=0.1,
        maximum=3600.0,
    )
    frame_id: str = parameter("face", "Coordinate frame named in the header.")


@dataclass(frozen=True)
class VmcParameters:
    """Parameters of the node `vmc`."""

    host: str = parameter(
        "127.0.0.1", "Name or address of the machine whose application shows the avatar."
    )
    port: int = parameter(
        39539, "UDP port at which the application listens.", minimum=1, maximum=65535
    )
    names: str = parameter(
        "perfect_sync",
        "What the avatar's expressions are called: ARKit's 52 (`perfect_sync`), or the presets of"
        " VRM 0 or VRM 1.",
        choices=NAMES,
    )
    rate_hz: float = parameter(
        30.0, "Poses that are sent a second, at most.", minimum=1.0, maximum=120.0
    )
    hold_s: float = parameter(
        3.0,
        "Seconds without a pose after which the avatar fades to neutral.",
        minimum=0.1,
        maximum=3600.0,
    )


@dataclass(frozen=True)
class FacePlayerParameters:
    """Parameters of the node `face_player`."""

    rate_hz: float = parameter(
        60.0, "Poses that are published a second.", minimum=1.0, maximum=240.0
    )
    gain: float = parameter(
        1.0,
        "Factor on the weights of a face that is asked for, from the next one on.",
        minimum=0.0,
        maximum=2.0,
        live=True,
    )
    speed: float = parameter(
        1.0, "How fast faces come and go: 2 is twice as fast.", minimum=0.2, maximum=5.0, live=True
    )
    hold: float = parameter(
        1.0,
        "Factor on the time that a face stays before it fades, which depends on its emotion.",
        minimum=0.0,
        maximum=1000.0,
        live=True,
    )
    hysteresis_s: float = parameter(
        1.5,
        "Seconds for which an emotion that comes back has to be asked for, uncontradicted, before"
        " it is shown again. Keeps labels that alternate from making the face flicker.",
        minimum=0.0,
        maximum=60.0,
        live=True,
    )
    idle: bool = parameter(
        True, "Whether the face breathes, blinks and looks about of its own accord.", live=True
    )
    mask: str = parameter(
        "",
        "Regions that are lent to another animator, with commas between: brows, eyes, mouth, jaw."
        " The topic `face/mask` adds to them.",
        live=True,
    )
    max_age_s: float = parameter(
        10.0,
        "Seconds by which the stamp of an expression may be old; an older one is not shown.",
        minimum=0.1,
        maximum=86400.0,
        live=True,
    )
    attention_max_age_s: float = parameter(
        10.0,
        "Seconds after which the face no longer listens or thinks, if nothing is heard on"
        " `attention`.",
        minimum=0.1,
        maximum=86400.0,
        live=True,
    )
    seed: int = parameter(
        0,
        "Seed of blinks and glances. 0 takes another one at each start.",
        minimum=0,
        maximum=2147483647,
    )


class NodeParameters(Generic[P]):
    """The fields of `cls`, declared as parameters of `node`.

    A value from a params file that cannot be used does not end the node, which launch would then
    respawn for ever: the default stands in its place and `read` refuses until the parameter is set.

    Attributes:
        locked: while true, changes of parameters that are not live are refused.
    """

    def __init__(self, node: Node, cls: type[P]) -> None:
        from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException

        self.locked = False
        self._node = node
        self._cls = cls
        self._specs: dict[str, Field[Any]] = {spec.name: spec for spec in fields(cls)}  # type: ignore[arg-type]
        self._problems: dict[str, str] = {}
        node.add_on_set_parameters_callback(self._check)
        for name, spec in self._specs.items():
            try:
                node.declare_parameter(name, spec.default, descriptor(spec))
            except (InvalidParameterTypeException, InvalidParameterValueException) as error:
                node.declare_parameter(name, spec.default, descriptor(spec), ignore_override=True)
                self._problems[name] = f"parameter '{name}' must be {allowed(spec)}: {error}"

    def read(self) -> P:
        """The present values.

        Raises:
            BadInput: a value given at the start was of the wrong type, out of range or unknown.
        """
        if self._problems:
            raise BadInput("; ".join(self._problems.values()) + "; set it and configure again.")
        return self._cls(**{name: self._node.get_parameter(name).value for name in self._specs})

    def _check(self, changes: Sequence[Parameter[Any]]) -> SetParametersResult:
        """Accept or refuse a change; types and ranges were checked by rclpy before."""
        from rcl_interfaces.msg import SetParametersResult

        for change in changes:
            spec = self._specs.get(change.name)
            if spec is None:
                continue
            choices = spec.metadata["choices"]
            if choices and change.value not in choices:
                return SetParametersResult(
                    successful=False, reason=f"{change.name} must be {allowed(spec)}"
                )
            if self.locked and not spec.metadata["live"]:
                return SetParametersResult(
                    successful=False,
                    reason=f"{change.name} is read at configure, or at the start: clean up the"
                    " node, or start it anew, first",
                )
        for change in changes:
            self._problems.pop(change.name, None)
        return SetParametersResult(successful=True)


def descriptor(spec: Field[Any]) -> ParameterDescriptor:
    """What `ros2 param describe` shows of a field."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    low, high = spec.metadata["minimum"], spec.metadata["maximum"]
    text = ParameterDescriptor(
        description=spec.metadata["description"].replace("`", ""),
        additional_constraints=f"{allowed(spec).capitalize()}. {_when(spec)}".rstrip(),
    )
    if low is not None and isinstance(spec.default, float):
        text.floating_point_range = [
            FloatingPointRange(from_value=float(low), to_value=float(high))
        ]
    elif low is not None:
        text.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    return text


def allowed(spec: Field[Any]) -> str:
    """The allowed values in words, for example "an integer from 1 to 64"."""
    kind = {bool: "true or false", int: "an integer", float: "a decimal number", str: "a text"}
    if spec.metadata["choices"]:
        return "one of " + ", ".join(spec.metadata["choices"])
    if spec.metadata["minimum"] is not None:
        low, high = spec.metadata["minimum"], spec.metadata["maximum"]
        return f"{kind[type(spec.default)]} from {low:g} to {high:g}"
    return kind[type(spec.default)]


def markdown_table(cls: type[Any] = AgentParameters) -> str:
    """The table of the README: one row a parameter."""
    rows = ["| parameter | default | allowed | meaning |", "|---|---|---|---|"]
    for spec in fields(cls):
        words = f"{spec.metadata['description']} {_when(spec)}".rstrip()
        rows.append(f"| `{spec.name}` | `{_yaml(spec.default)}` | {allowed(spec)} | {words} |")
    return "\n".join(rows) + "\n"


def yaml_text(node: str = "agent", cls: type[Any] = AgentParameters) -> str:
    """A params file with every default, its description and its range."""
    lines = [
        f"# Parameters of the node `{node}` with their defaults, in whatever namespace it runs.",
        f"/**/{node}:",
        "  ros__parameters:",
    ]
    for spec in fields(cls):
        words = f"{spec.metadata['description']} {allowed(spec).capitalize()}."
        lines += [f"    # {line}" for line in textwrap.wrap(words, 92)]
        lines.append(f"    {spec.name}: {_yaml(spec.default)}")
    return "\n".join(lines) + "\n"


def _when(spec: Field[Any]) -> str:
    return "" if spec.metadata["live"] else "Read at configure, or at the start."


def _yaml(value: object) -> str:
    if value == "":
        return '""'  # nothing at all is null
    return str(value).lower() if isinstance(value, bool) else str(value)
