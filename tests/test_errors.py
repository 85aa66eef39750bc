"""Every error class: how a user meets it, and that it says what was wrong, where, and what to do.

A class of lazygraph.errors without a case here fails the test.  In a case, `# here` marks the user's line that the
message must name.
"""

from __future__ import annotations

import inspect
import os
import pickle
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import networkx
import pytest

import lazygraph
from lazygraph import Client, LocalCluster, Store, chain, compute, delayed, errors, group, replace, visualize
from lazygraph.errors import LazyGraphError
from lazygraph.executors import PoolExecutor, ThreadExecutor
from lazygraph.planning.exchange import from_networkx

WAIT = 60


@dataclass
class Lab:
    """What a case may need besides the public names."""

    patch: pytest.MonkeyPatch
    folder: Path
    request: pytest.FixtureRequest

    @property
    def cluster(self) -> LocalCluster:
        """A cluster that cases share and leave well."""
        found: LocalCluster = self.request.getfixturevalue("cluster")
        return found


@dataclass(frozen=True)
class Case:
    """A way to an error: the built-in it also is, and what its message says."""

    error: type[Exception]
    builtin: type[Exception]
    says: tuple[str, ...]
    happens: Callable[[Lab], Any]

    @property
    def place(self) -> str | None:
        """The user's file:line, where the case marks one."""
        lines, first = inspect.getsourcelines(self.happens)
        marked = [first + at for at, line in enumerate(lines) if line.rstrip().endswith("# here")]
        return f"{__file__}:{marked[0]}" if marked else None


CASES: list[Case] = []


def case(error: type[Exception], builtin: type[Exception], *says: str) -> Callable[[Callable[[Lab], Any]], Any]:
    """Note the decorated function as a way to `error`."""

    def note(happens: Callable[[Lab], Any]) -> Callable[[Lab], Any]:
        CASES.append(Case(error, builtin, says, happens))
        return happens

    return note


@delayed
def add(x: Any, y: Any = 0) -> Any:
    return x + y


# -- what a person wrote ---------------------------------------------------------------------------


@case(errors.UnknownOption, TypeError, "delayed() has no option 'quee'", "did you mean 'queue'?")
def _a_slip_of_the_pen(lab: Lab) -> None:
    delayed(quee="io")


@case(errors.UnknownOption, TypeError, "apply_async() has no option 'time_limit'", "write timeout=60.0")
def _another_librarys_option(lab: Lab) -> None:
    add.s(1).apply_async(time_limit=3)


@case(errors.InvalidOption, ValueError, "retries=-1", "at least 0", "RetryPolicy")
def _a_value_that_an_option_cannot_have(lab: Lab) -> None:
    delayed(retries=-1)


@case(errors.WrongCall, TypeError, "add(x: 'Any', y: 'Any' = 0)", "too many positional arguments")
def _a_call_with_too_much(lab: Lab) -> None:
    add(1, 2, 3)  # here


@case(errors.NotConcrete, TypeError, "the truth of <Delayed 'add'", "is not known", "compute it first")
def _a_promise_as_a_condition(lab: Lab) -> None:
    bool(add(1))  # here


@case(errors.WrongNumberOfOutputs, ValueError, "nout=2 was promised", "3", "correct nout= or the function", "built at")
def _more_outputs_than_promised(lab: Lab) -> None:
    first, _ = delayed(list, nout=2)((1, 2, 3))  # here
    first.compute(executor="sync")


@case(errors.EmptyCanvas, ValueError, "chain() is empty", "chain(f.s(1))")
def _an_empty_chain(lab: Lab) -> None:
    chain().compute()


@case(errors.CyclicGraph, ValueError, "a cycle: a -> b -> a", "cannot wait for itself")
def _a_graph_with_a_cycle(lab: Lab) -> None:
    circle = networkx.DiGraph([("a", "b"), ("b", "a")])
    from_networkx(circle)


@case(errors.WrongCanvas, TypeError, "a chain is made of signatures", "not of 5", "f.s(...)")
def _a_number_in_a_chain(lab: Lab) -> None:
    chain(5)


@case(errors.WrongCanvas, TypeError, "a chain is made of signatures", "not of 10", "f.s(...)")
def _a_number_behind_a_signature(lab: Lab) -> None:
    add.s() | 10


@case(errors.WrongCanvas, TypeError, "a group is made of signatures", "not of <built-in function len>", "f.s(...)")
def _a_function_in_a_group(lab: Lab) -> None:
    group(len)


@case(errors.Unkeyable, TypeError, "pure node 'add'", "lock", "no content that a key could be made of", "pure=False")
def _a_pure_call_with_a_lock(lab: Lab) -> None:
    add(threading.Lock(), pure=True).compute()  # here


@case(errors.DuplicateKey, ValueError, "two different calls have the key 'sum'", "a key of its own")
def _two_calls_with_one_key(lab: Lab) -> None:
    compute(add(1, dask_key_name="sum"), add(2, dask_key_name="sum"))  # here


@case(
    errors.CacheWarning,
    UserWarning,
    "the value of 'allocate_lock'",
    "test_errors.py",
    "is not kept: TypeError",
    "pickle",
)
def _a_value_that_cannot_be_kept(lab: Lab) -> None:
    delayed(threading.Lock, cache=Store(lab.folder))().compute(executor="sync")  # here


@case(errors.LargeLiteralWarning, UserWarning, "argument x of 'add' of 25 MB", "user.py:3", "client.scatter(value)")
def _a_large_value_in_a_call(lab: Lab) -> None:
    raise errors.LargeLiteralWarning("argument x of 'add'", 25_000_000, "user.py:3")


# -- what is not there -----------------------------------------------------------------------------


@case(errors.NotImplementedYet, NotImplementedError, "compute(pdb=...)", "is not built yet")
def _something_that_is_to_come(lab: Lab) -> None:
    add(1).compute(pdb=True)


@case(
    errors.UnsupportedByExecutor,
    NotImplementedError,
    "'sync' does not honour resources=",
    "node 'add'",
    "nothing was run",
    "run it on 'cluster'",
)
def _an_option_that_an_executor_lacks(lab: Lab) -> None:
    careful = add.options(resources={"gpu": 1})
    careful(1).compute(executor="sync")  # here


@case(errors.TaskExpired, TimeoutError, "'add' had not started when it expired", "built at", "raise expires=")
def _a_task_whose_time_is_over(lab: Lab) -> None:
    add.options(countdown=60, expires=0.001)(1).compute(executor="threads")  # here


@case(errors.UnknownExecutor, ValueError, "no executor 'thread'", "did you mean 'threads'?", "tcp://host:port")
def _an_executor_that_is_none(lab: Lab) -> None:
    add(1).compute(executor="thread")


@case(errors.MissingExtra, ImportError, "a library that is not installed", "pip install 'lazygraph[viz]'")
def _a_library_that_is_not_installed(lab: Lab) -> None:
    lab.patch.setitem(sys.modules, "graphviz", None)
    visualize(add(1), filename=str(lab.folder / "picture.png"))


@case(errors.MissingProgram, OSError, "the program 'dot'", "not found", "install")
def _a_program_that_is_not_installed(lab: Lab) -> None:
    lab.patch.setenv("PATH", "")
    visualize(add(1), filename=str(lab.folder / "picture.png"))


# -- running ---------------------------------------------------------------------------------------


@case(errors.NestingTooDeep, RecursionError, "100 tasks of this executor wait", "replace(canvas)")
def _tasks_that_wait_for_tasks(lab: Lab) -> None:
    with ThreadExecutor(1) as executor:

        @delayed
        def down() -> Any:
            return down().compute(executor=executor)

        down().compute(executor=executor)


@case(errors.ReplacedTooDeep, RecursionError, "'again'", "has been replaced", "see that replace() comes to an end")
def _a_task_that_is_replaced_for_ever(lab: Lab) -> None:
    @delayed
    def again() -> Any:
        return replace(again())  # here

    again().compute(executor="sync")


@case(errors.WouldDeadlock, RuntimeError, "a task on executor 'pool' waits for a future", "lazygraph.replace(...)")
def _a_task_that_waits_for_its_own_pool(lab: Lab) -> None:
    with ThreadPoolExecutor(1) as pool, PoolExecutor(pool) as executor:
        waits = delayed(lambda: lazygraph.start(add(1, 1), executor=executor).result(WAIT))
        waits().compute(executor=executor)


@case(errors.InputChanged, ValueError, "the task 'sort' changed its argument 1 (a list)", "change a copy")
def _an_input_that_was_changed(lab: Lab) -> None:
    lab.patch.setenv("LAZYGRAPH_CHECK_MUTATION", "1")
    delayed(list.sort)(delayed([2, 1])).compute(executor="sync")


@case(errors.ReturnedPromise, TypeError, "the task returned <Delayed 'add'", "write `return lazygraph.replace(...)`")
def _a_task_that_returns_a_promise(lab: Lab) -> None:
    @delayed
    def promises() -> Any:
        return add(1)

    promises().compute(executor="sync")  # here


@case(errors.Closed, RuntimeError, "executor 'threads' is closed", "open a new one")
def _an_executor_that_was_closed(lab: Lab) -> None:
    executor = ThreadExecutor(1)
    executor.close()
    add(1).compute(executor=executor)


@case(errors.UsedAfterFork, RuntimeError, "executor 'threads'", "forked", "open a new one here")
def _an_executor_of_the_parent(lab: Lab) -> None:
    with ThreadExecutor(1) as executor, lab.patch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)  # as it looks from a child
        add(1).compute(executor=executor)


@case(errors.Unserializable, TypeError, "cannot be sent to another process", "lock", "'add'")
def _an_argument_that_cannot_travel(lab: Lab) -> None:
    with Client(lab.cluster) as client:
        client.compute(add(threading.Lock())).result(WAIT)  # here


@case(errors.NoRoom, MemoryError, "the value of 'array', 9,000 bytes, has no room", "/disk", "TMPDIR", "--memory-limit")
def _a_value_with_room_nowhere(lab: Lab) -> None:  # with real ones: cluster/test_memory.py
    raise errors.NoRoom("array", 9000, "/disk", 5000, OSError(28, "No space left on device"))


@case(errors.SpilledValueLost, OSError, "a value of 9 bytes that was written to", "cannot be read")
def _a_spilled_file_that_somebody_has_removed(lab: Lab) -> None:
    from lazygraph.executors.cluster.net.memory import OnDisk
    from lazygraph.executors.files.spill import SpillRoom

    room = SpillRoom()
    kept = OnDisk(room.put([memoryview(b"some data")], 9))
    room.close()
    kept.value()


class Stubborn(ValueError):
    """Cannot be pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("it stays")


@case(errors.RemoteError, ValueError, "Stubborn", "too late", "node 'fails'")
def _an_exception_that_cannot_travel(lab: Lab) -> None:
    @delayed
    def fails() -> None:
        raise Stubborn("too late")

    with Client(lab.cluster):
        fails().compute()  # here


@case(
    errors.WorkerDied, RuntimeError, "'deadly' was running on", "workers one after another", "more memory than there is"
)
def _a_task_that_kills_its_workers(lab: Lab) -> None:
    @delayed
    def deadly() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with Client(lab.cluster):
        deadly().compute()  # here


@case(errors.TaskTimeout, TimeoutError, "'stands' ran longer than its timeout of 0.01 s", "raise timeout=", "retries=")
def _a_task_that_takes_too_long(lab: Lab) -> None:
    @delayed(timeout=0.01)
    def stands() -> None:
        threading.Event().wait(WAIT)

    stands().compute(executor="sync")  # here


@case(errors.RetriesExhausted, RuntimeError, "'again' asked with self.retry()", "after attempt 2", "exc=")
def _a_task_that_asks_without_a_reason(lab: Lab) -> None:
    @delayed(bind=True)
    def again(self: Any) -> None:
        self.retry(countdown=0, max_retries=1)

    again().compute(executor="sync")  # here


@case(errors.WouldDeadlock, RuntimeError, "an async task on executor 'threads' waits", "write `await future`")
def _an_async_task_that_waits_without_await(lab: Lab) -> None:
    with ThreadExecutor(1) as executor:

        @delayed
        async def waits() -> Any:
            return lazygraph.start(add(1, 1), executor=executor).result(WAIT)

        waits().compute(executor=executor)  # here


@case(errors.LostData, KeyError, "the value of 'bytes'", "is lost", "cannot be made again")
def _a_scattered_value_whose_worker_died(lab: Lab) -> None:
    with Client(lab.cluster) as client:
        client.wait_for_workers(1)
        kept = client.scatter(b"x" * 100)
        # It says itself who it is: the cluster may still know of one that a test before this has killed.
        os.kill(client.submit(os.getpid).result(WAIT), signal.SIGKILL)
        kept.result(WAIT)


# -- the cluster -----------------------------------------------------------------------------------


@case(errors.CannotConnect, ConnectionError, "no lazygraph scheduler answers at", "lazygraph scheduler --port")
def _nobody_at_the_address(lab: Lab) -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else gets the port
        bound.bind(("127.0.0.1", 0))
        Client(f"tcp://127.0.0.1:{bound.getsockname()[1]}", token="x", timeout=10)


@case(errors.Refused, ConnectionError, "token", "LAZYGRAPH_TOKEN")
def _a_token_of_another_cluster(lab: Lab) -> None:
    Client(lab.cluster.address, token="wrong", timeout=10)


@case(errors.ConnectionLost, ConnectionError, "the connection to tcp://127.0.0.1:", "is lost to this client")
def _a_scheduler_that_dies(lab: Lab) -> None:
    def kills(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        signal.pause()

    with closing(LocalCluster(n_workers=1)) as cluster, Client(cluster):
        compute(delayed(kills)(cluster._scheduler.process.pid))


@case(errors.UnknownKey, KeyError, "has no future with the key 'add-1-0'", "result_ttl", ".delay or detach=True")
def _a_key_that_nobody_knows(lab: Lab) -> None:
    with Client(lab.cluster) as client:
        client.future("add-1-0")


@case(errors.UnsafeTokenPlace, PermissionError, "others may open it", "XDG_RUNTIME_DIR")
def _a_token_that_everybody_can_read(lab: Lab) -> None:
    lab.patch.setenv("XDG_RUNTIME_DIR", str(lab.folder))
    lab.patch.delenv("LAZYGRAPH_TOKEN", raising=False)
    (lab.folder / "lazygraph").mkdir()
    (lab.folder / "lazygraph").chmod(0o777)
    Client("tcp://127.0.0.1:8786", timeout=5)


@case(errors.EngineFailed, RuntimeError, "the pool has not brought 'give' to its end: OSError: full", "it may have run")
def _a_pool_that_takes_nothing(lab: Lab) -> None:
    class Full(ThreadPoolExecutor):
        def submit(self, *_: Any) -> Any:
            raise OSError("full")

    def give() -> int:
        return 1

    with Full(1) as pool, PoolExecutor(pool) as executor:
        delayed(give)().compute(executor=executor)


@case(errors.ClusterFailed, RuntimeError, "`lazygraph scheduler` ended with status 1 before it served", "above")
def _a_cluster_whose_processes_do_not_start(lab: Lab) -> None:
    lab.patch.setattr(sys, "executable", shutil.which("false"))
    LocalCluster(n_workers=1)


# -- what all have in common -----------------------------------------------------------------------


def _classes() -> Iterable[type[Exception]]:
    """Every exception class that lazygraph.errors defines, but the base of all, which nothing raises."""
    for _, found in inspect.getmembers(errors, inspect.isclass):
        if issubclass(found, Exception) and found.__module__ == errors.__name__ and found is not LazyGraphError:
            yield found


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Lab:
    return Lab(monkeypatch, tmp_path, request)


@pytest.fixture(scope="module")
def cluster() -> Any:
    with LocalCluster(n_workers=1) as cluster:
        yield cluster


def test_every_error_class_has_a_case() -> None:
    assert {found.__name__ for found in _classes()} == {case.error.__name__ for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.error.__name__}-{case.happens.__name__[1:]}")
def test_what_it_says_and_that_it_travels(case: Case, lab: Lab) -> None:
    with pytest.raises(case.builtin) as caught:
        case.happens(lab)
    error = caught.value
    assert isinstance(error, case.error) and isinstance(error, LazyGraphError | Warning)
    text = "\n".join([str(error), *getattr(error, "__notes__", ())])
    assert [words for words in (*case.says, *filter(None, [case.place])) if words not in text] == []
    for travel in (pickle, cloudpickle):
        again = travel.loads(travel.dumps(error))
        assert isinstance(again, case.error) and isinstance(again, case.builtin)
        assert (str(again), _facts(again)) == (str(error), _facts(error))


def _facts(error: BaseException) -> dict[str, Any]:
    return {name: value for name, value in vars(error).items() if not name.startswith("_")}


def test_what_a_cancelled_task_is_made_to_leave_with_is_no_exception() -> None:
    assert not issubclass(errors.TaskCancelled, Exception)
    for travel in (pickle, cloudpickle):
        assert type(travel.loads(travel.dumps(errors.TaskCancelled()))) is errors.TaskCancelled


def test_what_a_nested_compute_raised_goes_on_as_itself(cluster: LocalCluster) -> None:
    @delayed
    def outer() -> Any:
        return delayed(divmod)(1, 0).compute()

    with Client(cluster), pytest.raises(ZeroDivisionError) as caught:
        outer().compute()
    for travel in (pickle, cloudpickle):
        assert type(travel.loads(travel.dumps(caught.value))) is ZeroDivisionError


def test_all_are_caught_by_their_base() -> None:
    assert lazygraph.LazyGraphError is LazyGraphError
    assert [found for found in _classes() if not issubclass(found, LazyGraphError | Warning)] == []


@pytest.mark.parametrize("error", list(_classes()), ids=lambda error: error.__name__)
def test_each_is_also_a_builtin_that_a_caller_would_catch(error: type[Exception]) -> None:
    builtins = [base for base in error.__mro__ if base.__module__ == "builtins"]
    assert builtins[0] not in (Exception, BaseException, object)
