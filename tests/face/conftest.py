from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contextface_ros.face.calibration import Calibration, calibrate
from contextface_ros.face.flame import FlameModel
from contextface_ros.face.open_head import OpenHead
from tests.flame_like import FlameLike, flame_like, write_pickle


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenHead]:
    """The open head, its files in a cache of this test run."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        head = OpenHead.load()
        assert head.flame_path.is_file()
    yield head


@pytest.fixture(scope="session")
def like(head: OpenHead) -> FlameLike:
    """A head in FLAME's format, of another person, whose answers are known."""
    return flame_like(head)


@pytest.fixture(scope="session")
def flame_file(like: FlameLike, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It, in a file like that of FLAME 2020."""
    return write_pickle(tmp_path_factory.mktemp("flame") / "generic_model.pkl", like)


@pytest.fixture(scope="session")
def flame(flame_file: Path) -> FlameModel:
    """It, read."""
    return FlameModel.load(flame_file)


@pytest.fixture(scope="session")
def calibration(head: OpenHead, flame: FlameModel) -> Calibration:
    """The face units in its basis."""
    return calibrate(
        head, flame, basis="flame2020", source="ab" * 32, flame_file="generic_model.pkl"
    )
