"""Where the package's files lie on a machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def expand(path: str) -> Path:
    """A path with `~` replaced by the user's home; as it is for a user without one."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  Path.expanduser raises there


def user_cache() -> Path:
    """What can be made again: $XDG_CACHE_HOME/contextface, by default ~/.cache/contextface."""
    return expand(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "contextface"


def user_data() -> Path:
    """What the user put there: $XDG_DATA_HOME/contextface, or ~/.local/share/contextface."""
    return expand(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "contextface"


def share() -> Path | None:
    """share/contextface_ros of the prefix that this module is installed in: launch, config, models.

    None in a checkout that was not installed.
    """
    # lib/python3.x/site-packages, local/lib/python3.x/dist-packages: depth differs by system, so
    # the prefix is looked for upwards; pip may also place data files in the interpreter's prefix.
    # Not resolved: colcon build --symlink-install links this file to the checkout.
    for prefix in (*Path(__file__).absolute().parents, Path(sys.prefix)):
        folder = prefix / "share" / "contextface_ros"
        if folder.is_dir():
            return folder
    return None
