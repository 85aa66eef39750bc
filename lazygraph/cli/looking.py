"""`lazygraph explain` and `lazygraph graph`: what a plan, or something lazy of a module, would run.

Nothing is run, but by `explain --analyze`: that runs it and says how it went.

Exit status 0: done; 1: a task failed; 2: the command cannot be carried out as it was given.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from lazygraph.cli.results import one_document
from lazygraph.cli.targets import imports, lazy_at, text_of
from lazygraph.errors import LazyGraphError


@click.command()
@click.argument("target")
@imports
@click.option("--optimize/--no-optimize", default=True, show_default=True, help="As it would run, or as written.")
@click.option("--executor", metavar="NAME", help="Ask this one what it will do: a name, or the address of a scheduler.")
@click.option("--run-name", help="Say what of the run of this name is there already.")
@click.option("--analyze", is_flag=True, help="Run it, and say how that went.  What comes out is dropped.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, writable=True),
    help="With --analyze: also write it to a file; the suffix says how: .html, .json, .svg or .txt.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def explain(
    context: click.Context,
    /,
    target: str,
    app: str | None,
    preload: tuple[str, ...],
    optimize: bool,
    executor: str | None,
    run_name: str | None,
    analyze: bool,
    report: str | None,
    as_json: bool,
) -> None:
    """Say what TARGET amounts to: nodes, width, critical path, what the optimizer did, what an executor would do.

    TARGET is the file of a plan (- for standard input) or MODULE:attr, as for `lazygraph run`.  Nothing is run, but the
    modules that are named are imported.  With --analyze it is run: how long each task took, what waited for what, what
    decided when it ended, what to change first.  What tasks print then goes to standard error.

    Exit status 0: done; 1: with --analyze, a task failed (its traceback is on standard error); 2: the command cannot be
    carried out as it was given.
    """
    import lazygraph.door as door

    if report and not analyze:
        raise click.UsageError("--report is about a run; add --analyze")
    lazies = lazy_at(target, app, preload)
    if run_name and analyze:
        raise click.UsageError("--run-name is about what has not run; leave --analyze out")
    if analyze:
        context.exit(_analyzed(lazies, optimize, executor, report, as_json))
    try:
        profile = door.explain(*lazies, optimize_graph=optimize, executor=executor, run_name=run_name)
    except (LazyGraphError, OSError) as error:
        raise click.UsageError(f"{target}: {error}") from None
    click.echo(json.dumps(profile.to_dict()) if as_json else str(profile))


def _analyzed(lazies: list[Any], optimize: bool, executor: str | None, report: str | None, as_json: bool) -> int:
    """Run it and say how that went; return the exit status."""
    from lazygraph.door import start

    with one_document():
        try:
            run = start(*lazies, executor=executor, optimize_graph=optimize, observe=True)
        except (LazyGraphError, OSError) as error:
            raise click.UsageError(str(error)) from None
        status = 0
        try:
            run.result()
        except Exception as error:  # a task may raise anything
            click.echo(text_of(error), err=True)
            status = 1
        account = run.explain()
    if report is not None:
        try:
            account.write(report)
        except (LazyGraphError, OSError) as error:
            raise click.UsageError(str(error)) from None
    click.echo(json.dumps(account.to_dict()) if as_json else str(account))
    return status


@click.command()
@click.argument("target")
@imports
@click.option("--optimize/--no-optimize", default=False, show_default=True, help="As it would run, or as written.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    help="Where to write the picture: .svg and .dot need nothing, other suffixes need graphviz.  "
    "[default: dot, on standard output]",
)
def graph(target: str, app: str | None, preload: tuple[str, ...], optimize: bool, output: str | None) -> None:
    """Draw the graph of TARGET.

    TARGET is the file of a plan (- for standard input) or MODULE:attr, as for `lazygraph run`.  Nothing is run, but the
    modules that are named are imported.
    """
    import lazygraph.door as door

    lazies = lazy_at(target, app, preload)
    try:
        drawing = door.visualize(
            *lazies, filename=output, optimize_graph=optimize, format=None if output is not None else "dot"
        )
    except (LazyGraphError, OSError) as error:
        raise click.UsageError(f"{target}: {error}") from None
    if output is None:
        sys.stdout.write(drawing.data.decode())
