"""`contextface viewer`: the page alone, beside nodes that run already."""

from __future__ import annotations

import argparse
import json


def viewer(arguments: argparse.Namespace) -> int:
    """Show the face in a browser, with what was said and a box to type in."""
    from contextface_ros.nodes import process
    from contextface_ros.nodes.viewer import Viewer

    options = ["--ros-args", "-r", f"__ns:=/{arguments.namespace.strip('/')}"]
    for name in "host", "port":
        options += ["-p", f"{name}:={json.dumps(getattr(arguments, name))}"]  # JSON is YAML
    return process.run(Viewer, options)


def describe_viewer(command: argparse.ArgumentParser) -> None:
    """Add the options of `viewer`."""
    add = command.add_argument
    add(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="where the page is served; 0.0.0.0 lets the whole network look, and type",
    )
    add("--port", type=int, default=8765, metavar="N", help="0 for any that is free")
    add("--namespace", default="", metavar="NAME", help="that of the agent, such as robot1")
