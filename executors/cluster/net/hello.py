"""The greeting: both sides show who they are and prove that they know the token, before anything else is read.

    caller                                  answerer
    Hello(role, versions, nonce)       -->
                                       <--  Challenge(versions, nonce)
    Proof(HMAC as "caller")            -->
                                       <--  Welcome(HMAC as "answerer")

Whoever finds a reason against it says so in a sentence (Refusal) and closes.  The token itself never travels, and a
recorded proof opens nothing, because both nonces are new each time.

Covers: the two sides without any I/O (`Caller`, `Answerer`), and both on links (`connect`, `serve`).
Does not cover: where tokens come from (net.tokens).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
import socket
import ssl
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass

from lazygraph.errors import CannotConnect, InvalidOption, Refused
from lazygraph.executors.cluster.messages import PROTOCOL, Challenge, Hello, Message, Proof, Refusal, Welcome
from lazygraph.executors.cluster.net.addresses import format_address, is_tls, parse_address
from lazygraph.executors.cluster.net.link import Body, Link
from lazygraph.executors.cluster.tls import TLS, check_listening
from lazygraph.version import __version__

GREETING_SECONDS = 10.0
"""How long an accepted connection has for its greeting."""
NONCE = 32
"""Bytes in a nonce."""


# -- the two sides, without any I/O ----------------------------------------------------------------


@dataclass(frozen=True)
class Versions:
    """What has to agree between two processes that exchange work."""

    protocol: int = PROTOCOL
    lazygraph: str = __version__
    python: str = f"{sys.version_info.major}.{sys.version_info.minor}"
    byteorder: str = sys.byteorder


HERE = Versions()


def difference(role: str, caller: Versions, answerer: Versions) -> str | None:
    """Return the sentence that refuses a caller in this role, or None when the two can work together."""
    if caller.protocol != answerer.protocol:
        return (
            f"the {role} speaks wire protocol {caller.protocol} (lazygraph {caller.lazygraph}), the cluster speaks "
            f"{answerer.protocol} (lazygraph {answerer.lazygraph}); install the same lazygraph on both sides"
        )
    if _minor(caller.lazygraph) != _minor(answerer.lazygraph):
        return (
            f"the {role} has lazygraph {caller.lazygraph}, the cluster has {answerer.lazygraph}; "
            f"install lazygraph {_minor(answerer.lazygraph)} for the {role}, or update the cluster"
        )
    if _minor(caller.python) != _minor(answerer.python):
        return (
            f"the {role} runs Python {_minor(caller.python)}, the cluster runs {_minor(answerer.python)}, and "
            f"functions travel as bytecode, which differs; start the {role} with Python {_minor(answerer.python)}"
        )
    if caller.byteorder != answerer.byteorder:
        return (
            f"the {role}'s machine is {caller.byteorder}-endian, the cluster is {answerer.byteorder}-endian; "
            f"use machines of one byte order"
        )
    return None


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _proof(token: str, label: str, role: str, called: bytes, answered: bytes) -> bytes:
    """Return one side's proof: its label keeps the two from standing in for each other, the nonces from a replay."""
    text = b"lazygraph greeting %b %b %b %b" % (label.encode(), called, answered, role.encode())
    return hmac.new(token.encode(), text, hashlib.sha256).digest()


class Caller:
    """The side that connects."""

    def __init__(self, role: str, token: str, nonce: bytes, here: Versions = HERE) -> None:
        self._role, self._token, self._nonce, self._here = role, _not_empty(token), nonce, here
        self._expected: bytes | None = None
        self.done = False
        self.journal, self.patience = "", 0.0  # see greeting.Welcome

    def hello(self) -> Hello:
        """Return the first message."""
        here = self._here
        return Hello(here.protocol, self._role, here.lazygraph, here.python, here.byteorder, self._nonce)

    def receive(self, message: Message) -> Proof | None:
        """Absorb an answer; return what to send, if anything.  Raises Refused, whichever side refuses."""
        if isinstance(message, Refusal):
            raise Refused(_printable(message.sentence))
        if isinstance(message, Challenge) and self._expected is None:
            return self._challenged(message)
        if isinstance(message, Welcome) and self._expected is not None and not self.done:
            if not hmac.compare_digest(message.proof, self._expected):
                raise Refused("it did not prove that it knows the token; another program may be using that address")
            self.done = True
            self.journal, self.patience = _printable(message.journal), message.patience
            return None
        raise Refused(f"it said {type(message).__name__} out of turn; update lazygraph on both sides")

    def _challenged(self, challenge: Challenge) -> Proof:
        there = Versions(challenge.protocol, challenge.lazygraph, challenge.python, self._here.byteorder)
        sentence = difference(self._role, self._here, there)
        if sentence is not None:
            raise Refused(_printable(sentence))
        if len(challenge.nonce) != NONCE:
            raise Refused(f"its challenge is malformed: a nonce has {NONCE} bytes")
        self._expected = _proof(self._token, "answerer", self._role, self._nonce, challenge.nonce)
        return Proof(_proof(self._token, "caller", self._role, self._nonce, challenge.nonce))


class Answerer:
    """The side that is connected to.  `role` is the caller's, known once it has said Hello."""

    def __init__(self, token: str, nonce: bytes, roles: Collection[str], here: Versions = HERE) -> None:
        self._token, self._nonce, self._roles, self._here = _not_empty(token), nonce, roles, here
        self.journal, self.patience = "", 0.0  # see greeting.Welcome
        self._called: bytes | None = None
        self.role = ""
        self.done = False

    def receive(self, message: Message) -> Challenge | Welcome:
        """Absorb what the caller says; return what to send.  Raises Refused with the sentence to send."""
        if isinstance(message, Hello) and self._called is None:
            return self._greeted(message)
        if isinstance(message, Proof) and self._called is not None and not self.done:
            if not hmac.compare_digest(message.proof, self._expect("caller", self._called)):
                raise Refused(
                    f"the {self.role}'s token is not this cluster's; give the {self.role} the token of the scheduler "
                    f"it belongs to (LAZYGRAPH_TOKEN, --token-file or Client(token=))"
                )
            self.done = True
            return Welcome(self._expect("answerer", self._called), self.journal, self.patience)
        raise Refused(f"{type(message).__name__} came out of turn; a connection begins with Hello, then Proof")

    def _greeted(self, hello: Hello) -> Challenge:
        there = Versions(hello.protocol, hello.lazygraph, hello.python, hello.byteorder)
        role = _printable(hello.role)
        sentence = difference(role, there, self._here)
        if sentence is not None:
            raise Refused(_printable(sentence))
        if role not in self._roles:
            raise Refused(f"nobody connects here as {role!r}, only as {' or '.join(self._roles)}; check the address")
        if len(hello.nonce) != NONCE:
            raise Refused(f"the {role}'s Hello is malformed: a nonce has {NONCE} bytes")
        self.role, self._called = role, hello.nonce
        return Challenge(self._here.protocol, self._here.lazygraph, self._here.python, self._nonce)

    def _expect(self, label: str, called: bytes) -> bytes:
        return _proof(self._token, label, self.role, called, self._nonce)


def _not_empty(token: str) -> str:
    if not token:
        raise InvalidOption("a token cannot be empty: everybody would know it")
    return token


def _printable(text: str) -> str:
    """Return text that came from a peer, which has proved nothing, in a form that cannot drive a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:1000])


# -- on links: connecting --------------------------------------------------------------------------


async def connect(
    address: str,
    role: str,
    token: str,
    *,
    on_message: Callable[[Link, Message, Body], None],
    on_lost: Callable[[Link, Exception | None], None],
    on_batch_end: Callable[[], None] | None = None,
    timeout: float = 30.0,
    tls: TLS | None = None,
) -> Link:
    """Connect and greet; return the link, which both sides trust.

    An address of the form tls://host:port needs `tls`; with that, no other is connected to: nothing goes in the clear.

    Raises Refused with the reason, or CannotConnect when nobody answers within `timeout` seconds; no callback has been
    called then.  What arrives together with the welcome is delivered before this returns.
    """
    host, port = parse_address(address)
    context = _context_for(address, tls)
    loop = asyncio.get_running_loop()
    caller = Caller(role, token, secrets.token_bytes(NONCE))
    welcomed: asyncio.Future[None] = loop.create_future()

    def receive(link: Link, message: Message, _: Body) -> None:
        if welcomed.done():
            return
        try:
            reply = caller.receive(message)
        except Refused as error:
            welcomed.set_exception(Refused(f"{address} and this {role} cannot work together: {error}"))
            return
        if reply is not None:
            link.send(reply)
        if caller.done:
            # Here and not after the await: what follows in the same read is already meant for these.
            link.trust()
            link.journal, link.patience = caller.journal, caller.patience
            link.hand_over(on_message, on_lost, on_batch_end)
            welcomed.set_result(None)

    def lost(_: Link, error: Exception | None) -> None:
        if not welcomed.done():
            reason = _why(error) if error else "it closed the connection during the greeting"
            reason += _PERHAPS if tls is None else _NO_TLS
            welcomed.set_exception(CannotConnect(address, reason))

    link = Link(receive, lost)
    try:
        async with asyncio.timeout(timeout):
            await loop.create_connection(lambda: link, host, port, ssl=context)
            link.send(caller.hello())
            await welcomed
    except BaseException as error:  # a cancelled connect leaves no socket behind either
        link.hand_over(_hear_nothing, _mourn_nothing)
        link.abort()
        if isinstance(error, TimeoutError):
            raise CannotConnect(address, f"no answer within {timeout:g} s") from None
        if isinstance(error, OSError | UnicodeError) and not isinstance(error, CannotConnect | Refused):
            hint = "" if tls is None or isinstance(error, ssl.SSLCertVerificationError | socket.gaierror) else _NO_TLS
            raise CannotConnect(address, _why(error) + hint) from error
        raise
    return link


def _hear_nothing(link: Link, message: Message, body: Body) -> None:
    pass


def _mourn_nothing(link: Link, error: Exception | None) -> None:
    pass


_PERHAPS = "; if it speaks TLS, its address is written tls://host:port"
_NO_TLS = "; perhaps it does not speak TLS, or does not accept this side's certificate: both need one of one authority"


def _context_for(address: str, tls: TLS | None) -> ssl.SSLContext | None:
    if tls is not None and not is_tls(address):
        raise CannotConnect(address, "it does not speak TLS, and this side was told to: its address must be tls://")
    if tls is None and is_tls(address):
        raise CannotConnect(
            address,
            "it speaks TLS, and this side has no certificate; give one by Client(tls=), --tls-ca, --tls-cert and "
            "--tls-key, or LAZYGRAPH_TLS_CA, LAZYGRAPH_TLS_CERT and LAZYGRAPH_TLS_KEY",
        )
    return None if tls is None else tls.client_side()


def _why(error: Exception) -> str:
    """Return in a few words why a connection could not be made."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted here: {error.verify_message}"
    if isinstance(error, ssl.SSLError):  # its errno is none of the system's
        return f"TLS was not agreed on: {error.reason or error}"
    if isinstance(error, socket.gaierror | UnicodeError):  # UnicodeError: a name that cannot even be asked for
        return f"its host name is not known: {error}"
    return (
        os.strerror(error.errno).lower()
        if isinstance(error, OSError) and error.errno
        else str(error) or "it closed the connection"
    )


# -- on links: accepting ---------------------------------------------------------------------------


class Server:
    """A listening socket whose callers are greeted and then handed over; made by `serve`."""

    def __init__(
        self,
        token: str,
        roles: Collection[str],
        on_link: Callable[[Link, str], None],
        on_message: Callable[[Link, Message, Body], None],
        on_lost: Callable[[Link, Exception | None], None],
        on_batch_end: Callable[[], None] | None,
        greeting_seconds: float,
        tls: TLS | None = None,
    ) -> None:
        self._token, self._roles, self._seconds = _not_empty(token), roles, greeting_seconds
        self._on_link, self._on_message, self._on_lost, self._on_batch_end = on_link, on_message, on_lost, on_batch_end
        self._greeting: dict[Link, tuple[Answerer, asyncio.TimerHandle]] = {}
        self._links: set[Link] = set()
        self._tls = tls
        self._listener: asyncio.Server | None = None
        self.host, self.port = "", 0
        self.journal, self.patience = "", 0.0  # see greeting.Welcome

    @property
    def address(self) -> str:
        """Where it listens."""
        return format_address(self.host, self.port, self._tls is not None)

    async def listen(self, host: str, port: int) -> None:
        """Begin to accept; port 0 takes a free one."""
        context = None if self._tls is None else self._tls.server_side()
        self._listener = await asyncio.get_running_loop().create_server(
            self._accept, host, port, ssl=context, ssl_handshake_timeout=self._seconds if context else None
        )
        self.host, self.port = host, self._listener.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Stop listening and end every connection."""
        if self._listener is not None:
            self._listener.close()
        for link in list(self._greeting):
            link.abort()
        for link in list(self._links):
            link.close()

    def _accept(self) -> Link:
        link = Link(self._receive, self._lost_early)
        answerer = Answerer(self._token, secrets.token_bytes(NONCE), self._roles)
        answerer.journal, answerer.patience = self.journal, self.patience
        timer = asyncio.get_running_loop().call_later(self._seconds, self._expire, link)
        self._greeting[link] = answerer, timer
        return link

    def _receive(self, link: Link, message: Message, _: Body) -> None:
        answerer, timer = self._greeting[link]
        try:
            reply = answerer.receive(message)
        except Refused as error:
            self._refuse(link, str(error))
            return
        link.send(reply)
        if answerer.done:
            timer.cancel()
            del self._greeting[link]
            self._links.add(link)
            link.trust()
            link.hand_over(self._on_message, self._lost, self._on_batch_end)
            self._on_link(link, answerer.role)

    def _expire(self, link: Link) -> None:
        self._refuse(link, f"the greeting was not finished within {self._seconds:g} s")
        if not link.made:  # TLS was not agreed on: nobody will say that it is lost
            self._greeting.pop(link, None)

    def _refuse(self, link: Link, sentence: str) -> None:
        link.send(Refusal(sentence))
        link.close(f"refused: {sentence}")

    def _lost_early(self, link: Link, error: Exception | None) -> None:
        _, timer = self._greeting.pop(link)
        timer.cancel()

    def _lost(self, link: Link, error: Exception | None) -> None:
        self._links.discard(link)
        self._on_lost(link, error)


async def serve(
    host: str,
    port: int,
    token: str,
    *,
    roles: Collection[str],
    on_link: Callable[[Link, str], None],
    on_message: Callable[[Link, Message, Body], None],
    on_lost: Callable[[Link, Exception | None], None],
    on_batch_end: Callable[[], None] | None = None,
    greeting_seconds: float = GREETING_SECONDS,
    tls: TLS | None = None,
    insecure: bool = False,
) -> Server:
    """Listen on host and port (0: a free one) for callers in these roles who know the token.

    `on_link(link, role)` gets each link once its greeting has succeeded; the other callbacks are the link's.  A caller
    that takes longer than `greeting_seconds` is refused.  Raises OSError when the address cannot be had, and
    InvalidOption for one off loopback without `tls`, unless `insecure` says that this is meant.
    """
    check_listening(host, tls, insecure)
    server = Server(token, roles, on_link, on_message, on_lost, on_batch_end, greeting_seconds, tls)
    await server.listen(host, port)
    return server
