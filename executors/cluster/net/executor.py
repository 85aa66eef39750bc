"""The cluster as an executor: plans go to a scheduler, values come from workers.

Covers: submitting, settling futures, fetching values, cancelling, dropped futures.
Does not cover: dask's verbs (net.client), the connection itself (net.connection).
"""

from __future__ import annotations

import os
import secrets
import time
import warnings
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from lazygraph.errors import LostData, Unserializable, UnsupportedByExecutor, UsedAfterFork
from lazygraph.executors.base import CAPABILITIES
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net import codec
from lazygraph.executors.cluster.net.addresses import is_tls
from lazygraph.executors.cluster.net.callbacks import Callbacks
from lazygraph.executors.cluster.net.connection import Connection, Hears
from lazygraph.executors.cluster.net.failures import failure_of
from lazygraph.executors.cluster.net.forms import Forms
from lazygraph.executors.cluster.net.holding import ONE_DAY, Holding
from lazygraph.executors.cluster.net.nesting import Lender
from lazygraph.executors.cluster.net.parcels import MISSING, pack, together
from lazygraph.executors.cluster.net.portions import pack_in_portions
from lazygraph.executors.cluster.net.putting import put_to_workers
from lazygraph.executors.cluster.net.tokens import find_token
from lazygraph.executors.cluster.records import held_shape, pack_shape
from lazygraph.executors.cluster.tls import TLS, tls_of
from lazygraph.planning.plan import Plan
from lazygraph.running.context import inside_task
from lazygraph.running.futures import Future
from lazygraph.running.run import Run
from lazygraph.showing.check import large_literals
from lazygraph.showing.sendable import LARGE
from lazygraph.values.graph import Tables
from lazygraph.values.node import Caught
from lazygraph.values.outcome import Failure, Outcome, Value
from lazygraph.values.status import TERMINAL, State, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lazygraph.executors.cluster.net.peers import Brought
    from lazygraph.values.node import External

Buffer = bytes | memoryview
MANY, LOOKS = 500, 10
"""So many dropped futures are told of when no more are added to them, or after so many looks; fewer at once."""


class ClusterExecutor(Holding):
    """Runs plans on the cluster whose scheduler is at `address`.

    The values of detached work are kept for `result_ttl` seconds after it has ended.
    """

    name = "cluster"
    capabilities = CAPABILITIES["cluster"]
    tells_early = True

    def __init__(
        self,
        address: str,
        token: str | None = None,
        timeout: float = 30.0,
        result_ttl: float = ONE_DAY,
        grace: float = 0.0,
        tls: TLS | None = None,
    ) -> None:
        super().__init__()
        self.address, self.result_ttl = address, result_ttl
        self.prefix = f"{secrets.token_hex(6)}."  # keys are unique in the cluster, and so the labels of runs
        # Weak: a run lives as long as somebody holds it or one of its futures.
        self._runs: weakref.WeakValueDictionary[int, Run] = weakref.WeakValueDictionary()
        self._where: dict[tuple[int, int], tuple[str, int]] = {}  # (run, entry) -> worker, block
        self._singly: weakref.WeakKeyDictionary[Run, Callable[[], None]] = weakref.WeakKeyDictionary()
        self._latest: Callable[[], Run | None] = lambda: None  # the run that was sent last
        self.forms = Forms()
        self._looked: dict[int, float] = {}
        self._dropped: deque[tuple[int, int]] = deque()
        self._drops_due, self._drops_seen = False, (0, 0)  # how many there were at the last look, of how many looks
        self._callbacks = Callbacks()
        self._pid = os.getpid()
        tls = tls or (tls_of({}) if is_tls(address) else None)
        secret = find_token(address, token)
        hears = Hears(self._received, self._lost, self._present, self._unknown)
        self._connection = Connection(address, secret, timeout, hears, tls)
        if grace:
            self._connection.send(m.Linger(grace))
        self._at_exit()

    @property
    def n_slots(self) -> int | None:  # type: ignore[override]
        """Ask how many threads the workers have; None when nobody answers."""
        try:
            return sum(int(worker["threads"]) for worker in self.state(timeout=5.0).workers.values())
        except (ConnectionError, TimeoutError):
            return None

    @property
    def closed(self) -> bool:
        """Whether it can no longer be used."""
        return self._connection.closed or self._connection.error is not None

    # -- submitting --------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether what was sent last has ended."""
        latest = self._latest()
        return latest is None or latest.waits_for_nothing

    def submit(self, plan: Plan) -> Run:
        """Begin to run a plan; return at once.  Raises `Unserializable` for what cannot be sent."""
        self.check(plan)
        self.wait_until_usable()
        return self.enter(plan, Run(plan, self))

    def enter(
        self, plan: Plan, run: Run, singly: Callable[[], None] | None = None, packed: m.ShapeOnWire | None = None
    ) -> Run:
        """Send a plan whose run exists already; `singly` sends its calls once more when none can be run as they are.

        `packed`: its shape, where that has been packed before.
        """
        self.check_usable()
        tables, blobs = pack_in_portions(plan.shape, plan.tables)
        if sum(map(len, blobs)) - sum(tables.functions) > LARGE:
            for warning in large_literals(plan):
                warnings.warn(warning, stacklevel=2)
        bindings: list[int] = []
        for external in plan.externals:
            if isinstance(external, Caught):
                bindings += (-1, -1)
                continue
            assert isinstance(external, Future)
            bindings += (external.run.number, external.run.entry_of(external.output))
        message = m.Submit(
            run.number,
            run.id,
            plan.fail_fast,
            packed or pack_shape(plan.shape),
            tables,
            m.ints(bindings),
            plan.skips,
            run.label,
            lender.inside(self) if isinstance(lender := inside_task.get(), Lender) else 0,
            plan.observed,
        )
        self._runs[run.number] = run  # before it is sent: its endings may come at once
        if self._connection.returns:
            self._plans[run] = message, blobs
        self._latest = weakref.ref(run)
        try:
            self._connection.send(message, *blobs)
        except BaseException:
            del self._runs[run.number]
            raise
        if singly is not None:
            self._singly[run] = singly
        return run

    def check(self, plan: Plan) -> None:
        """Raise if the plan cannot run here, or reads what could not be sent here: it has failed already."""
        super().check(plan)
        for external in plan.externals:
            if isinstance(external, Future) and external.run.owner is self and external.run.number not in self._runs:
                error = external.exception()
                if error is not None:
                    raise error

    def why_not(self, plan: Plan) -> Exception | None:
        """Return the error for which `submit` would refuse a plan; None when it would not."""
        try:
            self.check(plan)
            codec.pack_tables(plan.shape, plan.tables)
        except (TypeError, UnsupportedByExecutor) as error:
            return error
        return None

    def hold(self, values: Sequence[Any], names: Sequence[str], broadcast: bool = False) -> Run:
        """Send values to be kept on the workers, or (`broadcast`) on each; the run's futures stand for them.

        Large ones go to workers themselves, and are there when this returns; on one host in shared memory.
        """
        self.wait_until_usable()
        packed = []
        for name, value in zip(names, values, strict=True):
            try:
                packed.append(pack(value))
            except Exception as error:
                raise Unserializable(
                    f"scattered value {name!r}", type(value).__name__, codec.reason_of(error)
                ) from error
        run = Run(Plan(held_shape(names), Tables((), ()), fail_fast=False), self)
        at = [] if self._connection.is_this_thread else put_to_workers(self._connection, run.label, packed)
        rest = [parcel for place, parcel in zip(at, packed, strict=True) if not place[0]] if at else packed
        sizes, views = together(rest)
        sent = iter(sizes)  # with padding or without, as they stand in the body
        lengths = [one.length if at and at[i][0] else next(sent) for i, one in enumerate(packed)]
        # As they are now: what is somebody else's memory may change before it is sent.
        pieces = [view if isinstance(view.obj, bytes) else memoryview(bytes(view)) for view in views]
        self._runs[run.number] = run
        self._connection.send(m.Hold(run.number, lengths, list(names), run.label, at, broadcast), *pieces)
        return run

    def owns(self, external: External) -> bool:
        """Whether a value is held by this cluster, through this connection."""
        return isinstance(external, Future) and external.run.owner is self

    def check_usable(self) -> None:
        """Raise if this connection is over, or another process's."""
        if self._pid != os.getpid():
            raise UsedAfterFork(f"the client of {self.address}")
        if self.closed:
            raise self._connection.why_closed()

    def wait_until_usable(self) -> None:
        """The same; and wait while too much is on its way already.  For whoever holds no lock that sending needs."""
        self.check_usable()
        self._connection.wait_for_room()

    def close(self, wait: bool = True) -> None:
        """Release everything this client holds and end the connection.  Safe to call twice.

        What was detached belongs to the scheduler: `wait` until it has that (30 s at most).
        """
        if self._pid != os.getpid():
            return
        if wait and not self._connection.closed:
            self._wait_for_acceptance()
        self._leaving.detach()
        runs = list(self._runs.values())
        self._connection.close()
        error = self._connection.why_closed()
        for run in runs:
            self._give_up(run, error)
        self._callbacks.close()

    # -- what the scheduler says (in the loop's thread) --------------------------------------------

    def _received(self, message: m.Message, body: Buffer) -> None:
        _HANDLERS[type(message)](self, message, body)

    def _succeeded(self, message: m.Succeeded, body: Buffer) -> None:
        run = self._runs.get(message.run)
        if run is None:
            return
        run.tasks_done, run.bytes_kept, run.bytes_moved = message.stats
        if self._singly:
            self._singly.pop(run, None)
        if self._plans and run.done():
            self._plans.pop(run, None)
        here: dict[int, Any] = {}
        if message.inlined:
            try:
                here = dict(zip(m.from_ints(message.inlined), codec.loads(body), strict=True))
            except Exception:  # one of them cannot be opened here: fetched one by one, each tells its own story
                here = {}
        for entry in m.from_ints(message.entries):
            outcome = Value(here[entry]) if entry in here else None
            if outcome is None:
                self._where[message.run, entry] = (message.worker, message.block)
            self._settle(run, entry, Status.SUCCEEDED, outcome)

    def _ended(self, message: m.Ended, body: Buffer) -> None:
        run = self._runs.get(message.run)
        if run is None:
            return
        failure = failure_of(message, body)
        singly = self._singly.pop(run, None) if self._singly else None
        if singly is not None and (message.kind == "refused" or codec.is_about_arguments(failure.exception)):
            del self._runs[run.number]
            self._connection.send(m.Drop(run.number, m.ints(run.plan.shape.outputs)))
            singly()
            return
        status = State(message.state).status
        for entry in m.from_ints(message.entries):
            self._settle(run, entry, status, failure)

    def _settle(self, run: Run, entry: int, status: Status, outcome: Outcome | None) -> None:
        # Callbacks may wait and may call us: never in the loop's thread.
        if run.wants_values_now(entry):
            self._callbacks.submit(partial(self._settle_with_value, run, entry, status, outcome))
        else:
            run.settle(entry, status, outcome)

    def _settle_with_value(self, run: Run, entry: int, status: Status, outcome: Outcome | None) -> None:
        if outcome is None:
            try:
                outcome = self._fetch(run, entry, None)
            except Exception as error:
                outcome = Failure(run.plan.shape.name_of(entry), "", 1, error)
            status = Status.LOST if isinstance(outcome, Failure) else status
        run.settle(entry, status, outcome)

    def _retried(self, message: m.Retried, body: Buffer) -> None:
        run = self._runs.get(message.run)
        if run is not None:
            run.history.setdefault(message.key, []).append(failure_of(message, body))

    def _progress(self, message: m.Progress, body: Buffer) -> None:
        run = self._runs.get(message.run)
        if run is not None:
            run.told[message.key] = message.done, message.total

    def _sighted(self, message: m.Sighted, body: Buffer) -> None:
        run = self._runs.get(message.run)
        if run is not None and run.seen is not None:
            run.seen.told(message.part, message.attempt, dict(message.names), message.seen)

    def _stats(self, message: m.Stats, body: Buffer) -> None:
        run = self._runs.get(message.run)
        if run is not None:
            run.tasks_done, run.bytes_kept, run.bytes_moved = message.stats

    def _answer(self, message: m.Answer | m.Located | m.StateOf, body: Buffer) -> None:
        self._connection.answer(message.question, message)

    def _away(self, message: m.Away, body: Buffer) -> None:
        self._connection.away(message.address)

    def _refused(self, message: m.Refusal, body: Buffer) -> None:
        raise ConnectionError(message.sentence)

    def _lost(self, error: Exception) -> None:
        for run in list(self._runs.values()):
            self._give_up(run, error)

    def _unknown(self, numbers: Sequence[int]) -> None:
        """The scheduler is back, and does not know these runs: they are sent again, as far as they can be."""
        for number in numbers:
            run = self._runs.get(number)
            if run is not None and not self._sent_again(run):
                why = "the scheduler ended before it was noted, and nothing says how to make it again"
                self._give_up(run, LostData(f"what was asked of {run.id!r}", why))
        self._keep_again()

    def _gone(self, run: Run) -> None:
        self._give_up(run, LostData(f"what run {run.id!r} stands for", "the scheduler does not know it any more"))

    def _give_up(self, run: Run, error: Exception) -> None:
        for entry in run.unsettled():
            name = run.plan.shape.name_of(entry)
            failure = Failure(name, name, 1, error, origin=run.plan.shape.origin_of(entry))
            self._settle(run, entry, Status.LOST, failure)

    # -- what futures ask (running.futures.Owner) --------------------------------------------------

    def fetch(self, run: Run, output: int, timeout: float | None) -> Outcome:
        """Bring a value here from the worker that has it; when it is gone, from wherever it is made again."""
        return self._fetch(run, run.entry_of(output), timeout)

    def _fetch(self, run: Run, entry: int, timeout: float | None) -> Outcome:
        worker, block = self._where.get((run.number, entry), ("", 0))
        at = entry
        if entry < run.plan.shape.externals:
            worker = ""  # it belongs to another run: the scheduler knows which
        while True:
            if worker:
                reply = self._connection.ask(lambda q: m.Get(q, block, m.ints([at])), worker).result(timeout)  # noqa: B023
                if reply is not None and reply.message.lengths != [MISSING]:
                    return _unpacked(run, entry, reply)
            located = self._connection.ask(lambda q: m.Want(q, run.number, entry)).result(timeout)
            worker, block, at = located.worker, located.block, located.entry
            if not worker:
                name = run.plan.shape.name_of(entry)
                return Failure(name, name, 1, LostData(f"the value of {name!r}", located.why))

    def cancel(self, run: Run, output: int, force: bool) -> bool:
        """Ask the scheduler; waits for its answer."""
        entry = -1 if output < 0 else run.entry_of(output)
        try:
            answer = self._connection.ask(lambda q: m.Cancel(q, run.number, entry, force)).result(30.0)
        except ConnectionError:
            return False
        return bool(answer.yes)

    def drop(self, run: Run, output: int) -> None:
        """A future was collected: withdraw its claim, together with others of this tick."""
        if self._connection.closed:
            return
        entries = run.plan.shape.outputs if output < 0 else (run.entry_of(output),)
        self._dropped.extend([(run.number, entry) for entry in entries])
        if not self._drops_due:
            self._drops_due = True
            self._connection.post_later(self._send_drops)

    def _send_drops(self) -> None:
        many = len(self._dropped)
        seen, looks = self._drops_seen
        if many >= MANY and many > seen and looks < LOOKS:  # somebody lets go of a great many right now
            self._drops_seen = many, looks + 1
            self._connection.post_later(self._send_drops)
            return
        self._drops_seen = 0, 0
        self._drops_due = False  # before the look: what is dropped after it has this called again
        by_run: dict[int, list[int]] = {}
        while self._dropped:
            number, entry = self._dropped.popleft()
            by_run.setdefault(number, []).append(entry)
        if self._where:
            for number, entries in by_run.items():
                for entry in entries:
                    self._where.pop((number, entry), None)
        (number, first), *more = [(number, m.ints(entries)) for number, entries in by_run.items()] or [(0, b"")]
        self._connection.send_later(m.Drop(number, first, more))

    def post(self, job: Callable[[], None]) -> None:
        """Run `job` soon, in the connection's thread."""
        self._connection.post(job)

    def set_queues(self, workers: list[str], add: list[str], remove: list[str]) -> bool:
        """Have workers take queues, and others no more; return whether there is such a worker."""
        answer = self._connection.ask(lambda q: m.SetQueues(q, workers, add, remove)).result(30.0)
        return bool(answer.yes)

    def drain(self, workers: list[str], timeout: float | None) -> bool:
        """Have workers leave, and wait until they have; return whether all of them are there."""
        return bool(self._connection.ask(lambda q: m.Drain(q, workers)).result(timeout).yes)

    # -- questions ---------------------------------------------------------------------------------

    def state(self, futures: Sequence[Future[Any]] = (), timeout: float = 30.0, every: bool = False) -> m.StateOf:
        """Ask who is there, who has the values of some futures, and (`every`) which runs there are."""
        runs = [(future.run.number, future.run.entry_of(future.output)) for future in futures]
        answer: m.StateOf = self._connection.ask(lambda q: m.AskState(q, runs, every)).result(timeout)
        return answer

    def status_of(self, run: Run, output: int) -> Status | None:
        """Ask the scheduler how far an output is (it answers at once; no answer within a second is None)."""
        if self.closed or self._connection.is_this_thread:
            return None
        asked = [(run.number, run.entry_of(output))]
        try:
            answer: m.StateOf = self._connection.ask(lambda q: m.AskState(q, asked)).result(1.0)
        except (ConnectionError, TimeoutError):
            return None
        state = answer.states[0][0]
        return State(state).status if state >= 0 and State(state) not in TERMINAL else None

    def why(self, run: Run, outputs: Sequence[int]) -> list[str]:
        """Ask the scheduler what outputs wait for."""
        asked = [(run.number, run.entry_of(output)) for output in outputs]
        answer: m.StateOf = self._connection.ask(lambda q: m.AskState(q, asked)).result(30.0)
        return [why for _, why in answer.states]

    def look(self, run: Run) -> None:
        """Ask how far a run is, at most every 50 ms; the answer changes what `run.progress()` says next."""
        now = time.monotonic()
        if now - self._looked.get(run.number, 0.0) > 0.05 and not self.closed and not run.done():
            self._looked[run.number] = now
            self._connection.send(m.AskStats(run.number))


def _unpacked(run: Run, entry: int, reply: Brought) -> Outcome:
    name, origin = run.plan.shape.name_of(entry), run.plan.shape.origin_of(entry)
    try:
        [value], problems = reply.opened(None)
        if not problems:
            return Value(value)
        error: Exception = Unserializable(f"the result of {name!r},", f"built at {origin}", problems[0])
        return Failure(name, name, 1, error, origin=origin)
    except Exception as problem:
        error = Unserializable(f"the result of {name!r}", f"built at {origin}", codec.reason_of(problem))
        return Failure(name, name, 1, error, origin=origin)


_HANDLERS: Mapping[type, Callable[[ClusterExecutor, Any, Buffer], None]] = {
    m.Succeeded: ClusterExecutor._succeeded,
    m.Ended: ClusterExecutor._ended,
    m.Retried: ClusterExecutor._retried,
    m.Progress: ClusterExecutor._progress,
    m.Stats: ClusterExecutor._stats,
    m.Sighted: ClusterExecutor._sighted,
    m.Answer: ClusterExecutor._answer,
    m.Located: ClusterExecutor._answer,
    m.StateOf: ClusterExecutor._answer,
    m.Opened: ClusterExecutor._opened,
    m.Away: ClusterExecutor._away,
    m.Refusal: ClusterExecutor._refused,
}
