"""What the tests of the wire share: ears that hear what a link says, and strangers to talk to.

A test that is a coroutine function runs on an event loop of its own; whatever reaches the loop's exception handler
fails it, unless the test has set another handler.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net.link import Link


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(_watched(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})))
    return True


async def _watched(test: Any) -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
    async with asyncio.timeout(40):
        await test
    assert reports == []


@dataclass
class Ear:
    """Hears a link: what came, in how many batches, how it ended."""

    heard: list[tuple[m.Message, bytes]] = field(default_factory=list)
    batches: int = 0
    lost: list[Exception | None] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def message(self, link: Link, message: m.Message, body: bytes | memoryview) -> None:
        self.heard.append((message, bytes(body)))
        self._changed.set()

    def batch_end(self) -> None:
        self.batches += 1

    def end(self, link: Link, error: Exception | None) -> None:
        self.lost.append(error)
        self._changed.set()

    def link(self) -> Link:
        return Link(self.message, self.end, self.batch_end)

    async def until_heard(self, count: int) -> None:
        await self._until(lambda: len(self.heard) >= count)

    async def until_lost(self) -> Exception | None:
        """Wait for the end of the link; return its error."""
        await self._until(lambda: bool(self.lost))
        return self.lost[0]

    async def _until(self, what: Callable[[], bool]) -> None:
        while not what():
            self._changed.clear()
            await self._changed.wait()


@pytest.fixture
def near() -> Ear:
    """Hears what the connecting side is told."""
    return Ear()


@pytest.fixture
def far() -> Ear:
    """Hears what the accepting side is told."""
    return Ear()


@pytest.fixture
def linked(near: Ear, far: Ear) -> Any:
    """A context of two links over loopback, heard by `near` and `far`; they trust each other unless told not to."""

    @contextlib.asynccontextmanager
    async def link_them(trust: bool = True) -> AsyncIterator[tuple[Link, Link]]:
        loop = asyncio.get_running_loop()
        accepted: asyncio.Future[Link] = loop.create_future()

        def accept() -> Link:
            accepted.set_result(far.link())
            return accepted.result()

        server = await loop.create_server(accept, "127.0.0.1", 0)
        caller = near.link()
        await loop.create_connection(lambda: caller, *server.sockets[0].getsockname())
        called = await accepted
        if trust:
            caller.trust()
            called.trust()
        try:
            yield caller, called
        finally:
            server.close()
            caller.abort()
            called.abort()
            await near.until_lost()
            await far.until_lost()

    return link_them


@pytest.fixture
def listening() -> Any:
    """A context of a server that is none of ours: `answer(reader, writer)` is awaited for each connection."""

    @contextlib.asynccontextmanager
    async def listen(answer: Any) -> AsyncIterator[str]:
        writers = []

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            await answer(reader, writer)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        try:
            yield "tcp://{}:{}".format(*server.sockets[0].getsockname())
        finally:
            server.close()
            for writer in writers:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()

    return listen
