"""Links: frames, limits, order, the cork, back-pressure, and how they end."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazygraph.errors import Unserializable
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net import link as link_module
from lazygraph.executors.cluster.net.link import MAX_BODY, MAX_HEADER, Link


def frame(message: m.Message, body: bytes = b"") -> bytes:
    header = m.encode(message)
    return struct.pack("<IQ", len(header), len(body)) + header + body


def feed(link: Link, data: bytes, cuts: list[int]) -> None:
    """Put bytes into a link as a transport does, in pieces of at most these sizes (and then what is left)."""
    sizes = iter(cuts)
    while data and not link.closed:
        room = link.get_buffer(-1)
        size = min(len(room), next(sizes, len(data)), len(data))
        room[:size] = data[:size]
        data = data[size:]
        link.buffer_updated(size)


# Around the sizes of the buffer (8 KiB at first, 256 KiB at last) and far from them.
LENGTHS = st.sampled_from([0, 1, 50, 1_000, 8_100, 8_192, 70_000, 262_144, 600_000])
MESSAGES = st.builds(m.Free, st.integers(0, 9), st.builds(bytes, LENGTHS)) | st.builds(m.Forget, st.integers(0, 9))
FRAMES = st.lists(st.tuples(MESSAGES, LENGTHS), max_size=12)
CUTS = st.lists(st.one_of(st.integers(1, 40), st.integers(1, 10_000), st.just(300_000)), max_size=60)


@given(FRAMES, CUTS)
def test_any_cut_of_the_stream_gives_the_same_frames(lengths: list[tuple[m.Message, int]], cuts: list[int]) -> None:
    frames = [(message, bytes([index]) * length) for index, (message, length) in enumerate(lengths)]
    heard: list[tuple[m.Message, bytes | memoryview]] = []
    at_batch_end: list[int] = []

    async def scenario() -> None:
        link = Link(
            lambda _, message, body: heard.append((message, body)),
            lambda _, error: pytest.fail(f"lost: {error}"),
            lambda: at_batch_end.append(len(heard)),
        )
        link.trust()
        feed(link, b"".join(frame(*each) for each in frames), cuts)

    asyncio.run(scenario())
    # Bodies are compared at the end: a view must still hold what it held when it came.
    assert [(message, bytes(body)) for message, body in heard] == frames
    assert sorted(set(at_batch_end)) == at_batch_end, "a batch end without a message"
    assert at_batch_end[-1:] == ([len(frames)] if frames else [])


@given(st.binary(max_size=300), CUTS)
def test_garbage_before_trust_never_raises_and_is_never_a_message(data: bytes, cuts: list[int]) -> None:
    heard: list[m.Message] = []

    async def scenario() -> None:
        link = Link(lambda _, message, body: heard.append(message), lambda _, error: None)
        feed(link, data, cuts)

    asyncio.run(scenario())
    assert all(isinstance(message, m.GREETING) for message in heard)


async def test_small_and_large_frames_arrive_in_order(linked: Any, far: Any) -> None:
    sent = []
    async with linked() as (caller, _):
        for index in range(40):
            parts = [
                bytes([index]) * length for length in ((0,), (10,), (70_000, 3), (3, 3_000_000, 100_000))[index % 4]
            ]
            message = m.Free(index, bytes(index))
            caller.send(message, *parts)
            sent.append((message, b"".join(parts)))
        await far.until_heard(40)
        assert far.heard == sent


async def test_bodies_may_be_made_of_all_kinds_of_bytes(linked: Any, far: Any) -> None:
    async with linked() as (caller, _):
        caller.send(m.Forget(1), b"ab", bytearray(b"cd"), memoryview(b"xefx")[1:3], memoryview(bytearray(100_000)))
        await far.until_heard(1)
    assert far.heard == [(m.Forget(1), b"abcdef" + bytes(100_000))]


async def test_a_tick_is_one_write_and_one_batch(linked: Any, far: Any) -> None:
    async with linked() as (caller, _):
        for index in range(100):
            caller.send(m.Forget(index))
        assert caller.bytes_out == 0, "written before the end of the tick"
        await far.until_heard(100)
        assert far.batches == 1


async def test_flush_now_does_not_wait_for_the_end_of_the_tick(linked: Any, far: Any) -> None:
    async with linked() as (caller, called):
        caller.send(m.Forget(1), b"body")
        caller.flush_now()
        assert caller.bytes_out == len(frame(m.Forget(1), b"body"))
        await far.until_heard(1)
        assert called.bytes_in == caller.bytes_out


async def test_links_know_their_peer_and_do_not_delay(linked: Any) -> None:
    async with linked() as (caller, called):
        transport = caller._transport
        host, port = transport.get_extra_info("peername")
        assert caller.peer == f"{host}:{port}"
        assert called.peer == "{}:{}".format(*transport.get_extra_info("sockname"))
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_full_socket_holds_the_sender_back_and_keeps_the_order(near: Any) -> None:
    """The peer reads nothing until 64 MB wait for it; then all of it is there, in order."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        caller = near.link()
        await loop.create_connection(lambda: caller, *server.getsockname())
        peer, _ = await loop.sock_accept(server)
    with peer:
        caller.trust()
        expected = b""
        for index in range(4):
            large, small = m.Values(index, [16_000_000], []), m.Forget(index)
            caller.send(large, bytes([index]) * 16_000_000)
            caller.send(small)
            expected += frame(large, bytes([index]) * 16_000_000) + frame(small)
        draining = loop.create_task(caller.drain())
        await asyncio.wait([draining, loop.create_task(asyncio.sleep(0))], return_when=asyncio.FIRST_COMPLETED)
        assert not draining.done()
        assert caller.bytes_out < len(expected) / 2
        read = bytearray()
        while len(read) < len(expected):
            read += await loop.sock_recv(peer, 1 << 20)
        assert read == expected
        await draining
        caller.close()
        assert await near.until_lost() is None


async def test_drain_of_a_lost_link_raises(linked: Any, near: Any) -> None:
    async with linked() as (caller, called):
        called.abort()
        await near.until_lost()
        with pytest.raises(ConnectionError):
            await caller.drain()


async def test_drain_ends_when_the_peer_is_lost_meanwhile(linked: Any, near: Any) -> None:
    async with linked() as (caller, called):
        called._transport.pause_reading()
        caller.send(m.Forget(1), bytes(64_000_000))
        draining = asyncio.get_running_loop().create_task(caller.drain())
        await asyncio.sleep(0)
        called.abort()
        with pytest.raises(ConnectionError):
            await draining


LONG_NONCE = m.Challenge(1, "0", "3", bytes(5_000))


@pytest.mark.parametrize(
    ("trust", "data", "words"),
    [
        (False, frame(LONG_NONCE), "5,0.. bytes of header and 0 of body; at most 4,096 and 0"),
        (False, frame(m.Refusal("x"), b"a body"), "6 of body; at most 4,096 and 0"),
        (False, b"GET / HTTP/1.1\r\n\r\n", "no greeting"),
        (False, frame(m.Forget(1)), "no message .*Invalid value"),
        (True, struct.pack("<IQ", MAX_HEADER + 1, 0), "268,435,457 bytes of header"),
        (True, struct.pack("<IQ", 1, MAX_BODY + 1), "68,719,476,737 of body"),
        (True, struct.pack("<IQ", 3, 0) + b"abc", "no message"),
        (True, struct.pack("<IQ", 0, 0), "no message"),
        (True, struct.pack("<IQ", 4, 0) + b"\x92\x05\xa1\xff", "no message .*utf-8"),
        (True, struct.pack("<IQ", 300_000, 0) + b"\x91" * 300_000, "no message"),
    ],
)
async def test_what_is_no_message_ends_the_link_with_a_reason(
    linked: Any, near: Any, far: Any, trust: bool, data: bytes, words: str
) -> None:
    first = m.Refusal("understood")
    async with linked(trust) as (caller, called):
        caller._transport.write(frame(first) + data + frame(first))
        error = await far.until_lost()
        await near.until_lost()
        assert called.closed
    assert isinstance(error, ConnectionError)
    with pytest.raises(ConnectionError, match=words):
        raise error
    assert far.heard == [(first, b"")]
    assert far.batches == 1


async def test_trust_is_from_the_next_frame_on(linked: Any, far: Any) -> None:
    async with linked(False) as (caller, called):
        called.on_message = lambda link, message, body: (link.trust(), far.message(link, message, body))
        caller._transport.write(frame(m.Refusal("x")) + frame(m.Forget(1), b"body"))
        await far.until_heard(2)
        assert far.heard == [(m.Refusal("x"), b""), (m.Forget(1), b"body")]


@pytest.mark.parametrize("which", ["on_message", "on_batch_end"])
async def test_an_error_of_the_hand_is_reported_and_ends_this_link_only(
    linked: Any, near: Any, far: Any, which: str
) -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
    wrong = KeyError("the hand's own mistake")

    def fail(*_: object) -> None:
        raise wrong

    async with linked() as (caller, called):
        setattr(called, which, fail)
        caller.send(m.Forget(1))
        caller.send(m.Forget(2))
        assert await far.until_lost() is wrong
        await near.until_lost()
    assert [report["exception"] for report in reports] == [wrong]
    assert [message for message, _ in far.heard] == ([] if which == "on_message" else [m.Forget(1), m.Forget(2)])


async def test_close_writes_what_is_queued_and_both_sides_end_well(linked: Any, near: Any, far: Any) -> None:
    async with linked() as (caller, _):
        caller.send(m.Forget(1), bytes(20_000_000))
        caller.send(m.Forget(2))
        caller.close()
        assert caller.closed
        caller.send(m.Forget(3))
        caller.close("a second close says nothing")
        assert await far.until_lost() is None
        assert await near.until_lost() is None
    assert [(message, len(body)) for message, body in far.heard] == [(m.Forget(1), 20_000_000), (m.Forget(2), 0)]
    assert near.lost == [None]
    assert far.lost == [None]


async def test_close_gives_its_reason_to_on_lost(linked: Any, near: Any) -> None:
    async with linked() as (caller, _):
        caller.close("it says nothing of use")
        with pytest.raises(ConnectionError, match="it says nothing of use"):
            raise await near.until_lost()


async def test_abort_writes_nothing_more(linked: Any, near: Any, far: Any) -> None:
    async with linked() as (caller, _):
        caller.send(m.Forget(1))
        caller.abort()
        await near.until_lost()
        await far.until_lost()
    assert far.heard == []


async def test_nothing_is_delivered_after_a_close_in_the_middle_of_a_batch(linked: Any, far: Any) -> None:
    async with linked() as (caller, called):
        called.on_message = lambda link, message, body: (far.message(link, message, body), link.close())
        for index in range(3):
            caller.send(m.Forget(index))
        await far.until_lost()
    assert far.heard == [(m.Forget(0), b"")]


async def test_a_closing_link_writes_on_while_the_peer_goes_on_talking(linked: Any, near: Any, far: Any) -> None:
    async with linked() as (caller, called):
        caller._transport.pause_reading()
        called.send(m.Forget(1), bytes(64_000_000))
        called.close()
        for _ in range(20):
            caller.send(m.Forget(2), bytes(100_000))
            await caller.drain()
        caller._transport.resume_reading()
        await near.until_heard(1)
        assert await far.until_lost() is None
        await near.until_lost()
    assert [(message, len(body)) for message, body in near.heard] == [(m.Forget(1), 64_000_000)]
    assert far.heard == []


async def test_the_buffer_grows_for_a_peer_that_is_trusted_and_busy() -> None:
    sizes = []
    for message, trust in ((m.Refusal("x"), False), (m.Forget(1), True)):
        link = Link(lambda *_: None, lambda *_: None)
        if trust:
            link.trust()
        feed(link, frame(message) * 100_000, [])
        sizes.append(len(link.get_buffer(-1)))
        assert not link.closed
    assert sizes == [8 * 1024, 256 * 1024]


@pytest.mark.parametrize("size", [20, 100_000])
async def test_an_end_in_the_middle_of_a_frame_is_an_error(linked: Any, far: Any, size: int) -> None:
    async with linked() as (caller, _):
        caller._transport.write(frame(m.Forget(1)) + frame(m.Forget(2), bytes(size))[:-1])
        caller.close()
        with pytest.raises(ConnectionError, match="in the middle of a frame"):
            raise await far.until_lost()
    assert far.heard == [(m.Forget(1), b"")]


async def test_a_body_does_not_pin_a_longer_header(linked: Any, far: Any) -> None:
    kinds = []
    async with linked() as (caller, called):
        called.on_message = lambda link, message, body: (kinds.append(type(body)), far.message(link, message, body))
        caller.send(m.Free(1, bytes(400_000)), bytes(300_000))
        caller.send(m.Free(1, b""), bytes(300_000))
        caller.send(m.Free(1, b""), bytes(3))
        await far.until_heard(3)
    assert kinds == [bytes, memoryview, bytes]


async def test_a_message_over_the_limit_is_refused_where_it_is_sent(
    linked: Any, far: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with linked() as (caller, _):
        monkeypatch.setattr(link_module, "MAX_HEADER", 1_000)
        with pytest.raises(Unserializable, match=r"a Free of 1,00. bytes cannot be sent .* in several parts"):
            caller.send(m.Free(1, bytes(1_000)))
        caller.send(m.Forget(1))
        await far.until_heard(1)
    assert far.heard == [(m.Forget(1), b"")]


async def test_a_link_closed_before_it_was_connected_ends_at_once(near: Any, listening: Any) -> None:
    async def wait_for_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    caller = near.link()
    caller.abort()
    async with listening(wait_for_the_end) as address:
        host, port = address.removeprefix("tcp://").split(":")
        await asyncio.get_running_loop().create_connection(lambda: caller, host, int(port))
        await near.until_lost()
    assert near.lost == [None]
