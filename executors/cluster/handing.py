"""Handing out: which worker gets which lease.

The part of the scheduler's mind that looks at load.  Work per call is bounded by what is handed out: workers with a
free thread, and workers that have just reported, are remembered; nobody loops over all of them.

Covers: lanes, leases, idle workers.
Does not cover: what comes with a lease (equipping), messages from peers (scheduler_machine), sizes (placement).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.equipping import Equipping
from lazygraph.executors.cluster.paces import Paces
from lazygraph.executors.cluster.placement import (
    EVERYWHERE,
    LONG,
    MOST_AHEAD,
    SAMPLE,
    UNKNOWN,
    WORTH_HANDING,
    Placement,
    best_lane,
    fits,
    has_for,
    least_to_hand,
    nobody_for,
    room,
    to_give_back,
)
from lazygraph.executors.cluster.records import NOTHING, RunRecord, WorkerRecord
from lazygraph.running.arena import ANYWHERE
from lazygraph.running.frontier import Frontier
from lazygraph.running.lease import fitting
from lazygraph.values.status import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lazygraph.executors.cluster.paces import Pace
    from lazygraph.running.block import Block
    from lazygraph.running.lease import Lease
    from lazygraph.running.policy import Where

_QUEUED = int(State.QUEUED)

LOOKED_AT = 64
"""Of many workers that may give something back, and of many lanes, so many are compared: not all, for one who idles."""

WORTH_MOVING = 0.002
"""Seconds of work below which an idle worker does not ask a busy one for tasks, unless that one is at a long one."""


class Handing(Equipping):
    """What the scheduler knows, and how it hands out work.  Sends are gathered in order."""

    def __init__(self) -> None:
        super().__init__()
        self.frontier = Frontier(self._place)
        self.placement: Placement = best_lane
        self._threads = 0
        self._lane_of: dict[Where, int] = {}  # tasks that not every worker may take -> their lane, below ANYWHERE
        self._where_of: dict[int, Where] = {}
        self._free_threads: dict[int, None] = {}  # workers with fewer tasks than threads
        self._reported: dict[int, None] = {}  # workers that have answered since the last decision
        self._laden: dict[int, None] = {}  # workers with more tasks than threads
        self._askable: dict[int, None] = {}  # of those, the ones that may give some back
        self._late: dict[int, None] = {}  # workers that run something that takes long
        self._stirred: dict[int, None] = {}  # workers to whose lanes something has come since the last decision
        self._freeing: dict[int, WorkerRecord] = {}  # workers that are to be told what to free
        self._closed: dict[int, None] = {}  # workers that are given nothing: they are silent, full, or leave
        self._leaving: dict[int, None] = {}
        self._full: dict[int, None] = {}  # workers whose memory is full
        self._widest = 0  # the most threads that a worker ever had
        self._restricting = False  # whether anybody was ever given what not every worker may take
        self._prioritized = False  # whether anything was ever more urgent than anything else
        self._given_back = False  # what gets ready now was asked back for an idle worker
        self._seconds = 0.0  # what a task took lately, over all runs
        self._paces = Paces()

    def _know(self, record: RunRecord) -> None:
        """A plan has been admitted."""
        block = record.block
        self.records[block.base] = record
        record.paces = self._paces.of(record.tables.functions, record.body)
        if not self._prioritized and any(policy is not None and policy.priority for policy in block.policies):
            self._prioritized = True
            for worker in self.workers.values():
                worker.least = 0 if worker.outstanding else NOTHING

    def _pace(self, record: RunRecord, lane: int) -> float | None:
        """Return how long calls of the function that is next in a lane take, if that is known."""
        if not record.paces:
            return None
        return record.paces[self.frontier.next_row(lane, record.block)].seconds

    def _took(self, worker: WorkerRecord, record: RunRecord, tasks: Sequence[int], mean: float) -> None:
        """Tasks have taken so long, on average."""
        row_of = record.block.shape.function
        for row in {row_of[tasks[0]], row_of[tasks[-1]]}:  # mostly all are of one function
            pace = record.paces[row]
            if mean > WORTH_HANDING and mean * worker.outstanding > WORTH_MOVING:
                self._if_surprising(worker, pace)
            pace.measured(mean)

    def _takes_long(self, worker: WorkerRecord, record: RunRecord, task: int) -> None:
        """A task has been running for a while."""
        policy = record.block.policy(task) if record.block.special else None
        if policy is None or not policy.limits:  # of those it is told when they begin
            pace = record.paces[record.block.shape.function[task]]
            if self._free_threads or (worker.threads > 1 and (pace.seconds is None or least_to_hand(pace.seconds) > 1)):
                self._ask_all_back(worker)  # it had company that would wait for it
            pace.at_least(LONG)

    def _if_surprising(self, worker: WorkerRecord, pace: Pace) -> None:
        """A task takes long.  If it was thought to be short, so was what stands behind it: others may take that."""
        if least_to_hand(pace.seconds) > 1 and (self._free_threads or worker.threads > 1):
            self._ask_all_back(worker)

    def _ask_all_back(self, worker: WorkerRecord) -> None:
        """What has not begun may stand behind what takes long, although a thread is free, here or elsewhere."""
        if worker.outstanding > 1 and not worker.recalled:
            worker.recalled, worker.given = True, False
            self._askable.pop(worker.id, None)
            self._send(worker.id, m.TakeBack(-1, b"", worker.outstanding))

    # -- load --------------------------------------------------------------------------------------

    def _add_worker(self, worker: WorkerRecord) -> None:
        self.workers[worker.id] = worker
        self._threads += worker.threads
        self._widest = max(self._widest, worker.threads)
        self._loaded(worker, 0)

    def _remove_worker(self, peer: int) -> WorkerRecord:
        worker = self.workers.pop(peer)
        self._threads -= worker.threads
        for remembered in (self._free_threads, self._reported, self._laden, self._askable, self._late, self._stirred):
            remembered.pop(peer, None)
        for kept_away in (self._closed, self._silent, self._leaving, self._full):
            kept_away.pop(peer, None)
        self._freeing.pop(peer, None)
        self.frontier.close_lane(peer)
        return worker

    def _loaded(self, worker: WorkerRecord, tasks: int) -> None:
        """Note that a worker was given tasks, or (negative) has answered for them."""
        if tasks < 0 and worker.work:
            worker.work *= 1 + tasks / (worker.outstanding or 1)
        worker.outstanding += tasks
        if not worker.outstanding:
            worker.least, worker.work = NOTHING, 0.0
        peer, surplus = worker.id, worker.outstanding - worker.threads
        if surplus < 0 and peer not in self._closed:
            self._free_threads.setdefault(peer)
        else:
            self._free_threads.pop(peer, None)
        if surplus > 0:
            self._laden.setdefault(peer)
        else:
            self._laden.pop(peer, None)
        if surplus > 0 and not worker.recalled and not worker.reluctant and peer not in self._closed:
            self._askable.setdefault(peer)
        else:
            self._askable.pop(peer, None)
        if tasks <= 0:
            self._reported[peer] = None

    # -- handing out -------------------------------------------------------------------------------

    def _left(self, worker: WorkerRecord, base: int, tasks: Iterable[int], attempt: int, now: float, ran: bool) -> None:
        """Attempts are over, or (not `ran`) have not begun: what they held is free."""
        self.frontier.has_left(base, tasks, attempt, now, ran)
        if worker.held:
            for task in tasks:
                where = worker.held.pop((base, task, attempt), None)
                if where is not None:
                    worker.give_up(where)

    def _lane_where(self, where: Where) -> int:
        lane = self._lane_of.get(where)
        if lane is None:
            lane = self._lane_of[where] = ANYWHERE - 1 - len(self._lane_of)
            self._where_of[lane] = where
        return lane

    def _place(self, block: Block, task: int) -> int:
        """Return the worker that has most of a task's inputs, or the lane of those who may take it."""
        policy = block.policy(task) if block.special else None
        if policy is not None and policy.where is not None:
            return self._lane_where(policy.where)
        lane = self._nearest(block, task)
        if lane == ANYWHERE or lane in self._closed or "default" not in self.workers[lane].queues:
            return ANYWHERE
        self._stirred[lane] = None
        return lane

    def _why(self, record: RunRecord, entry: int, now: float) -> str:
        """Say what an entry waits for; of one that nobody can take, why that is so."""
        block = record.block
        why = self.frontier.why(block, entry, now)
        if block.state[entry] != _QUEUED:
            return why
        policy = block.policy(entry) if block.special else None
        where = policy.where if policy is not None and policy.where is not None else EVERYWHERE
        return nobody_for(where, list(self.workers.values())) or why

    def _nearest(self, block: Block, task: int) -> int:
        if self._given_back:
            return ANYWHERE
        record = self.records.get(block.base)  # None while it is being admitted: of its own there are no values yet
        start, end = block.bounds[task], block.bounds[task + 1]
        k, sample = block.shape.externals, block.inputs[start : min(end, start + SAMPLE)]
        if record is not None and start < end and self.placement is best_lane:
            home = record.home
            only = home[sample[0]]
            for read in sample:
                if read < k or home[read] != only:
                    break
            else:  # mostly all are in one place: then sizes do not matter
                return only if only in self.workers else ANYWHERE
        pairs = []
        for read in sample:
            if read >= k:
                if record is not None:
                    pairs.append((record.home[read], record.sizes[read]))
            else:
                owner, origin = block.owner(read)
                other = self.records.get(owner.base)
                if other is not None:
                    pairs.append((other.home[origin], other.sizes[origin]))
        lane = self.placement(pairs)
        return lane if lane in self.workers else ANYWHERE

    def _assign(self) -> None:
        """Give workers what waits in their lanes, then what others may take too; let idle ones take from others."""
        # Into other lanes nothing has come, or their workers have no more room than before.
        filled = [*self._stirred, *(peer for peer in self._reported if peer not in self._stirred)]
        for peer in filled:
            self._fill(self.workers[peer], peer)
        self._share()
        self._reported.clear()
        # What is kept from a worker that has a free thread is looked at again.
        self._stirred = {peer: None for peer in filled if peer in self._free_threads and self.frontier.ready(peer)}
        if self._askable or self.frontier.has_lanes():
            self._feed_all_idle()
        if self._prioritized:
            self._press()

    def _share(self) -> None:
        """Give what waits in nobody's own lane: one lease each in turn, so that a small graph is not piled on one."""
        shared = self._shared()
        if not shared:
            return
        candidates = [*self._free_threads, *(peer for peer in self._reported if peer not in self._free_threads)]
        while candidates and shared:
            served = []
            for peer in candidates:
                if self._serve(self.workers[peer], shared):
                    served.append(peer)
                elif not self._shared():
                    return
            candidates, shared = served, self._shared()

    def _shared(self) -> list[int]:
        """Return the lanes in which something waits that is no worker's own."""
        return [lane for lane in (ANYWHERE, *self._where_of) if self.frontier.next_block(lane) is not None]

    def _serve(self, worker: WorkerRecord, lanes: list[int]) -> bool:
        """Give a worker a lease from one of these lanes, the most urgent first."""
        for lane in self._by_urgency(lanes):
            if self._may_take(worker, lane) and self._give(worker, lane):
                return True
        return False

    def _may_take(self, worker: WorkerRecord, lane: int) -> bool:
        """Whether a worker may take what waits in a lane that is not another worker's."""
        where = self._where_of.get(lane)
        return "default" in worker.queues if where is None else fits(worker, where)

    def _by_urgency(self, lanes: list[int]) -> list[int]:
        if len(lanes) == 1:
            return lanes
        waiting = [lane for lane in lanes if self.frontier.next_block(lane) is not None]
        return sorted(waiting, key=self.frontier.urgency, reverse=True)

    def _fill(self, worker: WorkerRecord, lane: int) -> None:
        """Give a worker what waits for it, unless something else that it may take is more urgent."""
        frontier = self.frontier
        while frontier.next_block(lane) is not None:
            lanes = [lane]
            if self._prioritized:
                lanes += (x for x in frontier.lanes() if x <= ANYWHERE and self._may_take(worker, x))
            first = self._by_urgency(lanes)[0]
            if first != lane or not self._give(worker, lane):
                return

    def _give(self, worker: WorkerRecord, lane: int) -> bool:
        """Hand a worker a lease from a lane, if it has room and the lane has tasks."""
        block = self.frontier.next_block(lane) if worker.id not in self._closed else None
        if block is None:
            return False
        record = self.records[block.base]
        if self._prioritized and self._pressed(worker, lane):
            return False
        pace = self._pace(record, lane)
        seconds = record.seconds if record.seconds is not None else pace
        space, busy = room(worker, seconds), worker.outstanding >= worker.threads
        if space <= 0 or (busy and self.frontier.next_alone(lane)):
            return False
        ready, least = self.frontier.ready(lane), least_to_hand(pace)
        if lane > ANYWHERE and ready < least and self._can_wait(worker, lane, busy):
            return False
        threads = worker.threads if lane == worker.id else self._threads
        limit, most = fitting(seconds, ready, threads, least)
        lease = self.frontier.lease(min(space, limit), lane, min(space, most))
        if lease is None:
            return False
        if lane == worker.id:
            worker.reluctant = False  # this it has not been asked for yet
        each = pace if pace is not None else record.seconds
        worker.work += len(lease.tasks) * (UNKNOWN if each is None else each)
        self._send_lease(worker, record, lease)
        return True

    def _can_wait(self, worker: WorkerRecord, lane: int, busy: bool) -> bool:
        """Whether what is too little to be worth a lease is better kept until its worker has reported.

        That is soon, unless it runs something that takes long: then whoever has nothing to do takes it.
        """
        if self._prioritized:
            return False
        if lane == worker.id:
            return busy and not worker.late
        owner = self.workers[lane]
        return bool(owner.outstanding) and not owner.late and owner.work < WORTH_MOVING

    def _pressed(self, worker: WorkerRecord, lane: int) -> bool:
        """Whether a worker is to be given nothing from a lane now: what waits there is less urgent, and asked back."""
        if not worker.pressed and worker.outstanding >= worker.threads and worker.least < self.frontier.urgency(lane):
            worker.pressed = worker.recalled = True
            self._askable.pop(worker.id, None)
            self._send(worker.id, m.TakeBack(-1, b"", worker.outstanding))
        return worker.pressed

    def _press(self) -> None:
        """Something urgent may wait although workers have what is less so and has not begun: ask for that."""
        for lane in self.frontier.lanes():
            if self.frontier.next_block(lane) is None:
                continue
            left = self.frontier.ready(lane)
            peers = list(self._laden) if lane <= ANYWHERE else [peer for peer in (lane,) if peer in self._laden]
            for peer in peers:
                worker = self.workers[peer]
                if left and (peer == lane or self._may_take(worker, lane)) and self._pressed(worker, lane):
                    left -= 1

    def _feed_all_idle(self) -> None:
        workers = self.workers
        first = next(iter(self._free_threads), None)
        if first is not None and self._feed_idle(workers[first]):  # mostly nothing is for it, nor for others
            for peer in list(self._free_threads):
                if not self._feed_idle(workers[peer]):
                    break

    def _feed_idle(self, worker: WorkerRecord) -> bool:
        """Nothing waits for this worker: take from the longest other lane, or ask the busiest worker to give back.

        Returns whether the next idle worker should try too.
        """
        if "default" in worker.queues:
            lanes = [
                (self.frontier.ready(lane), lane) for lane in self.frontier.some_lanes(LOOKED_AT) if lane > ANYWHERE
            ]
            longest = max(lanes, default=(0, ANYWHERE))
            if longest[0] and self._give(worker, longest[1]):
                return True
        if (
            not self._restricting
            and not self._late
            and 0 < self._seconds * self._widest * (1 + MOST_AHEAD) < WORTH_MOVING
        ):
            return False
        some = self._askable if self._restricting else islice(self._askable, LOOKED_AT)
        laden = [self.workers[peer] for peer in some]
        busiest = max([w for w in laden if has_for(w, worker)], key=lambda w: w.outstanding, default=None)
        short = bool(self._seconds) and busiest is not None and self._seconds * busiest.outstanding < WORTH_MOVING
        if busiest is None or (short and not busiest.late):
            return any(w.restricted for w in laden)
        busiest.recalled, busiest.given = True, False
        self._askable.pop(busiest.id, None)
        self._send(busiest.id, m.TakeBack(-1, b"", to_give_back(busiest)))
        return True

    def _send_lease(self, worker: WorkerRecord, record: RunRecord, lease: Lease) -> None:
        block, base = record.block, record.block.base
        self._load(worker, record, lease.tasks)
        home = record.home
        for task in lease.tasks:
            home[task] = worker.id
        if record.fetched:
            record.made_again(lease.tasks)
        worker.given = True
        self._loaded(worker, len(lease.tasks))
        if self._prioritized:
            worker.least = min(worker.least, block.priority(lease.tasks[0]))
        wanted = [task for task in lease.tasks if task in block.futures]
        where, turn = self._where(worker, record, lease.tasks)
        tell = self._take_resources(worker, block, lease) if block.special else False
        tell = tell or lease.tasks[0] in block.apart  # it may be what killed a worker
        self._send(worker.id, m.Do(base, lease.attempt, m.ints(lease.tasks), m.ints(wanted), where, tell, turn))

    def _take_resources(self, worker: WorkerRecord, block: Block, lease: Lease) -> bool:
        """Take from a worker what a lease needs of it; return whether its start is to be told at once."""
        policy = block.policy(lease.tasks[0])
        if policy is None:
            return False
        if policy.where is not None or policy.limits:
            self._restricting = True
            for task in lease.tasks:
                worker.hold((block.base, task, lease.attempt), policy.where or EVERYWHERE)
        return bool(policy.limits)
