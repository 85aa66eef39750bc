"""`lazygraph status`: who serves, what runs."""

from __future__ import annotations

import json

import click

from lazygraph.cli.reaching import client_of, token_option


@click.command()
@click.argument("address")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@token_option
def status(address: str, as_json: bool, token_file: str | None) -> None:
    """Show the workers and the runs of the scheduler at ADDRESS.  Exit status 1 when nobody answers."""
    with client_of(address, token_file) as client:
        info = client.scheduler_info()
    if as_json:
        click.echo(json.dumps(info, indent=2))
        return
    click.echo(f"scheduler {info['address']}: {len(info['workers'])} workers")
    for where, worker in info["workers"].items():
        click.echo(
            f"  {worker['name']}  {where}  {worker['threads']} threads, {worker['outstanding']} outstanding"
            + (f", {worker['spilled'] / 1e6:,.0f} MB on disk" if worker["spilled"] else "")
            + (f", {worker['state']}" if worker["state"] else "")
        )
    for run in info["runs"]:
        kept = ", kept when its client ends" if run["kept"] else ""
        click.echo(f"  run {run['run'] or '(without a name)'}: {run['done']} of {run['tasks']} tasks done{kept}")
