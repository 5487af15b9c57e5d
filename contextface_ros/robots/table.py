"""`contextface robot FILE`: what a description makes of the emotions, before a servo moves."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from contextface_ros.robots.description import read_robot
from contextface_ros.robots.drive import Drive
from contextface_ros.types import Float32Array

WIDTH = 120
"""Columns that the table needs, in a file too: one that is cut cannot be read."""


def print_robot(file: Path, faces: dict[str, Float32Array]) -> None:
    """Check a description, and print where its channels go for some faces.

    Args:
        file: the description.
        faces: name -> (52,) weights; the seven emotions, say.

    Raises:
        BadInput: the description is wrong; says what.
    """
    robot = read_robot(file)
    drive = Drive(robot)
    table = Table(
        title=f"{robot.name}: {robot.output.value} on {robot.topic}, {robot.rate_hz:g} Hz"
    )
    for heading in ("channel", "unit", "limits", "neutral", *faces):
        left = heading == "channel"
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    goals = {name: drive.goal(weights) for name, weights in faces.items()}
    for place, channel in enumerate(robot.channels):
        limits = f"{channel.lower:g} to {channel.upper:g}"
        values = (f"{goal[place]:.2f}" for goal in goals.values())
        table.add_row(channel.name, channel.unit, limits, f"{channel.neutral:g}", *values)
    Console(width=max(Console().width, WIDTH)).print(table)
