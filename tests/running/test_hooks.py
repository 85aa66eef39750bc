"""Hooks: which functions of a module are hooks, and what is called around a task."""

from __future__ import annotations

import asyncio
import logging
from types import ModuleType
from typing import Any

import pytest

import lazygraph
from lazygraph import TaskRecord, after_task, before_task, delayed, worker_setup
from lazygraph.errors import InvalidOption, TaskCancelled
from lazygraph.planning.plan import plan_of
from lazygraph.running.hooks import Hooked, Hooks
from lazygraph.running.program import Program
from lazygraph.values.outcome import Failure, Value


def module_with(**members: Any) -> ModuleType:
    module = ModuleType("users")
    vars(module).update(members)
    return module


def hooks_of(**members: Any) -> Hooks:
    hooks = Hooks()
    hooks.collect(module_with(**members))
    return hooks


def named(name: str) -> Any:
    """A function that nobody has marked."""

    def function(record: Any = None) -> None:
        return

    function.__name__ = function.__qualname__ = name
    return function


class TestCollecting:
    def test_marked_functions_in_their_order(self) -> None:
        marked = [before_task(named(str(at))) for at in range(3)]
        hooks = hooks_of(second=marked[1], first=marked[0], other=named("other"), third=marked[2])
        assert hooks.before == [marked[1], marked[0], marked[2]]
        assert (hooks.setups, hooks.after) == ([], [])

    def test_functions_with_the_names(self) -> None:
        functions = {name: named(name) for name in ("worker_setup", "before_task", "after_task")}
        hooks = hooks_of(**functions)
        assert [hooks.setups, hooks.before, hooks.after] == [[function] for function in functions.values()]

    def test_the_decorators_themselves_are_none(self) -> None:
        hooks = hooks_of(worker_setup=worker_setup, before_task=before_task, after_task=lazygraph.after_task)
        assert hooks == Hooks()
        assert not hooks.around_tasks

    def test_one_for_both(self) -> None:
        both = after_task(before_task(named("both")))
        hooks = hooks_of(both=both)
        assert (hooks.before, hooks.after) == ([both], [both])
        assert hooks.around_tasks

    def test_one_that_several_modules_have_is_called_once(self) -> None:
        hook = worker_setup(named("hook"))
        hooks = hooks_of(hook=hook, again=hook)
        hooks.collect(module_with(imported=hook))
        assert hooks.setups == [hook]
        assert not hooks.around_tasks

    def test_a_marked_function_is_still_itself(self) -> None:
        function = named("function")
        assert worker_setup(function) is function

    @pytest.mark.parametrize("wrong", [len, "text", delayed(len)], ids=["a builtin", "no function", "a promise"])
    def test_only_plain_functions(self, wrong: Any) -> None:
        with pytest.raises(InvalidOption, match="before_task wants a plain function"):
            before_task(wrong)

    def test_none_that_would_have_to_be_awaited(self) -> None:
        async def hook(record: TaskRecord) -> None:
            return

        with pytest.raises(InvalidOption, match=r"after_task: .*hook is async"):
            after_task(hook)
        with pytest.raises(InvalidOption, match=r"before_task: .*hook is async"):
            hooks_of(before_task=hook)


class Calls:
    """Hooks that note what they are told."""

    def __init__(self) -> None:
        self.records: list[TaskRecord] = []
        self.hooks = Hooks(before=[self.note], after=[self.note])

    def note(self, record: TaskRecord) -> None:
        self.records.append(record)

    def run(self, node: Any, attempt: int = 1) -> Any:
        """Run the one task of a plan, as a worker does."""
        plan = plan_of([node])
        program = Program(plan.shape, plan.tables)
        return Hooked(program, self.hooks, attempt, "worker-1").run(plan.shape.outputs[0], {})  # type: ignore[arg-type]


@pytest.fixture
def calls() -> Calls:
    return Calls()


@delayed
def double(x: int) -> int:
    return 2 * x


@delayed
def fails(error: BaseException) -> None:
    raise error


class TestAroundATask:
    def test_what_they_are_told(self, calls: Calls) -> None:
        assert calls.run(double(2), attempt=3) == 4
        before, after = calls.records
        assert (before.name, before.attempt, before.worker, before.outcome) == ("double", 3, "worker-1", None)
        assert before.exception is None and before.seconds == 0
        assert (after.key, after.name, after.attempt) == (before.key, "double", 3)
        assert after.outcome == Value(4) and after.exception is None
        assert after.seconds > 0

    def test_of_a_task_that_fails(self, calls: Calls) -> None:
        error = ValueError("as planned")
        with pytest.raises(ValueError) as caught:
            calls.run(fails(error))
        assert caught.value is error
        _, after = calls.records
        assert after.exception is error
        assert isinstance(after.outcome, Failure)
        assert (after.outcome.node, after.outcome.worker) == ("fails", "worker-1")

    def test_of_a_task_that_is_awaited(self, calls: Calls) -> None:
        @delayed
        async def awaits() -> str:
            await asyncio.sleep(0)
            assert len(calls.records) == 1  # it has not ended
            return "awaited"

        assert asyncio.run(calls.run(awaits())) == "awaited"
        assert calls.records[1].outcome == Value("awaited")

    def test_of_one_that_fails_then(self, calls: Calls) -> None:
        @delayed
        async def awaits() -> None:
            raise ValueError("as planned")

        with pytest.raises(ValueError):
            asyncio.run(calls.run(awaits()))
        assert isinstance(calls.records[1].exception, ValueError)

    @pytest.mark.parametrize("error", [ValueError("broken hook"), SystemExit(1), KeyboardInterrupt()], ids=type)
    def test_a_hook_that_fails_changes_nothing(
        self, calls: Calls, error: BaseException, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(record: TaskRecord) -> None:
            raise error

        calls.hooks.before.insert(0, broken)
        calls.hooks.after.insert(0, broken)
        with caplog.at_level(logging.ERROR):
            assert calls.run(double(2)) == 4
        assert len(calls.records) == 2  # the other hooks are called all the same
        said = [record.getMessage() for record in caplog.records]
        assert ["before_task hook" in said[0], "after_task hook" in said[1], len(said)] == [True, True, 2]
        assert all("broken" in text and calls.records[0].key in text for text in said)
        assert all(record.exc_info is not None and record.exc_info[1] is error for record in caplog.records)

    def test_an_attempt_that_is_made_to_leave_leaves_from_its_hooks_too(self, calls: Calls) -> None:
        def hit(record: TaskRecord) -> None:
            raise TaskCancelled

        calls.hooks.before.append(hit)
        with pytest.raises(TaskCancelled):
            calls.run(double(2))
