"""Whatever bytes come to a scheduler's port, before or after the greeting: others are served, no memory is taken."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import struct
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net.hello import connect
from lazygraph.executors.cluster.net.link import Body, Link
from lazygraph.executors.cluster.net.scheduler_server import SchedulerServer

PREFIX = struct.Struct("<IQ")
KINDS = [m.Join(f"w{n}", f"tcp://127.0.0.1:{n}", 1, 1) for n in (1, 2)]

numbers = st.one_of(st.integers(-3, 300), st.integers(-(2**40), 2**40))
whatever = st.recursive(
    st.one_of(numbers, st.booleans(), st.none(), st.text(max_size=8), st.binary(max_size=16), st.floats()),
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=8,
)
frames = st.one_of(
    st.binary(max_size=80),
    st.builds(lambda header, body, rest: PREFIX.pack(header, body) + rest, st.integers(0, 2**32 - 1),
              st.integers(0, 2**64 - 1), st.binary(max_size=60)),
    st.builds(lambda tag, fields: framed([tag, *fields]), st.integers(0, 70), st.lists(whatever, max_size=9)),
)  # fmt: skip


def framed(message: Any) -> bytes:
    header = m.encode(message)
    return PREFIX.pack(len(header), 0) + header


class Served:
    """A client that asks who is there, and hears the answer."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[m.Message] = asyncio.Queue()
        self.ends: asyncio.Queue[Exception | None] = asyncio.Queue()

    def heard(self, link: Link, message: m.Message, body: Body) -> None:
        self.answers.put_nowait(message)

    def lost(self, link: Link, error: Exception | None) -> None:
        self.ends.put_nowait(error)

    async def joined(self, address: str, role: str) -> Link:
        return await connect(address, role, "secret", on_message=self.heard, on_lost=self.lost)


async def others_are_served(role: str | None, said: Sequence[bytes]) -> None:
    """Say all this to a scheduler, each on a connection of its own; clients of before and of after are answered."""
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # it is told of what was refused
    server = SchedulerServer("127.0.0.1", 0, "secret")
    address = await server.start()
    before, after = Served(), Served()
    links = [await before.joined(address, "client")]
    try:
        for data in said:
            if role is None:
                _, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
                writer.write(data)
                writer.write_eof()
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()
            else:
                stranger = Served()
                link = await stranger.joined(address, role)
                if role == "worker":
                    link.send(KINDS[0])
                link.flush_now()
                assert link._transport is not None
                link._transport.write(data)
                link.close()
                await stranger.ends.get()
        links.append(await after.joined(address, "client"))
        for who, link in zip((before, after), links, strict=True):
            link.send(m.AskState(7, []))
            while not isinstance(await asyncio.wait_for(who.answers.get(), 20), m.StateOf):
                pass
    finally:
        for link in links:
            link.close()
        for who in (before, after)[: len(links)]:
            await who.ends.get()
        server.close()
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "role",
    [
        None,
        "client",
        "worker",
    ],
)
def test_any_bytes_end_one_connection_at_most(role: str | None) -> None:
    @settings(max_examples=25, deadline=None)
    @given(st.lists(frames, min_size=1, max_size=6))
    def say(said: list[bytes]) -> None:
        asyncio.run(others_are_served(role, said))

    say()


def test_a_frame_that_says_it_is_long_takes_no_memory_before_it_comes() -> None:
    """Sixty-four of 4 GB each, of which a few bytes come."""
    before = resident()
    asyncio.run(others_are_served("client", [PREFIX.pack(10, 4 * 1024**3) + b"begin"] * 64))
    assert resident() - before < 300 * 1024**2


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def test_a_frame_above_the_limit_ends_its_connection() -> None:
    asyncio.run(others_are_served("client", [PREFIX.pack(10, 2**63), os.urandom(64)]))
