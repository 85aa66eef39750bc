"""Large values that a client scatters: they go to workers themselves, not through the scheduler.

On one host a value is copied once, into a segment, which the worker maps and has for others of that host too.

Covers: which worker gets which, what is done when one cannot have it.
Does not cover: small values, and where there is no worker yet: the scheduler hands those on (`Hold`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net.segments import SMALLEST, Segments, this_host

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.executors.cluster.net.connection import Connection
    from lazygraph.executors.cluster.net.parcels import Parcel

PATIENCE = 30.0
"""Seconds that the scheduler has to say who is there."""


def put_to_workers(connection: Connection, label: str, parcels: Sequence[Parcel]) -> list[tuple[str, str]]:
    """Give large values to workers; return where each is and by which name ("" for those that are nowhere yet)."""
    large = [at for at, parcel in enumerate(parcels) if parcel.length >= SMALLEST]
    if not large:
        return []
    state: m.StateOf = connection.ask(lambda question: m.AskState(question, [])).result(PATIENCE)
    near = [address for address in state.workers if address not in connection.out_of_reach]
    workers = sorted(near, key=lambda address: state.workers[address]["outstanding"])
    if not workers:
        return []
    where = [("", "")] * len(parcels)
    share = -(-len(large) // len(workers))
    segments = Segments(most_kept=0)
    tried = []
    try:
        for order, at in enumerate(large):
            parcel, worker, name = parcels[at], workers[order // share], f"{label}.{at}"
            kept = segments.put(parcel.pieces, parcel.length) if this_host() else None
            place, body = (None, parcel.pieces) if kept is None else (kept.place, ())
            tried.append((at, worker, name, kept, connection.put(worker, name, place, body)))
        for at, worker, name, kept, answer in tried:
            brought = answer.result()
            if brought is not None and brought.message.lengths != [1] and kept is not None:  # of another host
                brought = connection.put(worker, name, None, parcels[at].pieces).result()
            if brought is None:
                connection.out_of_reach.add(worker)
            elif brought.message.lengths == [1]:
                where[at] = worker, name
    finally:
        segments.close()
    return where
