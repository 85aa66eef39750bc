"""`lazygraph scheduler` and `lazygraph worker`: the processes of a cluster.

With `--lifeline` (how LocalCluster starts them) standard input carries a line of JSON with the token, and for a worker
the scheduler's address (on the command line it is "-"), and then stays open; its end ends the process at once.
Standard output carries a line of JSON that says that the process serves, or why it does not.  Otherwise Ctrl-C and
SIGTERM end it; the first SIGTERM of a worker has it finish and hand over what it has.
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
from typing import TYPE_CHECKING, Any, NoReturn

import click

from lazygraph.errors import LazyGraphError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lazygraph.executors.cluster.net.worker_server import WorkerServer
    from lazygraph.executors.cluster.offers import Offer
    from lazygraph.executors.cluster.tls import Guard
    from lazygraph.running.hooks import Hooks


class _Voice:
    """Where a process says that it serves: to whoever holds its lifeline, or to whoever typed the command."""

    def __init__(self, lifeline: bool) -> None:
        self.lifeline = lifeline
        if lifeline:
            # Only the line that the parent waits for; what tasks and modules print goes where errors go.
            self._line = os.fdopen(os.dup(1), "wb")
            os.dup2(2, 1)

    def serves(self, said: dict[str, Any], text: str) -> None:
        """Say it, as a line of JSON or as a sentence."""
        if self.lifeline:
            with self._line:
                self._line.write(json.dumps(said).encode() + b"\n")
        else:
            click.echo(text)

    def cannot(self, why: str) -> NoReturn:
        """Say why it cannot, and end the process."""
        if self.lifeline:
            self.serves({"failed": why}, "")
            end_at_once(1)
        raise click.ClickException(why)


def _lifeline(hear: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
    """Read the greeting from standard input, and watch it from then on; `hear` gets what else is said, in a thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever holds the lifeline decides
    line = sys.stdin.buffer.readline()
    if not line:
        os._exit(0)

    # Not as standard input: a task, or a program that a task starts, may read that, and finds it empty.
    held = os.dup(0)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)

    def watch() -> None:
        with contextlib.suppress(OSError), open(held, "rb") as lines:
            for line in lines:
                if hear is not None:
                    hear(json.loads(line))
        end_at_once()

    threading.Thread(target=watch, name="lazygraph-lifeline", daemon=True).start()
    return json.loads(line)  # type: ignore[no-any-return]


def end_at_once(status: int = 0) -> NoReturn:
    """End without waiting for tasks, which nobody could stop; with the programs that they have started, if any."""
    sys.stdout.flush()
    if os.getpgrp() == os.getpid():  # LocalCluster starts each of us in a group of its own
        os.killpg(0, signal.SIGKILL)
    os._exit(status)


def _token(token_file: str | None) -> str | None:
    from lazygraph.executors.cluster.net.tokens import read_token

    file = token_file or os.environ.get("LAZYGRAPH_TOKEN_FILE")
    return read_token(file) if file else os.environ.get("LAZYGRAPH_TOKEN")


def _until_signalled(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)


def _until_drained(server: WorkerServer, stop: asyncio.Event, voice: _Voice) -> None:
    """SIGTERM has a worker leave: others take what it has.  A second signal, or Ctrl-C, ends it at once."""

    def terminate() -> None:
        if server.leaves or server.ended.done():
            stop.set()
            return
        if server.mind.leases and not voice.lifeline:
            click.echo(f"worker {server.name!r} ends when what runs here has; a second signal ends it now", err=True)
        server.leave()

    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):
        loop.add_signal_handler(signal.SIGTERM, terminate)
        if not voice.lifeline:
            loop.add_signal_handler(signal.SIGINT, stop.set)


def _guarded(command: Any) -> Any:
    """Give a command the options of TLS."""
    for option in (
        click.option("--insecure", is_flag=True, help="Listen off loopback without TLS: the network is trusted."),
        click.option("--tls-key", type=click.Path(dir_okay=False), help="Key of that, in PEM.  [LAZYGRAPH_TLS_KEY]"),
        click.option(
            "--tls-cert", type=click.Path(dir_okay=False), help="Certificate of this process.  [LAZYGRAPH_TLS_CERT]"
        ),
        click.option(
            "--tls-ca", type=click.Path(dir_okay=False), help="The cluster's authority: speak TLS.  [LAZYGRAPH_TLS_CA]"
        ),
    ):
        command = option(command)
    return command


def _guard(ca: str | None, cert: str | None, key: str | None, insecure: bool) -> Guard:
    from lazygraph.executors.cluster.tls import Guard, tls_of

    return Guard(tls_of({"ca": ca, "cert": cert, "key": key}), insecure)


@click.command()
@_guarded
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8786, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option("--token-file", type=click.Path(exists=True, dir_okay=False), help="File with the token.")
@click.option("--dashboard-address", help="host:port of a page with the cluster's state; :0 takes a free port.")
@click.option(
    "--worker-ttl",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0.1),
    help="Seconds of silence after which what a worker runs is run again elsewhere.",
)
@click.option(
    "--journal",
    type=click.Path(dir_okay=False),
    help="File that lets a scheduler go on which was killed.  [default: one for this host and port]",
)
@click.option("--no-journal", is_flag=True, help="Keep none: when this process ends, so does its work.")
@click.option("--lifeline", is_flag=True, hidden=True)
def scheduler(
    host: str,
    port: int,
    token_file: str | None,
    dashboard_address: str | None,
    journal: str | None,
    worker_ttl: float,
    no_journal: bool,
    lifeline: bool,
    tls_ca: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    insecure: bool,
) -> None:
    """Start a scheduler; workers and clients join it.

    On the journal and the port of one that was killed it goes on for that: with --port 0, which nobody finds again,
    there is none unless --journal names it.
    """
    if no_journal and journal is not None:
        raise click.ClickException("--journal and --no-journal exclude each other")
    voice = _Voice(lifeline)
    told = _Told()
    token = _lifeline(told.hear)["token"] if lifeline else _token(token_file)
    try:
        guard = _guard(tls_ca, tls_cert, tls_key, insecure)
        path = None if no_journal else _journal_path(journal, host, port, lifeline)
        asyncio.run(_serve_scheduler(host, port, token, dashboard_address, path, worker_ttl, told, voice, guard))
    except (LazyGraphError, OSError) as error:
        raise click.ClickException(str(error)) from None


class _Told:
    """What whoever started the workers says of them: passed on in the event loop."""

    def __init__(self) -> None:
        self._pass_on: Callable[[dict[str, Any]], None] | None = None

    def hear(self, said: dict[str, Any]) -> None:
        """Pass something on, as soon as there is somebody to hear it."""
        if self._pass_on is not None:
            self._pass_on(said)

    def listen(self, ended: Callable[[str, str], None]) -> None:
        """From now on call `ended` in this loop, with a worker's name and how it ended."""
        loop = asyncio.get_running_loop()

        def pass_on(said: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(ended, said["ended"], said["how"])

        self._pass_on = pass_on


def _journal_path(given: str | None, host: str, port: int, lifeline: bool) -> str | None:
    """Return where a scheduler's journal is; None when it keeps none."""
    if given is not None or not port or lifeline:
        return given
    from lazygraph.executors.cluster.net.journal import default_path

    return str(default_path(host, port))


async def _serve_scheduler(
    host: str,
    port: int,
    token: str | None,
    dashboard: str | None,
    path: str | None,
    worker_ttl: float,
    told: _Told,
    voice: _Voice,
    guard: Guard,
) -> None:
    from lazygraph.executors.cluster.net.scheduler_server import SchedulerServer
    from lazygraph.executors.cluster.net.tokens import keep_token, make_token

    stop = asyncio.Event()
    if not voice.lifeline:
        _until_signalled(stop)
    journal = None
    if path is not None:
        from lazygraph.executors.cluster.net.journal import Journal

        journal = Journal(path)
    made = token or (journal.token if journal is not None else "") or make_token()
    if journal is not None:
        journal.keep_token(made)
    server = SchedulerServer(host, port, made, worker_ttl, supervised=voice.lifeline, guard=guard, journal=journal)
    told.listen(server.ended)
    with contextlib.ExitStack() as leaving:
        leaving.callback(server.close)
        said: dict[str, Any] = {"address": await server.start()}
        text = f"scheduler at {said['address']}"
        if dashboard is not None:
            from lazygraph.executors.cluster.web import serve_web

            said["dashboard"] = serve_web(server.mind, dashboard, made, guard)
            text += f"; dashboard at {said['dashboard']}"
        if token is None:
            kept = keep_token(said["address"], made)
            leaving.callback(kept.remove)
            text += f"; its token is in {kept.path}"
        if journal is not None:
            text += f"; its journal is {journal.path}"
        voice.serves(said, f"{text}\nstart workers with: lazygraph worker {said['address']}")
        server.failed.add_done_callback(lambda _: stop.set())
        await stop.wait()
        if server.failed.done():
            from lazygraph.executors.cluster.net.journal import UnusableJournal

            raise UnusableJournal(path, f"it cannot be written any more ({server.failed.result()})")


@click.command()
@_guarded
@click.argument("address")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="Tasks at once.")
@click.option("--name", help="Name shown for this worker; default: host and process.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address on which other workers reach this one.")
@click.option("--token-file", type=click.Path(exists=True, dir_okay=False), help="File with the token.")
@click.option("-Q", "--queues", multiple=True, help="Queues to take tasks from: high,default.  [default: default]")
@click.option("-A", "--app", help="Module with the tasks, imported at the start; so are its hooks.")
@click.option("--preload", multiple=True, help="Module to import at the start, with its hooks; may be repeated.")
@click.option(
    "--memory-limit",
    default="auto",
    show_default=True,
    help="Bytes from which values go to disk: 2GB, 512MiB; 0: never; auto: by threads, a share of the machine.",
)
@click.option("--resources", help="What tasks may ask for, with amounts: gpu=1,mem=2.5.")
@click.option("--lifeline", is_flag=True, hidden=True)
def worker(
    address: str,
    threads: int,
    name: str | None,
    host: str,
    token_file: str | None,
    queues: tuple[str, ...],
    app: str | None,
    preload: tuple[str, ...],
    memory_limit: str,
    resources: str | None,
    lifeline: bool,
    tls_ca: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    insecure: bool,
) -> None:
    """Start a worker for the scheduler at ADDRESS."""
    from lazygraph.executors.cluster.net.tokens import find_token
    from lazygraph.executors.cluster.offers import DEFAULT_QUEUES, Offer, bytes_of, queues_of, resources_of

    voice = _Voice(lifeline)
    modules = [*([("-A", app)] if app else []), *(("--preload", one) for one in preload)]
    try:
        offer = Offer(
            name or f"{socket.gethostname()}-{os.getpid()}",
            threads,
            queues_of(queues, "-Q") if queues else DEFAULT_QUEUES,
            resources_of(resources, "--resources") if resources is not None else {},
        )
        guard = _guard(tls_ca, tls_cert, tls_key, insecure)
        limit = bytes_of(memory_limit, "--memory-limit")
        if lifeline:
            _import_what_serves()  # whoever starts us has not got the scheduler's address yet
            greeting = _lifeline()
        else:
            greeting = {"address": address, "token": find_token(address, _token(token_file))}
        hooks = _prepared(modules, greeting.get("setup"), voice)
        asyncio.run(_serve_worker(greeting["address"], greeting["token"], offer, host, hooks, voice, guard, limit))
    except (LazyGraphError, OSError) as error:
        raise click.ClickException(str(error)) from None


def _import_what_serves() -> None:
    """Import what `_serve_worker` does."""
    import lazygraph.executors.cluster.net.runners
    import lazygraph.executors.cluster.net.worker_server
    import lazygraph.executors.isolated  # noqa: F401


def _prepared(modules: list[tuple[str, str]], setup: str | None, voice: _Voice) -> Hooks:
    from lazygraph.cli.preparing import CannotPrepare, prepared, working_directory_first

    if modules and not voice.lifeline:  # who holds a lifeline has given us a path
        working_directory_first()
    try:
        return prepared(modules, setup)
    except CannotPrepare as error:
        voice.cannot(str(error))


async def _serve_worker(
    address: str, token: str, offer: Offer, host: str, hooks: Hooks, voice: _Voice, guard: Guard, limit: int | None
) -> None:
    from lazygraph.executors.cluster.local import fair_share
    from lazygraph.executors.cluster.net.runners import Runners
    from lazygraph.executors.cluster.net.worker_server import WorkerServer
    from lazygraph.executors.isolated import Isolation

    memory = fair_share(offer.threads) if limit is None else limit
    server = WorkerServer(address, token, host, Runners(offer, hooks, Isolation()), guard, memory)
    await server.start()
    stop = asyncio.Event()
    _until_drained(server, stop, voice)
    voice.serves({"name": offer.name}, f"worker {offer.name!r} has joined {address} with {offer.threads} thread(s)")
    server.ended.add_done_callback(lambda _: stop.set())
    await stop.wait()
    if server.ended.done() and not server.leaves and not voice.lifeline:
        click.echo(f"the scheduler at {address} is gone; worker {offer.name!r} ends", err=True)
    server.close()
    if voice.lifeline:
        end_at_once()
    sys.stdout.flush()
    os._exit(0)  # a task that is still running cannot be waited for
