"""Packets are read back with python-osc's own parser and server."""

from __future__ import annotations

import runpy
import socket
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.osc_bundle import OscBundle
from pythonosc.osc_message import OscMessage

from contextface_ros.avatars import vmc
from contextface_ros.avatars.vmc import LARGEST_BYTES, Application, packets
from contextface_ros.errors import MissingDependency

strengths = st.floats(0, 1, width=32)
names = st.text(min_size=1, max_size=60).filter(lambda text: "\0" not in text)


def messages(datagrams: list[bytes]) -> list[OscMessage]:
    """What is in the bundles, in order."""
    return [message for datagram in datagrams for message in OscBundle(datagram)]


@given(st.dictionaries(names, strengths, max_size=120), st.floats(0, 1e6, width=32))
def test_what_is_told_is_read_back_whole_and_in_order(
    values: dict[str, float], time_s: float
) -> None:
    datagrams = packets(values.items(), time_s)
    assert all(OscBundle.dgram_is_bundle(d) and len(d) <= LARGEST_BYTES for d in datagrams)
    first, clock, *told, last = messages(datagrams)
    assert (first.address, first.params) == ("/VMC/Ext/OK", [1])
    assert (clock.address, clock.params) == ("/VMC/Ext/T", [time_s])
    assert (last.address, last.params) == ("/VMC/Ext/Blend/Apply", [])
    assert {message.address for message in told} <= {"/VMC/Ext/Blend/Val"}
    assert [tuple(message.params) for message in told] == list(values.items())


def test_a_whole_face_takes_few_packets() -> None:
    assert len(packets([(f"MouthLowerDownLeft{k}", 0.5) for k in range(52)], 0.0)) <= 3


def test_whole_numbers_are_sent_as_floats() -> None:
    (datagram,) = packets([("Joy", 1)], 0)
    assert b"/VMC/Ext/Blend/Val" in datagram and b",sf\0" in datagram and b",si" not in datagram


def test_who_does_not_listen_is_told_and_heard_once_it_does() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    application = Application("127.0.0.1", port)
    application.send([b"lost"])
    with pytest.raises(ConnectionRefusedError):
        for _ in range(100):
            application.send([b"lost"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as avatar:
        avatar.bind(("127.0.0.1", port))
        avatar.settimeout(5)
        for _ in range(2):  # the first may still hear of the refusal before it
            try:
                application.send([b"one", b"two"])
            except ConnectionRefusedError:
                continue
        assert avatar.recv(100) == b"one"
    application.close()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "256.1.1.1", "a" * 300, ".", "\udc80"])
def test_a_host_that_is_not_there_is_an_error_once_in_a_while(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    application = Application(host, 39539)
    with pytest.raises(OSError):
        application.send([b"lost"])
    application.send([b"lost"])  # nobody is asked again at once
    monkeypatch.setattr(vmc, "_LOOK_UP_S", 0.0)
    monkeypatch.setattr(application, "_look_up_s", 0.0)
    with pytest.raises(OSError):
        application.send([b"lost"])
    application.close()


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pythonosc.osc_message_builder", None)
    with pytest.raises(MissingDependency, match=r"contextface_ros\[vmc\]"):
        runpy.run_path(vmc.__file__)


def test_an_address_of_ip_6_is_as_good() -> None:
    try:
        avatar = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        avatar.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with avatar:
        avatar.settimeout(5)
        application = Application("::1", avatar.getsockname()[1])
        application.send([b"there"])
        assert avatar.recv(100) == b"there"
        application.close()
