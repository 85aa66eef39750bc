"""The Celery engine: the conformance suite on real workers, with a real redis, and what is Celery's own."""

from __future__ import annotations

import concurrent.futures
import gc
import os
import random
import signal
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

import lazygraph
from lazygraph.errors import ConnectionLost, InvalidOption, LostData, WorkerDied
from lazygraph.testing.conformance import tasks
from lazygraph.testing.conformance.suite import AsynchronousSuite
from tests.executors.celery_services import free_port, redis_running, worker
from tests.language.canvases import Described, Language, Same, Speller, often
from tests.language.interpreter import Interpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lazygraph.executors.base import Executor

WHOLE = Language(options=True, each=True, replace=True)
FAST = Language(options=True, failing=True, fail_fast=True)
WAIT = 30


@pytest.fixture(scope="module")
def redis_url(needs_redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a redis."""
    with redis_running(needs_redis, tmp_path_factory.mktemp("redis")) as url:
        yield url


def redis_of(url: str) -> Any:
    """Return a client of redis."""
    redis = pytest.importorskip("redis")
    return redis.Redis.from_url(url)


@pytest.fixture(scope="module")
def shop(redis_url: str) -> Iterator[Any]:
    """The module of the shop's application, with a worker of two processes that takes from two queues."""
    from tests.executors import celery_shop

    celery_shop.app.conf.update(broker_url=redis_url, result_backend=redis_url)
    with worker(redis_url, "-c", "2", "-Q", "celery,other"):
        yield celery_shop
    celery_shop.app.close()


@pytest.fixture(scope="module")
def shared(shop: Any) -> Iterator[Any]:
    from lazygraph.executors.on_celery import CeleryExecutor

    with CeleryExecutor(shop.app) as executor:
        yield executor


class TestCelery(AsynchronousSuite):
    lends = False
    says, at_once = True, 2
    serves_every_queue = False  # its queues are Celery's

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls, shop: Any) -> Iterator[Executor]:
        from lazygraph.executors.on_celery import CeleryExecutor

        # There are graphs of 100,000 tasks in it: with a message for each they take minutes.
        with CeleryExecutor(shop.app, together=256) as executor:
            yield executor


@pytest.fixture
def executor(shop: Any) -> Iterator[Any]:
    from lazygraph.executors.on_celery import CeleryExecutor

    with CeleryExecutor(shop.app, lost_after=3.0) as executor, lazygraph.use(executor):
        yield executor


@often(10)
@given(said=WHOLE.described(), broken=FAST.described(), chance=st.randoms(use_true_random=False))
def test_random_canvases_give_what_the_interpreter_gives(
    shared: Any, said: Described, broken: Described, chance: random.Random
) -> None:
    end = Interpreter(said.shared).end(said.canvas)
    assert Speller(said, chance).canvas().compute(executor=shared, timeout=WAIT) == end.value
    end = Interpreter(broken.shared).end(broken.canvas)
    canvas = Speller(broken, chance, Same.SHAPE).canvas()
    if not end.faults:
        assert canvas.compute(executor=shared, timeout=WAIT) == end.value
        return
    with pytest.raises(tasks.Lasting) as caught:
        canvas.compute(executor=shared, timeout=WAIT)
    assert caught.value.code in {number for _, number in end.faults}


@contextmanager
def messages() -> Iterator[list[str]]:
    """Give a list of the leases that are sent meanwhile."""
    signals = pytest.importorskip("celery.signals")
    sent: list[str] = []

    def note(headers: dict[str, Any], **_: Any) -> None:
        sent.append(headers["shadow"])

    signals.before_task_publish.connect(note, weak=False)
    try:
        yield sent
    finally:
        signals.before_task_publish.disconnect(note)


def test_every_task_is_a_message(executor: Any) -> None:
    with messages() as sent:
        assert tasks.total([tasks.add(n, 1) for n in range(100)]).compute() == sum(range(1, 101))
    assert sorted(sent) == [*["lazygraph.lease(add)"] * 100, "lazygraph.lease(total)"]


def test_short_tasks_can_share_a_message(shop: Any) -> None:
    from lazygraph.executors.on_celery import CeleryExecutor

    with messages() as sent, CeleryExecutor(shop.app, together=16):
        assert tasks.total([tasks.add(n, 1) for n in range(400)]).compute() == sum(range(1, 401))
    assert 400 / 16 < len(sent) < 400


# -- values ----------------------------------------------------------------------------------------


def named(client: Any, site: str) -> set[str]:
    """Return what lies in redis for a site, but for claims and reports."""
    keys = {key.decode() for key in client.keys(f"{site}*")}
    return {key for key in keys if "-value-" in key or "-plan-" in key or key.endswith("-lease")}


def test_large_values_lie_in_redis_until_nobody_holds_them(executor: Any, redis_url: str) -> None:
    site = executor._site.store.site
    with redis_of(redis_url) as client, client.pubsub() as events:
        client.config_set("notify-keyspace-events", "Eg")
        events.subscribe("__keyevent@0__:del")
        future = tasks.large.delay(1_000_000)
        concurrent.futures.wait([future], WAIT)
        [name] = named(client, site)
        assert client.strlen(name) > 1_000_000
        assert 0 < client.ttl(name) <= 24 * 3600
        assert tasks.length(future).compute() == 1_000_000
        assert len(future.result(WAIT)) == 1_000_000
        assert named(client, site) == {name}
        del future
        gc.collect()
        told = iter(lambda: events.get_message(timeout=WAIT), None)
        assert any(message["data"] == name.encode() for message in told if message)
        assert named(client, site) == set()


def test_nothing_lies_in_redis_when_an_executor_is_closed(shop: Any, redis_url: str) -> None:
    from lazygraph.executors.on_celery import CeleryExecutor

    with CeleryExecutor(shop.app) as executor:
        site = executor._site.store.site
        future = tasks.large.delay(1_000_000)
        assert tasks.length(future).compute() == 1_000_000
    with redis_of(redis_url) as client:
        assert client.keys(f"{site}*") == []
    with pytest.raises(LostData, match="large"):
        future.result(WAIT)


def test_what_redis_has_dropped_is_lost(executor: Any, redis_url: str) -> None:
    future = tasks.large.delay(1_000_000)
    concurrent.futures.wait([future], WAIT)
    with redis_of(redis_url) as client:
        client.delete(*named(client, executor._site.store.site))
    with pytest.raises(TypeError, match=r"'length'.*redis does not have it"):
        tasks.length(future).compute()
    with pytest.raises(LostData, match=r"'large'.*redis does not have it"):
        future.result(WAIT)


# -- what is Celery's own --------------------------------------------------------------------------


def test_tasks_of_celery_are_called_by_name(executor: Any, shop: Any) -> None:
    price = lazygraph.delayed(shop.price)
    assert lazygraph.compute(price(3), price(2, each=price(1))) == (21, 14)
    assert lazygraph.delayed(shop.who)("Ann").compute() == ["shop.who", "Ann"]
    assert (price.s(1) | price.s(each=2)).compute() == 14


def test_a_broker_can_be_named(shop: Any, redis_url: str) -> None:
    from lazygraph.executors.on_celery import CeleryExecutor

    with CeleryExecutor(redis_url):
        assert tasks.add(1, 2).compute() == 3
    with CeleryExecutor(redis_url, backend=redis_url):
        assert tasks.add(1, 2).compute() == 3


def test_a_broker_can_be_another(shop: Any, redis_url: str, tmp_path: Path) -> None:
    from lazygraph.executors.on_celery import CeleryExecutor

    folder = str(tmp_path)
    app = shop.Celery("shop", broker="filesystem://", backend=redis_url, set_as_current=False)
    app.conf.broker_transport_options = {"data_folder_in": folder, "data_folder_out": folder, "control_folder": folder}
    with (
        worker(redis_url, "--pool", "solo", broker="filesystem://", SHOP_FOLDER=folder),
        CeleryExecutor(app),
    ):
        assert tasks.total([tasks.add(n, 1) for n in range(10)]).compute() == 55
        assert tasks.length(tasks.large.options(priority=3)(100_000)).compute() == 100_000


@pytest.mark.parametrize("app", ["amqp://127.0.0.1", 7])
def test_what_is_no_application_is_refused(app: Any) -> None:
    from lazygraph.executors.on_celery import CeleryExecutor

    with pytest.raises(InvalidOption, match="CeleryExecutor"):
        CeleryExecutor(app)


def test_a_backend_that_is_not_redis_is_refused() -> None:
    celery = pytest.importorskip("celery")
    from lazygraph.executors.on_celery import CeleryExecutor

    with pytest.raises(InvalidOption, match="result_backend='redis://"):
        CeleryExecutor(celery.Celery("other", broker="memory://", backend="cache+memory://", set_as_current=False))


def test_a_redis_that_does_not_answer_is_an_error(redis_url: str) -> None:
    from lazygraph.executors.on_celery import CeleryExecutor

    port = free_port()
    with pytest.raises(ConnectionError, match=str(port)):
        CeleryExecutor(redis_url, backend=f"redis://127.0.0.1:{port}/0")


def test_a_queue_is_a_queue_of_celerys(executor: Any, redis_url: str, tmp_path: Path) -> None:
    given_up = tasks.marked.options(queue="left").delay(str(tmp_path), 1)
    wanted = tasks.give.options(queue="left").delay(2)
    assert tasks.add(1, 1).compute() == 2
    assert given_up.cancel() is True
    assert not wanted.done()
    with worker(redis_url, "-c", "1", "-Q", "left", "-n", "left@%h"):
        assert wanted.result(WAIT) == 2
        assert tasks.give.options(queue="left").delay(3).result(WAIT) == 3
    assert tasks.marks(tmp_path) == 0


def test_a_redis_that_goes_away_ends_what_waits(needs_redis: str, tmp_path: Path) -> None:
    from lazygraph.executors.on_celery import CeleryExecutor

    with redis_running(needs_redis, tmp_path) as url:
        executor = CeleryExecutor(url, lost_after=1.0)
        with lazygraph.use(executor):
            future = tasks.add.delay(1, 2)
    with pytest.raises(ConnectionLost, match=r"the connection to redis://127\.0\.0\.1.* ended: ConnectionError"):
        future.result(WAIT)
    with lazygraph.use(executor), pytest.raises(ConnectionLost, match=r"redis://.*127\.0\.0\.1.* ended"):
        tasks.add(1, 2).compute()
    executor.close()


# -- workers that die ------------------------------------------------------------------------------


def killed(task: Any, folder: Path, kill: Callable[[int], None], **options: Any) -> Any:
    """Start a task that says which process to kill, kill that, let the next attempt go on; return its future."""
    tell, wait = str(folder / "tell"), str(folder / "wait")
    os.mkfifo(tell)
    os.mkfifo(wait)
    future = lazygraph.delayed(task, **options).delay(tell, wait)
    kill(int(Path(tell).read_text(encoding="utf-8")))
    if not options.get("at_most_once"):
        Path(tell).read_text(encoding="utf-8")  # it has begun again
        Path(wait).write_text("go", encoding="utf-8")
    return future


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_a_task_whose_process_is_killed_is_run_again(executor: Any, shop: Any, tmp_path: Path) -> None:
    future = killed(shop.pid, tmp_path, kill)
    assert future.result(WAIT) > 0
    assert tasks.add(1, 1).compute() == 2


def test_one_that_may_run_once_only_says_what_has_died(executor: Any, shop: Any, tmp_path: Path) -> None:
    future = killed(shop.pid, tmp_path, kill, at_most_once=True)
    with pytest.raises(WorkerDied, match="pid"):
        future.result(WAIT)


def test_a_task_that_kills_whatever_runs_it_is_named(executor: Any) -> None:
    with pytest.raises(WorkerDied, match="_exit"):
        lazygraph.delayed(os._exit)(3).compute()
    assert tasks.add(1, 1).compute() == 2


def test_a_worker_that_is_killed_whole_gives_no_sign_of_life(
    executor: Any, shop: Any, redis_url: str, tmp_path: Path
) -> None:
    with worker(redis_url, "-c", "1", "-Q", "frail", "-n", "one@%h") as first:

        def kill_all(pid: int) -> None:
            kill(pid)
            first.wait(WAIT)
            again.enter_context(worker(redis_url, "-c", "1", "-Q", "frail", "-n", "two@%h"))

        with ExitStack() as again:
            assert killed(shop.parent, tmp_path, kill_all, queue="frail").result(WAIT) > 0
