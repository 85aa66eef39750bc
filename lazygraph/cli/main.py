"""The command `lazygraph`: the group, the version, and commands whose rooms load when they are called."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import click

from lazygraph.errors import LazyGraphError
from lazygraph.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOMES: Mapping[str, str] = {
    "cancel": "lazygraph.cli.acting:cancel",
    "certs": "lazygraph.cli.certs:certs",
    "child": "lazygraph.cli.child:child",
    "demo": "lazygraph.cli.demo.command:demo",
    "drain": "lazygraph.cli.acting:drain",
    "doctor": "lazygraph.cli.doctor:doctor",
    "explain": "lazygraph.cli.looking:explain",
    "graph": "lazygraph.cli.looking:graph",
    "keys": "lazygraph.cli.keys:keys",
    "resume": "lazygraph.cli.resuming:resume",
    "run": "lazygraph.cli.running:run",
    "scheduler": "lazygraph.cli.serving:scheduler",
    "worker": "lazygraph.cli.serving:worker",
    "status": "lazygraph.cli.status:status",
}
_LATER = "logs retry replay report config".split()


class _Lazy(click.Group):
    """A group that imports a command when it is called, or listed."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; our own errors are sentences for whoever typed it, not tracebacks."""
        try:
            return super().invoke(ctx)
        except LazyGraphError as error:
            raise click.ClickException(str(error)) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        home = _HOMES.get(cmd_name)
        if home is None:
            if cmd_name in _LATER:
                raise click.ClickException(f"`lazygraph {cmd_name}` is not built yet; `lazygraph --help` lists what is")
            return None
        module, _, name = home.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_Lazy)
@click.version_option(__version__, prog_name="lazygraph")
def main() -> None:
    """Describe work lazily, get one explicit graph, run it on threads or on a cluster."""
