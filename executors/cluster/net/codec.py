"""Pickles: tables, values and exceptions, on the two sides that open them (clients and workers).

Functions are pickled once each, constants once together; what cannot travel is named with where it was written.

Covers: pickling, finding the culprit, estimating sizes.
Does not cover: frames (net.link), shapes (cluster.records).
"""

from __future__ import annotations

import builtins
import io
import pickle
import traceback
from array import array
from collections import ChainMap
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any

import cloudpickle

from lazygraph.errors import RemoteError, TaskCancelled, Unserializable
from lazygraph.executors.base import CAPABILITIES, unsupported
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.records import pack_shape
from lazygraph.values.graph import Fused, Tables
from lazygraph.values.options import RetryPolicy
from lazygraph.values.references import portable, restored

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from lazygraph.executors.cluster.worker_machine import WorkLease
    from lazygraph.planning.plan import Plan
    from lazygraph.running.runner import Report
    from lazygraph.values.graph import Shape

Buffer = bytes | memoryview


class _Reducers(ChainMap[type, Any]):
    """What cloudpickle and users have said of classes, without what tblib says of exceptions.

    distributed installs that for every class of exceptions there is, and some do not survive it which otherwise do.
    """

    def __getitem__(self, cls: type) -> Any:
        for table in self.maps:
            reducer = table.get(cls)
            if reducer is not None and getattr(reducer, "__module__", None) != "tblib.pickling_support":
                return reducer
        raise KeyError(cls)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    dispatch_table = _Reducers(*vars(cloudpickle.Pickler)["dispatch_table"].maps)


def dumps(value: Any, buffers: Callable[[pickle.PickleBuffer], Any] | None = None) -> bytes:
    """Pickle anything; functions and classes of `__main__` go by value.  A failure is an `Exception`, as in `loads`.

    `buffers` is called with parts that may stand outside; those for which it returns nothing are not in the pickle.
    """
    try:
        with io.BytesIO() as file:
            _Pickler(file, protocol=5, buffer_callback=buffers).dump(value)
            return file.getvalue()
    except (Exception, TaskCancelled):
        raise
    except BaseException as error:
        raise _ordinary(error) from error


def loads(blob: Buffer, buffers: Iterable[Any] = ()) -> Any:
    """Open a pickle, with the parts that stand outside of it.

    A failure is an `Exception`, whatever it is that what is opened raises: it ends no thread.
    """
    try:
        return pickle.loads(blob, buffers=buffers)
    except (Exception, TaskCancelled):
        raise
    except BaseException as error:
        raise _ordinary(error) from error


def _ordinary(error: BaseException) -> Exception:
    if isinstance(error, KeyboardInterrupt) and current_thread() is main_thread():
        raise error  # Ctrl-C
    return pickle.PickleError(reason_of(error))


def reason_of(error: BaseException) -> str:
    """Return what a failed pickle said, on one line."""
    return f"{type(error).__name__}: {error}".replace("\n", " ")


# -- tables ----------------------------------------------------------------------------------------


def pack_tables(shape: Shape, tables: Tables) -> tuple[m.TablesOnWire, list[bytes]]:
    """Pickle the tables.  Raises `Unserializable` naming the function or argument and where the node was built."""
    functions = []
    for row, function in enumerate(tables.functions):
        try:
            functions.append(dumps(portable(function)))
        except Exception as error:
            where = _called_at(shape, tables, row)
            raise Unserializable(f"function {shape.names[row]!r}", where, reason_of(error)) from error
    try:
        rest = dumps((tables.constants, tables.templates))
    except Exception as error:
        raise _culprit(shape, tables, error) from error
    classes = {row: (r.on, r.not_on) for row, r in _own_classes(shape)}
    policies = dumps(classes) if classes else b""
    return m.TablesOnWire([len(blob) for blob in functions], len(rest), len(policies)), [*functions, rest, policies]


def _own_classes(shape: Shape) -> Iterator[tuple[int, RetryPolicy]]:
    """Yield the option rows whose retries are about other exceptions than usual."""
    for row, options in enumerate(shape.options):
        policy = options.retries
        if isinstance(policy, RetryPolicy) and (policy.on, policy.not_on) != _USUAL:
            yield row, policy


_USUAL = (RetryPolicy().on, RetryPolicy().not_on)


def unpack_policies(wire: m.TablesOnWire, body: Buffer) -> dict[int, tuple[Any, Any]]:
    """Return, by option row, the classes of exceptions that are retried and those that are not, where they are special.

    Classes that cannot be opened here match nothing: an exception of theirs cannot be raised here either.
    """
    if not wire.policies:
        return {}
    try:
        found: dict[int, tuple[Any, Any]] = loads(memoryview(body)[-wire.policies :])
    except Exception:
        return {}
    return found


def _called_at(shape: Shape, tables: Tables, row: int) -> str:
    """Say where the first call of a function was built; it may be a member of a fused task."""
    for at in range(shape.externals, len(shape)):
        function = tables.functions[shape.function[at]]
        steps = function.steps if isinstance(function, Fused) else ()
        origin = next((step.origin for step in steps if step.function == row), None)
        if shape.function[at] == row:
            origin = shape.origin[at]
        if origin is not None and origin >= 0:
            return f"built at {shape.origins[origin]}"
    return "of this plan"


def _culprit(shape: Shape, tables: Tables, error: BaseException) -> Unserializable:
    """Find which constant cannot be pickled, and which node reads it."""
    for row, constant in enumerate(tables.constants):
        try:
            dumps(constant)
        except Exception as own:
            for at in range(shape.externals, len(shape)):
                numbers = shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]
                if ~row in numbers:
                    what = f"argument {type(constant).__name__} of {shape.name_of(at)!r}"
                    return Unserializable(what, f"built at {shape.origin_of(at)}", reason_of(own))
    return Unserializable("an argument", "of this plan", reason_of(error))


class _Unloadable:
    """Stands for a function that could not be unpickled here; calling it says why."""

    def __init__(self, name: str, error: Exception) -> None:
        self.name, self.error = name, error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise self.error


def unpack_tables(names: Sequence[str], wire: m.TablesOnWire, body: Buffer) -> Tables:
    """Open tables.  What cannot be opened raises when a task calls it, not before: others may run."""
    view = memoryview(body)
    at = 0
    functions: list[Any] = []
    constants: Any
    templates: Any
    for name, length in zip(names, wire.functions, strict=True):
        functions.append(_open_function(name, view[at : at + length]))
        at += length
    try:
        constants, templates = loads(view[at : at + wire.constants]) if wire.constants else ((), (None,))
    except Exception as error:
        broken = _Unloadable("the arguments", cannot_open_arguments(error))
        functions = [broken if not isinstance(f, Fused) else f for f in functions]
        constants, templates = _Anything(), _Anything()
    return Tables(tuple(functions), constants, templates)


_ARGUMENT = "an argument of this call, or of one that was sent with it,"


def cannot_open_arguments(error: Exception) -> Unserializable:
    """Return what is raised instead of a call whose arguments could not be opened."""
    return _cannot_open(_ARGUMENT, error)


def is_about_arguments(error: BaseException) -> bool:
    """Whether a call has failed because an argument of some call of its plan could not be opened."""
    return isinstance(error, Unserializable) and str(error).startswith(_ARGUMENT)


class _Anything:
    """A table whose rows do not matter: the functions that would read them only raise."""

    def __getitem__(self, row: int) -> Any:
        return None


def _open_function(name: str, blob: memoryview) -> Any:
    try:
        return restored(loads(blob))
    except Exception as error:
        return _Unloadable(name, _cannot_open(f"function {name!r}", error))


def _cannot_open(what: str, error: Exception) -> Unserializable:
    hint = ""
    if isinstance(error, ImportError):
        hint = (
            "; the worker cannot import that module: install it there, start the worker where it is, or send it by "
            "value with cloudpickle.register_pickle_by_value(module)"
        )
    return Unserializable(what, "opened on a worker", reason_of(error) + hint)


# -- exceptions ------------------------------------------------------------------------------------


def pack_exception(error: BaseException, text: str) -> bytes:
    """Pickle an exception, after seeing that it survives the trip; one that does not travels as `RemoteError`."""
    try:
        blob = dumps(error)
        again = loads(blob)
        if type(again) is type(error):
            return blob
    except Exception:
        pass
    return dumps(stand_in(error, text))


def stand_in(error: BaseException, text: str) -> RemoteError:
    """Return a `RemoteError` that also derives from the nearest built-in base of `error`."""
    base = next(cls for cls in type(error).__mro__ if cls.__module__ == "builtins")
    return _make_stand_in(base.__name__, type(error).__qualname__, _said_by(error), text)


def _said_by(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as problem:
        return f"(its message cannot be had: {type(problem).__name__})"


def _make_stand_in(base: str, type_name: str, message: str, text: str) -> RemoteError:
    try:
        return _class_of_stand_in(base)(type_name, message, text)
    except TypeError:  # a built-in that is made of something else than a message, as exception groups are
        return RemoteError(type_name, message, text)


@lru_cache
def _class_of_stand_in(base: str) -> type[RemoteError]:
    """Return the one class of stand-ins for exceptions of a built-in: one that travels on is of the same class."""
    kind = getattr(builtins, base)
    if not issubclass(kind, Exception) or kind in (Exception, RuntimeError):
        return RemoteError

    def reduce(self: RemoteError) -> tuple[Any, ...]:
        return _make_stand_in, (base, self.type_name, self.message, self.traceback), self.__dict__

    try:
        return type("RemoteError", (RemoteError, kind), {"__reduce__": reduce})
    except TypeError:  # layouts that cannot be combined
        return RemoteError


def unpack_exception(blob: Buffer, node: str, text: str) -> BaseException:
    """Open an exception; one whose class is not here becomes a `RemoteError`.  The remote traceback is a note."""
    error: Any
    try:
        error = loads(blob)
    except Exception as problem:
        last = text.strip().splitlines()[-1] if text.strip() else reason_of(problem)
        name, _, message = last.partition(": ")
        error = RemoteError(name, message, text)
    if not isinstance(error, BaseException):
        error = RemoteError(type(error).__name__, str(error), text)
    if text:
        with suppress(Exception):  # one of its own ideas may refuse notes, or have something else in their place
            _note(error, f"{_REMOTE}{node!r}:\n{text.rstrip()}")
    found: BaseException = error
    return found


_REMOTE = "Remote traceback of "


def _note(error: BaseException, note: str) -> None:
    """Add a note in the place of those like it, which its text has in it: else it would double with every trip."""
    # Not `add_note`, which exceptions that are frozen do not allow.
    own = [known for known in getattr(error, "__notes__", ()) if not str(known).startswith(_REMOTE)]
    error.__dict__["__notes__"] = [*own, note]


# -- sizes -----------------------------------------------------------------------------------------

_FIXED: Mapping[type, int] = {int: 28, float: 24, bool: 28, type(None): 16, complex: 32}
_SAMPLES = (10, 4, 2)  # so many members of a container are looked at, of containers in it fewer
_UNKNOWN = 1024


def size_of(value: Any) -> int:
    """Estimate a value's bytes: exact for numbers, texts and buffers, sampled for containers, else by pickle."""
    fixed = _FIXED.get(type(value))
    if fixed is not None:
        return fixed
    try:
        return _measure(value, 0)
    except Exception:  # users' objects may raise anything; if it must travel, that is when it is an error
        return _UNKNOWN


def _measure(value: Any, depth: int) -> int:
    fixed = _FIXED.get(type(value))
    if fixed is not None:
        return fixed
    size = getattr(value, "nbytes", None)
    if isinstance(size, int):
        return size + 100
    if isinstance(value, str | bytes | bytearray):
        return len(value) + 50
    if isinstance(value, dict):
        return 64 + _sample(value.keys(), depth) + _sample(value.values(), depth)
    if isinstance(value, list | tuple | set | frozenset):
        return 56 + _sample(value, depth)
    return len(dumps(value)) if depth < 2 else 64


def _sample(members: Collection[Any], depth: int) -> int:
    if not members:
        return 0
    if depth == len(_SAMPLES):
        return 64 * len(members)
    looked = [8 + _measure(member, depth + 1) for member in islice(members, _SAMPLES[depth])]
    return sum(looked) * len(members) // len(looked)


# -- results ---------------------------------------------------------------------------------------


def results(lease: WorkLease, report: Report, inline_limit: int = m.INLINE_LIMIT) -> list[tuple[m.Message, bytes]]:
    """Return what a worker says of a report: one `Done` for what ended well, a `Broke` for each that did not."""
    values, done = lease.values, report.done
    said: list[tuple[m.Message, bytes]] = []
    broken: set[int] = set()
    inlined: list[int] = []
    fixed = _FIXED.get
    if spilled := lease.block.values.spilled:
        known = [spilled[task].size if task in spilled else size_of(values[task]) for task in done]
        sizes = array("q", known)
    else:
        sizes = array("q", [fixed(type(value)) or size_of(value) for value in map(values.__getitem__, done)])
    body = b""
    if lease.wanted:
        inlined = [t for t, size in zip(done, sizes, strict=True) if t in lease.wanted and size <= inline_limit]
    if inlined:
        try:
            body = dumps([values[task] for task in inlined])
        except Exception:
            for task in inlined:
                problem = _unsendable(lease, task, values[task])
                if problem is not None:
                    del values[task]  # it has failed: nobody will ask for it, or free it
                    broken.add(task)
                    said.append(problem)
            inlined = [task for task in inlined if task not in broken]
            body = dumps([values[task] for task in inlined]) if inlined else b""
    if broken:
        kept = [(task, size) for task, size in zip(done, sizes, strict=True) if task not in broken]
        done, sizes = [task for task, _ in kept], array("q", [size for _, size in kept])
    if done:
        message = m.Done(lease.base, lease.attempt, m.ints(done), sizes.tobytes(), report.seconds, m.ints(inlined))
        said.insert(0, (message, body))
    for one in report.broken:
        blob = pack_exception(one.exception, one.text)
        broke = m.Broke(
            lease.base,
            one.task,
            lease.attempt,
            one.node,
            shortened(one.text),
            one.origin,
            one.step,
            one.retry,
            one.asked,
            one.countdown,
            one.max_retries,
            isinstance(one.exception, TaskCancelled),
        )
        said.append((broke, blob))
    said.extend(_replaced(lease, task, plan) for task, plan in report.replaced)
    if report.skipped:
        said.append((m.Returned(lease.base, lease.attempt, m.ints(report.skipped), []), b""))
    return said


def _replaced(lease: WorkLease, task: int, plan: Plan) -> tuple[m.Message, bytes]:
    """Return the plan that a task has returned; a `Broke` when it cannot be sent or asks for what nobody honours."""
    try:
        for need in plan.needs():
            if need.option not in CAPABILITIES["cluster"]:
                raise unsupported("cluster", need)
        tables, blobs = pack_tables(plan.shape, plan.tables)
    except Exception as error:
        node, origin = lease.program.place_of(task, None)
        text = "".join(traceback.format_exception_only(error))
        return m.Broke(lease.base, task, lease.attempt, node, text, origin), dumps(error)
    return m.Replaced(lease.base, task, lease.attempt, pack_shape(plan.shape), tables), b"".join(blobs)


def _unsendable(lease: WorkLease, task: int, value: Any) -> tuple[m.Message, bytes] | None:
    try:
        dumps(value)
    except Exception as error:
        node, origin = lease.program.place_of(task, None)
        what = f"the result of {node!r}, a {type(value).__name__},"
        wrong = Unserializable(what, f"built at {origin}", reason_of(error))
        text = "".join(traceback.format_exception_only(wrong))
        return m.Broke(lease.base, task, lease.attempt, node, text, origin), dumps(wrong)
    return None


MOST_TEXT = 200_000  # characters of a traceback that travel


def shortened(text: str) -> str:
    """Return a text that can be sent: of one that is too long its beginning and its end, without half characters."""
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= MOST_TEXT:
        return text
    half = MOST_TEXT // 2
    return f"{text[:half]}\n... ({len(text) - 2 * half:,} characters left out) ...\n{text[-half:]}"


def given_up(lease: WorkLease, tasks: Sequence[int], error: BaseException) -> list[tuple[m.Message, bytes]]:
    """Return a `Broke` for each of the tasks: what came of them cannot be told, because of `error`."""
    said: list[tuple[m.Message, bytes]] = []
    for task in tasks:
        node, origin = lease.program.place_of(task, None)
        why = f"what came of {node!r} cannot be told: {shortened(_said_by(error))}"
        wrong = RemoteError(type(error).__qualname__, why, "")
        text = "".join(traceback.format_exception_only(wrong))
        said.append((m.Broke(lease.base, task, lease.attempt, node, text, origin), dumps(wrong)))
    return said


def failed_input(lease: WorkLease, tasks: Sequence[int], why: str) -> list[tuple[m.Message, bytes]]:
    """Return a `Broke` for each of the tasks: an input of theirs cannot be sent here."""
    said: list[tuple[m.Message, bytes]] = []
    for task in tasks:
        node, origin = lease.program.place_of(task, None)
        wrong = Unserializable(f"an input of {node!r}", f"built at {origin}", why)
        text = "".join(traceback.format_exception_only(wrong))
        said.append((m.Broke(lease.base, task, lease.attempt, node, text, origin), dumps(wrong)))
    return said
