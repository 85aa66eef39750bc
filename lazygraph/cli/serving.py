"""`lazygraph scheduler` and `lazygraph worker`: the processes of a cluster.

With `--lifeline` (how LocalCluster starts them) standard input carries a line of JSON with the token and then stays
open; its end ends the process at once.  Otherwise Ctrl-C and SIGTERM end it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import threading
from typing import Any, NoReturn

import click

from lazygraph.errors import LazyGraphError, NotImplementedYet


def _lifeline() -> dict[str, Any]:
    """Read the greeting from standard input, and watch it from then on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever holds the lifeline decides
    line = sys.stdin.buffer.readline()
    if not line:
        os._exit(0)

    # Not as standard input: a task, or a program that a task starts, may read that, and finds it empty.
    held = os.dup(0)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)

    def watch() -> None:
        while os.read(held, 1024):
            pass
        end_at_once()

    threading.Thread(target=watch, name="lazygraph-lifeline", daemon=True).start()
    return json.loads(line)  # type: ignore[no-any-return]


def end_at_once() -> NoReturn:
    """End without waiting for tasks, which nobody could stop; with the programs that they have started, if any."""
    sys.stdout.flush()
    if os.getpgrp() == os.getpid():  # LocalCluster starts each of us in a group of its own
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _announce(lifeline: bool, said: dict[str, Any], text: str) -> None:
    if lifeline:
        # The line that the parent waits for; after it, what tasks print goes where errors go.
        os.write(1, json.dumps(said).encode() + b"\n")
        os.dup2(2, 1)
    else:
        click.echo(text)


def _token(token_file: str | None) -> str | None:
    from lazygraph.executors.cluster.net.tokens import read_token

    file = token_file or os.environ.get("LAZYGRAPH_TOKEN_FILE")
    return read_token(file) if file else os.environ.get("LAZYGRAPH_TOKEN")


def _until_signalled(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8786, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option("--token-file", type=click.Path(exists=True, dir_okay=False), help="File with the token.")
@click.option("--dashboard-address", help="host:port of a page with the cluster's state; :0 takes a free port.")
@click.option("--journal", type=click.Path(), help="Not built yet.")
@click.option("--lifeline", is_flag=True, hidden=True)
def scheduler(
    host: str, port: int, token_file: str | None, dashboard_address: str | None, journal: str | None, lifeline: bool
) -> None:
    """Start a scheduler; workers and clients join it."""
    if journal is not None:
        raise click.ClickException(str(NotImplementedYet("a journal")))
    token = _lifeline()["token"] if lifeline else _token(token_file)
    try:
        asyncio.run(_serve_scheduler(host, port, token, dashboard_address, lifeline))
    except (LazyGraphError, OSError) as error:
        raise click.ClickException(str(error)) from None


async def _serve_scheduler(host: str, port: int, token: str | None, dashboard: str | None, lifeline: bool) -> None:
    from lazygraph.executors.cluster.net.scheduler_server import SchedulerServer
    from lazygraph.executors.cluster.net.tokens import keep_token, make_token

    stop = asyncio.Event()
    if not lifeline:
        _until_signalled(stop)
    made = token or make_token()
    server = SchedulerServer(host, port, made)
    with contextlib.ExitStack() as leaving:
        leaving.callback(server.close)
        said: dict[str, Any] = {"address": await server.start()}
        text = f"scheduler at {said['address']}"
        if dashboard is not None:
            from lazygraph.executors.cluster.web import serve_web

            said["dashboard"] = serve_web(server.mind, dashboard)
            text += f"; dashboard at {said['dashboard']}"
        if token is None:
            kept = keep_token(said["address"], made)
            leaving.callback(kept.remove)
            text += f"; its token is in {kept.path}"
        _announce(lifeline, said, f"{text}\nstart workers with: lazygraph worker {said['address']}")
        await stop.wait()


@click.command()
@click.argument("address")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="Tasks at once.")
@click.option("--name", help="Name shown for this worker; default: host and process.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address on which other workers reach this one.")
@click.option("--token-file", type=click.Path(exists=True, dir_okay=False), help="File with the token.")
@click.option("-Q", "--queues", help="Not built yet.")
@click.option("-A", "--app", help="Not built yet.")
@click.option("--preload", help="Not built yet.")
@click.option("--memory-limit", help="Not built yet.")
@click.option("--resources", help="Not built yet.")
@click.option("--lifeline", is_flag=True, hidden=True)
def worker(
    address: str,
    threads: int,
    name: str | None,
    host: str,
    token_file: str | None,
    lifeline: bool,
    **later: str | None,
) -> None:
    """Start a worker for the scheduler at ADDRESS."""
    for option, value in later.items():
        if value is not None:
            raise click.ClickException(str(NotImplementedYet(f"--{option.replace('_', '-')}")))
    from lazygraph.executors.cluster.net.tokens import find_token

    try:
        token = _lifeline()["token"] if lifeline else find_token(address, _token(token_file))
        name = name or f"{socket.gethostname()}-{os.getpid()}"
        asyncio.run(_serve_worker(address, token, name, threads, host, lifeline))
    except (LazyGraphError, OSError) as error:
        raise click.ClickException(str(error)) from None


async def _serve_worker(address: str, token: str, name: str, threads: int, host: str, lifeline: bool) -> None:
    from lazygraph.executors.cluster.net.worker_server import WorkerServer

    server = WorkerServer(address, token, name, threads, host)
    await server.start()
    stop = asyncio.Event()
    if not lifeline:
        _until_signalled(stop)
    _announce(lifeline, {"name": name}, f"worker {name!r} has joined {address} with {threads} thread(s)")
    server.ended.add_done_callback(lambda _: stop.set())
    await stop.wait()
    if server.ended.done() and not lifeline:
        click.echo(f"the scheduler at {address} is gone; worker {name!r} ends", err=True)
    server.close()
    if lifeline:
        end_at_once()
    sys.stdout.flush()
    os._exit(0)  # a task that is still running cannot be waited for
