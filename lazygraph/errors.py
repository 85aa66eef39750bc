"""Every error lazygraph raises, built from facts.

Covers: the classes, their built-in bases and their sentences.
Does not cover: the user's own exceptions, which reach the caller as they were raised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class LazyGraphError(Exception):
    """The base of all of them.  Survives pickling although subclasses are built from facts, not from text."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (type(self), self.args, self.__dict__)


def _revive(cls: type[LazyGraphError], args: tuple[Any, ...], state: dict[str, Any]) -> LazyGraphError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def suggest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the known word nearest to `word`, or nothing when none is near."""
    import difflib  # only those pay for it who have mistyped something

    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


# -- what a person wrote ---------------------------------------------------------------------------


class UnknownOption(LazyGraphError, TypeError):
    """A keyword that is no option; `instead` says what another library's option is called here."""

    def __init__(self, where: str, name: str, known: Iterable[str], instead: str = "") -> None:
        known = sorted(known)
        hint = f"; {instead}" if instead else suggest(name, known) or f"; it takes {', '.join(known)}"
        super().__init__(f"{where} has no option {name!r}{hint}")


class InvalidOption(LazyGraphError, ValueError):
    """An option with a value it cannot have."""


class WrongCall(LazyGraphError, TypeError):
    """A call that its function cannot take: found when the call is written, not when it runs."""

    def __init__(self, function: str, signature: str, reason: str, where: str) -> None:
        super().__init__(f"{function}{signature} cannot be called like this: {reason} (written at {where})")


class WrongCanvas(LazyGraphError, TypeError):
    """Something that cannot stand where it stands in a canvas; the sentence says what to write."""


class NotConcrete(LazyGraphError, TypeError):
    """A promise was used where its value is needed (`if`, `for`, `len`, `int`)."""


class WrongNumberOfOutputs(LazyGraphError, ValueError):
    """A value did not have as many parts as `nout` promised."""

    def __init__(self, expected: int, found: str) -> None:
        super().__init__(f"nout={expected} was promised, but the value has {found}; correct nout= or the function")


class EmptyCanvas(LazyGraphError, ValueError):
    """A canvas with nothing in it was asked for a value."""

    def __init__(self) -> None:
        super().__init__("chain() is empty and has no value; put a signature into it first, for instance chain(f.s(1))")


class Unkeyable(LazyGraphError, TypeError):
    """Something has no content that a key could be made from; `path` leads to it, `where` says who wanted the key."""

    def __init__(self, thing: str, reason: str, path: str = "", where: str = "") -> None:
        place = "".join(f"{part}: " for part in (where, path) if part)
        super().__init__(
            f"{place}{thing} has no content that a key could be made of ({reason}); leave it out, give its class a "
            f"method __lazygraph_key__() that returns what it stands for, or say pure=False if the call is not to be "
            f"shared"
        )
        self.thing, self.reason, self.path, self.where = thing, reason, path, where


class DuplicateKey(LazyGraphError, ValueError):
    """Two different calls were given one key."""

    def __init__(self, key: str, first: str, second: str) -> None:
        super().__init__(
            f"two different calls have the key {key!r}: one was built at {first}, the other at {second}; "
            f"give each a key of its own"
        )
        self.key, self.first, self.second = key, first, second


class CyclicGraph(LazyGraphError, ValueError):
    """A graph from outside has a cycle."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(f"the graph has a cycle: {' -> '.join(names)}; a task cannot wait for itself")


class LargeLiteralWarning(UserWarning):
    """A large value stands in a call as a literal.  No error: it is stored once, and travels with the graph."""

    def __init__(self, what: str, n_bytes: int, where: str) -> None:
        super().__init__(what, n_bytes, where)

    def __str__(self) -> str:
        what, n_bytes, where = self.args
        return (
            f"{what} of {n_bytes / 1e6:.0f} MB is part of the graph (built at {where}) and is sent with it every time; "
            f"load it in a task of its own, or send it once with client.scatter(value) and use the future"
        )


class CacheWarning(UserWarning):
    """Something about kept results did not work.  No error: the value is made, or made again, and is right."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what, why)

    def __str__(self) -> str:
        what, why = self.args
        return f"cache=: {what}: {why}"


# -- what is not there -----------------------------------------------------------------------------


class NotImplementedYet(LazyGraphError, NotImplementedError):
    """Part of the contract that is not built yet.  Nothing has been run."""

    def __init__(self, what: str, instead: str = "") -> None:
        super().__init__(f"{what} is not built yet{'; ' + instead if instead else ''}")


class UnsupportedByExecutor(LazyGraphError, NotImplementedError):
    """A plan needs what its executor cannot do.  Nothing has been run."""

    def __init__(self, executor: str, option: str, node: str, where: str, others: Sequence[str] = ()) -> None:
        rather = f"run it on {' or '.join(map(repr, others))}" if others else "choose another executor"
        super().__init__(
            f"executor {executor!r} does not honour {option}, which node {node!r} asks for (built at {where}); "
            f"remove the option or {rather}; nothing was run"
        )


class UnknownExecutor(LazyGraphError, ValueError):
    """A name that no executor has."""

    def __init__(self, name: object, known: Iterable[str]) -> None:
        known = sorted(known)
        super().__init__(f"there is no executor {name!r}{suggest(str(name), known)} (known: {', '.join(known)})")


class MissingExtra(LazyGraphError, ImportError):
    """A library of an optional extra is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs a library that is not installed; install it with: pip install 'lazygraph[{extra}]'"
        )


class MissingProgram(LazyGraphError, OSError):
    """A program outside Python is not installed."""

    def __init__(self, what: str, program: str, hint: str) -> None:
        super().__init__(f"{what} needs the program {program!r}, which was not found; {hint}")


# -- running ---------------------------------------------------------------------------------------


class Unserializable(LazyGraphError, TypeError):
    """Something that must travel to another process cannot be pickled."""

    def __init__(self, what: str, where: str, reason: str) -> None:
        super().__init__(f"{what} cannot be sent to another process: {reason} ({where})")


class NoRoom(LazyGraphError, MemoryError):
    """What a task has made has room neither in its worker's memory nor on its disk."""

    def __init__(self, node: str, size: int, path: str, limit: int, reason: object) -> None:
        super().__init__(node, size, path, limit, str(reason))
        self.node, self.size, self.path, self.limit, self.reason = node, size, path, limit, str(reason)

    def __reduce__(self) -> tuple[Any, ...]:  # MemoryError is made in a way of its own
        return type(self), self.args, self.__dict__

    def __str__(self) -> str:
        return (
            f"the value of {self.node!r}, {self.size:,} bytes, has no room: its worker may have {self.limit:,} bytes "
            f"of memory, and in {self.path} it could not be written: {self.reason}; make room there, set TMPDIR to "
            f"another disk, or start workers with a larger --memory-limit"
        )


class SpilledValueLost(LazyGraphError, OSError):
    """A value that a worker had written to disk cannot be read again."""

    def __init__(self, size: int, path: str, reason: object) -> None:
        super().__init__(size, path, str(reason))
        self.size, self.path, self.reason = size, path, str(reason)

    def __str__(self) -> str:
        return (
            f"a value of {self.size:,} bytes that was written to {self.path} cannot be read: {self.reason}; compute it "
            f"again, and see that nobody removes what is in that folder"
        )


class RemoteError(LazyGraphError, RuntimeError):
    """Stands for an exception that could not travel.

    `type_name`, `message` and `traceback` (text) say what it was.
    """

    def __init__(self, type_name: str, message: str, traceback: str) -> None:
        super().__init__(f"{type_name}: {message}")
        self.type_name, self.message, self.traceback = type_name, message, traceback


class WorkerDied(LazyGraphError, RuntimeError):
    """The processes that ran a task died, again and again; `ends` says what is known of how each of them did."""

    def __init__(self, node: str, times: int, worker: str, ends: str = "") -> None:
        super().__init__(
            f"{node!r} was running on {times} workers one after another when each of them died (last: {worker}); "
            f"it may crash the interpreter or need more memory than there is"
            + "".join(f"\n  {line}" for line in ends.splitlines())
        )
        self.node, self.ends = node, ends


class EngineFailed(LazyGraphError, RuntimeError):
    """What an executor has its tasks run by (Dask, Ray, Celery, a pool) has not brought one to its end."""

    def __init__(self, node: str, engine: str, why: str, hint: str = "") -> None:
        super().__init__(f"{engine} has not brought {node!r} to its end: {why}; {hint or 'it may have run'}")
        self.node, self.engine, self.why = node, engine, why


class TaskTimeout(LazyGraphError, TimeoutError):
    """An attempt ran longer than its `timeout=` and was killed."""

    def __init__(self, node: str, seconds: float, where: str) -> None:
        super().__init__(
            f"{node!r} ran longer than its timeout of {seconds:g} s and was killed (built at {where}); raise timeout=, "
            f"let it do less at a time, or say retries= if it may succeed the next time"
        )
        self.node, self.seconds, self.where = node, seconds, where


class TaskExpired(LazyGraphError, TimeoutError):
    """A task had not started when its time was over."""

    def __init__(self, node: str, where: str) -> None:
        super().__init__(
            f"{node!r} had not started when it expired (built at {where}); raise expires=, or find out what it "
            f"waited for"
        )
        self.node, self.where = node, where


class RetriesExhausted(LazyGraphError, RuntimeError):
    """A task asked to be tried again, without a reason, more often than it may."""

    def __init__(self, node: str, attempt: int) -> None:
        super().__init__(
            f"{node!r} asked with self.retry() to be tried again after attempt {attempt}, which was its last; raise "
            f"max_retries=, or say why with self.retry(exc=...): then that is what has failed"
        )
        self.node, self.attempt = node, attempt


class TaskCancelled(BaseException):
    """Raised in a task that runs when it is cancelled with `force=True`.

    Not an Exception: what a task does about its errors is not meant for this one.
    """


class LostData(LazyGraphError, KeyError):
    """A value is gone and nothing says how to make it again."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what} is lost: {why}")

    __str__ = Exception.__str__


class NestingTooDeep(LazyGraphError, RecursionError):
    """Too many tasks wait for work that they have started themselves."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"{most} tasks of this executor wait for other work at once; let a task return replace(canvas) instead of "
            f"waiting for it, or build the whole graph before it runs"
        )


class WouldDeadlock(LazyGraphError, RuntimeError):
    """Something waits for work that may need what it holds: its own slot, its event loop, the time of a test."""

    def __init__(self, executor: str, on_loop: bool = False, held: bool = False) -> None:
        if held:
            super().__init__(
                f"on executor {executor!r} nothing runs until held() ends or time is let pass, which this waits for; "
                f"call advance(seconds) first, or give a timeout"
            )
            return
        if on_loop:
            super().__init__(
                f"an async task on executor {executor!r} waits for a future of the same executor and holds up the "
                f"event loop that its tasks are awaited on; write `await future`, or return lazygraph.replace(...)"
            )
            return
        super().__init__(
            f"a task on executor {executor!r} waits for a future of the same executor, which may never get a slot; "
            f"return lazygraph.replace(...) instead of waiting, or use 'threads' or a cluster"
        )


class ReplacedTooDeep(LazyGraphError, RecursionError):
    """What stands for a task was replaced again and again."""

    def __init__(self, node: str, most: int) -> None:
        super().__init__(
            f"{node!r} stands for a task that has been replaced {most} times, each time by a task that was replaced in "
            f"its turn; see that replace() comes to an end, or do more in one step"
        )


class InputChanged(LazyGraphError, ValueError):
    """A task changed a value that it was given, which other tasks may read (seen where LAZYGRAPH_CHECK_MUTATION=1)."""

    def __init__(self, task: str, argument: str, kind: str) -> None:
        super().__init__(
            f"the task {task!r} changed its {argument} (a {kind}), and others may read the same value; "
            f"change a copy instead and return that"
        )


class ReturnedPromise(LazyGraphError, TypeError):
    """A task returned a promise instead of a value."""

    def __init__(self, promise: str) -> None:
        super().__init__(
            f"the task returned {promise}, which has no value yet; write `return lazygraph.replace(...)` to have it "
            f"done in the task's place, or return a value"
        )


class Closed(LazyGraphError, RuntimeError):
    """An executor or client was used after `close()`."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is closed; open a new one")


class UsedAfterFork(LazyGraphError, RuntimeError):
    """An executor or client of the parent process was used in a forked child."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} belongs to the process that forked this one; open a new one here")


# -- the cluster -----------------------------------------------------------------------------------


class CannotConnect(LazyGraphError, ConnectionError):
    """Nobody answers at an address."""

    def __init__(self, address: str, reason: str, engine: str = "") -> None:
        if engine:  # somebody else's: how to start it is for its own words
            super().__init__(f"no {engine} answers at {address} ({reason})")
            return
        port = address.rpartition(":")[2]
        super().__init__(
            f"no lazygraph scheduler answers at {address} ({reason}); start one with: lazygraph scheduler "
            f"--port {port if port.isdigit() else 8786}   or use LocalCluster() to start everything on this machine"
        )


class Refused(LazyGraphError, ConnectionError):
    """The other side refused the greeting; the sentence is its own."""


class ConnectionLost(LazyGraphError, ConnectionError):
    """The connection ended while work was still wanted from it."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"the connection to {address} ended: {reason}; what was not finished is lost to this client")


class UnknownKey(LazyGraphError, KeyError):
    """A scheduler has no future of this key, or no run of this name."""

    def __init__(self, what: str, address: str) -> None:
        super().__init__(
            f"the scheduler at {address} has no {what}: it never had, its result_ttl is over, it was forgotten, or "
            f"whoever held it has ended; work that is to outlast its client is started by .delay or detach=True"
        )

    __str__ = Exception.__str__


class UnsafeTokenPlace(LazyGraphError, PermissionError):
    """A token's directory or file is open to others, or is not what it should be."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(
            f"no token is kept in or read from {path}: {reason}; remove it, or set XDG_RUNTIME_DIR to a directory of "
            f"your own that nobody else can open"
        )


class ClusterFailed(LazyGraphError, RuntimeError):
    """A process of a local cluster did not start, or ended by itself again and again."""
