"""Files are read back with rosbags, which did not write them, and in pieces with mcap's stream."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.exceptions import McapError
from mcap.records import Message
from mcap.stream_reader import StreamReader
from rosbags.rosbag2 import Reader

from contextface_ros.errors import BadInput, MissingDependency
from contextface_ros.recording.bag import Bag

STRING = ("std_msgs/msg/String", "string data\n", "")


def whole_messages(path: Path) -> Iterator[Message]:
    """What can be read of a file without an end."""
    with path.open("rb") as file:
        try:
            yield from (r for r in StreamReader(file).records if isinstance(r, Message))
        except (McapError, EOFError, struct.error):  # in the middle of a record
            return


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    sent=st.lists(
        st.tuples(st.integers(0, 2), st.binary(max_size=400), st.integers(0, 2**62), st.booleans()),
        max_size=40,
    )
)
def test_what_is_written_is_read_back_by_another_library(
    tmp_path: Path, sent: list[tuple[int, bytes, int, bool]]
) -> None:
    path = tmp_path / "bag.mcap"
    path.unlink(missing_ok=True)
    bag = Bag(path)
    topics = [bag.add_topic(f"/topic{k}", *STRING) for k in range(3)]
    for k, data, time_ns, flush in sent:
        bag.write(topics[k], data, time_ns, time_ns)
        if flush:
            bag.flush()
    assert not bag.complete
    bag.close()
    assert bag.complete
    assert list(bag.messages.values()) == [sum(k == t for k, *_ in sent) for t in range(3)]
    if not sent:  # rosbags has no use for a bag without messages
        return
    with Reader(path) as reader:
        read = [(c.topic, time_ns, data) for c, time_ns, data in reader.messages()]
    assert sorted(read) == sorted((f"/topic{k}", time_ns, data) for k, data, time_ns, _ in sent)
    assert [time_ns for _, time_ns, _ in read] == sorted(time_ns for _, time_ns, _ in read)


def test_a_bag_without_messages_is_a_whole_file(tmp_path: Path) -> None:
    bag = Bag(tmp_path / "empty.mcap")
    bag.add_topic("/speech", *STRING)
    bag.flush()
    bag.close()
    assert list(whole_messages(bag.path)) == []


def test_chunks_are_compressed(tmp_path: Path) -> None:
    bag = Bag(tmp_path / "bag.mcap")
    topic = bag.add_topic("/speech", *STRING)
    for k in range(100):
        bag.write(topic, b"the same words " * 100, k, k)
    bag.close()
    assert bag.size_bytes < 20_000


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("there.mcap", "is there already"),
        ("folder.mcap", "is there already"),
        ("bag.bag", "let it end in .mcap"),
        ("no such folder/bag.mcap", "cannot be written: No such file"),
    ],
)
def test_what_cannot_be_a_recording_is_refused(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / "there.mcap").write_bytes(b"of great worth")
    (tmp_path / "folder.mcap").mkdir()
    with pytest.raises(BadInput, match=sentence):
        Bag(tmp_path / name)
    assert (tmp_path / "there.mcap").read_bytes() == b"of great worth"
    assert len(list(tmp_path.iterdir())) == 2


def test_without_the_extra_its_name_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mcap.writer", None)
    with pytest.raises(MissingDependency, match=r"contextface_ros\[record\]"):
        Bag(tmp_path / "bag.mcap")
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal, sys
from pathlib import Path
from contextface_ros.recording.bag import Bag
bag = Bag(Path(sys.argv[1]))
topic = bag.add_topic("/speech", "std_msgs/msg/String", "string data", "")
for k in range(30):
    bag.write(topic, b"message %d" % k, k, k)
    if k == 19:
        bag.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_flushed_outlives_a_process_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "bag.mcap"
    done = subprocess.run([sys.executable, "-P", "-c", KILLED, path], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [m.data for m in whole_messages(path)] == [b"message %d" % k for k in range(20)]


def test_a_file_that_was_cut_in_a_chunk_is_read_up_to_it(tmp_path: Path) -> None:
    bag = Bag(tmp_path / "bag.mcap")
    topic = bag.add_topic("/speech", *STRING)
    for k in range(3):
        bag.write(topic, os.urandom(1000), k, k)
        bag.flush()
    cut = bag.size_bytes - 500
    os.truncate(bag.path, cut)
    assert [m.log_time for m in whole_messages(bag.path)] == [0, 1]
    bag.discard()
    assert not bag.path.exists()
