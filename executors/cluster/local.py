"""A cluster on this machine: a scheduler and worker processes, ours to start and to end.

Each process is `python -m lazygraph.cli ...` (never multiprocessing: no `if __name__ == "__main__"` is needed).  Its
standard input is its lifeline: the token comes through it, and when it ends, however this process ends, so does the
child, at once.

Covers: starting (in the background for an `async def`), replacing dead workers, ending everything.
Does not cover: what scheduler and workers do (cluster.net).
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from lazygraph.errors import ClusterFailed, InvalidOption, Unserializable
from lazygraph.executors.cluster.offers import bytes_of, offers_of
from lazygraph.executors.cluster.tls import check_listening, tls_of
from lazygraph.running.background import Opening, apart, called_by_coroutine, in_thread
from lazygraph.values.references import portable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lazygraph.executors.cluster.offers import Offer
    from lazygraph.executors.cluster.tls import TLS

FAILED_STARTS = 5
"""After so many attempts to replace a worker in vain, the cluster ends."""

LAST_LINES = 8
"""Lines of what a worker printed last that are told when it has died."""

LONGEST_LINE = 300

_log = logging.getLogger(__name__)


class _Child:
    """One process of the cluster."""

    def __init__(self, words: Sequence[str], greeting: dict[str, Any] | None = None) -> None:
        """Start it; without a greeting it waits for one, see `say`, when it has imported what it needs."""
        self.words = words
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lazygraph.cli", *words, "--lifeline"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if words[0] == "worker" else None,
            process_group=0,  # Ctrl-C on a terminal is for this process, which then ends the others
            env={**os.environ, "PYTHONPATH": module_path()},
        )
        self._printed: deque[str] = deque(maxlen=LAST_LINES)
        self._reading = threading.Thread(target=self._pass_on, name="lazygraph-stderr", daemon=True)
        if self.process.stderr is not None:
            self._reading.start()
        if greeting is not None:
            self.say(greeting)

    def say(self, said: dict[str, Any]) -> None:
        """Say something on the child's standard input."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):  # it ended already: `announced` will say so
            self.process.stdin.write(json.dumps(said).encode() + b"\n")
            self.process.stdin.flush()

    def _pass_on(self) -> None:
        """Print what the child prints on its standard error, and remember the end of it."""
        assert self.process.stderr is not None
        begun = b""
        with self.process.stderr as printed:
            while came := os.read(printed.fileno(), 65536):
                with contextlib.suppress(OSError):
                    os.write(2, came)
                *lines, begun = (begun + came).split(b"\n")
                self._printed.extend([line.decode(errors="replace")[:LONGEST_LINE] for line in lines[-LAST_LINES:]])
                begun = begun[:LONGEST_LINE]
        if begun:
            self._printed.append(begun.decode(errors="replace"))

    def how_it_ended(self) -> str:
        """Return how the process has ended, and below that what it printed last."""
        if self._reading.ident is not None:
            self._reading.join(0.2)  # programs that it has started may hold its standard error open
        status = self.process.returncode
        how = f"it ended with status {status}"
        if status < 0:
            how = f"it was killed by {signal.Signals(-status).name}"
        if status == -signal.SIGKILL:
            how += ", as the kernel does when there is no memory left"
        return "\n".join([how, *self._printed])

    def announced(self) -> dict[str, Any]:
        """Wait for the line in which the child says that it serves."""
        assert self.process.stdout is not None
        try:
            line = self.process.stdout.readline()
        except ValueError:  # closed: it was ended meanwhile
            line = b""
        if not line:
            raise ClusterFailed(
                f"`lazygraph {self.words[0]}` ended with status {self.process.wait()} before it served; "
                f"what it printed is above"
            )
        said: dict[str, Any] = json.loads(line)
        if "failed" in said:
            self.process.wait()
            raise ClusterFailed(f"a worker could not be set up: {said['failed']}")
        return said

    def end(self) -> None:
        """Cut the lifeline."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def wait(self, timeout: float) -> None:
        """Wait until it has ended; kill it if it does not."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def module_path() -> str:
    """Return this process's module path: local workers import what their client can."""
    return os.pathsep.join(os.path.abspath(entry) if entry else os.getcwd() for entry in sys.path)


class LocalCluster:
    """A scheduler and `n_workers` worker processes (default: as many as processors) of `threads_per_worker` threads.

    A context manager, also for `async with`; `address` and `token` are what clients need.  A worker that dies is
    replaced, by one with the same queues and resources.

    `queues` are those that the workers take tasks from (default: "default"), `resources` what tasks may ask of each, as
    in {"gpu": 1}; a list with one of them for every worker makes them different.  `preload` names modules that workers
    import at the start, with their hooks.  `setup()` is called in every worker process before its first task; when it,
    or a module, fails in the beginning, this raises `ClusterFailed` with the worker's traceback.
    `memory_limit` is what each worker may have, as in "2GB" (default: a share of the machine's; 0: all there is):
    values that are not used go to disk before that.
    `host` is the address of this machine on which all of it listens.  Off loopback `tls` is needed, the certificates of
    a node and their authority (`lazygraph certs create`), or `insecure=True`, which says that the network is trusted.

    What a worker runs that has been silent for `worker_ttl` seconds is run again elsewhere.
    """

    def __init__(
        self,
        n_workers: int | None = None,
        threads_per_worker: int = 1,
        *,
        dashboard_address: str | None = None,
        queues: str | Sequence[str | Sequence[str]] | None = None,
        resources: Mapping[str, float] | Sequence[Mapping[str, float]] | None = None,
        preload: str | Sequence[str] = (),
        setup: Callable[[], Any] | None = None,
        memory_limit: int | str = "auto",
        worker_ttl: float = 60.0,
        host: str = "127.0.0.1",
        tls: TLS | None = None,
        insecure: bool = False,
    ) -> None:
        if (n_workers is not None and n_workers < 1) or threads_per_worker < 1:
            raise InvalidOption(f"LocalCluster({n_workers=}, {threads_per_worker=}): both must be at least 1")
        if not worker_ttl >= 0.1:
            raise InvalidOption(f"LocalCluster({worker_ttl=}): it must be at least 0.1 seconds")
        self._worker_ttl = worker_ttl
        offers = offers_of(n_workers, threads_per_worker, queues, resources, os.cpu_count() or 1)
        check_listening(host, tls := tls or tls_of({}), insecure)
        self.tls = tls
        self._listen = ["--host", host, *(tls.words() if tls else ()), *(["--insecure"] if insecure else ())]
        limit = bytes_of(memory_limit, "LocalCluster(memory_limit=...)")
        self._limit = total_memory() // len(offers) if limit is None else limit
        self.token = secrets.token_hex(32)
        self._greeting: dict[str, Any] = {"token": self.token}
        if setup is not None:
            self._greeting["setup"] = _packed(setup)
        self._preloads = [
            word for name in ([preload] if isinstance(preload, str) else preload) for word in ("--preload", name)
        ]
        self._closing = False
        self._lock = threading.Lock()
        self._numbers = iter(range(1, sys.maxsize))
        self._pids: dict[str, int] = {}
        self._children: list[_Child] = []
        self._said: dict[str, Any] = {}  # by the scheduler, of itself
        self._pid = os.getpid()
        self._opening = Opening(lambda: self._open(offers, dashboard_address), background=called_by_coroutine())

    def _open(self, offers: Sequence[Offer], dashboard_address: str | None) -> dict[str, Any]:
        """Start everything; return what the scheduler says of itself."""
        try:
            words = ["scheduler", *self._listen, "--port", "0", "--worker-ttl", str(self._worker_ttl)]
            if dashboard_address is not None:
                words += ["--dashboard-address", dashboard_address]
            self._scheduler = self._start_child(words, {"token": self.token})
            # Beside it: most of what a process does at the start is to import, and needs nobody.
            started = [(offer, *self._start_worker(offer)) for offer in offers]
            said = self._scheduler.announced()
            self._greeting["address"] = said["address"]
            for _, _, child in started:
                child.say(self._greeting)
            for offer, name, child in started:
                child.announced()
                self._watch(offer, name, child)
        except BaseException:
            self.close()
            raise
        self._said = said
        return said

    def _start_child(self, words: Sequence[str], greeting: dict[str, Any] | None = None, name: str = "") -> _Child:
        with self._lock:  # or `close` could miss the child
            if self._closing:
                raise ClusterFailed("the cluster is closing")
            child = _Child(words, greeting)
            self._children.append(child)
            if name:
                self._pids[name] = child.process.pid
        return child

    def _start_worker(self, offer: Offer) -> tuple[str, _Child]:
        """Start a worker, which is to be greeted."""
        name = f"worker-{next(self._numbers)}"
        words = ["worker", "-", *self._listen, *self._preloads, *replace(offer, name=name).words()]
        words += ["--memory-limit", str(self._limit)]
        return name, self._start_child(words, None, name)

    @property
    def address(self) -> str:
        """Where the scheduler listens."""
        address: str = self._opening.result()["address"]
        return address

    @property
    def dashboard_link(self) -> str | None:
        """The page with the cluster's state; None when none was asked for."""
        return self._opening.result().get("dashboard")

    @property
    def workers(self) -> dict[str, int]:
        """The workers' names and process ids."""
        self._opening.result()
        return self._pids

    def _watch(self, offer: Offer, name: str, child: _Child) -> None:
        threading.Thread(target=self._replace, args=(offer, name, child), name=f"watch-{name}", daemon=True).start()

    def _replace(self, offer: Offer, name: str, child: _Child) -> None:
        """Wait until a worker ends; unless the cluster is closing, start another.

        Only starts that fail are counted: a worker that served may be killed by a task as often as tasks kill.
        """
        child.process.wait()
        self._tell_end(name, child)
        for _ in range(FAILED_STARTS):
            with self._lock:
                self._pids.pop(name, None)
                if self._closing or self._scheduler.process.poll() is not None:
                    return
                if child in self._children:
                    self._children.remove(child)
            child.end()
            child.wait(0)
            try:
                name, child = self._start_worker(offer)
                child.say(self._greeting)
                child.announced()
            except (ClusterFailed, OSError, ValueError) as error:  # it ended, or the cluster is closing
                child.process.wait()
                if not self._closing:
                    _log.error("a dead worker could not be replaced: %s", error)
            else:
                self._watch(offer, name, child)
                return
        _log.error("no worker could be started again, %d times; %r ends", FAILED_STARTS, self)
        self.close()  # or what waits for workers would wait for ever

    def _tell_end(self, name: str, child: _Child) -> None:
        """Tell the scheduler how a worker has ended: nobody else can know."""
        how = child.how_it_ended()
        with self._lock:
            if not self._closing:
                self._scheduler.say({"ended": name, "how": how})

    def __repr__(self) -> str:
        where = self._said["address"] if self._said else "starting"
        return f"<LocalCluster {where}: {len(self._pids)} workers>"

    def __enter__(self) -> Self:
        self._opening.result()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        try:
            await self._opening.ready()
        except BaseException:  # whoever awaits may be cancelled: nobody will leave what nobody has entered
            in_thread(self.close)
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await apart(self.close)

    def close(self) -> None:
        """End every process, at once.  Safe to call twice."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._closing = True
            children = list(self._children)
            self._children.clear()
            self._pids.clear()
        for child in children:
            child.end()
        for child in children:
            child.wait(2.0)

    def __del__(self) -> None:
        if hasattr(self, "_pid"):
            self.close()


def _packed(setup: Any) -> str:
    """Return a function as it travels to workers in their greeting."""
    import inspect

    import cloudpickle

    if not callable(setup) or inspect.iscoroutinefunction(setup):
        raise InvalidOption(f"LocalCluster(setup={setup!r}): a plain function without arguments is wanted")
    try:
        return base64.b64encode(cloudpickle.dumps(portable(setup))).decode()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise Unserializable(f"the function {setup!r}", "LocalCluster(setup=...)", reason) from error


def fair_share(threads: int) -> int:
    """Return what part of the machine's memory, or of the group's it runs in, a worker of so many threads may have."""
    return int(total_memory() * min(1.0, threads / (os.cpu_count() or 1)))


def total_memory() -> int:
    """Return the bytes of memory of this machine, or those that this process's group may have; 0 when unknown."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 0
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
            found = min(found, int(file.read()))
    return found
