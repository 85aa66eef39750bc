"""Addresses: `tcp://host:port`, and `tls://host:port` where TLS is spoken.

Covers: reading and writing them, the default port.
Does not cover: resolving names (the event loop does).
"""

from __future__ import annotations

import re

from lazygraph.errors import InvalidOption

DEFAULT_PORT = 8786

_ADDRESS = re.compile(
    r"(?:(?:tcp|tls)://)?(?:\[(?P<six>[\w:.%]+)\]|(?P<host>[^\s/\[\]:@?#]+))(?::(?P<port>[0-9]{1,5}))?/?"
)


def parse_address(address: str) -> tuple[str, int]:
    """Return host and port.

    `tcp://` or `tls://` and the port may be left out; an IPv6 host stands in brackets.  Raises InvalidOption for
    anything else.
    """
    found = _ADDRESS.fullmatch(address.strip())
    port = DEFAULT_PORT if found is None or found["port"] is None else int(found["port"])
    if found is None or not 0 < port < 65536:
        raise InvalidOption(
            f"{address!r} is no address; write it as tcp://host:port (tls://host:port with TLS), or tcp://[::1]:port "
            f"for IPv6"
        )
    return found["six"] or found["host"], port


def format_address(host: str, port: int, tls: bool = False) -> str:
    """Return `tcp://host:port` (or `tls://`), with brackets around an IPv6 host."""
    scheme = "tls" if tls else "tcp"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def is_tls(address: str) -> bool:
    """Whether TLS is spoken at an address."""
    return address.strip().startswith("tls://")
