"""A link: messages with bodies over one TCP connection, without an await on the way of a task.

A frame is `[u32 header length][u64 body length][header][body]`, lengths little-endian; the header is an encoded message
and the body is raw bytes that only the last reader opens.

Covers: framing, limits, the cork (one write a tick), back-pressure, closing.
Does not cover: who may talk (net.hello), what is said (messages), what it means (the minds).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from lazygraph.errors import Unserializable
from lazygraph.executors.cluster.messages import Message, decode, decode_greeting, encode
from lazygraph.executors.cluster.net.addresses import format_address
from lazygraph.executors.cluster.net.room import room_for

Piece: TypeAlias = bytes | bytearray | memoryview
"""What a body is made of.  A memoryview has to be of bytes; none of them may change before it is written."""

Body: TypeAlias = bytes | memoryview
"""What a body arrives as: bytes when short, a view that the link never touches again when long."""

MAX_HEADER = 256 * 1024**2
MAX_BODY = 64 * 1024**3
GREETING_HEADER = 4 * 1024
"""The longest header before a link is trusted; bodies are refused altogether until then."""

_PREFIX = struct.Struct("<IQ")
_LARGE = 64 * 1024
"""Pieces above this many bytes are written as they are; smaller ones are joined."""
_CHUNK = 1024 * 1024
"""A large piece goes out in slices, because what a full socket does not take of one is copied by the transport."""
_LATER = 0.005
"""Seconds that a message sent with `send_later` waits at most."""
_UNREAD = 32 * 1024**2
"""Bytes that a peer may leave unread before one that `hold_back` applies to is not read itself."""
_SHORT = 16 * 1024 if sys.platform != "win32" else 0  # where a socket is not written to like a file
"""Frames up to this many bytes may be written by another thread than the loop's: see `write_through`."""
_FIRST_BUFFER = 8 * 1024
_LAST_BUFFER = 256 * 1024

_log = logging.getLogger(__name__)


def encoded(message: Message) -> bytes:
    """Return a message as a header.  Raises `Unserializable` for one that is too long, or no text or number at all."""
    kind = type(message).__name__
    try:
        header = encode(message)
    except (TypeError, ValueError, OverflowError) as error:
        raise Unserializable(f"a {kind}", "what people have written is in it", str(error)) from error
    if len(header) > MAX_HEADER:
        raise Unserializable(
            f"a {kind} of {len(header):,} bytes",
            "all its tasks together",
            f"a message may have {MAX_HEADER:,} bytes besides its values; send the work in several parts",
        )
    return header


def keep_asking(sock: Any) -> None:
    """Have the kernel find out that a peer's machine is gone, or the way to it, although nothing is sent."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


class Link(asyncio.BufferedProtocol):
    """One end of a connection.  All but `write_through` is called and calls back on the event loop's thread.

    `on_message(link, message, body)` gets each frame in order.  `on_batch_end()` follows once after all frames that
    one read has brought; not when one of them made `on_message` raise, because `on_lost` follows then.
    `on_lost(link, error)` comes exactly once: without an error when either side closed between two frames.
    `hand_over` replaces all three while the link is open.
    """

    def __init__(
        self,
        on_message: Callable[[Link, Message, Body], None],
        on_lost: Callable[[Link, Exception | None], None],
        on_batch_end: Callable[[], None] | None = None,
    ) -> None:
        self.on_message = on_message
        self.on_lost = on_lost
        self.on_batch_end = on_batch_end
        self.peer = "a peer that is not connected yet"
        self.journal, self.patience = "", 0.0  # of the other side, see greeting.Welcome
        self.bytes_in = 0
        self.bytes_out = 0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._open = True  # False from the first close, abort or loss on: nothing more is delivered or queued
        self._lost = False
        self._error: Exception | None = None
        self._decode: Callable[[Any], Message] = decode_greeting
        self._max_header = GREETING_HEADER
        self._max_body = 0
        # Receiving: frames are read into _buffer[:_end]; one that does not fit gets a target of its own.
        self._buffer = bytearray(_FIRST_BUFFER)
        self._view = memoryview(self._buffer)
        self._end = 0
        self._delivered = False
        self._target: memoryview | None = None
        self._filled = 0
        self._target_header = 0
        # Sending: pieces wait here for the end of the tick, and while the socket is full.
        self._queue: deque[Piece] = deque()
        self._queued = 0
        self._flush_due = False
        self._later: asyncio.TimerHandle | None = None
        self._full = False
        self._drained: list[asyncio.Future[None]] = []
        self._holds_back = False
        self._held = False  # nothing is read, nor delivered of what has come
        self._writing = threading.Lock()  # held by whoever takes from the queue and writes, or ends the connection

    def __repr__(self) -> str:
        return f"<Link to {self.peer}{' (closed)' if self.closed else ''}>"

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return not self._open

    @property
    def made(self) -> bool:
        """Whether there is, or was, a connection."""
        return self._transport is not None

    @property
    def over(self) -> bool:
        """Whether `on_lost` has been called."""
        return self._lost

    def trust(self) -> None:
        """Lift the limits of the greeting and understand every message from the next frame on."""
        self._decode, self._max_header, self._max_body = decode, MAX_HEADER, MAX_BODY

    def hand_over(
        self,
        on_message: Callable[[Link, Message, Body], None],
        on_lost: Callable[[Link, Exception | None], None],
        on_batch_end: Callable[[], None] | None = None,
    ) -> None:
        """Call these from the next frame on, also when that has come in the same read as the last one."""
        self.on_message, self.on_lost, self.on_batch_end = on_message, on_lost, on_batch_end
        self._delivered = False

    def hold_back(self) -> None:
        """Read nothing more while the peer leaves unread what it has asked for: what waits for it here has a bound.

        For the side that answers, and only for that: two that held each other back would wait for ever.
        """
        self._holds_back = True

    @property
    def queued(self) -> int:
        """Bytes that wait for the socket; any thread may ask."""
        return self._queued

    # -- sending -----------------------------------------------------------------------------------

    def send(self, message: Message, *body: Piece) -> None:
        """Queue a message; it is written at the end of this tick of the loop, in order with all others.

        On a closed link it does nothing: `on_lost` has said so, or is about to.
        """
        if not self._open:
            return
        self._append(message, body)
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def queue(self, message: Message, *body: Piece) -> None:
        """Queue a message for a caller that calls `flush_now` before it returns to the loop (saves a turn of it)."""
        if self._open:
            self._append(message, body)

    def queue_encoded(self, header: bytes, *body: Piece) -> None:
        """Queue a message that another thread has `encoded`."""
        if self._open:
            self._append_encoded(header, body)

    def write_through(self, header: bytes, *body: Piece) -> bool:
        """Write a short message from any thread, and what is queued before it; return whether it was written.

        Waking the loop to have it write costs more than the write.
        """
        length = sum(map(len, body)) if body else 0
        if self._queued + len(header) + length > _SHORT:
            return False
        with self._writing:  # nobody holds it for longer than one write takes
            transport = self._transport
            # Once it is lost its descriptor is closed, and may be somebody else's.
            if transport is None or self._full or self._lost or not self._open:
                return False
            if transport.is_closing() or transport.get_extra_info("sslcontext") is not None:
                return False
            frame = b"".join((*self._queue, _PREFIX.pack(len(header), length), header, *body))
            sent: list[int] = []
            try:  # Ctrl-C comes before this statement or after it: what was written is known in any case
                sent += map(os.write, (transport.get_extra_info("socket").fileno(),), (frame,))
            except OSError:  # it is full, or over, of which the loop finds out in its own time
                return False
            finally:
                if sent:
                    self._queue.clear()
                    self._queued = 0
                    self.bytes_out += sent[0]
                    if sent[0] < len(frame):
                        self._queue.append(frame[sent[0] :])
                        self._queued = len(frame) - sent[0]
                        self._loop.call_soon_threadsafe(self._pump)
            return True

    def send_later(self, message: Message, *body: Piece) -> None:
        """Queue a message that nobody waits for: it goes with the next `send`, or by itself after a moment.

        A write and a wake-up at the other side are 50 us of processor time each; news of what may be forgotten is
        not worth them.
        """
        if not self._open:
            return
        self._append(message, body)
        if not self._flush_due and self._later is None:
            self._later = self._loop.call_later(_LATER, self._pump_later)

    def _pump_later(self) -> None:
        self._later = None
        self._pump()

    def _append(self, message: Message, body: tuple[Piece, ...]) -> None:
        self._append_encoded(encoded(message), body)

    def _append_encoded(self, header: bytes, body: tuple[Piece, ...]) -> None:
        length = sum(map(len, body)) if body else 0
        with self._writing:
            self._queue.extend((_PREFIX.pack(len(header), length), header, *body))
            self._queued += _PREFIX.size + len(header) + length
        if self._queued > _UNREAD and self._holds_back and not self._held and self._transport is not None:
            self._held = True
            self._transport.pause_reading()

    def flush_now(self) -> None:
        """Write what is queued without waiting for the end of the tick."""
        self._pump()

    async def drain(self) -> None:
        """Wait until the socket has taken everything queued so far; raises ConnectionError when the link is lost."""
        self._pump()
        while (self._queue or self._full) and not self._lost:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._drained.append(waiter)
            await waiter
        if self._lost:
            raise self._error or ConnectionError(f"the link to {self.peer} is closed")

    def _flush(self) -> None:
        self._flush_due = False
        self._pump()

    def _pump(self) -> None:
        """Write queued pieces until there are none or the socket is full."""
        transport, queue = self._transport, self._queue
        if transport is None or self._lost:
            return
        while queue and not self._full and not transport.is_closing():
            with self._writing:
                self._write(transport, self._next_piece())
        if self._held and self._queued <= _UNREAD // 2:
            self._held = False
            self._loop.call_soon(self._go_on)
        if not queue and not self._open:
            transport.close()  # a close that was asked for while there was something left to write

    def _next_piece(self) -> Piece:
        """Take from the queue what the next write is to hold: a slice of a large piece, or small ones joined."""
        queue = self._queue
        if self._queued <= _LARGE:
            piece: Piece = b"".join(queue)
            queue.clear()
            return piece
        if len(queue[0]) > _LARGE:
            piece = memoryview(queue.popleft())
            if len(piece) > _CHUNK:
                queue.appendleft(piece[_CHUNK:])
                piece = piece[:_CHUNK]
            return piece
        small = []
        size = 0
        while queue and size < _CHUNK and len(queue[0]) <= _LARGE:
            size += len(queue[0])
            small.append(queue.popleft())
        return b"".join(small)

    def _write(self, transport: asyncio.Transport, piece: Piece) -> None:
        self._queued -= len(piece)
        self.bytes_out += len(piece)
        if piece:
            transport.write(piece)

    def pause_writing(self) -> None:
        """Called by the transport: the socket is full."""
        self._full = True

    def resume_writing(self) -> None:
        """Called by the transport: the socket takes more."""
        self._full = False
        if self._open:
            self._pump()
        else:
            self._loop.call_soon(self._pump)  # asyncio's transport must not be closed from within this call
        if not self._full:
            self._wake_drained()

    def _wake_drained(self) -> None:
        waiters, self._drained = self._drained, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # -- receiving ---------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        """Called by the transport: where to put the next bytes."""
        target = self._target
        return self._view[self._end :] if target is None else target[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Called by the transport: `nbytes` have been put there."""
        self.bytes_in += nbytes
        if self._target is None:
            self._end += nbytes
        else:
            self._filled += nbytes
        self._deliver()

    def _go_on(self) -> None:
        """Deliver what has come before the peer was held back; read on."""
        if self._open and not self._held:
            self._deliver()
        if self._open and not self._held and self._transport is not None:
            self._transport.resume_reading()

    def _deliver(self) -> None:
        try:
            if self._target is None:
                self._deliver_small()
            elif self._filled == len(self._target):
                self._deliver_large(self._target)
            if self._delivered:
                self._delivered = False
                if self.on_batch_end is not None:
                    self.on_batch_end()
        except Exception as error:  # the hand's own: whatever it is, it is reported and ends this link only
            self._loop.call_exception_handler(
                {"message": f"handling what {self.peer} sent failed", "exception": error, "protocol": self}
            )
            self._break(error)

    def _deliver_small(self) -> None:
        """Deliver all whole frames of the buffer and move what is left to its start."""
        buffer, view, end, start = self._buffer, self._view, self._end, 0
        prefix = _PREFIX.size
        while end - start >= prefix and self._open and not self._held:
            header, body = _PREFIX.unpack_from(buffer, start)
            if header > self._max_header or body > self._max_body:
                self._break_over_limits(header, body)
                break
            first = start + prefix
            last = first + header + body
            if last > end:
                if last - start > len(buffer):
                    self._begin_large(view[first:end], header, body)
                    start = end
                break
            message = self._decoded(view[first : first + header])
            if message is None:
                break
            start = last
            self._delivered = True
            self.on_message(self, message, bytes(view[last - body : last]) if body else b"")
        self._end = end - start if self._open else 0  # what comes after a close is not read
        if start and self._end:
            view[: self._end] = view[start:end]
        if end == len(buffer) < _LAST_BUFFER and self._max_body:  # a read that filled it: there is more to come
            self._grow()

    def _grow(self) -> None:
        grown = bytearray(2 * len(self._buffer))
        grown[: self._end] = self._view[: self._end]
        self._buffer, self._view = grown, memoryview(grown)

    def _begin_large(self, begun: memoryview, header: int, body: int) -> None:
        """Make room for a frame that the buffer cannot hold; `begun` is what has come of it."""
        try:
            target = room_for(header, body)
        except MemoryError:
            self._break(ConnectionError(f"{self.peer} sent {header + body:,} bytes in one frame: more than memory has"))
            return
        target[: len(begun)] = begun
        self._target, self._filled, self._target_header = target, len(begun), header

    def _deliver_large(self, target: memoryview) -> None:
        self._target = None
        header, body = target[: self._target_header], target[self._target_header :]
        message = self._decoded(header) if self._open else None
        if message is not None:
            self._delivered = True
            # A view keeps the whole frame in memory; where that is mostly header, a copy is cheaper to keep.
            self.on_message(self, message, body if len(body) > len(header) else bytes(body))

    def _decoded(self, header: memoryview) -> Message | None:
        """Return the message, or None after closing the link because it is none."""
        try:
            return self._decode(header)
        except (ValueError, RecursionError) as error:  # ValueError is the base of msgspec's errors and of bad UTF-8
            self._break(ConnectionError(f"{self.peer} sent a frame that is no message ({error})"))
            return None

    def _break_over_limits(self, header: int, body: int) -> None:
        what = "a frame" if self._max_body else "something that is no greeting, or one"
        self._break(
            ConnectionError(
                f"{self.peer} sent {what} with {header:,} bytes of header and {body:,} of body; "
                f"at most {self._max_header:,} and {self._max_body:,} are taken"
            )
        )

    # -- the beginning and the end -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the transport: the connection stands."""
        self._transport = cast("asyncio.Transport", transport)
        # Full means full: what the socket does not take at once waits here, where it can still be joined.
        # (Of a TLS transport 0 would be full when nothing waits.)
        self._transport.set_write_buffer_limits(high=0 if transport.get_extra_info("sslcontext") is None else 1)
        keep_asking(transport.get_extra_info("socket"))
        name = transport.get_extra_info("peername")
        if isinstance(name, tuple):
            self.peer = format_address(name[0], name[1]).removeprefix("tcp://")
        if self._open:
            self._pump()
        else:
            self._transport.abort()

    def close(self, reason: str | None = None) -> None:
        """Write what is queued, then close; nothing more is delivered.  `on_lost` follows, with `reason` if given."""
        if not self._open:
            return
        self._open = False
        if reason is not None:
            self._error = ConnectionError(reason)
            _log.info("closing the link to %s: %s", self.peer, reason)
        self._pump()

    def abort(self) -> None:
        """Close at once; what is queued is lost.  `on_lost` follows."""
        self._open = False
        self._queue.clear()
        self._queued = 0
        if self._transport is not None:
            self._transport.abort()

    def _break(self, error: Exception) -> None:
        """Close at once because of `error`."""
        if self._error is None:
            self._error = error
        _log.warning("closing the link to %s: %s", self.peer, error)
        self.abort()

    def eof_received(self) -> None:
        """Called by the transport: the other side has closed; the transport then closes too."""
        if self._open and (self._end or self._target is not None):
            self._error = ConnectionError(f"{self.peer} closed the connection in the middle of a frame")

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport: it is over."""
        with self._writing:  # the descriptor is closed when this has returned
            self._open, self._lost = False, True
        self._queue.clear()
        self._queued, self._end = 0, 0
        self._target = None
        self._wake_drained()
        self.on_lost(self, self._error or exc)
