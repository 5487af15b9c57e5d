"""`contextface record` beside an agent and a face, over DDS; read back with rosbags."""

from __future__ import annotations

import signal
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rclpy.serialization import deserialize_message
from rosbags.interfaces import Qos, QosDurability, QosReliability
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sensor_msgs.msg import Image
from std_msgs.msg import String

from contextface_ros.msg import Blendshapes
from contextface_ros.nodes import qos
from contextface_ros.nodes.recorder import TOPICS
from tests.nodes.robot import EVERY_ANSWER, STAND_IN, Robot, running
from tests.recording.test_bag import whole_messages

NAMES = {f"/{topic.name}" for topic in TOPICS}


def contextface(prefix: Path, *arguments: object) -> list[str]:
    return [sys.executable, str(prefix / "bin" / "contextface"), *map(str, arguments)]


def player(prefix: Path) -> list[str]:
    return [sys.executable, str(prefix / "lib" / "contextface_ros" / "face_player")]


class Witness:
    """Hears every topic that is recorded."""

    def __init__(self, robot: Robot) -> None:
        self.heard: dict[str, list[Any]] = defaultdict(list)
        for topic in TOPICS:
            hear = self.heard[f"/{topic.name}"].append
            profile = EVERY_ANSWER if topic.offered is qos.LAST_ANSWER else 100
            robot.node.create_subscription(topic.kind, topic.name, hear, profile)


def stamp_s(pose: Blendshapes) -> float:
    return pose.header.stamp.sec + pose.header.stamp.nanosec * 1e-9


def test_a_session_is_recorded_message_for_message(
    ros_domain_id: int, prefix: Path, tmp_path: Path
) -> None:
    file = tmp_path / "session.mcap"
    with (
        Robot() as robot,
        running(STAND_IN, tmp_path / "agent.log"),
        running(player(prefix), tmp_path / "player.log"),
        running(contextface(prefix, "record", file), tmp_path / "record.log") as recorder,
    ):
        witness = Witness(robot)
        recorder.wait_for("recording /speech, /situation")
        robot.bring_up()

        def everybody_hears() -> bool:
            """On a busy machine the recorder meets the others one by one."""
            robot.answer_to("Does everybody hear?")
            robot.spin(0.5)
            recorded = {TOPICS[message.channel_id - 1].name for message in whole_messages(file)}
            return recorded >= {topic.name for topic in TOPICS} - {"situation"}

        robot.until(everybody_hears, "every topic in the file")
        robot.happens("They meet again after years, and are sad to part.")
        robot.emotion_of("They meet again")
        for text in "I am so happy!", "Grüße aus Köln: 🙂", "What a surprise.":
            robot.expression_of(robot.answer_to(text))
        robot.spin(0.5)
        code, seconds = recorder.end()
        assert code == 0, recorder.log
        assert seconds < 4.0
        assert len(recorder.lines("MB in .*session.mcap: /")) == 1
        assert "Traceback" not in recorder.log

    raw: dict[str, list[bytes]] = defaultdict(list)
    times: list[int] = []
    with Reader(file) as reader:
        connections = {c.topic: c for c in reader.connections}
        for connection, time_ns, data in reader.messages():
            raw[connection.topic].append(data)
            times.append(time_ns)
    assert set(connections) == NAMES
    assert times == sorted(times)
    recorded = {
        f"/{topic.name}": [deserialize_message(data, topic.kind) for data in raw[f"/{topic.name}"]]
        for topic in TOPICS
    }
    for name in NAMES - {"/face/blendshapes"}:
        heard = witness.heard[name]
        both = min(len(heard), len(recorded[name]))
        assert both >= {"/situation": 1, "/speech": 3}.get(name, 4), name
        assert recorded[name][-both:] == heard[-both:], name
    said = [message.data for message in recorded["/speech"]]
    assert said[-3:] == ["I am so happy!", "Grüße aus Köln: 🙂", "What a surprise."]
    # Of the poses, some came before the one or the other listened, or after, and on a busy machine
    # one may be too slow for the next: the player keeps one.
    heard_at = {stamp_s(pose): pose for pose in witness.heard["/face/blendshapes"]}
    poses = [pose for pose in recorded["/face/blendshapes"] if stamp_s(pose) in heard_at]
    assert poses == [heard_at[stamp_s(pose)] for pose in poses]
    assert [stamp_s(pose) for pose in poses] == sorted({stamp_s(pose) for pose in poses})
    between = [s for s in heard_at if stamp_s(poses[0]) <= s <= stamp_s(poses[-1])]
    assert len(poses) > max(30, 0.8 * len(between))

    # With nothing but the file, another library understands it.
    store = get_typestore(Stores.EMPTY)
    for connection in connections.values():
        store.register(get_types_from_msg(connection.msgdef.data, connection.msgtype))
    emotion = store.deserialize_cdr(raw["/emotion"][-1], "contextface_ros/msg/Emotion")
    assert (emotion.label, emotion.quote) == ("Surprise", "What a surprise.")
    pose = store.deserialize_cdr(raw["/face/blendshapes"][-1], "contextface_ros/msg/Blendshapes")
    assert len(pose.names) == len(pose.weights) == 52
    # `ros2 bag play` offers what the agent offered: who joins late gets the last face.
    (offered,) = connections["/expression"].ext.offered_qos_profiles
    assert isinstance(offered, Qos)
    assert offered.reliability == QosReliability.RELIABLE
    assert offered.durability == QosDurability.TRANSIENT_LOCAL


def test_a_recorder_that_is_killed_leaves_what_it_heard(
    ros_domain_id: int, prefix: Path, tmp_path: Path
) -> None:
    file = tmp_path / "killed.mcap"
    with (
        Robot() as robot,
        running(player(prefix), tmp_path / "player.log"),
        running(contextface(prefix, "record", file), tmp_path / "record.log") as recorder,
    ):
        robot.until(lambda: file.is_file() and file.stat().st_size > 8000, "poses in the file")
        recorder.end(signal.SIGKILL)
    assert len(list(whole_messages(file))) > 30


def test_other_topics_namespaces_and_images(
    ros_domain_id: int, prefix: Path, tmp_path: Path
) -> None:
    file = tmp_path / "session.mcap"
    options = ["--namespace", "robot1", "--remap", "speech:=/ears/heard", "--images", "raw"]
    with (
        Robot("/robot1/agent") as robot,
        running(contextface(prefix, "record", file, *options), tmp_path / "record.log") as recorder,
    ):
        ears = robot.node.create_publisher(String, "/ears/heard", 10)
        for publisher in ears, robot.image:
            robot.until(partial(lambda p: p.get_subscription_count(), publisher), publisher.topic)
        picture = Image(width=2, height=1, step=6, encoding="rgb8", data=bytes(range(6)))
        for _ in range(20):  # the recorder may not know yet who speaks to it
            ears.publish(String(data="Hello"))
            robot.image.publish(picture)
            robot.spin(0.05)
        assert recorder.end(signal.SIGTERM)[0] == 0
    with Reader(file) as reader:
        read = {c.topic: (c.msgtype, data) for c, _, data in reader.messages()}
    assert read["/ears/heard"][1][8:14] == b"Hello\0"  # after the head and the length
    assert read["/robot1/image"][0] == "sensor_msgs/msg/Image"
    assert bytes(range(6)) in read["/robot1/image"][1]


def test_a_disk_that_is_full_ends_the_recording_in_one_sentence(
    ros_domain_id: int, prefix: Path, tmp_path: Path
) -> None:
    file = tmp_path / "full.mcap"
    limited = ["sh", "-c", 'ulimit -f 24; exec "$@"', "sh"]  # blocks of 512 bytes or 1024
    with (
        running(player(prefix), tmp_path / "player.log"),
        running(
            [*limited, *contextface(prefix, "record", file)], tmp_path / "record.log"
        ) as recorder,
    ):
        assert recorder.popen.wait(30) == 2
        assert len(recorder.lines("cannot be written any more: File too large")) == 1
        assert "Traceback" not in recorder.log
    assert len(list(whole_messages(file))) > 30


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("there.mcap", [], "is there already: choose another name"),
        ("bag.bag", [], "let it end in .mcap"),
        ("bag.mcap", ["--remap", "speech:="], "The node cannot start"),
        ("bag.mcap", ["--namespace", "1 2"], "The node cannot start"),
    ],
)
def test_what_cannot_be_meant_ends_in_a_sentence_and_leaves_no_file(
    ros_domain_id: int,
    prefix: Path,
    tmp_path: Path,
    name: str,
    options: list[str],
    sentence: str,
) -> None:
    (tmp_path / "there.mcap").write_bytes(b"of great worth")
    command = contextface(prefix, "record", tmp_path / name, *options)
    with running(command, tmp_path / "log") as process:
        assert process.popen.wait(30) == 2
    assert sentence in process.log
    assert "Traceback" not in process.log
    assert (tmp_path / "there.mcap").read_bytes() == b"of great worth"
    assert {path.name for path in tmp_path.glob("*.*")} == {"there.mcap"}
