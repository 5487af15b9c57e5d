"""What is started on a robot, told once: read by launch/agent.launch.py and by `contextface up`.

    Options --describe--> NodeSpec, NodeSpec ...   which processes, with which arguments
            --activate--> lifecycle nodes reach the state active, after each start of their process

`up` does without the ROS package `launch` what the launch file does with it.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contextface_ros import folders
from contextface_ros.errors import BadInput, ContextFaceError, MissingDependency

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.task import Future

RESPAWN_DELAY_S = 0.5
"""Pause before a process that ended is started again."""

CANNOT_START = 2
"""Exit code of a node whose arguments cannot be used: it would end in the same way again."""

_LONGEST_DELAY_S = 30.0  # up to which the pause doubles for a process that ends at its start
_USEFUL_S = 10.0  # age at which a process no longer ends at its start
_STATE_S = 0.3  # for an answer, before a request for the state counts as lost
_CHANGE_S = 1.0  # ... a request for a transition
_POLL_S = 0.02
_END_S = 5.0  # for a process to end after SIGINT


def _option(default: str | bool, description: str) -> Any:
    return field(default=default, metadata={"description": description})


@dataclass(frozen=True)
class Options:
    """Arguments of the launch file and of `contextface up`, by the same names."""

    model: str = _option("", "model bundle, a name or a folder; without it, as params_file says")
    camera: str = _option(
        "", "what the camera node plays: a device (0), a video file, a folder of pictures"
    )
    face: bool = _option(True, "whether to play the face: 60 poses a second on face/blendshapes")
    robot: str = _option(
        "", "file that describes a robot's servos or lights, which then follow the face"
    )
    screen: str = _option(
        "", "which face is drawn on face/image, for a robot with a screen: head or drawn"
    )
    vmc: str = _option(
        "",
        "HOST:PORT of an application that shows a VRM avatar, which then follows the face;"
        " HOST alone for port 39539",
    )
    viewer: bool = _option(False, "whether to show the face in a browser, at http://127.0.0.1:8765")
    namespace: str = _option("", "namespace of all nodes and topics, such as robot1")
    params_file: str = _option("", "YAML file with parameters, in place of config/agent.yaml")
    respawn: bool = _option(True, "whether a node that ends is started and activated again")
    image: str = _option("image", "topic of the camera frames")
    speech: str = _option("speech", "topic of the utterances")
    situation: str = _option("situation", "topic of the situations")
    emotion: str = _option("emotion", "topic of the emotions that the agent publishes")
    expression: str = _option("expression", "topic of the faces that the agent publishes")

    @classmethod
    def of(cls, texts: Mapping[str, str]) -> Options:
        """Options from what was written on a command line.

        Raises:
            BadInput: a switch is neither true nor false.
        """
        values: dict[str, str | bool] = dict(texts)
        for option in fields(cls):
            text = texts.get(option.name)
            if isinstance(option.default, bool) and text is not None:
                if text.lower() not in ("true", "false"):
                    raise BadInput(f"{option.name} is {text!r}: write true or false")
                values[option.name] = text.lower() == "true"
        return cls(**values)  # type: ignore[arg-type]


@dataclass(frozen=True)
class NodeSpec:
    """One process to start.

    Attributes:
        name: of the node and of its executable in lib/contextface_ros.
        path: the node's full name, such as /robot1/agent.
        ros_arguments: what follows --ros-args.
        managed: whether it is a lifecycle node, to be configured and activated.
    """

    name: str
    path: str
    ros_arguments: tuple[str, ...]
    managed: bool

    @property
    def command(self) -> list[str]:
        """The command line, under this very interpreter and its packages.

        `python -m` would do without the executable, but looks for modules in the present folder
        first: in a checkout it would find this package without its messages.

        Raises:
            MissingDependency: the package was not built for ROS.
        """
        share = folders.share()
        if share is None or not (executable := _executable(share, self.name)).is_file():
            raise MissingDependency(
                f"the node {self.name} is not installed: build the package (colcon, or make build)"
            )
        return [sys.executable, str(executable), "--ros-args", *self.ros_arguments]


def _executable(share: Path, name: str) -> Path:
    return share.parents[1] / "lib" / "contextface_ros" / name


def describe(options: Options) -> list[NodeSpec]:
    """The processes to start, in order."""
    specs = [_spec("agent", options, {"bundle": options.model} if options.model else {}, True)]
    if options.face:
        specs.append(_spec("face_player", options, {}, False))
    if options.camera:
        specs.append(_spec("camera", options, {"source": options.camera}, False))
    if options.robot:
        specs.append(_spec("robot_face", options, {"robot": options.robot}, False))
    if options.screen:
        specs.append(_spec("face_image", options, {"face": options.screen}, False))
    if options.vmc:
        specs.append(_spec("vmc", options, _host_and_port(options.vmc), False))
    if options.viewer:
        specs.append(_spec("viewer", options, {}, False))
    return specs


def _host_and_port(text: str) -> dict[str, object]:
    """HOST, HOST:PORT or [ADDRESS OF IPv6]:PORT as parameters; without a port, none is given.

    Raises:
        BadInput: there is no host, or the port is none.
    """
    found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::(\d{1,5}))?", text.strip())
    if found is None or not 0 < int(found[3] or 1) <= 65535:
        raise BadInput(f"vmc is {text!r}: write HOST:PORT, such as 127.0.0.1:39539")
    host = {"host": found[1] or found[2]}
    return host if found[3] is None else {**host, "port": int(found[3])}


def _spec(name: str, options: Options, parameters: Mapping[str, object], managed: bool) -> NodeSpec:
    space = "/" + options.namespace.strip("/")
    arguments = ["-r", f"__ns:={space}"]
    for topic in "image", "speech", "situation", "emotion", "expression":
        if (wanted := getattr(options, topic)) != topic:
            arguments += ["-r", f"{topic}:={wanted}"]
    if params_file := options.params_file or _shipped_params_file():
        arguments += ["--params-file", params_file]
    for key, value in parameters.items():
        arguments += ["-p", f"{key}:={json.dumps(value)}"]  # JSON is YAML: "7" stays a text
    return NodeSpec(name, f"{space.rstrip('/')}/{name}", tuple(arguments), managed)


def _shipped_params_file() -> str | None:
    share = folders.share()
    return str(share / "config" / "agent.yaml") if share is not None else None


# --- lifecycle ------------------------------------------------------------------------------------


async def activate(node: Node, path: str, timeout_s: float = 60.0) -> None:
    """Configure and activate a lifecycle node whose process was just started.

    A process that was killed stays in the graph for seconds: its services look ready, and what
    they are asked is lost. So every request may be lost here, and is repeated until the node's
    state shows that it arrived.

    Args:
        node: makes the clients; somebody else spins it.
        path: full name of the lifecycle node.
        timeout_s: for all of it, the loading of a model included.

    Raises:
        ContextFaceError: it refused, or it did not answer in time.
    """
    from lifecycle_msgs.msg import State, Transition
    from lifecycle_msgs.srv import ChangeState, GetState

    steps = {
        State.PRIMARY_STATE_UNCONFIGURED: (Transition.TRANSITION_CONFIGURE, "configure"),
        State.PRIMARY_STATE_INACTIVE: (Transition.TRANSITION_ACTIVATE, "activate"),
    }
    end = time.monotonic() + timeout_s
    get_state = node.create_client(GetState, f"{path}/get_state")
    change_state = node.create_client(ChangeState, f"{path}/change_state")
    asked_in, change = None, None  # the last request of a transition, and the state it was made in
    try:
        while time.monotonic() < end:
            state = await _answer(get_state.call_async(GetState.Request()), _STATE_S)
            if state is None:  # not there yet, or busy with loading
                continue
            now = state.current_state.id
            if now == State.PRIMARY_STATE_ACTIVE:
                return
            if now == asked_in and (answer := await _answer(change, 0.2)) and not answer.success:
                raise ContextFaceError(f"{path} refused to {steps[now][1]}: its log says why")
            if now in steps:
                request = ChangeState.Request(transition=Transition(id=steps[now][0]))
                asked_in, change = now, change_state.call_async(request)
                await _answer(change, _CHANGE_S)
            else:
                await asyncio.sleep(_POLL_S)
    finally:
        node.destroy_client(get_state)
        node.destroy_client(change_state)
    raise ContextFaceError(f"{path} did not become active within {timeout_s:.0f} s")


async def _answer(future: Future[Any], patience_s: float) -> Any:
    """The result of a service call that another thread completes, or None if it does not come."""
    end = time.monotonic() + patience_s
    while not future.done() and time.monotonic() < end:
        await asyncio.sleep(_POLL_S)
    return future.result() if future.done() else None


# --- without launch -------------------------------------------------------------------------------


def up(options: Options) -> int:
    """Start all nodes, keep them running, and end them at SIGINT, SIGTERM or SIGHUP.

    Returns:
        Exit code: 0 after a signal, else that of the node that could not be started, or that
        ended when it was not to be respawned.
    """
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("bringup", namespace=options.namespace)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spinning = threading.Thread(target=executor.spin, daemon=True)
    spinning.start()
    try:
        return asyncio.run(_keep_all(options, node))
    finally:
        executor.shutdown()
        spinning.join(2.0)
        node.destroy_node()
        rclpy.try_shutdown()


async def _keep_all(options: Options, node: Node) -> int:
    stop = asyncio.Event()
    for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    keepers = [
        asyncio.create_task(_keep(spec, node, stop, options.respawn)) for spec in describe(options)
    ]
    return max(await asyncio.gather(*keepers))


async def _keep(spec: NodeSpec, node: Node, stop: asyncio.Event, respawn: bool) -> int:
    """Run one process again and again, until `stop` is set or it is not to be started again."""
    delay_s = RESPAWN_DELAY_S
    while True:
        started_s = time.monotonic()
        # A session of its own: a terminal's Ctrl-C reaches it through us, once.
        process = await asyncio.create_subprocess_exec(*spec.command, start_new_session=True)
        activation = asyncio.create_task(_activate_or_say(spec, node))
        ended = asyncio.create_task(process.wait())
        await _first(ended, stop)
        useful = activation.done() and activation.result()
        activation.cancel()
        if stop.is_set():
            return await _end(process)
        code = ended.result()
        if not respawn or code == CANNOT_START:
            _say(f"{spec.path} ended with exit code {code}")
            return abs(code)
        useful = useful or time.monotonic() - started_s > _USEFUL_S
        delay_s = RESPAWN_DELAY_S if useful else min(2 * delay_s, _LONGEST_DELAY_S)
        _say(f"{spec.path} ended with exit code {code} and is started again in {delay_s:g} s")
        if await _first(asyncio.create_task(asyncio.sleep(delay_s)), stop):
            return 0


async def _activate_or_say(spec: NodeSpec, node: Node) -> bool:
    """Activate a managed node; whether that was done."""
    if not spec.managed:
        return False
    try:
        await activate(node, spec.path)
    except ContextFaceError as error:  # it stays, and can be configured by hand
        _say(str(error))
        return False
    _say(f"{spec.path} is active")
    return True


async def _first(task: asyncio.Task[Any], stop: asyncio.Event) -> bool:
    """Wait for the task or for `stop`; whether it was `stop`."""
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    return stop.is_set()


async def _end(process: asyncio.subprocess.Process) -> int:
    """Ask a process to end, and kill it if it does not. Returns 0: it ended because it had to."""
    if process.returncode is None:
        process.send_signal(signal.SIGINT)
    try:
        await asyncio.wait_for(process.wait(), _END_S)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
    return 0


def _say(sentence: str) -> None:
    print(f"[up] {sentence}", file=sys.stderr, flush=True)
