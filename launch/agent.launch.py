"""Starts the agent and the face, a camera or viewer if asked for, and brings the agent to active.

    ros2 launch contextface_ros agent.launch.py model:=nano camera:=0

The agent is configured and activated after each start of its process, so after a respawn too.
`autostart` and launch_ros's LifecycleNode are not used: Humble lacks the first, and the second
waits for ever for an answer of a process that was killed.
"""

from __future__ import annotations

from dataclasses import fields
from functools import partial

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueCoroutine,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessStart
from launch.logging import get_logger
from launch_ros.actions import Node
from launch_ros.ros_adapters import get_ros_node

from contextface_ros import bringup
from contextface_ros.errors import ContextFaceError


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; what they lead to is known when they have values."""
    arguments = [
        DeclareLaunchArgument(
            option.name,
            default_value=str(option.default).lower()
            if isinstance(option.default, bool)
            else option.default,
            description=option.metadata["description"],
        )
        for option in fields(bringup.Options)
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Start what bringup describes."""
    texts = {
        option.name: context.launch_configurations[option.name]
        for option in fields(bringup.Options)
    }
    options = bringup.Options.of(texts)
    entities: list[LaunchDescriptionEntity] = []
    for spec in bringup.describe(options):
        node = Node(
            package="contextface_ros",
            executable=spec.name,
            ros_arguments=list(spec.ros_arguments),
            output="screen",
            respawn=options.respawn,
            respawn_delay=bringup.RESPAWN_DELAY_S,
        )
        if spec.managed:
            on_start = partial(on_process_start, path=spec.path)
            entities.append(
                RegisterEventHandler(OnProcessStart(target_action=node, on_start=on_start))
            )
        entities.append(node)
    return entities


def on_process_start(_: object, context: LaunchContext, *, path: str) -> OpaqueCoroutine:
    """Bring a lifecycle node to active, beside all else that launch does."""
    return OpaqueCoroutine(coroutine=activate, args=[path])


async def activate(context: LaunchContext, path: str) -> None:
    """Say how it went in launch's log."""
    try:
        await bringup.activate(get_ros_node(context), path)
    except ContextFaceError as error:
        get_logger("bringup").error(str(error))
    else:
        get_logger("bringup").info(f"{path} is active")
