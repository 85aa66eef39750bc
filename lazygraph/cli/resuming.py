"""`lazygraph resume`: named runs that have not ended, and starting one of them again.

Exit status: that of the command that is started again; 2: it cannot be.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lazygraph.executors.files.runs import Known


@click.command()
@click.argument("run", required=False)
@click.option("--forget", is_flag=True, help="Delete what is there of it: its next start begins anew.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def resume(context: click.Context, run: str | None, forget: bool, as_json: bool) -> None:
    """Start RUN, a run with a name (compute(..., run_name=)), again: the command that started it, in its folder.

    What it has computed is not computed again.  Without RUN: say which runs have not ended whole.
    """
    from lazygraph.executors.files.runs import NamedRun, known_runs

    runs = known_runs()
    if run is None:
        _tell(runs, as_json)
        return
    found = next((one for one in runs if one.name == run), None)
    if found is None:
        there = ", ".join(one.name for one in runs) or "there is none"
        raise click.UsageError(f"no run of the name {run!r} is waiting to be resumed ({there})")
    if forget:
        NamedRun(run).forget()
        return
    context.exit(_again(found))


def _tell(runs: list[Known], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([one._asdict() for one in runs], indent=2))
        return
    for one in runs:
        begun = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.begun))
        click.echo(f"{one.name}  {one.kept} values of {one.calls} calls, begun {begun}: {shlex.join(one.command)}")


def _again(found: Known) -> int:
    """Run its command once more; return the exit status."""
    words = found.command
    if "-c" in words[:-1] or len(words) < 2 or not os.path.isdir(found.folder):
        raise click.UsageError(
            f"run {found.name!r} was not started by a command that could be started again ({shlex.join(words)} in "
            f"{found.folder}); start it as it was started, with the same run_name"
        )
    click.echo(f"{shlex.join(words)}  (in {Path(found.folder)})", err=True)
    return subprocess.run(words, cwd=found.folder, check=False).returncode
