"""The `lazygraph demo` command: its arguments, and nothing that takes time to import."""

import click


@click.command()
@click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False))
@click.option(
    "--executor",
    default="both",
    show_default=True,
    metavar="NAME",
    help="Where to run: threads, cluster (a local one), both, or whatever executor= takes.",
)
@click.option("--files", type=click.IntRange(min=0), default=0, help="Take only the first N files; 0 takes all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
@click.option(
    "--picture",
    type=click.Path(dir_okay=False),
    help="Where to write the picture of the graph.  [default: lazygraph-demo.svg]",
)
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Processes of the cluster.")
@click.pass_context
def demo(
    context: click.Context,
    directory: str | None,
    executor: str,
    files: int,
    as_json: bool,
    picture: str | None,
    workers: int,
) -> None:
    """Read every Python file below DIRECTORY as one graph, on threads and on a cluster.

    Without DIRECTORY: this Python's own standard library. The report names the most used identifiers, the most
    imported modules, the import cycles and the longest import chain. Every result is compared with a plain loop.

    Exit codes: 0 all results are equal, 1 they are not, 2 wrong usage, 130 interrupted.
    """
    from lazygraph.cli.demo.run import Settings, run

    context.exit(run(Settings(directory, executor, files, as_json, picture, workers)))
