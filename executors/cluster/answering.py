"""What the scheduler does about what its Frontier answers: clients are told, values are freed, blocks forgotten.

Covers: endings and where values are, failures and who is told of them, replaced tasks taking over values, what clients
ask about their runs.
Does not cover: messages from peers (scheduler_machine), handing out leases (handing).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.handing import Handing
from lazygraph.executors.cluster.records import NOWHERE, FailureRecord, RunRecord, plain_run, plain_stats
from lazygraph.running import events
from lazygraph.running.frontier import WHOLE_RUN
from lazygraph.values.status import TERMINAL, UNHAPPY, State, in_states

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lazygraph.running.block import Block

SAD = in_states(UNHAPPY)
ENDED = in_states(TERMINAL)


class Answering(Handing):
    """The part of the scheduler's mind that carries out what follows from an event."""

    def __init__(self) -> None:
        super().__init__()
        self.clients: dict[int, dict[int, RunRecord]] = {}
        self.settling: dict[int, RunRecord] = {}  # runs kept for those to come, of which something has just ended
        self._last_lost = ""
        # Block -> failures in what stood for a task and is over: they are causes as long as its run is known.
        self.outlived: dict[int, dict[int, FailureRecord]] = {}

    def _handle(self, event: events.Event, now: float) -> None:
        self._perform(self.frontier.handle(event, now))

    def _perform(self, actions: Sequence[events.Action]) -> None:
        settled: dict[tuple[int, int, tuple[int, int]], list[int]] = {}
        for action in actions:
            record = self.records.get(action.block.base)
            if record is None:
                continue
            if isinstance(action, events.Settled):
                for entry in action.tasks:
                    cause = action.block.causes.get(entry, (action.block.base, entry))
                    state = action.state if record.keys is None else state_there(action.block, entry, action.state)
                    settled.setdefault((action.block.base, state, cause), []).append(entry)
            elif isinstance(action, events.Freed):
                self._free(record, action.tasks)
            elif isinstance(action, events.Recall):
                self._recall(record, action.tasks)
            elif isinstance(action, events.Retried):
                self._tell_retried(record, action)
            elif isinstance(action, events.Poisoned):
                self._poisoned(record, action)
            elif isinstance(action, events.Caught):
                record.caught[action.entry] = self._failure_at(record, State.FAILED, action.cause, action.entry)
                if action.member:
                    record.missed.add(action.entry)
            elif isinstance(action, events.Adopted):
                self._adopt(action)
        for (base, state, cause), entries in settled.items():
            self._settled(self.records[base], State(state), cause, entries)
        for action in actions:
            if isinstance(action, events.Ended):
                self._ended(action.block)

    def _settled(self, record: RunRecord, state: State, cause: tuple[int, int], entries: list[int]) -> None:
        if record.lasting:
            self._less_awaited(record, entries)
        if record.client not in self.clients:
            return
        if state is State.SUCCEEDED:
            self._tell_succeeded(record, entries, b"", b"")
            for entry in entries:
                self._answer_wants(record, entry)
            return
        failure = self._failure_at(record, state, cause, entries[0])
        self._send(record.client, m.Ended(record.run, m.ints(entries), state, *failure.facts), failure.body)
        for entry in entries:
            self._answer_wants(record, entry)

    def _failure_at(self, record: RunRecord, state: State, cause: tuple[int, int], entry: int) -> FailureRecord:
        """Return what happened at `cause`, for an entry of `record` that has ended because of it."""
        base, origin = cause
        home = self.records.get(base)
        failures = home.failures if home is not None else self.outlived.get(base, {})
        failure = failures.get(origin)
        if failure is None:
            # Of a run that was cancelled whole every node is its own cause.
            where, at = (home, origin) if home is not None and origin != WHOLE_RUN else (record, entry)
            shape = where.block.shape
            cancelled = state is State.CANCELLED or given_up(where.block, at)  # perhaps it went on for others
            kind = "cancelled" if cancelled else "lost"
            if where.block.state[at] == State.EXPIRED:
                kind = "expired"
            name = shape.name_of(at)
            failure = FailureRecord(name, where.key_of(name, at), 1, kind, "", "", shape.origin_of(at))
        return failure

    def _poisoned(self, record: RunRecord, action: events.Poisoned) -> None:
        name = record.block.shape.name_of(action.task)
        record.failures[action.task] = FailureRecord(
            name,
            record.key_of(name, action.task),
            record.block.attempt(action.task),
            "died",
            "\n".join(record.deaths.pop(action.task, ())),
            self._last_lost,
            record.block.shape.origin_of(action.task),
            action.times,
        )

    def _tell_retried(self, record: RunRecord, action: events.Retried) -> None:
        failure = record.failures.pop(action.task, None)
        record.home[action.task] = NOWHERE
        if failure is not None and record.client in self.clients:
            self._send(record.client, m.Retried(record.run, action.delay, *failure.facts), failure.body)

    def _recall(self, record: RunRecord, tasks: list[int]) -> None:
        by_worker: dict[int, list[int]] = {}
        for task in tasks:
            by_worker.setdefault(record.home[task], []).append(task)
        for worker, mine in by_worker.items():
            if worker in self.workers:
                self._send(worker, m.TakeBack(record.block.base, m.ints(mine)))

    def _free(self, record: RunRecord, entries: Iterable[int]) -> None:
        base, k, home = record.block.base, record.block.shape.externals, record.home
        replicas, caught, trees = record.replicas, record.caught, record.trees
        freed: dict[int, list[int]] = {}
        for entry in entries:
            if entry < k or entry in caught:
                self._free_everywhere(record, entry)
                continue
            holders = [home[entry], *replicas.pop(entry, ())] if replicas else (home[entry],)
            home[entry] = NOWHERE
            for holder in holders:
                there = freed.get(holder)
                if there is None:
                    there = freed[holder] = self._freed_at(holder, base)
                there.append(entry)
            if trees:
                trees.pop(entry, None)

    def _freed_at(self, holder: int, base: int) -> list[int]:
        """Return the list of what a worker is to be told to free of a block; a new one if it is gone."""
        worker = self.workers.get(holder)
        if worker is None:
            return []
        self._freeing[holder] = worker
        return worker.freed.setdefault(base, [])

    def _free_everywhere(self, record: RunRecord, entry: int) -> None:
        """Free what workers may have by another name (an external), or a failure in its place."""
        holders = list(record.touched) if entry < record.block.shape.externals else record.holders(entry)
        for holder in holders:
            self._freed_at(holder, record.block.base).append(entry)
        record.home[entry] = NOWHERE
        record.replicas.pop(entry, None)
        if entry in record.caught:
            record.told.difference_update([(holder, entry) for holder in holders])

    def _ended(self, block: Block) -> None:
        record = self.records.pop(block.base, None)
        if record is None:
            return
        runs = self.clients.get(record.client)
        if runs is not None and record.root is record:
            runs.pop(record.run, None)
        if record.root is not record and record.failures:
            self.outlived[block.base] = record.failures
            record.root.inner.append(block.base)
        for base in record.inner:
            self.outlived.pop(base, None)
        for worker in record.touched:
            if worker in self.workers:
                self._send(worker, m.Forget(block.base))

    def _adopt(self, action: events.Adopted) -> None:
        """What stands for a task has ended well: a worker that has its value takes it for the task's."""
        record, source = self.records[action.block.base], self.records[action.owner.base]
        worker = next(self.workers[w] for w in source.holders(action.entry) if w in self.workers)
        self._load(worker, record, (action.task,))
        record.home[action.task] = worker.id
        record.made_again((action.task,))
        self._loaded(worker, 1)
        wanted = action.task in action.block.futures
        self._send(
            worker.id,
            m.Adopt(record.block.base, action.task, action.attempt, action.owner.base, action.entry, wanted),
        )

    # -- telling clients ---------------------------------------------------------------------------

    def _tell_succeeded(self, record: RunRecord, entries: list[int], inlined: bytes, body: bytes | memoryview) -> None:
        if record.lasting:
            self._less_awaited(record, entries)
        if record.client not in self.clients:
            return
        worker = self.workers.get(record.home[entries[0]])
        address = worker.address if worker else ""
        message = m.Succeeded(record.run, record.block.base, m.ints(entries), inlined, address, record.stats)
        self._send(record.client, message, body)
        if inlined:
            delivered = [entry for entry in m.from_ints(inlined) if entry not in record.lasting]
            self._handle(events.Delivered(record.block, delivered), 0.0)

    def _less_awaited(self, record: RunRecord, entries: list[int]) -> None:
        record.awaiting.difference_update(entries)
        self.settling[record.block.base] = record

    def _answer_wants(self, record: RunRecord, entry: int) -> None:
        questions = record.wants.get(entry)
        cancelled = given_up(record.block, entry)
        if not questions or not (cancelled or ENDED[record.block.state[entry]]):
            return
        owner, origin = record.block.owner(entry)
        home = self.records.get(owner.base)
        state = State.CANCELLED if cancelled else State(record.block.state[entry])
        where, why = "", m.LOST_FOR_GOOD if state is State.LOST else f"it has ended as {state.status}"
        if home is not None and state is State.SUCCEEDED:
            alive = [self.workers[w].address for w in home.holders(origin) if w in self.workers]
            if not alive:
                return  # on its way to a worker, or being computed again
            where, why = alive[0], ""
        for question in questions:
            self._send(record.client, m.Located(question, where, owner.base, origin, why))
        del record.wants[entry]

    # -- what clients ask --------------------------------------------------------------------------

    def _told(self, peer: int, message: m.Told, body: bytes | memoryview, now: float) -> None:
        record = self.records.get(message.block)
        if record is not None and record.client in self.clients:
            key = record.key_of(record.block.shape.name_of(message.task), message.task)
            self._send(record.client, m.Progress(record.run, key, message.done, message.total))

    def _watched(self, peer: int, message: m.Watched, body: bytes | memoryview, now: float) -> None:
        record = self.records.get(message.block)
        if record is not None and record.client in self.clients:
            part, name_of = record.label.removeprefix(record.root.label), record.block.shape.name_of
            names = [(span.task, name_of(span.task)) for span in message.seen.spans] if part else []
            self._send(record.client, m.Sighted(record.root.run, part, message.attempt, names, message.seen))

    def _want(self, peer: int, message: m.Want, body: bytes | memoryview, now: float) -> None:
        record = self.clients[peer].get(message.run)
        if record is None:
            self._send(peer, m.Located(message.question, "", 0, 0, "its run is over and was forgotten"))
            return
        record.wants.setdefault(message.entry, []).append(message.question)
        self._handle(events.Wanted(record.block, message.entry), now)
        self._answer_wants(record, message.entry)

    def _ask_stats(self, peer: int, message: m.AskStats, body: bytes | memoryview, now: float) -> None:
        record = self.clients[peer].get(message.run)
        if record is not None:
            self._send(peer, m.Stats(message.run, record.stats))

    def _ask_state(self, peer: int, message: m.AskState, body: bytes | memoryview, now: float) -> None:
        holders: list[list[str]] = []
        states: list[tuple[int, str]] = []
        for run, entry in message.runs:
            record = self.clients[peer].get(run)
            if record is None:
                holders.append([])
                states.append((-1, ""))
                continue
            owner, origin = record.block.owner(entry)
            home = self.records.get(owner.base)
            has = home.holders(origin) if home is not None and owner.state[origin] == State.SUCCEEDED else []
            holders.append([self.workers[w].address for w in has if w in self.workers])
            # What stands for somebody else's is as far as that is.
            state = record.block.state[entry] if record.keys is None else owner.state[origin]
            states.append((int(state), self._why(record, entry, now)))
        there = plain_stats(list(self.workers.values()), self._silent, self._leaving, self._full)
        runs = [plain_run(record) for record in self.records.values() if record.root is record] if message.every else []
        self._send(peer, m.StateOf(message.question, there, holders, states, runs))


def state_there(block: Block, entry: int, state: int) -> int:
    """Return how what an entry stands for has ended, if badly: it ends as that does, and not because of that."""
    owner, origin = block.owner(entry)
    there = owner.state[origin]
    return there if SAD[there] else state


def given_up(block: Block, entry: int) -> bool:
    """Whether an entry was cancelled for its run, whatever others that want it go on to do."""
    state = block.state[entry]
    return state == State.CANCELLED or (entry in block.causes and not SAD[state])
