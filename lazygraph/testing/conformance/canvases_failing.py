"""What every executor must do when a canvas fails, and when it has ended: exceptions, causes, callbacks, handlers."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, Any

import pytest

from lazygraph.language.composing import chain, chord, group
from lazygraph.language.dynamic import each, quote
from lazygraph.testing.conformance import tasks
from lazygraph.testing.conformance.tasks import add, divide, give, length, total
from lazygraph.values.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT = 30
"""Seconds after which something that should happen is given up; no test that passes waits so long."""


class Ear:
    """A named pipe into which tasks speak, a line each."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        os.mkfifo(self.path)
        # Open for writing too: the pipe stays open between two speakers, and none of them waits for a listener.
        self._pipe = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self._heard = b""

    def lines(self, wanted: int) -> list[str]:
        """Wait until so many lines were spoken; return all of them, in alphabetical order."""
        while self._heard.count(b"\n") < wanted and select.select([self._pipe], [], [], WAIT)[0]:
            self._heard += os.read(self._pipe, 65536)
        while select.select([self._pipe], [], [], 0)[0]:
            self._heard += os.read(self._pipe, 65536)
        return sorted(self._heard.decode().splitlines())

    def close(self) -> None:
        """Listen no more."""
        os.close(self._pipe)


def _broken(depth: int) -> Any:
    """A canvas in which something fails so deep."""
    whole: Any = divide.s(1, 0)
    for at in range(depth):
        whole = (group(whole, give.s(at)), give.s(1) | tasks.ignore.si(whole), chord([whole, give.s(1)], give.s()))[
            at % 3
        ]
    return whole


class FailingCases:
    """Part of `canvases.CanvasCases`."""

    @pytest.fixture
    def ear(self, tmp_path: Path) -> Iterator[Ear]:
        """A pipe to hear tasks by that nobody waits for."""
        ear = Ear(tmp_path / "ear")
        yield ear
        ear.close()

    # -- failing -----------------------------------------------------------------------------------

    def test_a_group_at_the_end_after_a_failure(self) -> None:
        for canvas in (
            add.s(1, 1) | divide.s(0) | group(add.s(1), add.s(1)),
            add.s(1, 1) | group(add.s(1), divide.s(0)),
            add.s(1, 1) | divide.s(0) | group([]) | length.s(),
        ):
            with pytest.raises(ZeroDivisionError):
                canvas.compute()
            with pytest.raises(ZeroDivisionError):
                canvas.delay().get(WAIT)

    @pytest.mark.parametrize("at", range(4))
    def test_a_failing_step_of_a_chain_in_a_header_or_body(self, at: int) -> None:
        steps = [give.s(1), give.s(), give.s(), give.s()]
        steps[at] = divide.s(1, 0) if at == 0 else divide.s(0)
        failing = chain(steps)
        body = [total.s(), give.s(), give.s(), give.s()]
        body[at] = tasks.divide_total.s(0) if at == 0 else divide.s(0)
        for canvas in (
            chord([failing], give.s()),
            chord([give.s(1), failing, give.s(2)], give.s()),
            chord([give.s(1), chord([failing], give.s())], give.s()) | give.s(),
            chord([give.s(1), give.s(2)], chain(body)),
            chord([chain(group(chord([give.s(1)], chain(body))))], give.s()),
        ):
            with pytest.raises(ZeroDivisionError):
                canvas.compute()
            with pytest.raises(ZeroDivisionError):
                canvas.delay().get(WAIT)

    @pytest.mark.parametrize("depth", range(1, 10))
    def test_the_original_exception_from_any_depth(self, depth: int) -> None:
        with pytest.raises(ZeroDivisionError) as caught:
            _broken(depth).compute()
        assert sum("node 'divide'" in note for note in caught.value.__notes__) == 1

    def test_members_of_a_group_fail_alone(self) -> None:
        members = group(divide.s(1, 0), add.s(1, 1)).delay()
        assert members[1].get(WAIT) == 2
        assert isinstance(members[0].exception(WAIT), ZeroDivisionError)
        assert members[0].failed()
        assert members[1].successful()
        found = members.get(WAIT, propagate=False)
        assert (type(found[0]), found[1]) == (ZeroDivisionError, 2)
        with pytest.raises(ZeroDivisionError):
            members.get(WAIT)

    def test_every_step_after_a_failure_names_its_cause(self) -> None:
        future = (give.s(1) | divide.s(0) | give.s() | group(give.s(), give.s()) | total.s()).delay()
        assert isinstance(future.exception(WAIT), ZeroDivisionError)
        middle, before = future.parent, future.parent[0].parent
        failed = before.parent
        assert [failed.status, failed.cause] == [Status.FAILED, None]
        for below in (future, *middle, before):
            assert isinstance(below.exception(WAIT), ZeroDivisionError)
            assert [below.status, below.cause] == [Status.UPSTREAM_FAILED, failed.key]
        assert failed.parent.get(WAIT) == 1

    # -- callbacks ---------------------------------------------------------------------------------

    def test_callbacks_get_the_value(self, ear: Ear) -> None:
        canvas = (give.s(1).link(tasks.say.s(ear.path)) | add.s(1)).link(tasks.say.s(ear.path))
        assert canvas.delay().get(WAIT) == 2
        assert ear.lines(2) == ["1", "2"]
        assert group(give.s(3), give.s(4)).link(tasks.say.s(ear.path)).delay().get(WAIT) == [3, 4]
        assert ear.lines(3) == ["1", "2", "[3, 4]"]

    def test_callbacks_of_a_replaced_task_get_the_final_value(self, ear: Ear) -> None:
        canvas = tasks.add_replaced.s(1, 2).link(tasks.say.s(ear.path)) | add.s(1)
        assert canvas.delay().get(WAIT) == 4
        assert ear.lines(1) == ["3"]

    def test_a_handler_gets_the_failure(self, ear: Ear) -> None:
        future = divide.s(1, 0).link_error(tasks.say_failure.s(ear.path)).delay()
        assert isinstance(future.exception(WAIT), ZeroDivisionError)
        assert ear.lines(1) == ["divide attempt 1: ZeroDivisionError('division by zero')"]

    @pytest.mark.parametrize("failing", [1, 2, 42])
    def test_a_handler_runs_once_however_many_members_fail(self, failing: int, ear: Ear) -> None:
        handler = tasks.say_failure.s(ear.path)
        members = [divide.si(1, 0)] * failing + [give.si(1)]
        for canvas in (
            group(members).link_error(handler),
            chord(members, total.s()).link_error(handler),
            chain(give.s(1), chord(members, total.s())).link_error(handler),
        ):
            with pytest.raises(ZeroDivisionError):
                canvas.delay().get(WAIT)
        assert len(ear.lines(3)) == 3

    def test_a_handler_of_a_chain_runs_for_whichever_step_fails(self, ear: Ear) -> None:
        for at in range(3):
            steps = [give.s(1), give.s(), give.s()]
            steps[at] = divide.s(1, 0) if at == 0 else divide.s(0)
            with pytest.raises(ZeroDivisionError):
                chain(steps).link_error(tasks.say_failure.s(ear.path)).delay().get(WAIT)
        assert ear.lines(3) == ["divide attempt 1: ZeroDivisionError('division by zero')"] * 3

    def test_a_scope_that_never_started_has_not_failed(self, ear: Ear) -> None:
        below = (give.s() | give.s()).link_error(tasks.say.s(ear.path))
        above = divide.s(1, 0).link_error(tasks.say_failure.s(ear.path))
        with pytest.raises(ZeroDivisionError):
            (above | below).delay().get(WAIT)
        assert len(ear.lines(1)) == 1
        assert "divide" in ear.lines(1)[0]

    def test_inner_and_outer_handlers_both_hear(self, ear: Ear) -> None:
        inner = chord([divide.s(1, 0), give.s(1)], total.s()).link_error(tasks.say_failure.s(ear.path))
        with pytest.raises(ZeroDivisionError):
            group(inner, give.s(2)).link_error(tasks.say_failure.s(ear.path)).delay().get(WAIT)
        assert len(ear.lines(2)) == 2

    def test_a_handler_is_a_task_with_retries_of_its_own_value(self, ear: Ear) -> None:
        handler = tasks.fail_on.s() | tasks.say.s(ear.path)
        other = tasks.say_failure.s(ear.path) | give.s()
        future = divide.s(1, 0).link_error(handler, other).delay()
        assert isinstance(future.exception(WAIT), ZeroDivisionError)
        assert len(ear.lines(1)) == 1  # the one that fails changes nothing for the other

    def test_a_handler_given_at_the_start(self, ear: Ear) -> None:
        future = (give.s(1) | divide.s(0)).apply_async(link_error=tasks.say_failure.s(ear.path))
        assert isinstance(future.exception(WAIT), ZeroDivisionError)
        assert ear.lines(1) == ["divide attempt 1: ZeroDivisionError('division by zero')"]

    def test_a_handler_hears_of_a_failing_replacement_and_fan_out(self, ear: Ear) -> None:
        replaced = tasks.become.s(0, by=quote(tasks.first.s() | tasks.inverse.s()))
        fan_out = tasks.pack.s(1, 0) | each(tasks.inverse.s())
        for canvas in (replaced, fan_out):
            with pytest.raises(ZeroDivisionError):
                canvas.link_error(tasks.say_failure.s(ear.path)).delay().get(WAIT)
        assert ear.lines(2) == ["inverse attempt 1: ZeroDivisionError('division by zero')"] * 2

    def test_a_fan_out_goes_on_without_members_as_a_group_does(self) -> None:
        items, inverse = tasks.pack.s(1, 0, 2, 0), tasks.inverse.s()
        assert (items | each(inverse, on_error="skip")).compute() == [1.0, 0.5]
        assert (items | each(inverse, on_error="skip") | total.s()).compute() == 1.5
        assert (tasks.pack.s(0, 0) | each(give.s() | inverse, on_error="skip")).compute() == []
        assert (tasks.pack.s() | each(inverse, on_error="collect")).compute() == []
        collected = (items | each(inverse, on_error="collect")).compute()
        assert [collected[0], collected[2]] == [1.0, 0.5]
        assert [type(failure.exception) for failure in (collected[1], collected[3])] == [ZeroDivisionError] * 2
        rows = tasks.pack.s([1, 0], [2])
        assert (rows | each(each(inverse, on_error="skip"))).compute() == [[1.0], [0.5]]
        assert (rows | each(each(inverse), on_error="skip")).compute() == [[0.5]]

    def test_what_a_fan_out_goes_on_without_is_no_failure_of_what_is_around_it(self, ear: Ear) -> None:
        handler = tasks.say_failure.s(ear.path)
        fan_out = tasks.pack.s(1, 0) | each(tasks.inverse.s().link_error(handler), on_error="skip")
        assert fan_out.link_error(handler).delay().get(WAIT) == [1.0]
        assert len(ear.lines(1)) == 1

    def test_the_first_failure_in_a_fan_out_ends_the_others_where_it_is_said(self) -> None:
        late = each(tasks.inverse.s() | give.s().set(countdown=3600), fail_fast=True)
        with pytest.raises(ZeroDivisionError):
            (tasks.pack.s(1, 0, 2) | late).delay().get(WAIT)
        # Of a group that goes on without members there is one that has failed, or was ended because of it.
        kept = (tasks.pack.s(1, 0, 2) | each(late.member, on_error="skip", fail_fast=True)).delay().get(WAIT)
        assert kept == []

    def test_no_handler_runs_when_nothing_fails(self, ear: Ear) -> None:
        canvas = group(give.s(1), give.s(2)).link_error(tasks.say_failure.s(ear.path)).link(tasks.say.s(ear.path))
        assert canvas.delay().get(WAIT) == [1, 2]
        assert ear.lines(1) == ["[1, 2]"]
