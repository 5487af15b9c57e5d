"""What every test stands on: the installed package, and a ROS domain that nobody else uses."""

from __future__ import annotations

import itertools
import os
import random
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# training/ and benchmarks/ run from the checkout and are not installed. Last on the path, the
# checkout lends these two and shadows nothing.
sys.path.append(str(ROOT))


def pytest_configure() -> None:
    """Refuse to test the checkout in place of the installed package."""
    import contextface_ros

    imported_from = Path(contextface_ros.__file__).resolve().parent
    if imported_from == ROOT / "contextface_ros":
        raise pytest.UsageError(
            "contextface_ros was imported from the checkout, not from the installed tree: "
            "run `make test`, or `make build` and then .venv/bin/pytest."
        )


@contextmanager
def claimed_ros_domain() -> Iterator[int]:
    """Hold a ROS domain of this machine that no other test run holds, in the environment.

    Ids 1 to 101 are safe on Linux (above them, ports meet the ephemeral range). An abstract socket
    is the claim: the kernel frees it with the process, however that ends.
    """
    start = random.randrange(101)
    for step in itertools.count():
        domain = 1 + (start + step) % 101
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0ros_domain_{domain}")
            break
        except OSError:
            claim.close()
            if step > 101:
                raise RuntimeError("Every ROS domain of this machine is in use.") from None
    with claim, pytest.MonkeyPatch.context() as environment:
        environment.setenv("ROS_DOMAIN_ID", str(domain))
        environment.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        environment.delenv("ROS_LOCALHOST_ONLY", raising=False)
        yield domain


@pytest.fixture(scope="module")
def module_ros_domain_id() -> Iterator[int]:
    """One domain for all tests of a module: for a process that they share."""
    with claimed_ros_domain() as domain:
        yield domain


@pytest.fixture(autouse=True)
def ros_domain_id(request: pytest.FixtureRequest) -> Iterator[int]:
    """A domain of its own for each test, or that of the module where it asks for one."""
    if "module_ros_domain_id" in request.fixturenames:
        yield request.getfixturevalue("module_ros_domain_id")
        return
    with claimed_ros_domain() as domain:
        yield domain


@pytest.fixture(autouse=True)
def ros_log_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """ROS writes its log files here, not into the home folder."""
    folder = tmp_path_factory.getbasetemp() / "ros_log"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ROS_LOG_DIR", str(folder))
        yield folder


@pytest.fixture(scope="session")
def prefix() -> Path:
    """Where the tested package is installed: bin/, lib/ and share/ lie below."""
    for folder in Path(os.path.realpath(sys.prefix)), *_ament_prefixes():
        if (folder / "share" / "contextface_ros" / "package.xml").exists():
            return folder
    raise FileNotFoundError("contextface_ros is not installed in any prefix: run `make build`.")


def _ament_prefixes() -> list[Path]:
    return [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
