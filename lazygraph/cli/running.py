"""`lazygraph run`: runs a plan that was made anywhere, or something lazy of a module.

Exit status 0: it ran, and every output has its value; 1: a task failed, or the run did not end in time; 2: nothing was
run, because the command cannot be carried out as it was given; 130: interrupted.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import click

from lazygraph.cli.results import lines, one_document
from lazygraph.cli.targets import imports, lazy_at, text_of
from lazygraph.errors import LazyGraphError

if TYPE_CHECKING:
    from lazygraph.cli.results import Telling
    from lazygraph.running.run import Run
    from lazygraph.values.outcome import Failure

DONE, FAILED, INTERRUPTED = 0, 1, 130


@dataclass(frozen=True, slots=True)
class How:
    """How to run it: the options of the command."""

    executor: str
    token_file: str | None
    timeout: float | None
    on_error: str
    optimize: bool
    run_name: str | None


@click.command()
@click.argument("target")
@click.option(
    "--executor",
    default="threads",
    show_default=True,
    metavar="NAME",
    help="Where to run: threads, processes, sync, or the address of a scheduler, tcp://host:8786.",
)
@imports
@click.option(
    "--token-file", type=click.Path(exists=True, dir_okay=False), help="File with the token of the scheduler's cluster."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    help="Seconds for the run; then it is cancelled, and what runs has 5 more to leave.",
)
@click.option(
    "--on-error",
    type=click.Choice(["raise", "collect", "skip"]),
    default="raise",
    show_default=True,
    help="Stop at the first failure, put failures in place of values, or leave them out.",
)
@click.option(
    "--optimize/--no-optimize", default=True, show_default=True, help="Run the graph optimized, or as written."
)
@click.option("--run-name", help="Keep every value until the whole has ended; what is there is not computed again.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def run(
    context: click.Context,
    /,
    target: str,
    app: str | None,
    preload: tuple[str, ...],
    as_json: bool,
    **how: Any,
) -> None:
    """Run TARGET and print the value of each output, one a line.

    TARGET is a file with a plan (what to_json() of a graph or canvas has written; - reads it from standard input), or
    MODULE:attr: a promise, canvas, graph, a collection of those, or a function without arguments that returns one.
    Modules are looked for in the current directory first.

    A plan names functions as module:name, and reading it imports those modules: run only plans that you trust.  On a
    cluster the workers need them too (lazygraph worker -A).  Hooks of modules are called by workers only.

    With --json the document is {"results": [...], "failures": [...]}.  In it a tuple is a list; what JSON has not is
    {"$repr": "..."}, a failure in the place of a value {"$failure": {...}}.  The results are null when the run did not
    come to its end.  What modules and tasks print goes to standard error.

    Exit status 0: every output has its value; 1: a task failed (its traceback is on standard error), or the run did not
    end in time; 2: nothing was run, because the command cannot be carried out as it was given; 130: interrupted.
    """
    settings = How(**how)
    with one_document() if as_json else lines() as tell:
        try:
            status = _finished(_started(lazy_at(target, app, preload), settings), settings, tell)
        except KeyboardInterrupt:
            _leave("interrupted", INTERRUPTED)
    context.exit(status)


def _started(lazies: list[Any], how: How) -> Run:
    """Start it.  Raises `click.UsageError` when nothing can be started: no such executor, or one that refuses it."""
    from lazygraph.door import start

    try:
        said: Any = {"optimize_graph": how.optimize, "on_error": how.on_error, "run_name": how.run_name}
        return start(*lazies, executor=_executor(how), **said)
    except (LazyGraphError, OSError) as error:
        raise click.UsageError(str(error)) from None


def _executor(how: How) -> Any:
    """Return what `executor=` takes.  Raises `click.UsageError` for what this executor could not do."""
    if how.timeout is not None and how.executor == "sync":
        raise click.UsageError(
            "--timeout: with --executor sync tasks run in the one thread that could end them; take threads"
        )
    if how.token_file is None:
        return how.executor
    if not how.executor.startswith(("tcp://", "tls://")):
        raise click.UsageError(f"--token-file is for a cluster, and --executor {how.executor} is none")
    from lazygraph.executors.cluster.net.executor import ClusterExecutor
    from lazygraph.executors.cluster.net.tokens import read_token

    return ClusterExecutor(how.executor, read_token(how.token_file))


def _finished(run: Run, how: How, tell: Telling) -> int:
    """Wait for the end and tell about it; return the exit status."""
    try:
        results = run.result(how.timeout)
    except BaseException as error:  # a task may raise anything, an interrupt too
        failures = _failures(run)
        if not failures and isinstance(error, KeyboardInterrupt):
            raise
        tell(None, failures)
        if not failures and isinstance(error, TimeoutError):
            run.cancel(force=True)
            _leave(f"the run has not ended within {how.timeout:g} s, and was cancelled", FAILED)
        click.echo(text_of(error), err=True)
        return FAILED
    failures = _failures(run)
    tell(results, failures)
    for failure in failures:
        click.echo(failure.traceback.rstrip() or text_of(failure.exception), err=True)
    return FAILED if failures else DONE


def _failures(run: Run) -> list[Failure]:
    """Return why outputs that have ended have no value, each reason once."""
    found = [future.failure() for future in run.futures if future.failed()]
    return list({(one.key, one.attempt): one for one in found if one is not None}.values())


def _leave(why: str, status: int) -> NoReturn:
    """End at once: a task that is still running cannot be waited for."""
    click.echo(why, err=True)
    sys.stdout.flush()
    os._exit(status)
