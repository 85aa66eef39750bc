"""What a caller sees when something goes wrong on a cluster that is well."""

from __future__ import annotations

import inspect
import socket
import sys
import threading
import traceback
import types
from operator import add
from typing import Any

import pytest

import lazygraph
from lazygraph import Client, LocalCluster, compute, delayed
from lazygraph.errors import CannotConnect, Refused, RemoteError, Unserializable, UnsupportedByExecutor, WrongCall


class Custom(Exception):
    """An exception of this module's own."""

    def __init__(self, code: int, hint: str = "") -> None:
        super().__init__(f"code {code}")
        self.code, self.hint = code, hint

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.hint)


class Stubborn(ValueError):
    """An exception that does not survive pickling: its arguments are not what it was made from."""

    def __init__(self, code: int, lock: Any) -> None:
        super().__init__(f"code {code}")
        self.lock = lock


def _line() -> int:
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


class TestWhatTasksRaise:
    def test_the_original_with_its_traceback_and_place(self, client: Client) -> None:
        def divide(x: int) -> float:
            nothing = 0
            return x / nothing

        future, line = client.submit(divide, 1), _line()
        with pytest.raises(ZeroDivisionError, match="division by zero") as caught:
            future.result()
        text = "".join(traceback.format_exception(caught.value))
        assert "return x / nothing" in text
        assert f"built at {__file__}:{line}" in text
        assert "node 'divide' (key divide-" in text
        assert "attempt 1 on worker-" in text
        assert client.who_has([client.submit(add, 1, 1)])  # nothing else is disturbed

    def test_raising_again_adds_nothing(self, client: Client) -> None:
        future = client.submit(lambda: 1 // 0)
        texts = []
        for _ in range(2):
            with pytest.raises(ZeroDivisionError) as caught:
                future.result()
            texts.append("".join(traceback.format_exception(caught.value)))
        assert texts[0].count("Remote traceback") == texts[1].count("Remote traceback") == 1
        assert texts[0].count("lazygraph: node") == texts[1].count("lazygraph: node") == 1

    def test_compute_names_the_node_that_failed_not_the_last(self, client: Client) -> None:
        dadd = delayed(add)
        broken, line = dadd(1, "1"), _line()
        with pytest.raises(TypeError, match="unsupported operand") as caught:
            dadd(dadd(broken, 1), 1).compute()
        assert f"{__file__}:{line}" in "".join(caught.value.__notes__)

    def test_all_below_fail_with_the_same_cause(self, client: Client) -> None:
        origin = client.submit(lambda: 1 // 0)
        below = client.submit(add, client.submit(add, origin, 1), 1)
        with pytest.raises(ZeroDivisionError):
            below.result()
        assert below.failed() and not below.successful()

    def test_an_exception_of_the_tests_own(self, client: Client) -> None:
        def fails() -> None:
            raise Custom(7, "try again")

        with pytest.raises(Custom, match="code 7") as caught:
            client.submit(fails).result()
        assert (caught.value.code, caught.value.hint) == (7, "try again")

    def test_an_exception_defined_in_a_function(self, client: Client) -> None:
        class Local(KeyError):
            """Known here only: it travels by value."""

        def fails() -> None:
            raise Local("where")

        with pytest.raises(Exception, match="where") as caught:
            client.submit(fails).result()
        assert isinstance(caught.value, KeyError)
        assert type(caught.value).__name__ == "Local"

    def test_an_exception_that_cannot_travel(self, client: Client) -> None:
        def fails() -> None:
            raise Stubborn(3, threading.Lock())

        with pytest.raises(ValueError, match="code 3") as caught:
            client.submit(fails).result()
        assert isinstance(caught.value, RemoteError)
        assert caught.value.type_name.endswith("Stubborn")
        assert "raise Stubborn(3" in caught.value.traceback

    @pytest.mark.parametrize(
        "error", [SystemExit(3), GeneratorExit(), KeyboardInterrupt(), BaseExceptionGroup("g", [SystemExit(1)])]
    )
    def test_exceptions_that_are_not_meant_for_tasks(self, client: Client, error: BaseException) -> None:
        def fails() -> None:
            raise error

        with pytest.raises(type(error)):
            client.submit(fails).result()
        assert client.submit(add, 1, 1).result() == 2


class TestWhatCannotTravel:
    def test_an_argument(self, client: Client) -> None:
        lock = threading.Lock()
        future, line = client.submit(len, [lock]), _line()
        with pytest.raises(Unserializable, match="argument list of 'len' cannot be sent") as caught:
            future.result()
        assert f"{__file__}:{line}" in str(caught.value)
        with pytest.raises(TypeError, match="cannot pickle"):
            delayed(len)(lock).compute()

    def test_a_function(self, client: Client) -> None:
        lock = threading.Lock()

        def locked() -> bool:
            return lock.locked()

        node, line = delayed(locked)(), _line()
        with pytest.raises(Unserializable, match="function 'locked' cannot be sent") as caught:
            node.compute()
        assert f"{__file__}:{line}" in str(caught.value)

    def test_a_scattered_value(self, client: Client) -> None:
        with pytest.raises(Unserializable, match="scattered value 'lock'"):
            client.scatter({"lock": threading.Lock()})

    def test_a_result(self, client: Client) -> None:
        future, line = client.submit(threading.Lock), _line()
        with pytest.raises(Unserializable, match="result of") as caught:
            future.result()
        assert f"{__file__}:{line}" in str(caught.value)
        assert client.submit(add, 1, 1).result() == 2

    def test_a_module_that_the_worker_lacks(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        module = types.ModuleType("only_here")
        exec("def f():\n    return 1\n", module.__dict__)
        monkeypatch.setitem(sys.modules, "only_here", module)
        with pytest.raises(Unserializable, match=r"function 'f'.*No module named 'only_here'.*worker cannot import"):
            client.submit(module.f).result()
        assert client.submit(add, 1, 1).result() == 2

    def test_a_value_that_cannot_be_opened_here(self, client: Client) -> None:
        def make() -> Any:
            class Sour:
                def __reduce__(self) -> tuple[Any, ...]:
                    return int, ("sour",)

            return Sour()

        future = client.submit(make)
        with pytest.raises((Unserializable, ValueError), match="sour"):
            future.result()
        assert client.submit(add, 1, 1).result() == 2


class TestRefusals:
    def test_a_wrong_call_fails_when_it_is_written(self, client: Client) -> None:
        with pytest.raises(WrongCall):
            delayed(lambda x: x)(1, 2)

    def test_an_option_that_is_not_honoured(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        # A cluster honours all there are; this one is told that it does not.
        monkeypatch.setattr(client.executor, "capabilities", client.executor.capabilities - {"queue"})
        ran: list[int] = []
        node, line = delayed(ran.append, queue="io")(1), _line()
        with pytest.raises(UnsupportedByExecutor, match=r"'cluster' does not honour queue=.*nothing was run") as caught:
            node.compute()
        assert f"{__file__}:{line}" in str(caught.value)
        with pytest.raises(UnsupportedByExecutor, match="queue="):
            client.submit(add, 1, 2, queue="io").result()
        with pytest.raises(UnsupportedByExecutor, match="queue="):
            compute(node, executor=client)

    def test_an_unknown_keyword(self, client: Client) -> None:
        with pytest.raises(TypeError, match="did you mean 'fail_fast'"):
            compute(delayed(add)(1, 2), failfast=True)


class TestConnecting:
    def test_nobody_there_says_what_to_start(self) -> None:
        with socket.socket() as bound:  # bound and not listening: nobody else gets the port
            bound.bind(("127.0.0.1", 0))
            port = bound.getsockname()[1]
            with pytest.raises(ConnectionError, match=f"lazygraph scheduler --port {port}") as caught:
                Client(f"tcp://127.0.0.1:{port}", token="x", timeout=10)
        assert isinstance(caught.value, CannotConnect)

    def test_somebody_who_says_nothing(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            with pytest.raises(CannotConnect, match=r"no answer within 0\.2 s"):
                Client(f"tcp://127.0.0.1:{port}", token="x", timeout=0.2)

    def test_no_token(self) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            with pytest.raises(CannotConnect, match="LAZYGRAPH_TOKEN"):
                Client(f"tcp://127.0.0.1:{bound.getsockname()[1]}", timeout=5)

    def test_a_wrong_token(self, cluster: LocalCluster) -> None:
        with pytest.raises(Refused, match="token"):
            Client(cluster.address, token="wrong", timeout=10)

    def test_an_address_that_is_none(self) -> None:
        with pytest.raises(ValueError, match="tcp://"):
            Client("tcp://127.0.0.1:none", token="x", timeout=5)
        assert "lazygraph scheduler --port 8786 " in str(CannotConnect("localhost", "for some reason"))

    def test_by_address_as_an_executor(self, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LAZYGRAPH_TOKEN", cluster.token)
        assert delayed(add)(1, 2).compute(executor=cluster.address) == 3
        with lazygraph.use(cluster.address):
            assert delayed(add)(1, 2).compute() == 3
