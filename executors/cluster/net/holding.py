"""What outlasts a client: work that belongs to the scheduler, futures found by their keys, failed ones made again.

Covers: keeping and forgetting, knowing what the scheduler has, opening runs and futures of others, exit.
Does not cover: plans, values and endings (net.executor), what the scheduler does (cluster.keeping).
"""

from __future__ import annotations

import contextlib
import logging
import os
import weakref
from array import array
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lazygraph.errors import LostData, UnknownKey
from lazygraph.executors.base import Executor, interrupted
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net.nesting import future_of
from lazygraph.executors.cluster.records import held_shape
from lazygraph.planning.plan import Plan
from lazygraph.running.futures import Future
from lazygraph.running.run import Run, new_number
from lazygraph.values.graph import Tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.executors.cluster.net.connection import Connection

ONE_DAY = 86_400.0
"""Seconds that values of detached work are kept after it has ended, unless something else is said."""

PATIENCE = 30.0
"""Seconds that closing and exit wait for the scheduler to have what was detached."""

_log = logging.getLogger(__name__)


class Holding(Executor):
    """The part of a cluster's executor that is about claims which are not this process's."""

    address: str
    result_ttl: float
    _connection: Connection
    _runs: weakref.WeakValueDictionary[int, Run]
    _where: dict[tuple[int, int], tuple[str, int]]

    def __init__(self) -> None:
        # Detached runs that the scheduler may not have yet, and what is kept of them.
        self._unaccepted: dict[int, tuple[Run, m.Keep] | None] = {}
        self._plans: weakref.WeakKeyDictionary[Run, tuple[m.Submit, Sequence[Any]]] = weakref.WeakKeyDictionary()
        self._opened_as: weakref.WeakKeyDictionary[Run, tuple[str, str]] = weakref.WeakKeyDictionary()

    def _at_exit(self) -> None:
        """See that the interpreter does not exit before the scheduler has what was detached."""
        # The connection's thread holds this object until it is closed: this is called at exit only, or when it is.
        self._leaving = weakref.finalize(self, _leave, self._connection, self._unaccepted, os.getpid())

    @property
    def _owner(self) -> Any:
        return self

    # -- detached work -----------------------------------------------------------------------------

    def keep(self, run: Run, entries: Sequence[int] | None = None, seconds: float | None = None) -> None:
        """Let entries (default: all that was asked for) go on without this client, and be kept (default: result_ttl).

        Nobody hears of it when the connection is over: then everything of the run has ended with that.
        """
        asked = run.plan.shape.outputs if entries is None else entries
        message = m.Keep(run.number, m.ints(asked), self.result_ttl if seconds is None else seconds)
        with contextlib.suppress(ConnectionError, RuntimeError):
            self._connection.send(message)
            self._unaccepted[run.number] = None
            if self._connection.returns:  # it is held until the scheduler has noted it
                self._unaccepted[run.number] = run, message
                noted = self._connection.ask(lambda q: m.AskAccepted(q, run.number))
                number, unaccepted = run.number, self._unaccepted
                noted.add_done_callback(lambda _: unaccepted.pop(number, None))

    def accepted(self, run: Run, timeout: float | None) -> None:
        """Return when the scheduler has a run; raises TimeoutError, and ConnectionError when it cannot be had."""
        if run.done():
            return
        _await_acceptance(self._connection, self._unaccepted, run.number, timeout)

    def _wait_for_acceptance(self) -> None:
        if self._unaccepted and self._connection.error is None:
            _accept_last(self._connection, self._unaccepted)

    def forget(self, run: Run, output: int) -> None:
        """Drop a future, and have the scheduler keep its value no longer."""
        entry = run.entry_of(output)
        entries = m.ints([entry])
        self._where.pop((run.number, entry), None)
        with contextlib.suppress(ConnectionError, RuntimeError):
            self._connection.send(m.Forgo(run.number, entries))
            self._connection.send(m.Drop(run.number, entries))  # at once: nobody is to find it after this

    # -- what others have --------------------------------------------------------------------------

    def future(self, key: str) -> Future[Any]:
        """Return a future of what is known by a key, whoever started it.  Raises `UnknownKey`, which is a KeyError."""
        run = self._opened_run(key, "")
        if run is None:
            raise UnknownKey(f"future with the key {key!r}", self.address)
        return run.let_go()[0]

    def claimed(self, key: str) -> Future[Any]:
        """Return the future of a key that a pickled one has brought here.  Raises `LostData` when its value is gone."""
        run = self._opened_run(key, "")
        if run is None:
            why = (
                f"the scheduler at {self.address} does not know it any more; nobody held it, or its result_ttl is over"
            )
            raise LostData(f"the value of the future {key!r}", why)
        return run.let_go()[0]

    def attach(self, name: str) -> Run:
        """Return a run that stands for the one of this name, whoever started it.  Raises `UnknownKey`, a KeyError."""
        run = self._opened_run("", name)
        if run is None:
            raise UnknownKey(f"run with the name {name!r}", self.address)
        return run

    def _opened_run(self, key: str, name: str) -> Run | None:
        if self._connection.is_this_thread:
            raise RuntimeError("the answer would come to the thread that waits for it; open it in another thread")
        number = new_number()
        found: Run | None = self._connection.ask(lambda q: m.Open(q, number, key, name)).result(PATIENCE)
        if found is not None:
            self._opened_as[found] = key, name
        return found

    def _opened(self, message: m.Opened, body: object) -> None:
        """What was asked for is known: its endings follow, and need a run here."""
        run = self._runs.get(message.run)  # opened again, since the scheduler did not know it any more
        if run is not None and not message.keys:
            self._gone(run)
        elif run is None and message.keys:
            plan = Plan(held_shape(message.names), Tables((), ()), name=message.name, fail_fast=False)
            run = Run(plan, self._owner, number=message.run, keys=message.keys)
            self._runs[run.number] = run
        self._connection.answer(message.question, run)

    def reference(self, future: Future[Any]) -> tuple[Any, ...]:
        """Return what a future pickles to: it claims its value where it is opened."""
        return future_of, (self.address, future.key)

    # -- when the scheduler was away ---------------------------------------------------------------

    def _present(self) -> list[int]:
        """Return the runs that the scheduler is to know."""
        return list(self._runs)

    def _sent_again(self, run: Run) -> bool:
        """Send a run that the scheduler does not know; return whether that can be done, or need not."""
        if run.done():
            return True
        opened, sent = self._opened_as.get(run), self._plans.get(run)
        if opened is not None:
            self._connection.tell(m.Open(0, run.number, *opened))
        elif sent is not None:
            message, blobs = sent
            self._connection.tell(message, *blobs)
        return opened is not None or sent is not None

    def _keep_again(self) -> None:
        """Say again what is to be kept of detached work, as far as that was not accepted."""
        for kept in list(self._unaccepted.values()):
            if kept is not None:
                self._connection.tell(kept[1])

    def _gone(self, run: Run) -> None:
        """A run of somebody else's is not known any more."""
        raise NotImplementedError

    # -- making again ------------------------------------------------------------------------------

    def again(self, run: Run, outputs: Sequence[int]) -> list[Future[Any]]:
        """Make outputs of a run again, and whatever has failed above them; return the new futures."""
        entries = [run.entry_of(output) for output in outputs]
        shape = replace(run.plan.shape, outputs=array("i", entries))
        new = Run(replace(run.plan, shape=shape, fail_fast=False), self._owner)
        self._runs[new.number] = new
        self._connection.send(m.Again(new.number, new.label, run.number, m.ints(entries)))
        return new.let_go()


def _await_acceptance(connection: Connection, unaccepted: dict[int, Any], number: int, timeout: float | None) -> None:
    before = list(unaccepted)  # the scheduler hears of runs in the order in which they are sent
    try:
        connection.ask(lambda q: m.AskAccepted(q, number)).result(timeout)
    except TimeoutError:
        raise TimeoutError(f"the scheduler at {connection.address} has not accepted the run in {timeout} s") from None
    for known in before:
        unaccepted.pop(known, None)


def _accept_last(connection: Connection, unaccepted: dict[int, Any]) -> None:
    try:
        _await_acceptance(connection, unaccepted, next(reversed(unaccepted)), PATIENCE)
    except (ConnectionError, RuntimeError, TimeoutError) as error:
        _log.error("detached work may be lost, %d runs: %s", len(unaccepted), error)


def _leave(connection: Connection, unaccepted: dict[int, Any], pid: int) -> None:
    """At interpreter exit: wait for nothing but acceptance, and after Ctrl-C not for that."""
    usable = os.getpid() == pid and not connection.closed and connection.error is None
    if unaccepted and usable and not interrupted():
        _accept_last(connection, unaccepted)
    if usable and not unaccepted:
        connection.close()  # says that this client leaves: nobody is to miss it
