"""What runs in Ray's workers: leases, whose values stay in its object store.

Covers: running a lease there, leaving values without copying what is large in them, opening them when they are read.
Does not cover: calling for it (executors.on_ray), what a lease is (executors.remote).
"""

from __future__ import annotations

import copyreg
import os
import pickle
import signal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lazygraph.executors.cluster.net import codec
from lazygraph.executors.datagrams import saying_to
from lazygraph.executors.remote import program_of, run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def run_call(
    plan: bytes, lease: bytes, ear: bytes | None, *inputs: Mapping[int, Sequence[Any]]
) -> tuple[bytes, dict[int, Sequence[Any]]]:
    """Run a lease; return its report, and what it leaves: for each value its pickle, and buffers that are not copied.

    Not the values: one that cannot be pickled must fail its own task only, and Ray's pickle of an object whose class is
    of `__main__` would open as an object of another class.
    """
    import ray

    teach_references(ray)
    left: dict[int, Sequence[Any]] = {}

    def leave(entry: int, value: Any) -> None:
        buffers: list[pickle.PickleBuffer] = []
        head = codec.dumps(value, buffers.append)
        left[entry] = [pickle.PickleBuffer(head), *buffers]

    # Ray would interrupt what it is asked to cancel.  (Not SIG_IGN: programs that tasks start would inherit it.)
    before = signal.signal(signal.SIGINT, lambda *_: None)
    say = saying_to(ear) if ear is not None else None
    try:
        program = program_of(plan, _name_of(os.getpid()))
        return run(program, lease, inputs=[_Opening(one) for one in inputs], leave=leave, say=say), left
    finally:
        signal.signal(signal.SIGINT, before)


@lru_cache(maxsize=1)
def _name_of(pid: int) -> str:
    """Return what a worker of Ray's is called: as in its own logs, by address and process."""
    import ray

    library: Any = ray
    return f"ray@{library.util.get_node_ip_address()}/{pid}"


class _Opening(dict[int, Any]):
    """What a lease has left: each value is opened when it is read."""

    def __init__(self, left: Mapping[int, Sequence[Any]]) -> None:
        self._left = left

    def __missing__(self, entry: int) -> Any:
        head, *buffers = self._left[entry]
        value = self[entry] = pickle.loads(head, buffers=buffers)
        return value


def packed(left: Sequence[Any]) -> bytes:
    """Return the pickle of a value that a lease has left, all of it copied, so that it is nobody else's."""
    head, *buffers = left
    return bytes(head) if not buffers else codec.dumps(pickle.loads(head, buffers=map(bytearray, buffers)))


def teach_references(ray: Any) -> None:
    """See that references to objects, which users may give and return, open as such wherever they travel.

    What they refer to is held until the process that has sent one ends.
    """
    copyreg.pickle(ray.ObjectRef, lambda reference: (ray.cloudpickle.loads, (ray.cloudpickle.dumps(reference),)))
