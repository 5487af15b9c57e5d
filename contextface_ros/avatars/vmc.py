"""Named expressions on the wire: the VMC protocol, OSC bundles over UDP to one application.

    (name, value), ... --packets--> bundles --Application.send--> UDP

The protocol is at https://protocol.vmc.info: text in UTF-8, bundles within 1500 bytes, each value
as /VMC/Ext/Blend/Val, and /VMC/Ext/Blend/Apply after the last.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Sequence

from contextface_ros.errors import MissingDependency

try:
    from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
    from pythonosc.osc_message import OscMessage
    from pythonosc.osc_message_builder import OscMessageBuilder
except ImportError as error:
    raise MissingDependency("VMC needs: pip install 'contextface_ros[vmc]'") from error

LARGEST_BYTES = 1400
"""Of a packet: within the protocol's 1500 with the headers of IP and UDP, over IPv6 too."""

_LOOK_UP_S = 5.0  # between two attempts to find a host
_HEADER_BYTES, _SIZE_BYTES = 16, 4  # of a bundle, and before each message in it


def packets(values: Iterable[tuple[str, float]], time_s: float) -> list[bytes]:
    """Tell an avatar what it has to show.

    Args:
        values: names of expressions and their strengths in 0..1.
        time_s: since the sender started.

    Returns:
        Datagrams of at most LARGEST_BYTES, in order; what they say counts with the last.
    """
    messages = [_message("/VMC/Ext/OK", 1), _message("/VMC/Ext/T", float(time_s))]
    messages += [_message("/VMC/Ext/Blend/Val", name, float(value)) for name, value in values]
    messages.append(_message("/VMC/Ext/Blend/Apply"))
    return [_bundle(part) for part in _parts(messages)]


def _message(address: str, *values: str | int | float) -> OscMessage:
    builder = OscMessageBuilder(address)
    for value in values:
        builder.add_arg(value)
    return builder.build()


def _parts(messages: Sequence[OscMessage]) -> Iterator[list[OscMessage]]:
    part: list[OscMessage] = []
    size = _HEADER_BYTES
    for message in messages:
        if part and size + _SIZE_BYTES + message.size > LARGEST_BYTES:
            yield part
            part, size = [], _HEADER_BYTES
        part.append(message)
        size += _SIZE_BYTES + message.size
    yield part


def _bundle(messages: Iterable[OscMessage]) -> bytes:
    builder = OscBundleBuilder(IMMEDIATELY)
    for message in messages:
        builder.add_content(message)
    return builder.build().dgram


class Application:
    """Who shows the avatar, at a host and a port. It may come and go."""

    def __init__(self, host: str, port: int) -> None:
        """Nothing is looked up or sent yet.

        Args:
            host: name or address.
            port: of UDP, 1 to 65535.
        """
        self._host = host
        self._port = port
        self._socket: socket.socket | None = None
        self._look_up_s = 0.0  # not before (time.monotonic)

    def send(self, datagrams: Iterable[bytes]) -> None:
        """Send what it is to show now. Never waits for the network.

        Raises:
            OSError: there is no such host, no way to it, or nobody listens at the port. Go on: the
                next call tries again.
        """
        if self._socket is None:
            if time.monotonic() < self._look_up_s:
                return
            self._look_up_s = time.monotonic() + _LOOK_UP_S
            self._socket = self._connected()
        for datagram in datagrams:
            try:
                self._socket.send(datagram)
            except BlockingIOError:  # the line is full, and the next pose as good
                return

    def close(self) -> None:
        """Free the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        """A socket that learns, being connected, when nobody listens at the other end."""
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
        except UnicodeError as error:  # a name that no host can have
            raise OSError(0, "not the name of a host") from error
        family, kind, protocol, _, address = found[0]
        line = socket.socket(family, kind, protocol)
        try:
            line.setblocking(False)
            line.connect(address)
        except OSError:
            line.close()
            raise
        return line
