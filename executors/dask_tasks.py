"""What runs in a Dask cluster: leases in its workers, a question in its scheduler.

Covers: running a lease there, telling its report, giving away what it has left; taking back what has not begun.
Does not cover: calling for it (executors.on_dask), what becomes of calls (executors.dask_calls), what a lease is
(executors.remote).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.executors.cluster.net import codec
from lazygraph.executors.remote import program_of, run

if TYPE_CHECKING:
    Left = tuple[bytes, dict[int, Any]]
    """What the task of a lease gives: its report, and its values by number."""

SHORT = 20_000
"""A report of more bytes is not told but brought by a task: Dask's scheduler keeps the last ones."""

NOT_BEGUN = ("released", "waiting", "no-worker", "queued")
"""What Dask's scheduler says of tasks that no worker has been given."""


def run_call(plan: bytes, lease: bytes, ear: tuple[str, str, int], *inputs: Left) -> Left:
    """Run a lease; `ear` is the topic that is listened to, and who listens for which number."""
    from distributed import get_worker

    worker, (topic, name, number) = get_worker(), ear

    def say(said: bytes, number: int = 0) -> None:
        worker.log_event(topic, (name, number, said))

    # A name that is a number is one among the workers of a machine; the address is one among all.
    own = worker.name if isinstance(worker.name, str) else worker.address
    left: dict[int, Any] = {}
    there = [left for _, left in inputs]
    report = run(program_of(plan, own), lease, inputs=there, leave=left.__setitem__, say=say)
    if len(report) <= SHORT:
        say(report, number)
    return report, left


def report_of(left: Left) -> bytes:
    """Return a report, whole."""
    return left[0]


def packed(left: Left, entry: int) -> tuple[bool, bytes]:
    """Return whether a value can travel from here, and its pickle, or else the reason as a text."""
    value = left[1][entry]
    try:
        return True, codec.dumps(value)
    except Exception as error:
        return False, f"{type(value).__name__}\n{codec.reason_of(error)}".encode()


def same(plan: bytes) -> bytes:
    """Return a plan: as a task's value Dask has it again when a worker dies that had it."""
    return plan


def take_back(key: Any, client: str, dask_scheduler: Any) -> bool | None:
    """Have Dask's scheduler forget a task that has not begun: asked from afar, it might begin meanwhile.

    Returns whether it has; None when it does not know the task.
    """
    task = dask_scheduler.tasks.get(key)
    if task is None:
        return None
    if task.state not in NOT_BEGUN:
        return False
    dask_scheduler.stimulus_cancel([key], client, force=False, reason="taken back", msg="lazygraph has taken it back")
    return True
