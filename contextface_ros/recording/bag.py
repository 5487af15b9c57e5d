"""One session as an MCAP file that `ros2 bag` plays and Foxglove opens.

Profile ros2, messages in CDR as they came over the wire, schemas with full definitions, chunks
compressed with zstd (https://mcap.dev/spec). What was flushed is readable whatever happens next.
"""

from __future__ import annotations

from pathlib import Path

from contextface_ros.errors import BadInput, MissingDependency

SUFFIX = ".mcap"
_CHUNK_BYTES = 1024 * 1024


class Bag:
    """A file that is being written. Not for several threads at once.

    Attributes:
        path: of the file.
        messages: by topic, how many were written.
        complete: whether the file was ended well.
    """

    def __init__(self, path: Path) -> None:
        """Begin a file.

        Raises:
            BadInput: the path does not end in .mcap, is taken, or cannot be written to.
            MissingDependency: the extra `record` is not installed.
        """
        try:
            from mcap.writer import CompressionType, Writer
        except ImportError as error:
            raise MissingDependency(
                "recording needs: pip install 'contextface_ros[record]'"
            ) from error
        if path.suffix != SUFFIX:
            raise BadInput(f"{path} is not the name of a recording: let it end in {SUFFIX}")
        try:
            self._file = path.open("xb")
        except FileExistsError as error:
            raise BadInput(f"{path} is there already: choose another name") from error
        except OSError as error:
            raise BadInput(f"{path} cannot be written: {error.strerror}") from error
        self.path = path
        self.complete = False
        self.messages: dict[str, int] = {}
        self._topics: dict[int, str] = {}
        self._schemas: dict[str, int] = {}
        self._writer = Writer(self._file, chunk_size=_CHUNK_BYTES, compression=CompressionType.ZSTD)
        self._writer.start(profile="ros2", library="contextface_ros")

    def add_topic(self, topic: str, kind: str, definition: str, offered_qos: str) -> int:
        """Announce a topic.

        Args:
            topic: full name, such as /robot1/emotion.
            kind: name of its type, such as contextface_ros/msg/Emotion.
            definition: of the type, with all that it needs.
            offered_qos: how its publisher offers it, in rosbag2's YAML; `ros2 bag play` offers it
                in the same way.

        Returns:
            A number for `write`.
        """
        if kind not in self._schemas:
            text = definition.encode()
            self._schemas[kind] = self._writer.register_schema(kind, "ros2msg", text)
        metadata = {"offered_qos_profiles": offered_qos}
        number: int = self._writer.register_channel(topic, "cdr", self._schemas[kind], metadata)
        self._topics[number] = topic
        self.messages[topic] = 0
        return number

    def write(self, topic: int, message: bytes, received_ns: int, sent_ns: int) -> None:
        """Append a message.

        Args:
            topic: the number that `add_topic` gave.
            message: in CDR.
            received_ns: since 1970; `ros2 bag play` keeps these intervals.
            sent_ns: since 1970.

        Raises:
            OSError: the disk is full, say. What was flushed before stays readable.
        """
        name = self._topics[topic]
        self.messages[name] += 1
        self._writer.add_message(topic, received_ns, message, sent_ns, self.messages[name])

    def flush(self) -> None:
        """Hand all that was written to the system: from here on it outlives this process.

        Raises:
            OSError: as `write`.
        """
        self._writer.flush()

    @property
    def size_bytes(self) -> int:
        """What is in the file, without the chunk that is being filled."""
        return self.path.stat().st_size

    def close(self) -> None:
        """Write the index and end the file. Raises OSError as `write`; the file is closed then."""
        with self._file:
            self._writer.finish()
        self.complete = True

    def discard(self) -> None:
        """Remove a file that nothing was written to."""
        self._file.close()
        self.path.unlink()
