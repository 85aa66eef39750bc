"""`lazygraph explain` and `lazygraph graph`: what a plan, or something lazy of a module, would run.  Nothing is run.

Exit status 0: done; 2: the command cannot be carried out as it was given.
"""

from __future__ import annotations

import json
import sys

import click

from lazygraph.cli.targets import imports, lazy_at
from lazygraph.errors import LazyGraphError


@click.command()
@click.argument("target")
@imports
@click.option("--optimize/--no-optimize", default=True, show_default=True, help="As it would run, or as written.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def explain(target: str, app: str | None, preload: tuple[str, ...], optimize: bool, as_json: bool) -> None:
    """Say what TARGET amounts to: nodes, width, critical path, what the optimizer did.

    TARGET is the file of a plan (- for standard input) or MODULE:attr, as for `lazygraph run`.  Nothing is run, but the
    modules that are named are imported.
    """
    import lazygraph.door as door

    lazies = lazy_at(target, app, preload)
    try:
        profile = door.explain(*lazies, optimize_graph=optimize)
    except LazyGraphError as error:
        raise click.UsageError(f"{target}: {error}") from None
    click.echo(json.dumps(profile.to_dict()) if as_json else str(profile))


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
