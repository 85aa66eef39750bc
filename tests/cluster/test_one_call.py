"""One call and its result, again and again: what a client does once for calls that look alike."""

from __future__ import annotations

import gc
import weakref
from functools import partial
from operator import add
from typing import Any

from lazygraph import Client
from lazygraph.executors.cluster.net.forms import MOST_PLACES, Forms
from lazygraph.language.calls import site_of
from lazygraph.language.promise import Delayed, build
from lazygraph.values.options import DEFAULT, TaskOptions


def call(function: Any, *args: Any, options: TaskOptions = DEFAULT, **kwargs: Any) -> Delayed:
    import sys

    return build(function, args, kwargs, options, site_of(sys._getframe()))


def double(x: Any) -> Any:
    return [x, x]


class TestTheSameCallAgain:
    def test_each_has_its_own_arguments_and_key(self, client: Client) -> None:
        futures = []
        for at in range(5):
            future = client.submit(double, at)
            assert future.result() == [at, at]
            futures.append(future)
        assert len({future.key for future in futures}) == 5
        assert client.submit(double, [1]).result() == [[1], [1]]
        assert client.submit(double, client.submit(double, 0)).result() == [[0, 0], [0, 0]]

    def test_one_that_cannot_be_sent_fails_alone(self, client: Client) -> None:
        results = []
        for argument in (1, (x for x in ()), 2):
            future = client.submit(double, argument)
            results.append(future.exception() or future.result())
        assert results[0] == [1, 1] and isinstance(results[1], TypeError) and results[2] == [2, 2]

    def test_what_a_function_has_become_counts(self, client: Client) -> None:
        seen = []
        for factor in (2, 3):
            local: dict[str, Any] = {"factor": factor}
            exec("def times(x): return factor * x", local)
            seen.append(client.submit(local["times"], 7).result())
        assert seen == [14, 21]


class TestForms:
    def test_calls_from_one_place_share_their_shape(self) -> None:
        forms = Forms()
        one, two = [forms.form_of(call(double, x)) for x in (1, 2)]
        assert one is not None and one is two
        assert [one.plan_of(call(double, x)).tables.constants for x in (1, "a")] == [(1,), ("a",)]
        assert forms.form_of(call(add, 1, 2)) is not one

    def test_what_is_more_than_a_function_and_its_arguments_has_none(self) -> None:
        forms = Forms()
        others = [
            call(double, call(double, 1)),
            call(double, x=1),
            call(partial(double, 1)),
            call(double, 1, options=TaskOptions(retries=1)),
        ]
        assert [forms.form_of(other) for other in others] == [None] * 4

    def test_a_function_that_is_gone_takes_them_along(self) -> None:
        forms = Forms()
        function = lambda x: x  # noqa: E731
        gone = weakref.ref(function)
        assert forms.form_of(call(function, 1)) is not None
        del function
        gc.collect()
        assert gone() is None

    def test_there_are_so_many_and_no_more(self) -> None:
        forms = Forms()
        for at in range(3 * MOST_PLACES):
            assert forms.form_of(call(print, *range(at))) is not None
        assert all(len(places) <= MOST_PLACES for places in forms._of.values())
