"""What clients hold, and what outlasts them: work that belongs to the scheduler, futures found again by their keys.

Whatever is kept has a claim of the scheduler's own besides those of clients.  When all that is kept of a run has ended,
a time begins after which these claims are withdrawn; time is the mind's, and comes in with `decide`.

Covers: clients that go, keeping and forgetting, opening what is known by key or name, making failed entries again.
Does not cover: plans as they come, cancelling (scheduler_machine), what may run (running.frontier).
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from lazygraph.errors import InvalidOption
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.answering import ENDED, Answering
from lazygraph.executors.cluster.records import NOWHERE, RunRecord, held_shape, pack_shape, refusal, retried_shape
from lazygraph.running import events

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from lazygraph.running.block import Block


class Keeping(Answering):
    """The part of the scheduler's mind that knows who claims what, and how long."""

    def __init__(self) -> None:
        super().__init__()
        self._labels: dict[str, RunRecord] = {}
        self._named: dict[str, RunRecord] = {}  # by what the user calls a run; of several the newest
        self._lapses: list[tuple[float, int]] = []  # when something kept may go, and the base of its block
        self._made_again = 0

    def _known(self, record: RunRecord) -> None:
        """Let a run be found by its label and its name."""
        self._labels[record.label] = record
        if record.run_id:
            self._named[record.run_id] = record

    def _ended(self, block: Block) -> None:
        record = self.records.get(block.base)
        super()._ended(block)
        if record is not None and self._labels.get(record.label) is record:
            del self._labels[record.label]
        if record is not None and self._named.get(record.run_id) is record:
            del self._named[record.run_id]

    # -- keeping -----------------------------------------------------------------------------------

    def _keep(self, peer: int, message: m.Keep, body: bytes | memoryview, now: float) -> None:
        record = self.clients[peer].get(message.run)
        if record is None:
            return
        if not all(0 <= entry < len(record.block) for entry in m.from_ints(message.entries)):
            raise ValueError(f"a Keep names entries that run {message.run} has not got")
        self._keep_entries(record, m.from_ints(message.entries), message.seconds)

    def _keep_entries(self, record: RunRecord, entries: Iterable[int], seconds: float) -> None:
        fresh = [entry for entry in dict.fromkeys(entries) if entry not in record.lasting]
        self.frontier.claim(record.block, fresh)
        record.lasting.update(fresh)
        record.awaiting.update(entry for entry in fresh if not ENDED[record.block.state[entry]])
        record.seconds_kept, record.until = max(record.seconds_kept, seconds), None
        self.settling[record.block.base] = record

    def _forgo(self, peer: int, message: m.Forgo, body: bytes | memoryview, now: float) -> None:
        record = self.clients[peer].get(message.run)
        if record is not None:
            for entry in m.from_ints(message.entries):
                self._keep_no_longer(*record.block.owner(entry), now)

    def _keep_no_longer(self, block: Block, entry: int, now: float) -> None:
        record = self.records.get(block.base)
        if record is not None and entry in record.lasting:
            self._withdraw(record, [entry], now)
            self.settling[block.base] = record

    def _withdraw(self, record: RunRecord, entries: list[int], now: float) -> None:
        """Give up the scheduler's own claims."""
        record.lasting.difference_update(entries)
        record.awaiting.difference_update(entries)
        self._handle(events.Dropped(record.block, entries), now)

    def _lapse(self, now: float) -> None:
        """Begin to count the time of what has ended, and let go of what was kept for long enough."""
        settling, self.settling = self.settling, {}
        for base, record in settling.items():
            if record.lasting and not record.awaiting and record.until is None:
                record.until = now + record.seconds_kept
                heappush(self._lapses, (record.until, base))
        while self._lapses and self._lapses[0][0] <= now:
            until, base = heappop(self._lapses)
            kept = self.records.get(base)
            if kept is not None and kept.until == until:
                self._withdraw(kept, list(kept.lasting), now)

    def _next_lapse(self) -> float | None:
        while self._lapses:
            until, base = self._lapses[0]
            record = self.records.get(base)
            if record is not None and record.until == until:
                return until
            heappop(self._lapses)  # it was forgotten, or is kept for longer
        return None

    def _ask_accepted(self, peer: int, message: m.AskAccepted, body: bytes | memoryview, now: float) -> None:
        self._send(peer, m.Answer(message.question, message.run in self.clients[peer]))

    def _client_lost(self, peer: int, now: float) -> None:
        """What a client was waiting for is cancelled, what it held is freed; what others claim too goes on for them."""
        # The newest first: what only they have read of older ones is not claimed any more when it is the turn of those.
        for record in reversed(self.clients.pop(peer).values()):
            block = record.block
            record.wants.clear()
            if not record.lasting and not block.watchers:
                self._handle(events.CancelRun(block), now)
            held = [(e, count) for claims in (block.futures, block.given_up) for e, count in claims.items()]
            mine = [e for e, count in held for _ in range(count - (e in record.lasting))]
            self._handle(events.Dropped(block, mine), now)

    # -- finding -----------------------------------------------------------------------------------

    def _open(self, peer: int, message: m.Open, body: bytes | memoryview, now: float) -> None:
        """Let a run of a client stand for entries of another run, whosever that is."""
        of = self._found(message.key) if message.key else self._found_run(message.name)
        if of is None:
            self._send(peer, m.Opened(message.question, message.run, "", [], []))
            return
        home, entries = of
        names = [home.block.shape.name_of(entry) for entry in entries]
        keys = [home.key_of(home.name_in_key(entry), entry) for entry in entries]
        self._send(peer, m.Opened(message.question, message.run, home.run_id, keys, names))
        shape = held_shape(names)
        block, actions = self.frontier.admit(shape, [(home.block, entry) for entry in entries], False, now)
        record = RunRecord(block, peer, message.run, pack_shape(shape), m.TablesOnWire([], 0), b"")
        record.label, record.keys, record.attached = home.label, keys, None if message.key else home
        record.aliases = [(owner.base, entry) for owner, entry in map(block.owner, range(len(entries)))]
        self._enter(record, actions)

    def _enter(self, record: RunRecord, actions: Sequence[events.Action]) -> None:
        self._know(record)
        if record.client in self.clients:
            self.clients[record.client][record.run] = record
        self._perform(actions)

    def _found(self, key: str) -> tuple[RunRecord, list[int]] | None:
        """Return whose entry has a key, if somebody claims it."""
        name, _, rest = key.rpartition("-")
        name, _, label = name.rpartition("-")
        record = self._labels.get(label)
        entry = int(rest) if rest.isdecimal() else NOWHERE
        if record is None or not self._is_claimed(record, entry) or record.name_in_key(entry) != name:
            return None
        return record, [entry]

    def _found_run(self, name: str) -> tuple[RunRecord, list[int]] | None:
        record = self._named.get(name)
        outputs = [] if record is None else record.block.shape.outputs
        entries = [entry for entry in outputs if record is not None and self._is_claimed(record, entry)]
        return (record, entries) if record is not None and entries else None

    def _is_claimed(self, record: RunRecord, entry: int) -> bool:
        return entry in record.block.futures or entry in record.block.watchers

    # -- making again ------------------------------------------------------------------------------

    def _again(self, peer: int, message: m.Again, body: bytes | memoryview, now: float) -> None:
        """Make entries again as a run of their own, and with them whatever has failed above, in whatever run."""
        old = self.clients[peer].get(message.of)
        entries = list(m.from_ints(message.entries))
        if old is None:
            why = "the run of a future to be made again is over and was forgotten; submit the call again"
            self._send(peer, refusal(message.run, message.entries, "retry", why))
            return
        needed = self._failed_above(old, entries)
        made: dict[int, Block] = {}
        hidden: list[RunRecord] = []
        for base in sorted(needed):  # nobody reads what is newer
            was = self.records[base]
            try:
                record, actions = self._made_of(was, entries if was is old else list(needed[base]), needed, made, now)
            except InvalidOption as error:  # a limit that is another one by now
                self._send(peer, refusal(message.run, message.entries, "retry", str(error)))
                break
            made[base] = record.block
            if was is old:
                record.client, record.run, record.label = peer, message.run, message.label
            else:
                hidden.append(record)
            self._known(record)
            self._enter(record, actions)
            self._only(record, entries if was is old else needed[base], now)
        for record in hidden:  # who reads them claims them
            self._handle(events.Dropped(record.block, list(record.block.futures)), now)

    def _failed_above(self, old: RunRecord, entries: Sequence[int]) -> dict[int, dict[int, None]]:
        """Return, by block, the unhappy entries of other runs that these need, and theirs; and these themselves."""
        needed = {old.block.base: dict.fromkeys(entries)}
        stack = [old.block]
        while stack:
            block = stack.pop()
            for external in _externals_above(block, needed[block.base]):
                owner, entry = block.owner(external)
                mine = needed.setdefault(owner.base, {}) if entry in owner.causes and owner is not block else None
                if mine is not None and entry not in mine and owner.base in self.records:
                    mine[entry] = None
                    stack.append(owner)
        return {base: found for base, found in needed.items() if found}

    def _made_of(
        self,
        was: RunRecord,
        entries: Sequence[int],
        needed: Mapping[int, Collection[int]],
        made: Mapping[int, Block],
        now: float,
    ) -> tuple[RunRecord, list[events.Action]]:
        """Admit a plan once more; what it reads of others is what it was, or what is made again of that."""
        bindings: list[tuple[Block, int] | None] = []
        for external, bound in enumerate(was.block.bindings):
            owner, entry = was.block.owner(external)
            again = bound is not None and entry in needed.get(owner.base, ()) and owner.base in made
            bindings.append((made[owner.base], entry) if again else bound)
        shape = retried_shape(was.block.shape, entries)
        block, actions = self.frontier.admit(shape, bindings, False, now, was.block.skips)
        record = RunRecord(block, NOWHERE, 0, was.shape, was.tables, was.body)
        self._made_again += 1
        record.label = f"{was.label}.again{self._made_again}"
        record.aliases = [(owner.base, entry) for owner, entry in map(block.owner, range(len(bindings)))]
        return record, actions

    def _only(self, record: RunRecord, entries: Iterable[int], now: float) -> None:
        """Give up the outputs that are not to be made again, and with them what only they need."""
        wanted = set(entries)
        rest = [e for e, count in record.block.futures.items() if e not in wanted for _ in range(count)]
        self._handle(events.Dropped(record.block, rest), now)


def _externals_above(block: Block, entries: Iterable[int]) -> list[int]:
    """Return the externals that entries need, themselves among them."""
    seen = dict.fromkeys(entries)
    stack = list(seen)
    while stack:
        for read in block.inputs_of(stack.pop()):
            if read not in seen:
                seen[read] = None
                stack.append(read)
    return [entry for entry in seen if entry < len(block.bindings)]
