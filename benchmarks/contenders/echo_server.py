"""A process that echoes bytes, or passes them on to one that does: ``python -m ... echo_server [UPSTREAM_PORT]``.

It prints the port that it listens on, on loopback only, and runs until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial

HOST = "127.0.0.1"


class Echo(asyncio.Protocol):
    """Writes back what it reads, or what its upstream answers; it is also the upstream's reader."""

    def __init__(self, upstream: int | None = None) -> None:
        self.upstream = upstream
        self.target: asyncio.Transport | None = None
        self.early = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer on the same connection, or open the one to the upstream."""
        assert isinstance(transport, asyncio.Transport)
        if self.upstream is None:
            self.target = transport
        else:
            self.opening = asyncio.ensure_future(self._open(transport, self.upstream))

    async def _open(self, transport: asyncio.Transport, port: int) -> None:
        answers = Echo()
        target, _ = await asyncio.get_running_loop().create_connection(lambda: answers, HOST, port)
        answers.target = transport
        self.target = target
        target.write(bytes(self.early))

    def data_received(self, data: bytes) -> None:
        """Pass the bytes on; what comes before the upstream is connected is kept until then."""
        if self.target is None:
            self.early += data
        else:
            self.target.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other side of a relay too."""
        if self.target is not None:
            self.target.close()


async def serve(upstream: int | None) -> None:
    """Listen on a port that the system chooses, say which, and go on until killed."""
    server = await asyncio.get_running_loop().create_server(partial(Echo, upstream), HOST, 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else None))
