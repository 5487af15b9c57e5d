"""What the tests of training share: a tiny LLaVA and a small data set, made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny_instructions import MadeData, make_data


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random LLaVA. Tests must not change it."""
    pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")
    from tests.tiny_llava import make_tiny_llava

    return make_tiny_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="session")
def made_data(tmp_path_factory: pytest.TempPathFactory) -> MadeData:
    """A data set of 21 images. Tests must not change it."""
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """On a busy machine, threads that wait for each other take most of a small step."""
    torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
