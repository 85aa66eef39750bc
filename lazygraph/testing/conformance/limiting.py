"""What every executor must do about rates, numbers at once and priorities.

Of a rate only what it forbids is looked at: no window of recorded starts holds too many.  That is so on a slow machine,
too.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lazygraph.door import compute
from lazygraph.language.delayed import delayed
from lazygraph.testing.conformance import timed
from lazygraph.testing.conformance.needs import needs
from lazygraph.testing.conformance.tasks import give, total
from lazygraph.testing.conformance.timed import fail_first, last_a_moment, names, noted
from lazygraph.values.options import Limit, Rate

if TYPE_CHECKING:
    from pathlib import Path


BETWEEN = 0.05
"""Seconds for which a busy machine may leave a task standing between the report that it begins and its first line.

Limits count from that report: that they are exact is shown where no machine comes between, by the tests of the mind.
"""


def fullest(path: Any, seconds: float) -> int:
    """Return the most starts that any window of that length holds."""
    starts = [note.began for note in noted(path)]
    return max(sum(first <= other < first + seconds - BETWEEN for other in starts) for first in starts)


def at_once(path: Any) -> int:
    """Return the most attempts that ran at the same time."""
    moments = [(note.began, 1) for note in noted(path)] + [(note.ended, -1) for note in noted(path)]
    running = most = 0
    for _, change in sorted(moments):  # of one moment the ends come first
        running += change
        most = max(most, running)
    return most


class LimitCases:
    """Part of `option_suite.OptionCases`."""

    @needs("rate_limit")
    def test_no_window_holds_more_starts_than_the_rate_says(self, tmp_path: Path) -> None:
        path = str(tmp_path / "notes")
        limited = timed.note.options(rate_limit="10/s")
        assert len(give([limited(path, f"n{n}") for n in range(13)]).compute()) == 13
        assert len(noted(path)) == 13
        assert fullest(path, 1.0) <= 10

    @needs("rate_limit")
    def test_every_decorated_function_has_a_limit_of_its_own(self) -> None:
        # Shared, the second call would come in an hour.
        one, other = (delayed(timed.giving(n), rate_limit="1/h") for n in range(2))
        assert compute(one(), other()) == (0, 1)
        assert compute(delayed(timed.giving(2), rate_limit="1/h")()) == (2,)

    @needs("rate_limit", "retries")
    def test_every_attempt_counts(self, tmp_path: Path) -> None:
        path = str(tmp_path / "notes")
        assert fail_first.options(rate_limit="2/s", retries=2)(path, 2).compute() == "done"
        assert len(noted(path)) == 3
        assert fullest(path, 1.0) <= 2

    @needs("rate_limit")
    def test_of_several_rates_all_hold(self, tmp_path: Path) -> None:
        path = str(tmp_path / "notes")
        limited = timed.note.options(rate_limit=["1000/h", Rate("5/s", even=True)])
        give([limited(path, f"n{n}") for n in range(4)]).compute()
        starts = [note.began for note in noted(path)]
        assert len(starts) == 4
        assert fullest(path, 0.2) == 1

    @needs("limit")
    def test_a_named_limit_is_shared_by_several_tasks(self, tmp_path: Path) -> None:
        path = str(tmp_path / "notes")
        limit = Limit(f"api-{tmp_path}", rate="4/s")
        one, other = timed.note.options(limit=limit), last_a_moment.options(limit=limit)
        give([call(path, f"n{n}") for n in range(3) for call in (one, other)]).compute()
        assert len(noted(path)) == 6
        assert fullest(path, 1.0) <= 4

    @needs("rate_limit")
    def test_those_that_wait_starve_nobody(self, tmp_path: Path) -> None:
        path = str(tmp_path / "notes")
        limited = timed.note.options(rate_limit="1/s")
        waiting = [limited(path, f"limited-{n}") for n in range(2)]
        others = [timed.note(path, f"other-{n}") for n in range(20)]
        give([*waiting, *others]).compute()
        order = names(path)
        last = max(at for at, name in enumerate(order) if name.startswith("limited"))
        assert last == 21
        assert fullest(str(path), 1.0) >= 1

    @needs("concurrency")
    def test_at_most_so_many_at_once(self, tmp_path: Path) -> None:
        path = str(tmp_path / "notes")
        one = last_a_moment.options(concurrency=1)
        give([one(path, f"n{n}") for n in range(6)]).compute()
        assert len(noted(path)) == 6
        assert all(earlier.ended <= later.began for earlier, later in pairwise(noted(path)))

    @needs("limit")
    def test_a_named_number_at_once_is_shared_by_several_tasks(self, tmp_path: Path) -> None:
        path = str(tmp_path / "notes")
        limit = Limit(f"door-{tmp_path}", concurrency=1)
        again = last_a_moment.options(limit=limit, name="again")
        give([call(path, f"n{n}") for n in range(3) for call in (last_a_moment.options(limit=limit), again)]).compute()
        assert len(noted(path)) == 6
        assert at_once(path) <= 1

    @needs("concurrency")
    def test_a_place_is_given_back_by_what_fails(self, tmp_path: Path) -> None:
        path = str(tmp_path / "notes")
        one = fail_first.options(concurrency=1)
        outcomes = give.options(pure=False)
        assert outcomes(1).compute() == 1
        for expected in (1, 2):
            try:
                one(path, 100).compute()
            except ValueError:
                assert len(noted(path)) == expected

    @needs("priority", "limit")
    def test_a_higher_priority_goes_first_and_ties_in_declared_order(self, tmp_path: Path) -> None:
        path = str(tmp_path / "notes")
        limit = Limit(f"counter-{tmp_path}", concurrency=1)
        first = timed.note(path, "first")  # until it has ended, none of the others may run
        wanted = [1, 5, 3, 5, 0, -2, 9]
        nodes = [
            last_a_moment.options(priority=priority, limit=limit)(path, f"p{priority}-{at}", first)
            for at, priority in enumerate(wanted)
        ]
        total.options(name="wait")([0, *(timed.zero(node) for node in nodes)]).compute()
        assert names(path) == ["first", "p9-6", "p5-1", "p5-3", "p3-2", "p1-0", "p0-4", "p-2-5"]
