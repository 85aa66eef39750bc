"""Reaching a cluster from a command: the client of an address, and what stands in each such command.

Covers: the connection, its errors as sentences.
Does not cover: what is asked then (status, acting).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lazygraph.errors import LazyGraphError

if TYPE_CHECKING:
    from lazygraph.executors.cluster.net.client import Client


def client_of(address: str, token_file: str | None) -> Client:
    """Return a client of the scheduler at an address.  Raises `ClickException` when nobody answers."""
    from lazygraph.executors.cluster.net.client import Client
    from lazygraph.executors.cluster.net.tokens import read_token

    try:
        token = read_token(token_file) if token_file is not None else None
        return Client(address, token=token, timeout=10.0, set_as_default=False)
    except (LazyGraphError, OSError) as error:
        raise click.ClickException(str(error)) from None


token_option = click.option("--token-file", type=click.Path(exists=True, dir_okay=False), help="File with the token.")
