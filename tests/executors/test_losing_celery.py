"""What becomes of a run when something of Celery's is lost in the middle of it, or its workers cannot run it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import lazygraph
from lazygraph import Status, delayed
from lazygraph.errors import EngineFailed
from lazygraph.testing.conformance import tasks
from lazygraph.testing.conformance.saying import Noticed, half_way
from tests.executors.celery_services import redis_running, running, worker

if TYPE_CHECKING:
    from collections.abc import Iterator

redis = pytest.importorskip("redis", reason="pip install 'lazygraph[celery]'")
WAIT = 30


@pytest.fixture(scope="module")
def url(needs_redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_running(needs_redis, tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def executor(url: str) -> Iterator[Any]:
    from lazygraph.executors.on_celery import CeleryExecutor

    with CeleryExecutor(url) as executor, lazygraph.use(executor):
        yield executor


@delayed(bind=True)
def worker_of_celery(self: Any) -> tuple[str, int]:
    return self.request.worker, os.getpid()


def test_a_redis_that_is_emptied(executor: Any, url: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with worker(url, "-c", "1", "-n", "one@%h"):
        name, pid = worker_of_celery().compute()
        assert name.startswith("one@")
        assert name.endswith(f"/{pid}")
        run = lazygraph.start(half_way(str(pipe)), tasks.give(1), tasks.add(half_way(str(pipe)), "!"), fail_fast=False)
        Noticed(run).wait(1)
        with redis.Redis.from_url(url) as client:
            client.flushall()
        first, *_, last = run.futures
        for future in (first, last):
            with pytest.raises(EngineFailed, match=r"celery has not brought '.*' to its end: redis was emptied"):
                future.result(WAIT)
        pipe.write_text("go", encoding="utf-8")
        assert tasks.add(1, 2).compute(timeout=WAIT) == 3


def test_it_is_said_that_no_worker_answers(executor: Any, url: str) -> None:
    run = lazygraph.start(tasks.give(1))
    with redis.Redis.from_url(url) as client:
        for _ in range(WAIT):
            if "no worker of Celery has answered" in str(run.explain()):
                break
            client.blpop(["nothing"], timeout=1)  # they are counted meanwhile
    assert str(run.explain()).endswith("is with celery: no worker of Celery has answered within the last 30 s")
    assert run.futures[0].status is Status.QUEUED
    run.cancel()


def test_workers_that_do_not_know_how(executor: Any, url: str) -> None:
    bare = [sys.executable, "-m", "celery", "-b", url, "--result-backend", url, "worker", "--loglevel", "CRITICAL"]
    with running([*bare, "-P", "solo"]):
        with pytest.raises(EngineFailed, match=r"does not know the task 'lazygraph\.lease'; have its workers import"):
            tasks.give(1).compute(timeout=WAIT)


def test_a_time_limit_of_celerys_ends_only_what_took_too_long(executor: Any, url: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with worker(url, "-c", "1", "--time-limit", "1"):
        assert tasks.add(1, 2).compute(timeout=WAIT) == 3
        run = lazygraph.start(half_way(str(pipe)), *(tasks.give(n) for n in range(100)), fail_fast=False)
        too_long, *others = run.futures
        with pytest.raises(EngineFailed, match=r"'half_way' to its end: Celery has killed it .*; raise the time limit"):
            too_long.result(WAIT)
        assert [future.result(WAIT) for future in others] == list(range(100))
