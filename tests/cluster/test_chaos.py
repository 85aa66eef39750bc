"""Workers killed at random while tasks with side effects run: a short run of `python -m benchmarks.chaos`."""

from __future__ import annotations

from benchmarks.chaos import chaos


def test_every_result_is_right_and_nothing_is_left() -> None:
    figures = chaos(tasks=1500, every=0.5, workers=2, seed=1, kills=3)  # it looks itself, and raises
    assert figures.tasks == 1500
    assert figures.kills >= 3
    assert figures.begun >= 1500 - figures.died_of_it
