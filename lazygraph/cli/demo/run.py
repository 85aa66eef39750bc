"""Runs the demo: one graph on each executor, compared with the plain loop.

Exit codes: 0 all results are equal; 1 they are not; 2 the command line cannot be followed; 130 interrupted.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import click

import lazygraph.door as door
from lazygraph.cli.demo import plain, show
from lazygraph.cli.demo.report import Report
from lazygraph.cli.demo.show import Measured
from lazygraph.cli.demo.sources import list_files, standard_library
from lazygraph.cli.demo.workflow import build

EQUAL, DIFFERENT, INTERRUPTED = 0, 1, 130

PICTURE = "lazygraph-demo.svg"
"""Where the picture of the graph is written unless the user says where, relative to the current directory."""

LOOK_AGAIN = 0.1
"""Seconds between two looks at the progress of a run that has not ended."""

CLUSTER = "cluster"
BOTH = "both"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for. `files` 0 means all; no `directory` means the standard library."""

    directory: str | None = None
    executor: str = BOTH
    files: int = 0
    json: bool = False
    picture: str | None = None
    workers: int = 2

    @property
    def executors(self) -> tuple[str, ...]:
        """The names of the executors to run on, in order."""
        return ("threads", CLUSTER) if self.executor == BOTH else (self.executor,)


class Run(Protocol):
    """What the demo needs to know of a run that it has started."""

    @property
    def futures(self) -> Sequence[Future[Any]]: ...
    def progress(self) -> tuple[int, int]: ...
    def result(self, timeout: float | None = None) -> Any: ...
    def cancel(self) -> object: ...
    def stats(self) -> Mapping[str, Any]: ...


def run(settings: Settings) -> int:
    """Run the demo, tell about it on the terminal, and return the exit code."""
    try:
        return _run(settings)
    except KeyboardInterrupt:
        show.say("interrupted: the run was stopped and nothing was left running", err=True)
        return INTERRUPTED


def _run(settings: Settings) -> int:
    root = os.path.abspath(settings.directory or standard_library())
    try:
        files = list_files(root, settings.files)
    except OSError as error:
        raise click.UsageError(f"the directory {root} cannot be read: {error.strerror}") from error
    graph = build(files, root)
    explanation = graph.explain()
    tell = show.say if not settings.json else _nothing
    tell(show.before(root, len(files), settings.executors, explanation))
    picture, note = _write_picture(graph, settings.picture)
    tell(note)
    measured = [_measure(graph, name, settings.workers) for name in settings.executors]
    expected = _measure_plain(files, root)
    if settings.json:
        show.say(show.document(root, explanation, picture, measured, expected))
    else:
        tell(show.report(expected.report, root))
        tell(show.after(measured, expected))
    return verdict(measured, expected)


def verdict(measured: Sequence[Measured], expected: Measured) -> int:
    """Return the exit code for what came out: only if all runs agree with the plain loop it is 0."""
    return EQUAL if all(each.report == expected.report for each in measured) else DIFFERENT


def _nothing(text: str) -> None:
    """Tell nothing: in JSON mode standard output holds one document."""


def _write_picture(graph: Any, path: str | None) -> tuple[str | None, str]:
    """Draw the graph; return where it is (None: nowhere) and a sentence. Only a place the user named must work."""
    target = path or PICTURE
    try:
        graph.visualize(filename=target)
    except OSError as error:
        sentence = f"the picture of the graph cannot be written to {target}: {error.strerror or error}"
        if path is not None:
            raise click.UsageError(sentence) from error
        return None, f"{sentence}; choose another place with --picture"
    return target, f"picture of the graph: {target}"


def _measure(graph: Any, name: str, workers: int) -> Measured:
    """Run the graph on one executor."""
    with _executor(name, workers) as executor:
        result, stats = _finish(door.start(graph, executor=executor), name)
    return Measured(name, result, stats["elapsed"], stats["tasks"], stats["bytes_kept"], stats["bytes_moved"])


@contextmanager
def _executor(name: str, workers: int) -> Iterator[Any]:
    """Give what `executor=` takes: for "cluster" a client of a fresh local one, else the name itself."""
    if name != CLUSTER:
        yield name
        return
    # Imported here: who runs on threads alone need not load what speaks to a network.
    from lazygraph.executors.cluster.local import LocalCluster
    from lazygraph.executors.cluster.net.client import Client

    with LocalCluster(n_workers=workers, threads_per_worker=1) as cluster, Client(cluster) as client:
        yield client


def _finish(run: Run, name: str) -> tuple[Report, Mapping[str, Any]]:
    """Wait for the end of a run, showing its progress; return its result and figures. Interrupted, it cancels."""
    try:
        with show.Progress(name) as progress:
            pending = set(run.futures)
            while pending:
                pending = wait(pending, timeout=LOOK_AGAIN).not_done
                progress.update(*run.progress())
        return run.result()[0], run.stats()
    except BaseException:
        run.cancel()
        raise


def _measure_plain(files: Sequence[str], root: str) -> Measured:
    """Run the same functions in a loop."""
    started = time.perf_counter()
    with show.Progress(show.PLAIN) as progress:
        result = plain.run(files, root, lambda done: progress.update(done, len(files)))
    return Measured(show.PLAIN, result, time.perf_counter() - started, len(files))
