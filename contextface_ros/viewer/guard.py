"""Which pages may speak to the server: its own alone.

A page of another site can open a WebSocket to any address that the browser reaches, the robot's
too. The browser says which site it is (Origin), so a foreign one is refused. A site could also let
its own name lead to the robot's address (DNS rebinding); then Origin and Host agree, but both are a
name that is not the robot's. An address in figures cannot be rebound.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit


def own_names(*further: str) -> frozenset[str]:
    """Names under which this machine is asked for, and those that were added."""
    machine = socket.gethostname()
    return frozenset(n.lower() for n in ("localhost", machine, f"{machine}.local", *further) if n)


def is_own_host(host: str | None, names: Iterable[str]) -> bool:
    """Whether a request's Host is an address in figures, or one of the names."""
    try:
        name = urlsplit(f"//{host or ''}").hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in names
    return True


def is_own_page(origin: str | None, host: str | None) -> bool:
    """Whether a page from `origin` was served by what it now speaks to."""
    try:
        site = urlsplit(origin or "")
    except ValueError:
        return False
    return site.scheme in ("http", "https") and site.netloc.lower() == (host or "").lower() != ""
