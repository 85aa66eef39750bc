"""A cluster on this machine: a scheduler and worker processes, ours to start and to end.

Each process is `python -m lazygraph.cli ...` (never multiprocessing: no `if __name__ == "__main__"` is needed).  Its
standard input is its lifeline: the token comes through it, and when it ends, however this process ends, so does the
child, at once.

Covers: starting, replacing dead workers, ending everything.
Does not cover: what scheduler and workers do (cluster.net).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

from lazygraph.errors import ClusterFailed, InvalidOption, NotImplementedYet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FAILED_STARTS = 5
"""After so many attempts to replace a worker in vain, the cluster ends."""

_log = logging.getLogger(__name__)


class _Child:
    """One process of the cluster."""

    def __init__(self, words: Sequence[str], greeting: dict[str, Any]) -> None:
        self.words = words
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lazygraph.cli", *words, "--lifeline"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # Ctrl-C on a terminal is for this process, which then ends the others
            env={**os.environ, "PYTHONPATH": module_path()},
        )
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended already: `announced` will say so
            self.process.stdin.write(json.dumps(greeting).encode() + b"\n")
            self.process.stdin.flush()

    def announced(self) -> dict[str, Any]:
        """Wait for the line in which the child says that it serves."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise ClusterFailed(
                f"`lazygraph {self.words[0]}` ended with status {self.process.wait()} before it served; "
                f"what it printed is above"
            )
        return json.loads(line)  # type: ignore[no-any-return]

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

    A context manager; `address` and `token` are what clients need.  A worker that dies is replaced.
    """

    def __init__(
        self,
        n_workers: int | None = None,
        threads_per_worker: int = 1,
        *,
        dashboard_address: str | None = None,
        setup: Callable[[], Any] | None = None,
    ) -> None:
        count = n_workers if n_workers is not None else (os.cpu_count() or 1)
        if count < 1 or threads_per_worker < 1:
            raise InvalidOption(f"LocalCluster({n_workers=}, {threads_per_worker=}): both must be at least 1")
        if setup is not None:
            raise NotImplementedYet("LocalCluster(setup=...)", "call it in the tasks that need it")
        self.token = secrets.token_hex(32)
        self._threads = threads_per_worker
        self._closing = False
        self._lock = threading.Lock()
        self._numbers = iter(range(1, sys.maxsize))
        self.workers: dict[str, int] = {}
        self._children: list[_Child] = []
        self._pid = os.getpid()
        try:
            self._start(count, dashboard_address)
        except BaseException:
            self.close()
            raise

    def _start(self, count: int, dashboard_address: str | None) -> None:
        words = ["scheduler", "--host", "127.0.0.1", "--port", "0"]
        if dashboard_address is not None:
            words += ["--dashboard-address", dashboard_address]
        self._scheduler = _Child(words, {"token": self.token})
        self._children.append(self._scheduler)
        said = self._scheduler.announced()
        self.address: str = said["address"]
        self.dashboard_link: str | None = said.get("dashboard")
        started = [self._start_worker() for _ in range(count)]
        for name, child in started:
            child.announced()
            self._watch(name, child)

    def _start_worker(self) -> tuple[str, _Child]:
        name = f"worker-{next(self._numbers)}"
        words = ["worker", self.address, "--name", name, "--threads", str(self._threads), "--host", "127.0.0.1"]
        with self._lock:  # or `close` could miss the child
            if self._closing:
                raise ClusterFailed("the cluster is closing")
            child = _Child(words, {"token": self.token})
            self._children.append(child)
            self.workers[name] = child.process.pid
        return name, child

    def _watch(self, name: str, child: _Child) -> None:
        threading.Thread(target=self._replace, args=(name, child), name=f"watch-{name}", daemon=True).start()

    def _replace(self, name: str, child: _Child) -> None:
        """Wait until a worker ends; unless the cluster is closing, start another.

        Only starts that fail are counted: a worker that served may be killed by a task as often as tasks kill.
        """
        child.process.wait()
        for _ in range(FAILED_STARTS):
            with self._lock:
                self.workers.pop(name, None)
                if self._closing or self._scheduler.process.poll() is not None:
                    return
                if child in self._children:
                    self._children.remove(child)
            child.end()
            child.wait(0)
            try:
                name, child = self._start_worker()
                child.announced()
            except (ClusterFailed, OSError, ValueError):  # it ended, or the cluster is closing
                child.process.wait()
            else:
                self._watch(name, child)
                return
        _log.error("no worker could be started again, %d times; %r ends", FAILED_STARTS, self)
        self.close()  # or what waits for workers would wait for ever

    def __repr__(self) -> str:
        return f"<LocalCluster {getattr(self, 'address', 'starting')}: {len(self.workers)} workers>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process, at once.  Safe to call twice."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._closing = True
            children = list(self._children)
            self._children.clear()
            self.workers.clear()
        for child in children:
            child.end()
        for child in children:
            child.wait(2.0)

    def __del__(self) -> None:
        if hasattr(self, "_children"):
            self.close()
