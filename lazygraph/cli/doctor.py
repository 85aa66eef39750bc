"""`lazygraph doctor`: does an executor do what it says?

Exit status 0: it does; 1: a test says otherwise; 2: the command cannot be carried out as it was given.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from lazygraph.errors import LazyGraphError, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.testing.conformance.on_named import Proof


@click.command()
@click.option(
    "--conformance",
    "names",
    multiple=True,
    required=True,
    metavar="NAME",
    help="Executor to prove; may be repeated.  sync, threads, processes, 'pool of threads', 'pool of processes', "
    "cluster, an address, or MODULE:attr (an executor, or what makes one).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(names: tuple[str, ...], as_json: bool) -> None:
    """Run the conformance suite's tests of task options on executors and print what each does with each option.

    Needs pytest.  Takes about a minute for each executor.  Exit status 1 if a test fails.
    """
    proofs = [_proof(name) for name in names]
    if as_json:
        click.echo(json.dumps({proof.name: _plain(proof) for proof in proofs}, indent=2))
    else:
        _print(proofs)
    sys.exit(1 if any(verdict.failed for proof in proofs for verdict in proof.verdicts.values()) else 0)


def _proof(name: str) -> Proof:
    try:
        from lazygraph.testing.conformance.on_named import prove
    except ModuleNotFoundError as error:
        if error.name != "pytest":
            raise
        raise click.UsageError(str(MissingExtra("lazygraph doctor --conformance", "test"))) from None
    try:
        return prove(name)
    except (LazyGraphError, ImportError, AttributeError, OSError) as error:
        raise click.UsageError(str(error)) from None


def _plain(proof: Proof) -> dict[str, object]:
    return {
        option: {
            "honoured": verdict.honoured,
            "reason": verdict.reason,
            "tests": verdict.tests,
            "failed": verdict.failed,
        }
        for option, verdict in proof.verdicts.items()
    }


def _print(proofs: Sequence[Proof]) -> None:
    for proof in proofs:
        click.echo(f"{proof.name}:")
        for option, verdict in proof.verdicts.items():
            tests = f"{verdict.tests} test{'' if verdict.tests == 1 else 's'}"
            click.echo(f"  {option:<13} {tests:>8}   {verdict}")
