"""`python -m lazygraph.testing.simulation`: many lives, or the story of one."""

from __future__ import annotations

import sys
import time
import traceback

import click

from lazygraph.executors.cluster.messages import Message
from lazygraph.testing.simulation.check import check
from lazygraph.testing.simulation.lives import live
from lazygraph.testing.simulation.story import about, line


@click.command()
@click.option("--lives", default=10_000, show_default=True, help="How many.")
@click.option("--seed", default=0, show_default=True, help="The first one's seed; the others follow.")
@click.option("--replay", type=int, help="Tell the story of this seed, message by message.")
def main(lives: int, seed: int, replay: int | None) -> None:
    """Let random clusters live and die, and check that every run ends as it must."""
    if replay is not None:
        tell_story(replay)
        return
    began = time.perf_counter()
    for number in range(seed, seed + lives):
        try:
            check(live(number))
        except Exception:
            click.echo(traceback.format_exc(), err=True)
            click.echo(f"seed {number} failed; its story: python -m lazygraph.testing.simulation --replay {number}")
            sys.exit(1)
    seconds = time.perf_counter() - began
    click.echo(f"{lives} lives from seed {seed}: all ended as they must ({lives / max(seconds, 1e-9):.0f} a second)")


def tell_story(seed: int) -> None:
    """Print what happened in one life; exits with 1 when it ended wrongly."""

    def tell(sender: str, receiver: str, message: Message) -> None:
        click.echo(line(sender, receiver, message))

    life = live(seed)
    for sentence in about(life):
        click.echo(sentence)
    try:
        check(life, tell)
    except Exception as error:
        click.echo(f"{type(error).__name__}: {error}")
        click.echo(traceback.format_exc(), err=True)
        sys.exit(1)
    click.echo("all ended as it must")


if __name__ == "__main__":
    main()
