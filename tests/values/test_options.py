"""Task options: what can be said, and what is wrong with a value."""

from __future__ import annotations

import dataclasses
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lazygraph import Store
from lazygraph.errors import InvalidOption, UnknownOption
from lazygraph.values.options import (
    DEFAULT,
    NAMES,
    Limit,
    Rate,
    RetryPolicy,
    TaskOptions,
    as_plain,
    changed,
    over,
    said,
    together,
)

SOON = datetime(2031, 1, 1, tzinfo=UTC)

GOOD: dict[str, list[Any]] = {
    "retries": [0, 3, RetryPolicy(2, on=(ValueError,))],
    "rate_limit": ["10/s", " 1000 / h ", Rate("5/m", even=True), ["1/s", "10/m"], None],
    "queue": ["io"],
    "priority": [-1, 0, 5],
    "resources": [{"gpu": 1, "memory": 2.5}],
    "workers": ["one", ["one", "two"], ("three",)],
    "timeout": [0, 1.5, None, timedelta(minutes=1)],
    "isolated": [True],
    "limit": [Limit("api", rate="10/s", concurrency=4), None],
    "concurrency": [1, None],
    "at_most_once": [True],
    "countdown": [3, timedelta(seconds=3)],
    "eta": [SOON, None],
    "expires": [10, SOON, timedelta(hours=1)],
    "pure": [True],
    "key": ["mine", None],
    "cache": [True, False, Store("results")],
    "nout": [0, 2, None],
    "name": ["Load"],
    "bind": [True],
}

BAD: dict[str, list[Any]] = {
    "retries": [-1, 1.5, True, "3", None],
    "rate_limit": ["10", "10/y", "x/s", 5, ["1/s", 7]],
    "queue": ["", 3, None],
    "priority": [1.5, "high", True, None],
    "resources": [{"gpu": -1}, {"gpu": "one"}, {1: 1}, "gpu", None],
    "workers": [[1], 5, None],
    "timeout": [-1, "1s", True],
    "isolated": ["yes", 1, None],
    "limit": ["api", 3],
    "concurrency": [0, -1, 1.5, True],
    "at_most_once": [1],
    "countdown": [-3, "soon"],
    "eta": [5, datetime(2031, 1, 1), "tomorrow"],
    "expires": [-1, datetime(2031, 1, 1), "tomorrow"],
    "pure": [None, 1],
    "key": ["", 3],
    "cache": [[1], "a store", None, 1, Store],
    "nout": [-1, 1.5, True],
    "name": ["", 3],
    "bind": [1],
}


def test_the_tables_name_every_option() -> None:
    assert set(GOOD) == set(BAD) == set(NAMES)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_good_values(name: str, value: Any) -> None:
    row = changed(DEFAULT, "here", {name: value})
    assert hash(row) == hash(changed(DEFAULT, "there", {name: value}))
    assert pickle.loads(pickle.dumps(row)) == row
    assert row.asked() == ((name,) if getattr(row, name) != getattr(DEFAULT, name) else ())


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_bad_values_name_the_option_and_the_value(name: str, value: Any) -> None:
    with pytest.raises(InvalidOption) as caught:
        changed(DEFAULT, "here", {name: value})
    assert isinstance(caught.value, ValueError)
    assert name in str(caught.value) or "rate" in str(caught.value)


def test_unknown_options_suggest_or_list() -> None:
    with pytest.raises(UnknownOption, match=r"here has no option 'quee'; did you mean 'queue'\?"):
        changed(DEFAULT, "here", {"quee": 1})
    with pytest.raises(TypeError, match="it takes at_most_once, bind"):
        changed(DEFAULT, "here", {"zzz": 1})


def test_what_is_said_over_what_holds() -> None:
    base = changed(DEFAULT, "decorator", {"retries": 3, "queue": "io"})
    assert over(base, said("here", {"retries": 0})) == TaskOptions(queue="io")
    assert changed(base, "here", {}) is base
    outer, inner = said("outer", {"queue": "a", "priority": 1}), said("inner", {"queue": "b"})
    assert dict(together(outer, inner)) == {"queue": "b", "priority": 1}
    assert together(outer, ()) is outer
    assert together((), inner) is inner
    assert said("here", {"queue": "c"}, outer) == together(outer, said("there", {"queue": "c"}))


def test_a_plain_task_asks_for_no_policy() -> None:
    assert changed(DEFAULT, "here", {"pure": True, "name": "n", "key": "k", "nout": 2}).plain
    for name in ("queue", "priority", "retries", "timeout"):
        assert not changed(DEFAULT, "here", {name: GOOD[name][-1] if name != "timeout" else 3}).plain


def test_rates_are_starts_in_a_window() -> None:
    assert (Rate("10/s").starts, Rate("10/s").window) == (10.0, 1.0)
    assert (Rate("1000/h").starts, Rate("1000/h").window) == (1000.0, 3600.0)


def test_a_retry_policy_has_no_negative_numbers() -> None:
    with pytest.raises(InvalidOption, match="delay=-1"):
        RetryPolicy(delay=-1)


@pytest.mark.parametrize("wrong", [("OSError",), None, OSError, [OSError], (3,), (OSError, "x")])
@pytest.mark.parametrize("name", ["on", "not_on"])
def test_a_retry_policy_takes_exception_classes_only(name: str, wrong: Any) -> None:
    with pytest.raises(InvalidOption, match=rf"RetryPolicy\({name}=.*a tuple of exception classes is wanted"):
        RetryPolicy(**{name: wrong})


def test_a_delay_that_was_asked_for_is_not_cut_by_a_default() -> None:
    assert RetryPolicy(delay=3600.0).max_delay == 3600.0
    assert RetryPolicy(delay=1.0).max_delay == 600.0
    with pytest.raises(InvalidOption, match="the first delay would be longer than the longest"):
        RetryPolicy(delay=3600.0, max_delay=60.0)


@pytest.mark.parametrize("forever", [float("inf"), float("nan")])
def test_nobody_waits_for_ever(forever: float) -> None:
    with pytest.raises(InvalidOption, match="delay="):
        RetryPolicy(delay=forever)
    for name in ("countdown", "timeout", "expires"):
        with pytest.raises(InvalidOption, match="a finite number of seconds"):
            said("here", {name: forever})


def test_rows_as_plain_data() -> None:
    row = changed(DEFAULT, "here", {"retries": RetryPolicy(2), "eta": SOON, "queue": "io"})
    plain = dict(as_plain(row))
    assert plain["queue"] == "io"
    assert plain["eta"] == SOON.isoformat()
    assert plain["retries"]["max_retries"] == 2
    assert set(plain) == {"retries", "queue", "eta"}


def test_options_never_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULT.retries = 3  # type: ignore[misc]
