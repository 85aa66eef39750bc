"""The round trip of bare bytes: about 200 of them from here over a relay process to another process and back.

It is what a client, a scheduler and a worker cost before any of them thinks. Plain asyncio protocols, loopback TCP,
ports chosen by the system.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from benchmarks.contenders import harness
from benchmarks.contenders.echo_server import HOST
from benchmarks.contenders.harness import Samples, checked

MESSAGE = b"x" * 200


@contextmanager
def session() -> Iterator[int]:
    """Start the far end and the relay before it; give the relay's port."""
    far = _serve()
    relay = _serve(_port(far))
    try:
        yield _port(relay)
    finally:
        for server in (relay, far):
            server.kill()
            server.communicate()


def _serve(upstream: int | None = None) -> subprocess.Popen[str]:
    arguments = [] if upstream is None else [str(upstream)]
    command = [sys.executable, "-m", "benchmarks.contenders.echo_server", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _port(server: subprocess.Popen[str]) -> int:
    assert server.stdout is not None
    return int(server.stdout.readline())


class Caller(asyncio.Protocol):
    """Sends the message and completes a future when as many bytes have come back."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.received = bytearray()
        self.back: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to write to."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Collect bytes until the whole message is back."""
        self.received += data
        if len(self.received) >= len(MESSAGE) and self.back is not None:
            self.back.set_result(bytes(self.received))
            self.received.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the call that waits, if one does."""
        if self.back is not None and not self.back.done():
            self.back.set_exception(exc or ConnectionResetError("the relay closed the connection"))

    def call(self) -> asyncio.Future[bytes]:
        """Send one message; the future has what came back."""
        assert self.transport is not None
        self.back = asyncio.get_running_loop().create_future()
        self.transport.write(MESSAGE)
        return self.back


def round_trip(port: int, size: int) -> Samples:
    """Send and receive ``size`` messages, one after another."""
    return {"total": asyncio.run(_round_trips(port, size))}


async def _round_trips(port: int, size: int) -> list[float]:
    _, caller = await asyncio.get_running_loop().create_connection(Caller, HOST, port)
    samples: list[float] = []
    for _ in range(size):
        start = perf_counter()
        back = await caller.call()
        samples.append(perf_counter() - start)
        checked(back, MESSAGE)
    assert caller.transport is not None
    caller.transport.close()
    return samples


WORKS = {"rtt": round_trip}

if __name__ == "__main__":
    harness.main(WORKS, session)
