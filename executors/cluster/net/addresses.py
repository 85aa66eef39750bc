"""Addresses: `tcp://host:port`.

Covers: reading and writing them, the default port.
Does not cover: resolving names (the event loop does).
"""

from __future__ import annotations

import re

from lazygraph.errors import InvalidOption

DEFAULT_PORT = 8786

_ADDRESS = re.compile(r"(?:tcp://)?(?:\[(?P<six>[\w:.%]+)\]|(?P<host>[^\s/\[\]:@?#]+))(?::(?P<port>[0-9]{1,5}))?/?")


def parse_address(address: str) -> tuple[str, int]:
    """Return host and port.

    `tcp://` and the port may be left out; an IPv6 host stands in brackets.  Raises InvalidOption for anything else.
    """
    found = _ADDRESS.fullmatch(address.strip())
    port = DEFAULT_PORT if found is None or found["port"] is None else int(found["port"])
    if found is None or not 0 < port < 65536:
        raise InvalidOption(f"{address!r} is no address; write it as tcp://host:port, or tcp://[::1]:port for IPv6")
    return found["six"] or found["host"], port


def format_address(host: str, port: int) -> str:
    """Return `tcp://host:port`, with brackets around an IPv6 host."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
