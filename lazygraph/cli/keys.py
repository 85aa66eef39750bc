"""`lazygraph keys`: what a content key is made of, and why two of them differ.

Exit status 0: done, or the keys are equal; 1: they differ; 2: the command cannot be carried out as it was given.
"""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lazygraph.cli.preparing import working_directory_first
from lazygraph.cli.targets import attribute_at, module_at
from lazygraph.errors import LazyGraphError
from lazygraph.values.differences import Account, diff_keys, explain_key, from_json
from lazygraph.values.node import Node, Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
_MOST = click.option(
    "--most", default=20, show_default=True, help="At most so many parts of one value, or differences."
)


@click.group()
def keys() -> None:
    """Show what content keys are made of, and why two of them differ.

    TARGET is MODULE:attr (a promise, a canvas, a function or any value) or a file that `lazygraph keys save` has
    written, here or on another machine.
    """


@keys.command("explain")
@click.argument("target")
@_MOST
@_JSON
def explain_(target: str, most: int, as_json: bool) -> None:
    """Print what the key of TARGET is made of.  Exit status 2 if it can have none."""
    with _sentences():
        account = _account_of(target)
    if as_json:
        click.echo(
            json.dumps({"target": target, "key": account.key, "entries": [e._asdict() for e in account.entries]})
        )
        return
    click.echo(f"{target} has the key {account.key}")
    for line in account.lines(most):
        click.echo(line)


@keys.command("diff")
@click.argument("left")
@click.argument("right")
@_MOST
@_JSON
def diff_(left: str, right: str, most: int, as_json: bool) -> None:
    """Print where the targets LEFT and RIGHT differ.  Exit status 0: nowhere; 1: they differ."""
    with _sentences():
        one, other = _account_of(left), _account_of(right)
        differences = diff_keys(one, other, most)
    if as_json:
        found = [difference._asdict() for difference in differences]
        click.echo(json.dumps({"left": one.key, "right": other.key, "same": not found, "differences": found}))
    elif not differences:
        click.echo(f"{left} and {right} have the same key {one.key}")
    else:
        click.echo(f"{left} has the key {one.key}, {right} has the key {other.key}:")
        for difference in differences:
            click.echo(f"  {difference}")
    sys.exit(1 if differences else 0)


@keys.command()
@click.argument("target")
@click.argument("file", type=click.Path(dir_okay=False, writable=True))
def save(target: str, file: str) -> None:
    """Write what the key of TARGET is made of to FILE, for `lazygraph keys diff` elsewhere."""
    with _sentences():
        account = _account_of(target)
        Path(file).write_text(account.to_json(), encoding="utf-8")
    click.echo(f"{target} has the key {account.key}; what it is made of is in {file}")


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn what cannot be done into a sentence and the exit status 2."""
    try:
        yield
    except (LazyGraphError, OSError, UnicodeDecodeError) as error:
        raise click.UsageError(str(error)) from None


def _account_of(target: str) -> Account:
    module, colon, path = target.partition(":")
    if Path(target).is_file():
        return from_json(Path(target).read_text(encoding="utf-8"))
    if not colon or not module or not path:
        raise click.UsageError(f"{target!r} is neither a file nor of the form MODULE:attr")
    working_directory_first()
    value = attribute_at(module_at(module, target), path)
    # A promise stays what it is; a canvas becomes the promise of its value.
    return explain_key(value.to_delayed() if isinstance(value, Recipe) and not isinstance(value, Node) else value)
