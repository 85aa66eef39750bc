"""Ctrl-C at every moment at which CPython lets it in: nothing stays locked, and what comes out is a KeyboardInterrupt.

Signals are looked at when a Python function begins and when a call of a C function returns; a profile function is
called at just these moments, and what it raises comes out there.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from lazygraph import delayed, start
from lazygraph.executors import ThreadExecutor
from lazygraph.executors.threads import ThreadEngine
from tests.executors.driven import WAIT

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FunctionType

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

MOMENTS = frozenset({"call", "c_return"})


class Interruption:
    """Raises KeyboardInterrupt at the `at`-th moment of what this thread does (within `function`, when given)."""

    def __init__(self, at: int, function: FunctionType | None = None) -> None:
        self.left = at
        self.within = None if function is None else function.__code__

    def __call__(self, frame: Any, event: str, arg: object) -> None:
        if event not in MOMENTS or frame.f_code is Interruption.__exit__.__code__:
            return
        while self.within is not None and frame.f_code is not self.within:
            frame = frame.f_back
            if frame is None:
                return
        self.left -= 1
        if self.left < 0:
            sys.setprofile(None)
            raise KeyboardInterrupt

    def __enter__(self) -> Interruption:
        sys.setprofile(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.setprofile(None)


def interrupted_everywhere(
    act: Callable[[], object], after: Callable[[], None], within: FunctionType | None = None
) -> int:
    """Run `act` interrupted at its first moment, then at its second, and so on until it comes to its end.

    In a finalizer Python only notes an interruption (`sys.unraisablehook`): there `act` goes on.
    """
    at = 0
    while True:
        interruption = Interruption(at, within)
        with suppress(KeyboardInterrupt), interruption:
            act()
        after()
        if interruption.left >= 0:
            return at
        at += 1


class TestWhileWaiting:
    @pytest.mark.parametrize("whole", [True, False])
    def test_for_a_result(self, whole: bool) -> None:
        gate = threading.Event()
        with ThreadExecutor(1) as executor:
            run = start(delayed(gate.wait)(WAIT), executor=executor)
            future = run.futures[0]

            def act() -> None:
                with pytest.raises(TimeoutError):
                    (run if whole else future).result(0.001)

            assert interrupted_everywhere(act, lambda: None) > 10
            gate.set()
            assert run.result(WAIT) == (True,)
            assert future.result(WAIT) is True

    def test_for_an_executor_to_end(self) -> None:
        executor = ThreadExecutor(1)
        gate = threading.Event()
        run = start(delayed(gate.wait)(WAIT), executor=executor)
        threading.Timer(0.05, gate.set).start()
        assert interrupted_everywhere(executor.close, lambda: None) > 5
        assert run.result(WAIT) == (True,)


class TestWhileStarting:
    def test_a_thread_of_an_executor(self) -> None:
        executors = [ThreadExecutor(1)]

        def act() -> None:
            start(delayed(pow)(2, 5), executor=executors[-1])

        def after() -> None:
            with executors.pop() as executor:
                assert delayed(pow)(2, 5).compute(executor=executor, timeout=WAIT) == 32
            executors.append(ThreadExecutor(1))

        assert interrupted_everywhere(act, after, ThreadEngine.start) >= 4
