"""`lazygraph child`: a process that runs leases for the one that started it.  Not for people."""

from __future__ import annotations

import os
import signal

import click

from lazygraph.cli.serving import end_at_once
from lazygraph.executors.serving_child import serve


@click.command(hidden=True)
@click.argument("note", type=int)
def child(note: int) -> None:
    """Run what comes on standard input; NOTE is an open file to write the number of the running task to."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever holds the other end decides
    requests, replies = os.dup(0), os.dup(1)
    # Tasks, and programs that they start, find an empty input, and print where errors go.
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    serve(requests, replies, note, end_at_once)
