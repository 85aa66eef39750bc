"""`lazygraph status`: who serves, what runs."""

from __future__ import annotations

import json

import click

from lazygraph.errors import LazyGraphError


@click.command()
@click.argument("address")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--token-file", type=click.Path(exists=True, dir_okay=False), help="File with the token.")
def status(address: str, as_json: bool, token_file: str | None) -> None:
    """Show the workers of the scheduler at ADDRESS.  Exit status 1 when nobody answers."""
    from lazygraph.executors.cluster.net.client import Client
    from lazygraph.executors.cluster.net.tokens import read_token

    try:
        token = read_token(token_file) if token_file is not None else None
        client = Client(address, token=token, timeout=10.0, set_as_default=False)
    except (LazyGraphError, OSError) as error:
        raise click.ClickException(str(error)) from None
    with client:
        info = client.scheduler_info()
    if as_json:
        click.echo(json.dumps(info, indent=2))
        return
    click.echo(f"scheduler {info['address']}: {len(info['workers'])} workers")
    for where, worker in info["workers"].items():
        click.echo(f"  {worker['name']}  {where}  {worker['threads']} threads, {worker['outstanding']} outstanding")
