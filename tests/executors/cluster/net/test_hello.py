"""The greeting over loopback: who gets in, who does not and what they are told."""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from lazygraph.errors import CannotConnect, InvalidOption, Refused
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net.hello import Answerer, Caller, Server, connect, serve
from lazygraph.executors.cluster.net.link import Link

ROLES = ("client", "worker")
ONE, TWO = bytes(range(32)), bytes(range(32, 64))


class Host:
    """A server of ours, and an ear for its links."""

    def __init__(self, ear: Any) -> None:
        self.ear = ear
        self.joined: list[tuple[Link, str]] = []
        self.on_joined: Callable[[Link], None] = lambda link: None
        self.server: Server

    async def start(self, token: str = "secret", seconds: float = 10.0) -> str:
        self.server = await serve(
            "127.0.0.1",
            0,
            token,
            roles=ROLES,
            on_link=self._joined,
            on_message=self.ear.message,
            on_lost=self.ear.end,
            on_batch_end=self.ear.batch_end,
            greeting_seconds=seconds,
        )
        return self.server.address

    def _joined(self, link: Link, role: str) -> None:
        self.joined.append((link, role))
        self.on_joined(link)


@pytest.fixture
def host(far: Any) -> Host:
    return Host(far)


async def call(address: str, ear: Any, token: str = "secret", role: str = "client", **more: Any) -> Link:
    return await connect(
        address, role, token, on_message=ear.message, on_lost=ear.end, on_batch_end=ear.batch_end, **more
    )


async def test_a_greeted_link_carries_messages_both_ways(host: Host, near: Any, far: Any) -> None:
    address = await host.start()
    assert address == f"tcp://127.0.0.1:{host.server.port}"
    link = await call(address, near, role="worker")
    [(there, role)] = host.joined
    assert role == "worker"
    link.send(m.Forget(1), b"to")
    there.send(m.Forget(2), bytes(1_000_000))
    await far.until_heard(1)
    await near.until_heard(1)
    assert far.heard == [(m.Forget(1), b"to")]
    assert near.heard == [(m.Forget(2), bytes(1_000_000))]
    assert near.batches == 1
    link.close()
    assert await far.until_lost() is None
    assert await near.until_lost() is None
    host.server.close()


async def test_what_comes_with_the_welcome_is_not_lost(host: Host, near: Any, far: Any) -> None:
    """The server's first words travel in the same write as its welcome, and it closes at once."""
    address = await host.start()

    def speak_and_leave(link: Link) -> None:
        link.send(m.Forget(1))
        link.close()

    host.on_joined = speak_and_leave
    await call(address, near)
    assert await near.until_lost() is None
    assert near.heard == [(m.Forget(1), b"")]
    await far.until_lost()
    host.server.close()


async def test_a_wrong_token_is_refused_with_the_sentence(host: Host, near: Any, far: Any) -> None:
    address = await host.start()
    sentence = (
        f"{address} and this client cannot work together: the client's token is not this cluster's; give the client "
        f"the token of the scheduler it belongs to (LAZYGRAPH_TOKEN, --token-file or Client(token=))"
    )
    with pytest.raises(Refused, match=re.escape(sentence)):
        await call(address, near, token="another")
    host.server.close()
    assert (host.joined, near.lost, far.lost, far.heard) == ([], [], [], [])


async def test_a_greeted_link_outlives_the_time_for_greetings(host: Host, near: Any, far: Any) -> None:
    loop = asyncio.get_running_loop()
    address = await host.start(seconds=10)
    link = await call(address, near)
    now = loop.time()
    loop.time = lambda: now + 20  # the clock jumps past the limit: a timer that is still set goes off
    await asyncio.sleep(0)
    link.send(m.Forget(1))
    await far.until_heard(1)
    link.close()
    assert await far.until_lost() is None
    assert await near.until_lost() is None
    assert near.heard == []
    host.server.close()


async def test_closing_the_server_ends_links_and_greetings(host: Host, near: Any, far: Any) -> None:
    address = await host.start(seconds=1_000)
    link = await call(address, near)
    reader, writer = await asyncio.open_connection(*address.removeprefix("tcp://").split(":"))
    writer.write(raw(Caller("client", "secret", ONE).hello()))
    await reader.readexactly(12)
    host.server.close()
    await near.until_lost()
    await far.until_lost()
    assert link.closed
    await end_of(reader, writer)
    with pytest.raises(CannotConnect, match=r"connection refused.*lazygraph scheduler"):
        await call(address, near)


def raw(message: m.Message, body: bytes = b"") -> bytes:
    header = m.encode(message)
    return struct.pack("<IQ", len(header), len(body)) + header + body


async def end_of(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Read until the other side has closed; return what it said last."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            pass


async def say(address: str, *said: bytes) -> list[m.Message]:
    """Say these bytes to a server of ours; return all its messages, once it has closed."""
    reader, writer = await asyncio.open_connection(*address.removeprefix("tcp://").split(":"))
    for data in said:
        writer.write(data)
    answer = await end_of(reader, writer)
    messages = []
    while answer:
        header, body = struct.unpack_from("<IQ", answer)
        messages.append(m.decode(answer[12 : 12 + header]))
        answer = answer[12 + header + body :]
    return messages


HELLO = Caller("client", "secret", ONE).hello()
TASKS = m.Free(1, b"1234")


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # TLS
        bytes(12),
        raw(TASKS),
        raw(m.Get(1, 1, b""), b"a body"),
        raw(HELLO, b"cos\nsystem\n(S'false'\ntR."),
        raw(m.Hello(1, "client" * 1000, "0.1", "3.11", "little", ONE)),
    ],
    ids=["http", "tls", "zeros", "task", "task with a body", "hello with a pickle", "long hello"],
)
async def test_what_is_no_greeting_is_answered_by_nothing(host: Host, far: Any, said: bytes) -> None:
    address = await host.start()
    assert await say(address, said) == []
    host.server.close()
    assert (host.joined, far.heard, far.lost) == ([], [], [])


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (raw(m.Proof(bytes(32))), "Proof came out of turn; a connection begins with Hello, then Proof"),
        (raw(HELLO) + raw(HELLO), "Hello came out of turn; a connection begins with Hello, then Proof"),
        (
            raw(structs.replace(HELLO, role="spy")),
            "nobody connects here as 'spy', only as client or worker; check the address",
        ),
    ],
)
async def test_a_greeting_that_goes_wrong_is_told_why(host: Host, far: Any, said: bytes, sentence: str) -> None:
    address = await host.start()
    assert (await say(address, said))[-1] == m.Refusal(sentence)
    host.server.close()
    assert (host.joined, far.heard, far.lost) == ([], [], [])


async def test_tasks_between_hello_and_proof_are_not_read(host: Host, far: Any) -> None:
    address = await host.start()
    answers = await say(address, raw(HELLO) + raw(TASKS))
    assert [type(answer) for answer in answers] in ([], [m.Challenge])  # the answer may go down with the connection
    host.server.close()
    assert (host.joined, far.heard, far.lost) == ([], [], [])


async def test_a_recorded_connection_opens_nothing_when_replayed(
    host: Host, near: Any, far: Any, listening: Any
) -> None:
    """A thief in the middle records a whole greeting, and says the same again later."""
    address = await host.start()
    recorded = bytearray()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_connection("127.0.0.1", host.server.port)

        async def back() -> None:
            while data := await their_reader.read(1 << 16):
                writer.write(data)
            writer.close()

        backwards = asyncio.get_running_loop().create_task(back())
        while data := await reader.read(1 << 16):
            recorded.extend(data)
            their_writer.write(data)
        their_writer.close()
        await backwards

    async with listening(relay) as middle:
        link = await call(middle, near)
        link.send(TASKS)
        await far.until_heard(1)
        link.close()
        await near.until_lost()
        await far.until_lost()
    far.heard.clear()
    answers = await say(address, bytes(recorded))
    assert [type(answer) for answer in answers] == [m.Challenge, m.Refusal]
    assert "token" in answers[1].sentence
    host.server.close()
    assert (len(host.joined), far.heard) == (1, [])


async def test_a_slow_greeting_is_ended(host: Host, far: Any) -> None:
    address = await host.start(seconds=0.01)
    assert await say(address, raw(HELLO)[:5]) == [m.Refusal("the greeting was not finished within 0.01 s")]
    host.server.close()
    assert (host.joined, far.lost) == ([], [])


async def test_a_server_that_says_nothing_is_no_server(near: Any, listening: Any) -> None:
    gone = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()

    async with listening(say_nothing) as address:
        with pytest.raises(CannotConnect, match=r"no answer within 0\.01 s.*lazygraph scheduler"):
            await call(address, near, timeout=0.01)
        await gone.wait()
    assert near.lost == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "it closed the connection during the greeting"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no greeting"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no greeting"),
        (raw(TASKS), "no message"),
    ],
)
async def test_a_server_that_is_not_ours_is_no_server(near: Any, listening: Any, answer: bytes, words: str) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(12)
        writer.write(answer)
        writer.close()
        # What the caller said after those 12 bytes is not read: it may see a reset instead of an end.

    async with listening(hang_up) as address:
        with pytest.raises(CannotConnect, match=f"{words}|reset by peer"):
            await call(address, near)
    assert (near.heard, near.lost) == ([], [])


async def test_a_server_that_cannot_prove_the_token_is_refused(near: Any, listening: Any) -> None:
    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        header, _ = struct.unpack("<IQ", await reader.readexactly(12))
        answerer = Answerer("another", TWO, ROLES)
        writer.write(raw(answerer.receive(m.decode(await reader.readexactly(header)))))
        header, _ = struct.unpack("<IQ", await reader.readexactly(12))
        proof = m.decode(await reader.readexactly(header))
        writer.write(raw(m.Welcome(proof.proof)) + raw(TASKS, b"a body"))
        await reader.read()

    async with listening(pretend) as address:
        with pytest.raises(Refused, match="it did not prove that it knows the token"):
            await call(address, near)
    assert (near.heard, near.lost) == ([], [])


async def test_a_cancelled_connect_leaves_no_connection(near: Any, listening: Any) -> None:
    came, gone = asyncio.Event(), asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(12)
        came.set()
        await reader.read()
        gone.set()

    async with listening(say_nothing) as address:
        connecting = asyncio.get_running_loop().create_task(call(address, near))
        await came.wait()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await gone.wait()
    assert near.lost == []


async def test_a_host_name_that_cannot_be_one_is_said_so(near: Any) -> None:
    with pytest.raises(CannotConnect, match="its host name is not known"):
        await call("tcp://a..b:1", near)


@pytest.mark.parametrize("token", ["", None])
async def test_no_token_no_server(host: Host, token: Any) -> None:
    with pytest.raises(InvalidOption, match="a token cannot be empty"):
        await host.start(token)
