"""`bind=True`: a task that takes its attempt first, asks to be tried again, and says how far it is."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from lazygraph import RetryPolicy, chain, chord, compute, delayed, group, start
from lazygraph.errors import InvalidOption, RetriesExhausted, WrongCall
from lazygraph.planning.plan import plan_of

pytestmark = pytest.mark.parametrize("executor", ["sync", "threads"])


class FailWhale(Exception):
    pass


class LoginFailed(Exception):
    pass


class Twitter:
    """Fails as often as it is told."""

    def __init__(self, *troubles: Exception) -> None:
        self.troubles = list(troubles)
        self.statuses: list[str] = []

    def update_status(self, tweet: str) -> None:
        if self.troubles:
            raise self.troubles.pop(0)
        self.statuses.append(tweet)


def sends(twitter: Twitter, retries: Any = 3) -> Any:
    """The task of those who asked for all this."""

    @delayed(bind=True, retries=retries)
    def send_status(self: Any, tweet: str) -> int:
        try:
            twitter.update_status(tweet)
        except (FailWhale, LoginFailed) as exc:
            raise self.retry(exc=exc)  # noqa: B904  # as those write it who come from Celery
        return int(self.request.retries)

    return send_status


@delayed(bind=True)
def who(self: Any, x: Any = None, *, y: int = 0) -> Any:
    return self.request.attempt, x, y


class TestRetry:
    def test_a_task_tries_itself_again(self, executor: str) -> None:
        twitter = Twitter(FailWhale(), LoginFailed())
        assert sends(twitter)("hello").compute(executor=executor) == 2
        assert twitter.statuses == ["hello"]

    def test_what_has_failed_in_the_end_is_the_exception_itself(self, executor: str) -> None:
        troubles = [FailWhale(f"number {at}") for at in range(9)]
        with pytest.raises(FailWhale, match="number 3") as caught:
            sends(Twitter(*troubles))("hello").compute(executor=executor)
        assert caught.value is troubles[3]
        assert "attempt 4" in caught.value.__notes__[0]

    def test_what_it_does_not_name_is_left_to_the_policy(self, executor: str) -> None:
        twitter = Twitter(OSError("off"), FailWhale())
        sent = sends(twitter, RetryPolicy(max_retries=3, on=(ConnectionError,)))
        with pytest.raises(OSError, match="off"):
            sent("hello").compute(executor=executor)
        assert sent("hello").compute(executor=executor) == 1

    def test_without_raise_and_without_exc(self, executor: str) -> None:
        @delayed(bind=True)
        def divides(self: Any) -> None:
            try:
                1 / 0
            except ZeroDivisionError:
                self.retry(countdown=0, max_retries=2)

        with pytest.raises(ZeroDivisionError) as caught:
            divides().compute(executor=executor)
        assert "attempt 3" in caught.value.__notes__[0]

    def test_with_nothing_to_say_why(self, executor: str) -> None:
        @delayed(bind=True)
        def again(self: Any) -> None:
            self.retry(countdown=0, max_retries=1)

        with pytest.raises(RetriesExhausted, match=r"'again' asked .* after attempt 2"):
            again().compute(executor=executor)

    def test_an_exception_made_for_it_says_where_it_was_asked_for(self, executor: str) -> None:
        @delayed(bind=True)
        def again(self: Any) -> None:
            self.retry(exc=ValueError("not yet"), max_retries=0)

        with pytest.raises(ValueError, match="not yet") as caught:
            again().compute(executor=executor)
        assert [entry.name for entry in caught.traceback][-1] == "again"

    def test_it_passes_what_a_task_does_about_its_errors(self, executor: str) -> None:
        @delayed(bind=True)
        def careful(self: Any) -> int:
            try:
                return int(self.request.attempt) if self.request.retries else self.retry(countdown=0)
            except Exception:
                return -1

        assert careful().compute(executor=executor) == 2

    @pytest.mark.parametrize(
        "wrong", [{"exc": "text"}, {"countdown": -1}, {"countdown": float("inf")}, {"max_retries": "3"}]
    )
    def test_wrong_values_are_told(self, executor: str, wrong: dict[str, Any]) -> None:
        @delayed(bind=True)
        def asks(self: Any) -> None:
            self.retry(**wrong)

        with pytest.raises(InvalidOption, match=rf"self\.retry\({next(iter(wrong))}="):
            asks().compute(executor=executor)

    def test_coroutines_too(self, executor: str) -> None:
        @delayed(bind=True)
        async def awaits(self: Any) -> int:
            if self.request.attempt < 3:
                raise self.retry(countdown=0)
            return int(self.request.attempt)

        assert awaits().compute(executor=executor) == 3

    def test_what_stands_behind_it_runs_once(self, executor: str) -> None:
        totals: list[int] = []

        @delayed(bind=True, retries=2)
        def flaky(self: Any, x: int) -> int:
            if self.request.attempt < x:
                raise ValueError(x)
            return x

        @delayed
        def total(xs: list[int]) -> int:
            totals.append(sum(xs))
            return sum(xs)

        assert chord([flaky.s(x) for x in (1, 2, 3)], total.s()).compute(executor=executor) == 6
        assert totals == [6]


class TestPolicy:
    @pytest.mark.parametrize(
        ("policy", "attempts"),
        [
            (2, 3),
            (RetryPolicy(max_retries=2, on=(ValueError,)), 3),
            (RetryPolicy(max_retries=2, on=(KeyError,)), 1),
            (RetryPolicy(max_retries=2, not_on=(LookupError, ValueError)), 1),
        ],
    )
    def test_says_what_is_tried_again(self, executor: str, policy: Any, attempts: int) -> None:
        calls: list[int] = []

        @delayed(retries=policy)
        def fails() -> None:
            calls.append(1)
            raise ValueError

        with pytest.raises(ValueError):
            fails().compute(executor=executor)
        assert len(calls) == attempts

    @pytest.mark.parametrize(("on", "attempts"), [((Exception,), 1), ((SystemExit,), 3)])
    def test_what_is_no_exception_only_when_it_is_named(
        self, executor: str, on: tuple[type[BaseException], ...], attempts: int
    ) -> None:
        calls: list[int] = []

        @delayed(retries=RetryPolicy(max_retries=2, on=on))
        def leaves() -> None:
            calls.append(1)
            raise SystemExit(3)

        with pytest.raises(SystemExit):
            leaves().compute(executor=executor)
        assert len(calls) == attempts


class TestTheAttempt:
    def test_knows_itself(self, executor: str) -> None:
        @delayed(bind=True, name="known")
        def knows(self: Any) -> Any:
            return self.name, self.request.key, self.request.id, self.request.run_id, self.max_retries

        run = start(knows(), executor=executor)
        future = run.futures[0]
        assert run.result(30) == (("known", future.key, future.key, future.run_id, 3),)

    def test_progress_may_always_be_said(self, executor: str) -> None:
        @delayed(bind=True)
        def counts(self: Any) -> str:
            for at in range(3):
                self.progress(at, 3)
            return "done"

        assert counts().compute(executor=executor) == "done"


class Shop:
    """Has a method that is a task."""

    def __init__(self, price: int) -> None:
        self.price = price

    @delayed(bind=True)
    def total(self, attempt: Any, count: int, *, off: int = 0) -> Any:
        return attempt.request.attempt, self.price * count - off


shop = Shop(5)


class TestCalls:
    def test_the_attempt_is_not_the_callers_to_give(self, executor: str) -> None:
        for wrong in (lambda: who(1, 2), lambda: who.si(1, 2), lambda: who(z=1), lambda: who(self=1)):
            with pytest.raises(WrongCall, match=rf"who\(x.*written at {__file__}"):
                wrong()
        assert who().compute(executor=executor) == (1, None, 0)

    def test_every_way_to_say_it(self, executor: str) -> None:
        def plain(self: Any, x: int) -> Any:
            return self.request.attempt, x

        calls = [delayed(plain, bind=True)(2), delayed(plain).options(bind=True)(2), delayed(bind=True)(plain)(2)]
        assert compute(*calls, executor=executor) == ((1, 2),) * 3

    def test_keywords_and_containers(self, executor: str) -> None:
        one = delayed(abs)(-1)
        assert who([one, {"k": one}], y=one).compute(executor=executor) == (1, [1, {"k": 1}], 1)

    def test_in_canvases(self, executor: str) -> None:
        assert chain(who.s(1), who.s()).compute(executor=executor) == (1, (1, 1, 0), 0)
        assert group(who.s(x) for x in range(2)).compute(executor=executor) == [(1, 0, 0), (1, 1, 0)]
        assert pickle.loads(pickle.dumps(who.s(4))).compute(executor=executor) == (1, 4, 0)

    def test_many_calls_in_one_task(self, executor: str) -> None:
        assert who.map([1, 2]).compute(executor=executor) == [(1, 1, 0), (1, 2, 0)]
        assert who.starmap([(1,), (2,)]).compute(executor=executor) == [(1, 1, 0), (1, 2, 0)]
        assert who.chunks([(1,), (2,)], 1).compute(executor=executor) == [[(1, 1, 0)], [(1, 2, 0)]]

    def test_methods_take_their_object_first(self, executor: str) -> None:
        assert shop.total.s(3).compute(executor=executor) == (1, 15)
        assert shop.total(3, off=1).compute(executor=executor) == (1, 14)
        assert shop.total.map([1, 2]).compute(executor=executor) == [(1, 5), (1, 10)]

    def test_equal_pure_calls_are_one(self, executor: str) -> None:
        calls: list[int] = []

        def called(self: Any, x: int) -> int:
            calls.append(x)
            return len(calls)

        noted = delayed(called, bind=True)
        assert compute(noted(1, dask_key_name="k"), noted(1), executor=executor) == (1, 2)
        assert who(1, pure=True).key == who(1, pure=True).key != who(2, pure=True).key

    def test_it_is_never_part_of_another_task(self, executor: str) -> None:
        plan = plan_of([delayed(abs)(delayed(len)(who(delayed(abs)(1))))])
        assert len(plan) == 3
        values = compute(delayed(abs)(delayed(len)(who(delayed(abs)(1)))), executor=executor)
        assert values == (3,)
