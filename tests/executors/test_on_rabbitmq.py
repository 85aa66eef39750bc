"""The Celery engine with RabbitMQ as its broker, once through: what does not show with redis for both."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lazygraph import chord, delayed, use
from lazygraph.testing.conformance import tasks, timed
from tests.executors.celery_services import rabbitmq_running, redis_running, worker

WAIT = 30


@pytest.fixture(scope="module")
def broker(needs_rabbitmq: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a RabbitMQ."""
    with rabbitmq_running(needs_rabbitmq, tmp_path_factory.mktemp("rabbitmq")) as url:
        yield url


@pytest.fixture(scope="module")
def backend(needs_redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a redis."""
    with redis_running(needs_redis, tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="module")
def executor(broker: str, backend: str) -> Iterator[Any]:
    """The executor of a broker's URL; one worker process takes from two queues."""
    from lazygraph.executors.on_celery import CeleryExecutor

    with worker(backend, "-c", "1", "-Q", "celery,other", broker=broker), CeleryExecutor(broker, backend) as executor:
        yield executor


@pytest.fixture(autouse=True)
def used(executor: Any) -> Iterator[None]:
    with use(executor):
        yield


def test_a_chord() -> None:
    assert chord((tasks.add.s(n, 1) for n in range(10)), tasks.total.s()).compute(timeout=WAIT) == 55


def test_large_values_are_not_in_messages() -> None:
    assert tasks.length(tasks.large(1_000_000)).compute(timeout=WAIT) == 1_000_000


def test_a_retry(tmp_path: Path) -> None:
    fails_twice = timed.fail_first.options(retries=2)(str(tmp_path / "notes"), 2, 40)
    assert tasks.add(fails_twice, 2).compute(timeout=WAIT) == 42
    assert len(timed.noted(str(tmp_path / "notes"))) == 3


def test_a_queue() -> None:
    assert tasks.give.options(queue="other")(1).compute(timeout=WAIT) == 1


def test_what_is_cancelled_before_a_worker_takes_it_never_runs(backend: str, broker: str, tmp_path: Path) -> None:
    given_up = tasks.marked.options(queue="left").delay(str(tmp_path), 1)
    wanted = tasks.give.options(queue="left").delay(2)
    assert given_up.cancel() is True
    with worker(backend, "-c", "1", "-Q", "left", "-n", "left@%h", broker=broker):
        assert wanted.result(WAIT) == 2
    assert tasks.marks(tmp_path) == 0


def test_a_queue_with_priorities_prefers_what_is_above_0(backend: str, broker: str) -> None:
    celery = pytest.importorskip("celery")
    from lazygraph.executors.on_celery import CeleryExecutor

    app = celery.Celery("shop", broker=broker, backend=backend, set_as_current=False)
    app.conf.task_queue_max_priority = 9
    began = delayed(time.monotonic_ns)
    with CeleryExecutor(app):
        sent = {priority: began.options(priority=priority, queue="ranked").delay() for priority in (-1, 0, 1, 5, 9)}
        with worker(backend, "-c", "1", "-Q", "ranked", "-n", "ranked@%h", broker=broker, SHOP_PRIORITIES="9"):
            when = {priority: future.result(WAIT) for priority, future in sent.items()}
    assert sorted(when, key=when.__getitem__) == [9, 5, 1, -1, 0]


def test_a_queue_of_somebody_elses_is_taken_as_it_is(executor: Any, backend: str, broker: str) -> None:
    kombu = pytest.importorskip("kombu")
    with kombu.Connection(broker) as connection:
        kombu.Queue("theirs", kombu.Exchange("theirs"), "theirs", max_priority=9, channel=connection).declare()
    sent = [delayed(time.monotonic_ns).options(priority=p, queue="theirs").delay() for p in (0, 9)]
    with worker(backend, "-c", "1", "-Q", "theirs", "-n", "theirs@%h", broker=broker, SHOP_PRIORITIES="9"):
        last, first = [future.result(WAIT) for future in sent]
    assert first < last
