"""What every executor must do about queues and places, and what async users get."""

from __future__ import annotations

import asyncio
from typing import Any

from lazygraph.executors.registry import resolve
from lazygraph.language.composing import chain, group
from lazygraph.running.completing import as_completed
from lazygraph.testing.conformance.needs import needs
from lazygraph.testing.conformance.tasks import add, give, total
from lazygraph.values.options import options
from lazygraph.values.status import Status

LONG = 3600.0


class PlaceCases:
    """Part of `option_suite.OptionCases`.  An executor whose places have names serves the queue "other" too."""

    @needs("queue")
    def test_a_queue_can_be_said_of_a_task_a_call_a_canvas_and_a_stretch_of_code(self) -> None:
        assert add.options(queue="other")(1, 2).compute() == 3
        assert (add.s(1, 2) | add.s(3).set(queue="other")).compute() == 6
        assert chain(add.s(1, 2), add.s(3)).set(queue="other").compute() == 6
        with options(queue="other"):
            node = add(1, 1)
        assert node.compute() == 2

    @needs("resources")
    def test_what_tasks_ask_for_is_given_back(self) -> None:
        asking = add.options(resources={"gpu": 1})
        assert total([asking(n, 0) for n in range(10)]).compute() == 45

    @needs("at_most_once")
    def test_at_most_once_changes_nothing_while_nobody_dies(self) -> None:
        assert add.options(at_most_once=True)(1, 2).compute() == 3


class AsynchronousPlaceCases:
    """What can be seen of queues, and awaited, where `submit` returns before the run has ended."""

    @property
    def serves_every_queue(self) -> bool:
        """Whether there is no queue that nobody takes from: where places have no names."""
        return "workers" not in resolve(None).capabilities

    @needs("queue")
    def test_what_nobody_takes_stays_queued_and_can_be_cancelled(self) -> None:
        future = give.options(queue="nobody's").delay(1)
        if self.serves_every_queue:
            assert future.get(30) == 1
            return
        assert add(1, 1).compute() == 2
        assert not future.done()
        assert future.cancel() is True
        assert future.status == Status.CANCELLED

    def test_a_group_can_be_awaited_and_looped_over_as_it_ends(self) -> None:
        async def main() -> tuple[list[Any], set[Any]]:
            members = group(add.s(n, 1) for n in range(5)).delay()
            found = {await future async for future in as_completed(list(members))}
            return await members, found

        assert asyncio.run(main()) == ([1, 2, 3, 4, 5], {1, 2, 3, 4, 5})
