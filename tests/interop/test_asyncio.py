"""Event loops and us: `run_in_executor`, and chords that web handlers await, without a second thread of their own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from lazygraph import Client, LocalCluster, chord, delayed, use
from lazygraph.executors import ThreadExecutor

WAIT = 30.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=1) as cluster:
        yield cluster


@pytest.fixture(params=["threads", "client"])
def executor(request: pytest.FixtureRequest) -> Iterator[Any]:
    """What has `get_executor()`, and is the default of the test."""
    if request.param == "threads":
        with ThreadExecutor(2) as executor:
            yield executor
    else:
        with Client(request.getfixturevalue("cluster")) as client, use(client):
            yield client


@delayed
def square(x: int) -> int:
    return x * x


@delayed
def total(values: list[int]) -> int:
    return sum(values)


def fail(message: str) -> None:
    raise KeyError(message)


class TestRunInExecutor:
    def test_a_value(self, executor: Any) -> None:
        async def main() -> list[int]:
            loop = asyncio.get_running_loop()
            with executor.get_executor() as pool:
                return await asyncio.gather(*(loop.run_in_executor(pool, pow, 2, x) for x in range(5)))

        assert asyncio.run(main()) == [1, 2, 4, 8, 16]

    def test_an_exception(self, executor: Any) -> None:
        async def main() -> None:
            with executor.get_executor() as pool:
                await asyncio.get_running_loop().run_in_executor(pool, fail, "no such thing")

        with pytest.raises(KeyError, match="no such thing"):
            asyncio.run(main())

    def test_futures_of_a_pool_can_be_awaited(self, executor: Any) -> None:
        async def main() -> list[Any]:
            with executor.get_executor() as pool:
                future = pool.submit(pow, 2, 3)
                return [await future, await asyncio.wrap_future(pool.submit(pow, 2, 4))]

        assert asyncio.run(main()) == [8, 16]

    def test_the_loop_goes_on_meanwhile(self) -> None:
        async def main() -> str:
            import threading

            gate = threading.Event()
            with ThreadExecutor(1) as executor, executor.get_executor() as pool:
                waiting = asyncio.get_running_loop().run_in_executor(pool, gate.wait, WAIT)
                asyncio.get_running_loop().call_soon(gate.set)
                return "opened" if await waiting else "stuck"

        assert asyncio.run(main()) == "opened"


class SumOfSquares(RequestHandler):
    """What a tornado application does: start a chord, await it, answer."""

    async def get(self) -> None:
        n = int(self.get_query_argument("n"))
        self.write({"total": await chord((square.s(i) for i in range(n)), total.s()).delay()})


class TestTornado:
    def test_a_handler_awaits_a_chord(self, executor: Any) -> None:
        async def main() -> list[Any]:
            (socket,) = bind_sockets(0, "127.0.0.1")
            server = HTTPServer(Application([("/squares", SumOfSquares)]))
            server.add_socket(socket)
            address = f"http://127.0.0.1:{socket.getsockname()[1]}/squares?n="
            client = AsyncHTTPClient(force_instance=True)
            try:
                answers = await asyncio.gather(*(client.fetch(f"{address}{n}") for n in (0, 3, 4)))
            finally:
                client.close()
                server.stop()
                await server.close_all_connections()
            return [json.loads(answer.body) for answer in answers]

        assert asyncio.run(main()) == [{"total": 0}, {"total": 5}, {"total": 14}]


async def app(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """A whole ASGI application: any server of the protocol can run it."""
    assert scope["type"] == "http"
    n = int(parse_qs(scope["query_string"].decode())["n"][0])
    try:
        status, answer = 200, {"total": await chord((square.s(i) for i in range(n)), total.s()).delay()}
    except TypeError as error:
        status, answer = 500, {"error": str(error)}
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


async def asked(n: int) -> tuple[int, Any]:
    """Call the application as a server would; return its status and what it answers."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app({"type": "http", "query_string": f"n={n}".encode()}, receive, send)
    start, *bodies = sent
    return start["status"], json.loads(b"".join(body["body"] for body in bodies))


class TestAsgi:
    def test_an_application_awaits_a_chord(self, executor: Any) -> None:
        async def main() -> list[Any]:
            return await asyncio.gather(*(asked(n) for n in (0, 3, 4)))

        assert asyncio.run(main()) == [(200, {"total": 0}), (200, {"total": 5}), (200, {"total": 14})]

    def test_who_stops_awaiting_stops_nothing_else(self, executor: Any) -> None:
        async def main() -> Any:
            impatient = asyncio.ensure_future(asked(2))
            impatient.cancel()
            return await asked(3)

        assert asyncio.run(main()) == (200, {"total": 5})
