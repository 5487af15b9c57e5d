from __future__ import annotations

from collections.abc import Iterator

import pytest

from contextface_ros.face.open_head import OpenHead


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenHead]:
    """The open head, its files in a cache of this test run."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        head = OpenHead.load()
        assert head.flame_path.is_file()
    yield head
