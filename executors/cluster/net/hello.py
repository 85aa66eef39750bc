"""The greeting: who are you, and do you know the token?  Nothing else is read, and nothing unpickled, before it is over.

    connecting side                    accepting side
    Hello(role, versions, nonce)  -->
                                  <--  Challenge(versions, nonce)
    Proof(HMAC)                   -->
                                  <--  Welcome(HMAC)         or, at any point, Refusal(sentence)

Each side's proof is HMAC-SHA256 with the token as key over both nonces, the role and the side's name, so neither can
be replayed or reflected.

Covers: the greeting, connecting, serving.
Does not cover: where tokens come from (net.tokens).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import socket
import sys
from typing import TYPE_CHECKING

from lazygraph.errors import CannotConnect, Refused
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net.addresses import format_address, parse_address
from lazygraph.executors.cluster.net.link import Link
from lazygraph.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Buffer = bytes | memoryview
GREETING_SECONDS = 10.0
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def prove(token: str, side: str, role: str, first: bytes, second: bytes) -> bytes:
    """Return a side's proof that it knows the token."""
    said = b"\0".join((b"lazygraph", side.encode(), role.encode(), first.hex().encode(), second.hex().encode()))
    return hmac.new(token.encode(), said, hashlib.sha256).digest()


def objection(hello: m.Hello, roles: Sequence[str]) -> str:
    """Return why a Hello is refused, or nothing."""
    if hello.protocol != m.PROTOCOL:
        return f"you speak protocol {hello.protocol}, this side {m.PROTOCOL}; install the same lazygraph on both sides"
    if _series(hello.lazygraph) != _series(__version__):
        return f"you run lazygraph {hello.lazygraph}, this side {__version__}; install the same version on both sides"
    if hello.python != PYTHON:
        return f"you run Python {hello.python}, this side {PYTHON}; functions travel only between equal versions"
    if hello.byteorder != sys.byteorder:
        return f"your machine is {hello.byteorder}-endian, this one {sys.byteorder}-endian"
    if hello.role not in roles:
        return f"nobody here serves a {hello.role!r}; is this the right address?"
    return ""


def _series(version: str) -> list[str]:
    return version.split(".")[:2]


class _Accepting:
    """The accepting side of one greeting."""

    def __init__(self, server: Server, token: str, roles: Sequence[str]) -> None:
        self._server, self._token, self._roles = server, token, roles
        self._hello: m.Hello | None = None
        self._nonce = secrets.token_bytes(32)

    def message(self, link: Link, message: m.Message, body: Buffer) -> None:
        if isinstance(message, m.Hello) and self._hello is None:
            why = objection(message, self._roles)
            if why:
                self._refuse(link, why)
                return
            self._hello = message
            link.send(m.Challenge(m.PROTOCOL, __version__, PYTHON, self._nonce))
        elif isinstance(message, m.Proof) and self._hello is not None:
            self._check(link, self._hello, message)
        else:
            self._refuse(link, f"a greeting does not go on with {type(message).__name__}")

    def _check(self, link: Link, hello: m.Hello, proof: m.Proof) -> None:
        wanted = prove(self._token, "connecting", hello.role, hello.nonce, self._nonce)
        if not hmac.compare_digest(wanted, proof.proof):
            self._refuse(link, "your token is not this side's token; see LAZYGRAPH_TOKEN and --token-file")
            return
        link.send(m.Welcome(prove(self._token, "accepting", hello.role, hello.nonce, self._nonce)))
        link.trust()
        self._server.greeted(link, hello.role)

    def _refuse(self, link: Link, why: str) -> None:
        link.send(m.Refusal(why))
        link.close()


class Server:
    """Accepts connections, greets them, and hands over those that know the token."""

    def __init__(
        self,
        token: str,
        roles: Sequence[str],
        on_link: Callable[[Link, str], None],
        on_message: Callable[[Link, m.Message, Buffer], None],
        on_lost: Callable[[Link, Exception | None], None],
        on_batch_end: Callable[[], None] | None,
        greeting_seconds: float,
    ) -> None:
        self._token, self._roles, self._seconds = token, roles, greeting_seconds
        self._on_link, self._on_message, self._on_lost, self._on_batch_end = on_link, on_message, on_lost, on_batch_end
        self._greeting: dict[Link, asyncio.TimerHandle] = {}
        self._links: set[Link] = set()
        self.host, self.port = "", 0
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return format_address(self.host, self.port)

    async def listen(self, host: str, port: int) -> None:
        """Begin to accept."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, host, port)
        self.host, self.port = host, self._server.sockets[0].getsockname()[1]

    def _accept(self) -> Link:
        greeting = _Accepting(self, self._token, self._roles)
        link = Link(greeting.message, self._lost_early)
        self._greeting[link] = asyncio.get_running_loop().call_later(self._seconds, self._too_slow, link)
        return link

    def _too_slow(self, link: Link) -> None:
        link.send(m.Refusal(f"the greeting was not over within {self._seconds} s"))
        link.close()

    def _lost_early(self, link: Link, error: Exception | None) -> None:
        self._greeting.pop(link).cancel()

    def greeted(self, link: Link, role: str) -> None:
        """A greeting has succeeded: the link belongs to the hand now."""
        self._greeting.pop(link).cancel()
        self._links.add(link)
        link.on_message, link.on_lost, link.on_batch_end = self._on_message, self._lost, self._on_batch_end
        self._on_link(link, role)

    def _lost(self, link: Link, error: Exception | None) -> None:
        self._links.discard(link)
        self._on_lost(link, error)

    def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        for link in [*self._greeting, *self._links]:
            link.close()


async def serve(
    host: str,
    port: int,
    token: str,
    *,
    roles: Sequence[str],
    on_link: Callable[[Link, str], None],
    on_message: Callable[[Link, m.Message, Buffer], None],
    on_lost: Callable[[Link, Exception | None], None],
    on_batch_end: Callable[[], None] | None = None,
    greeting_seconds: float = GREETING_SECONDS,
) -> Server:
    """Listen on host:port (0: a free one) for peers in `roles` that know the token."""
    server = Server(token, roles, on_link, on_message, on_lost, on_batch_end, greeting_seconds)
    await server.listen(host, port)
    return server


class _Connecting:
    """The connecting side of one greeting."""

    def __init__(self, address: str, role: str, token: str) -> None:
        self._address, self._role, self._token = address, role, token
        self._nonce = secrets.token_bytes(32)
        self._theirs = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def hello(self) -> m.Hello:
        return m.Hello(m.PROTOCOL, self._role, __version__, PYTHON, sys.byteorder, self._nonce)

    def message(self, link: Link, message: m.Message, body: Buffer) -> None:
        if isinstance(message, m.Challenge) and not self._theirs:
            self._theirs = message.nonce
            link.send(m.Proof(prove(self._token, "connecting", self._role, self._nonce, message.nonce)))
        elif isinstance(message, m.Welcome) and self._theirs:
            wanted = prove(self._token, "accepting", self._role, self._nonce, self._theirs)
            if hmac.compare_digest(wanted, message.proof):
                link.trust()
                self._finish(None)
            else:
                self._finish(Refused(f"{self._address} does not know the token, although it asked for it"))
        elif isinstance(message, m.Refusal):
            self._finish(Refused(f"{self._address} refused: {message.sentence}"))
        else:
            self._finish(Refused(f"{self._address} does not greet as a lazygraph process does"))

    def lost(self, link: Link, error: Exception | None) -> None:
        reason = str(error) if error else "it closed the connection during the greeting"
        self._finish(CannotConnect(self._address, reason))

    def _finish(self, error: Exception | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


async def connect(
    address: str,
    role: str,
    token: str,
    *,
    on_message: Callable[[Link, m.Message, Buffer], None],
    on_lost: Callable[[Link, Exception | None], None],
    on_batch_end: Callable[[], None] | None = None,
    timeout: float = 30.0,
) -> Link:
    """Connect and greet.  Raises `CannotConnect` when nobody answers, `Refused` with the other side's sentence."""
    host, port = parse_address(address)
    greeting = _Connecting(address, role, token)
    link = Link(greeting.message, greeting.lost)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            await loop.create_connection(lambda: link, host, port)
            link.send(greeting.hello())
            await greeting.done
    except TimeoutError:
        link.abort()
        raise CannotConnect(address, f"no answer within {timeout} s") from None
    except (ConnectionRefusedError, socket.gaierror, OSError) as error:
        link.abort()
        if isinstance(error, CannotConnect | Refused):
            raise
        raise CannotConnect(address, error.strerror or str(error)) from None
    link.on_message, link.on_lost, link.on_batch_end = on_message, on_lost, on_batch_end
    return link
