"""The core and the command line, without ROS: `pip install .` and `pip install '.[render]'`.

The nodes and their messages come with `make setup`, or with colcon on a ROS 2 install; see
docs/install.md.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
EXTRAS = (
    "ros",
    "render",
    "viewer",
    "vmc",
    "record",
    "audio",
    "hub",
    "gpu",
    "huggingface",
    "train",
    "augment",
    "flame",
    "dev",
)


def requirements(name: str) -> list[str]:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    without_comments = (re.sub(r"\s*#.*", "", line).strip() for line in lines)
    return [line for line in without_comments if line]


def version() -> str:
    """The one of package.xml, where ROS tools look for it."""
    found = re.search(r"<version>(.+)</version>", (ROOT / "package.xml").read_text())
    assert found is not None
    return found[1]


def shared(folder: str) -> list[tuple[str, list[str]]]:
    """Every file below `folder`, to where a ROS install has it: share/contextface_ros/."""
    return [
        (f"share/contextface_ros/{path.parent.relative_to(ROOT)}", [str(path.relative_to(ROOT))])
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]


setup(
    name="contextface_ros",
    version=version(),
    description="A robot's face from the context of what is said",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["contextface_ros", "contextface_ros.*"]),
    package_data={"": ["data/**/*", "page/*", "py.typed"]},
    data_files=[*shared("models"), *shared("config"), *shared("launch")],
    entry_points={"console_scripts": ["contextface = contextface_ros.cli:main"]},
    install_requires=requirements("core"),
    extras_require={name: requirements(name) for name in EXTRAS},
)
