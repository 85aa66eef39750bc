"""Addresses: read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazygraph.errors import InvalidOption
from lazygraph.executors.cluster.net.addresses import format_address, parse_address


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("tcp://127.0.0.1:8786", ("127.0.0.1", 8786)),
        ("tcp://node-7.example.org:1", ("node-7.example.org", 1)),
        ("localhost:65535", ("localhost", 65535)),
        ("localhost", ("localhost", 8786)),
        (" tcp://[::1]:9000 ", ("::1", 9000)),
        ("tcp://[fe80::1%eth0]", ("fe80::1%eth0", 8786)),
        ("tcp://host:8786/", ("host", 8786)),
    ],
)
def test_addresses_that_are_understood(address: str, parts: tuple[str, int]) -> None:
    assert parse_address(address) == parts


@pytest.mark.parametrize(
    "address",
    [
        "",
        "tcp://",
        ":8786",
        "tcp://host:",
        "tcp://host:0",
        "tcp://host:65536",
        "tcp://host:eight",
        "tcp://host:1:2",
        "tcp://host/path",
        "tcp://user@host:1",
        "tcp://::1:8786",
        "tcp://[::1",
        "http://host:8786",
        "two words:1",
    ],
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(InvalidOption, match="is no address; write it as tcp://host:port"):
        parse_address(address)


NAMES = st.from_regex(r"[a-z0-9-]{1,9}(\.[a-z0-9-]{1,9})*", fullmatch=True)


@given(st.ip_addresses().map(str) | NAMES, st.integers(1, 65535))
def test_what_is_written_is_read_back(host: str, port: int) -> None:
    assert parse_address(format_address(host, port)) == (host, port)
