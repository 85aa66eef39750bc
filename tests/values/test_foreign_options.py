"""Options of other libraries: each is refused with a sentence that says what it is called here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

import lazygraph
from lazygraph import Limit, RetryPolicy, Store, delayed
from lazygraph.errors import LazyGraphError, UnknownOption
from lazygraph.values.foreign import INSTEAD
from lazygraph.values.options import DEFAULT, NAMES, changed

CELERY = """
    autoretry_for dont_autoretry_for max_retries retry_kwargs retry_backoff retry_backoff_max retry_jitter
    default_retry_delay retry retry_policy time_limit soft_time_limit acks_late acks_on_failure_or_timeout
    reject_on_worker_lost ignore_result store_errors_even_if_ignored track_started trail task_id throws routing_key
    exchange headers serializer compression argsrepr kwargsrepr base typing pydantic shadow link link_error immutable
""".split()
DASK = "allow_other_workers actor actors fifo_timeout".split()
RAY = """
    num_cpus num_gpus memory num_returns max_calls max_retries retry_exceptions runtime_env scheduling_strategy
    max_concurrency accelerator_type object_store_memory
""".split()
PREFECT = """
    task_run_name description tags version retry_delay_seconds retry_jitter_factor retry_condition_fn timeout_seconds
    cache_policy cache_key_fn cache_expiration refresh_cache persist_result result_storage result_serializer log_prints
    on_completion on_failure wait_for
""".split()
FOREIGN = sorted(INSTEAD)


@delayed
def f(x: int = 0) -> int:
    return x


PLACES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "delayed()": lambda given: delayed(**given),
    "f": lambda given: f.options(**given),
    "signature.set()": lambda given: f.s().set(**given),
    "chain.set()": lambda given: (f.s() | f.s()).set(**given),
    "group.set()": lambda given: lazygraph.group(f.s()).set(**given),
    "apply_async()": lambda given: f.apply_async((), **given),
    "options()": lambda given: lazygraph.options(**given),
}


def test_the_table_knows_all_of_them() -> None:
    assert {*CELERY, *DASK, *RAY, *PREFECT} <= set(INSTEAD)


def test_no_option_of_ours_is_called_foreign() -> None:
    assert set(INSTEAD) & set(NAMES) == set()


@pytest.mark.parametrize(
    ("name", "place"),
    # apply_async takes callbacks, as Celery's does.
    [(n, p) for n in FOREIGN for p in PLACES if (n.startswith("link"), p) != (True, "apply_async()")],
)
def test_what_it_is_called_here_is_said_wherever_it_is_given(name: str, place: str) -> None:
    with pytest.raises(UnknownOption) as caught:
        PLACES[place]({name: 1})
    assert str(caught.value) == f"{place} has no option {name!r}; {INSTEAD[name]}"
    assert isinstance(caught.value, LazyGraphError) and isinstance(caught.value, TypeError)


def _written(sentence: str) -> list[tuple[str, str]]:
    """The options that a sentence writes out as code, with their values as text."""
    return [
        (at[1], _value_at(sentence, at.end()))
        for at in re.finditer(r"(?<!resources )\b(\w+)=", sentence)
        if at[1] in NAMES and sentence[: at.start()].count("(") == sentence[: at.start()].count(")")
    ]


def _value_at(text: str, start: int) -> str:
    """The text of a value: to the first space or comma outside brackets."""
    depth = 0
    for end in range(start, len(text)):
        depth += (text[end] in "([{") - (text[end] in ")]}")
        if depth < 0 or (not depth and text[end] in " ,;:"):
            return text[start:end]
    return text[start:]


@pytest.mark.parametrize("name", FOREIGN)
def test_what_a_sentence_tells_to_write_can_be_written(name: str) -> None:
    for option, code in _written(INSTEAD[name]):
        value = eval(code, {"RetryPolicy": RetryPolicy, "Limit": Limit, "a_store": Store("results")})
        changed(DEFAULT, "the sentence", {option: value})


def test_every_sentence_tells_what_to_do() -> None:
    told = re.compile(r"write |leave (it|that) out|future\.\w+|lazygraph worker|in the function|isolated=True")
    assert [name for name, sentence in INSTEAD.items() if not told.search(sentence)] == []


def test_counterparts_that_matter_most() -> None:
    written = {
        name: dict(_written(INSTEAD[name])) for name in ("autoretry_for", "time_limit", "num_returns", "task_id")
    }
    assert written == {
        "autoretry_for": {"retries": "RetryPolicy(on=(ConnectionError,), max_retries=5)"},
        "time_limit": {"timeout": "60.0"},
        "num_returns": {"nout": "2"},
        "task_id": {"key": "'my-name'"},
    }


def test_a_slip_of_the_pen_is_still_no_foreign_option() -> None:
    with pytest.raises(UnknownOption, match=r"delayed\(\) has no option 'quee'; did you mean 'queue'\?"):
        delayed(quee="io")
