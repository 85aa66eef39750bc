"""The demo's work as anyone would write it without lazygraph: a loop. What the executors are compared with."""

from collections.abc import Callable, Sequence

from lazygraph.cli.demo.facts import merge_many
from lazygraph.cli.demo.report import Report, report
from lazygraph.cli.demo.sources import parse


def run(files: Sequence[str], root: str, on_file: Callable[[int], None] = lambda done: None) -> Report:
    """Return the report on the files; `on_file` hears how many have been read."""
    parsed = []
    for done, path in enumerate(files, start=1):
        parsed.append(parse(path, root))
        on_file(done)
    return report(merge_many(parsed))
