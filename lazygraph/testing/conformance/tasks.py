"""The tasks of the suite.  In a module, so that workers in other processes find them by name.

Tasks that must be counted leave a mark in a folder: the only thing that threads, processes and machines share.
"""

from __future__ import annotations

import operator
import os
import tempfile
import threading
from typing import TYPE_CHECKING, Any

from lazygraph.language.composing import group
from lazygraph.language.delayed import delayed
from lazygraph.language.dynamic import replace
from lazygraph.values.outcome import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable


@delayed
def add(x: Any, y: Any) -> Any:
    """Return the sum."""
    return x + y


@delayed
def total(values: Any) -> Any:
    """Return the sum of a list."""
    return sum(values)


@delayed
def give(value: Any = None) -> Any:
    """Return what was given."""
    return value


@delayed
def describe(*args: Any, **kwargs: Any) -> str:
    """Return how it was called."""
    return f"{args!r} {kwargs!r}"


@delayed
def divide(x: float, y: float) -> float:
    """Divide; by zero it raises."""
    return x / y


@delayed
def marked(folder: str, value: Any, *after: Any) -> Any:
    """Leave a mark for this call in `folder`, and return the value."""
    handle, _ = tempfile.mkstemp(prefix=f"{value}-", dir=folder)
    os.close(handle)
    return value


@delayed(bind=True)
def marked_by_itself(self: Any, folder: str, value: Any, *after: Any) -> Any:
    """Leave a mark as `marked` does, with its attempt as the first argument."""
    handle, _ = tempfile.mkstemp(prefix=f"{self.request.key}-", dir=folder)
    os.close(handle)
    return value


def marks(folder: Any) -> int:
    """Return how many marks there are."""
    return len(os.listdir(folder))


class Lasting(ValueError):
    """An exception with more than a message."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(code, detail)
        self.code, self.detail = code, detail


class Awkward(KeyError):
    """An exception that does not survive pickling: it has fewer args than its constructor wants."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


@delayed
def fail_lasting() -> None:
    """Raise an exception that carries facts."""
    raise Lasting(7, "seven")


@delayed
def fail_awkwardly() -> None:
    """Raise an exception that may not be able to travel."""
    raise Awkward("a", "b")


@delayed
def fail_chained() -> None:
    """Raise from another exception."""
    try:
        os.environ["missing\n"]  # no name of a variable has a line break in it
    except KeyError as error:
        raise ValueError("outer") from error


@delayed
def leave() -> None:
    """Call sys.exit in a task."""
    raise SystemExit(3)


@delayed
def give_lock() -> Any:
    """Return something that cannot be pickled."""
    return threading.Lock()


@delayed
def held(lock: Any) -> bool:
    """Use a lock where it is."""
    with lock:
        return True


@delayed
def nested(depth: int) -> int:
    """Compute inside a task."""
    if depth == 0:
        return 1
    return 1 + int(nested(depth - 1).compute())


@delayed
def promise() -> Any:
    """Return a promise instead of a value."""
    return add(1, 1)


@delayed
def large(size: int) -> bytes:
    """Return many bytes."""
    return b"x" * size


@delayed
def length(value: Any) -> int:
    """Return the length of a value."""
    return len(value)


@delayed
def wait_for(path: str) -> str:
    """Wait until somebody writes to a named pipe, and return what was written."""
    with open(path, encoding="utf-8") as pipe:
        return pipe.read()


@delayed
def tell(_: Any, path: str) -> None:
    """Write "done" into a named pipe: somebody waits for it."""
    with open(path, "w", encoding="utf-8") as pipe:
        pipe.write("done")


multiply = delayed(operator.mul)
pair = delayed(divmod, nout=2)


# -- what random canvases are made of ----------------------------------------------------------------


def _refuse_negative(values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, int) and value < 0:
            raise Lasting(value, "negative")


def calmed(value: Any) -> Any:
    """Return a value with a word in the place of every failure record, which no two runs have alike."""
    if isinstance(value, list | tuple):
        return type(value)(map(calmed, value))
    if isinstance(value, dict):
        return {name: calmed(one) for name, one in value.items()}
    return "failure" if isinstance(value, Failure) else value


@delayed
def call(*args: Any, **kwargs: Any) -> Any:
    """Return the call itself; a negative number among its arguments is a failure with that number."""
    _refuse_negative((*args, *kwargs.values()))
    return ("call", calmed(args), tuple(sorted(kwargs.items())))


@delayed
def pack(*args: Any, **_: Any) -> list[Any]:
    """Return the list of the arguments."""
    return list(args)


@delayed
def become(*args: Any, by: Any, **kwargs: Any) -> Any:
    """Return another canvas to be put in the place of this call; it gets the list of the arguments."""
    _refuse_negative((*args, *kwargs.values()))
    return replace(give.s(list(args)) | by)


# -- what the cases of canvases are made of --------------------------------------------------------


@delayed
def first(values: Any) -> Any:
    """Return the first of a list."""
    return values[0]


@delayed
def ignore(*_: Any) -> None:
    """Return nothing."""


@delayed
def append(values: Any, more: Any) -> Any:
    """Return a list with more at its end."""
    return [*values, *more]


@delayed
def append_to_all(rows: Any, more: Any) -> Any:
    """Become a group that appends to every list."""
    return replace(group(append.s(row, more) for row in rows))


@delayed
def add_to_all(numbers: Any, more: Any) -> Any:
    """Become a group that adds to every number."""
    return replace(group(add.s(number, more) for number in numbers))


@delayed
def add_replaced(x: Any, y: Any) -> Any:
    """Become the sum."""
    return replace(add.s(x, y))


@delayed
def add_three(x: Any, y: Any, z: Any = 0) -> Any:
    """Return the sum of three."""
    return x + y + z


@delayed
def call_later(value: Any) -> Any:
    """Become a delayed call."""
    return replace(give(value))


@delayed
def count_down(n: int, so_far: int) -> Any:
    """Become the same with one less, until nothing is left."""
    return replace(count_down.s(n - 1, so_far + n)) if n else so_far


@delayed
def inverse(x: float) -> float:
    """Return 1 / x; of zero it raises."""
    return 1 / x


@delayed
def divide_total(values: Any, by: float) -> float:
    """Return the divided sum of a list."""
    divided: float = sum(values) / by
    return divided


@delayed
def fail_on(value: Any) -> None:
    """Raise, whatever comes."""
    raise ZeroDivisionError("whatever comes")


def log_line(path: str, text: str) -> None:
    """Write a line at the end of a file or into a pipe, in one go."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, f"{text}\n".encode())
    finally:
        os.close(handle)


@delayed
def say(value: Any, path: str) -> None:
    """Write the value as a line into a pipe."""
    log_line(path, repr(value))


@delayed
def say_failure(failure: Failure, path: str) -> None:
    """Write a failure as a line into a pipe."""
    log_line(path, f"{failure.node} attempt {failure.attempt}: {failure.exception!r}")


@delayed
def log(path: str, text: str) -> None:
    """Write a line at the end of a file."""
    log_line(path, text)
