"""`lazygraph drain`, `lazygraph cancel`: what a cluster is told to do."""

from __future__ import annotations

import click

from lazygraph.cli.reaching import client_of, token_option


@click.command()
@click.argument("address")
@click.argument("workers", nargs=-1, required=True)
@click.option("--timeout", type=click.FloatRange(0), help="Seconds to wait; they leave none the less.")
@token_option
def drain(address: str, workers: tuple[str, ...], timeout: float | None, token_file: str | None) -> None:
    """Have WORKERS (names or addresses) of the scheduler at ADDRESS leave, and wait until they have.

    They get nothing more, hand over what has not begun, finish what runs, and give their values to others.  Exit status
    1 when one is not there, or the time ran out.
    """
    with client_of(address, token_file) as client:
        try:
            client.drain(workers, timeout)
        except TimeoutError:
            raise click.ClickException(f"they have not left within {timeout:g} s; they do when they can") from None


@click.command()
@click.argument("address")
@click.argument("run")
@click.option("--force", is_flag=True, help="What runs is made to leave, too.")
@token_option
def cancel(address: str, run: str, force: bool, token_file: str | None) -> None:
    """Cancel RUN (its run_name or id, whoever started it) of the scheduler at ADDRESS.

    Exit status 1 when there is none.
    """
    with client_of(address, token_file) as client:
        try:
            client.attach(run).cancel(force=force)
        except KeyError as error:
            raise click.ClickException(str(error.args[0])) from None
