from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contextface_ros.viewer.guard import is_own_host, is_own_page, own_names

NAMES = own_names("robot.example")


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8765", "127.0.0.1:8765", "192.168.1.7", "[::1]:8765", "LOCALHOST:1",
     "robot.example:8765"],
)  # fmt: skip
def test_the_robot_s_own_names_and_addresses_are_taken(host: str) -> None:
    assert is_own_host(host, NAMES)


@pytest.mark.parametrize(
    "host",
    [None, "", "evil.example", "evil.example:8765", "localhost.evil.example", "127.0.0.1.nip.io",
     "[::1", "user@evil.example", "0x7f.evil.example"],
)  # fmt: skip
def test_a_name_that_is_led_here_is_refused(host: str | None) -> None:
    assert not is_own_host(host, NAMES)


def test_a_page_may_speak_to_the_server_that_it_came_from_alone() -> None:
    assert is_own_page("http://127.0.0.1:8765", "127.0.0.1:8765")
    assert is_own_page("https://Robot.example", "robot.example")
    for origin in (None, "", "null", "http://evil.example", "http://127.0.0.1", "http://127.0.0.1:1",
                   "file:///127.0.0.1:8765", "http://[", "http://x@127.0.0.1:8765"):  # fmt: skip
        assert not is_own_page(origin, "127.0.0.1:8765"), origin
    assert not is_own_page("http://", "")


@settings(deadline=None, max_examples=50)
@given(st.text(), st.text())
def test_nothing_that_is_sent_breaks_it(origin: str, host: str) -> None:
    is_own_page(origin, host)
    is_own_host(host, NAMES)
