"""What is said of a plan that goes to workers in portions.

Covers: the sentence.  Does not cover: which portions a worker gets (portioning), opening them (net.portions).
"""

from __future__ import annotations

from lazygraph.executors.cluster.wire import Message


class Portion(Message, tag=39, frozen=True):
    """Scheduler to worker: rows of a plan from `first` on, and the constants that they read and the worker lacks.

    Offsets are those of the whole plan.  Body: `pages` of constants (see `TablesOnWire`), each a pickle of so many
    bytes as `lengths` says.
    """

    block: int
    first: int
    functions: bytes
    templates: bytes
    options_of: bytes
    origins_of: bytes
    input_offsets: bytes
    inputs: bytes
    kinds: bytes
    argument_offsets: bytes
    arguments: bytes
    pages: bytes
    lengths: bytes
