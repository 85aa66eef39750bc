"""`--preload`, `-A` and `LocalCluster(setup=...)`: what workers do before their first task, and around every one."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lazygraph import Client, LocalCluster, delayed
from lazygraph.errors import ClusterFailed, InvalidOption, Unserializable
from tests.cluster.commands import Lazygraph, Scheduler

WAIT = 60

HOOKS = """
import os
import lazygraph
from lazygraph import after_task, before_task

@lazygraph.worker_setup
def prepare():
    os.environ["PREPARED"] = os.environ.get("PREPARED", "") + "x"

def note(text):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(text + "\\n")

@before_task
def before(record):
    note(f"before {record.name} {record.attempt} {record.worker} {record.key}")

@after_task
def after(record):
    said = repr(record.exception) if record.exception is not None else record.outcome.value
    note(f"after {record.name} {said} {record.seconds >= 0}")
"""


@delayed
def prepared() -> str | None:
    return os.environ.get("PREPARED")


@delayed
def process() -> int:
    return os.getpid()


@delayed
def fails() -> None:
    raise ValueError("as planned")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Write a module that local workers can import."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))

    def write(name: str, text: str) -> Path:
        (folder / f"{name}.py").write_text(text)
        return tmp_path / "notes"

    return write


class TestSetupOfALocalCluster:
    def test_once_in_every_worker_before_its_first_task(self, tmp_path: Path) -> None:
        notes = tmp_path / "notes"

        def setup() -> None:
            sys.stdout.write("a line of its own on standard output\n")
            with notes.open("a") as file:
                file.write(f"{os.getpid()}\n")

        def noted() -> tuple[int, list[str]]:
            return os.getpid(), notes.read_text().split()

        with LocalCluster(2, setup=setup) as cluster, Client(cluster) as client:
            for pid, seen in client.gather(client.map(lambda _: noted(), range(20))):
                assert str(pid) in seen
            assert sorted(notes.read_text().split()) == sorted(map(str, cluster.workers.values()))

    def test_again_in_the_process_that_replaces_a_dead_one(self, tmp_path: Path) -> None:
        notes = tmp_path / "notes"

        def setup() -> None:
            with notes.open("a") as file:
                file.write(f"{os.getpid()}\n")

        with LocalCluster(1, setup=setup) as cluster, Client(cluster):
            first = process().compute()
            os.kill(first, signal.SIGKILL)
            second = process().compute()
        assert first != second
        assert notes.read_text().split() == [str(first), str(second)]

    def test_a_failing_one_is_raised_here_with_its_traceback(
        self, ended: Callable[[int], bool], tmp_path: Path
    ) -> None:
        pid = tmp_path / "pid"

        def breaks() -> None:
            pid.write_text(str(os.getpid()))
            raise ValueError("no such disk")

        with pytest.raises(ClusterFailed) as caught:
            LocalCluster(1, setup=breaks)
        said = str(caught.value)
        assert "LocalCluster(setup=...) failed:\nTraceback" in said
        assert said.endswith("ValueError: no such disk")
        assert f'File "{__file__}"' in said and "in breaks" in said
        assert "preparing.py" not in said  # nothing of ours
        assert ended(int(pid.read_text()))

    def test_one_that_fails_in_the_process_that_replaces_a_dead_one(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        first = tmp_path / "first"

        def setup() -> None:
            if first.exists():
                raise ValueError("not a second time")
            first.touch()

        with LocalCluster(1, setup=setup) as cluster, Client(cluster) as client:
            os.kill(process().compute(), signal.SIGKILL)
            with pytest.raises(ConnectionError):  # after some attempts the cluster ends, and nobody waits for ever
                client.submit(abs, -1).result(WAIT)
        said = [record.getMessage() for record in caplog.records]
        assert any("a dead worker could not be replaced" in text and "not a second time" in text for text in said)

    def test_one_that_says_sys_exit(self) -> None:
        with pytest.raises(ClusterFailed, match="SystemExit: no graphics card"):
            LocalCluster(1, setup=lambda: sys.exit("no graphics card"))

    def test_one_that_ends_the_process(self) -> None:
        with pytest.raises(ClusterFailed, match="`lazygraph worker` ended with status 3 before it served"):
            LocalCluster(1, setup=lambda: os._exit(3))

    def test_what_cannot_be_sent_or_called(self) -> None:
        lock: Any = threading.Lock()
        with pytest.raises(Unserializable, match=r"LocalCluster\(setup=...\)"):
            LocalCluster(1, setup=lambda: lock)

        async def awaits() -> None:
            return

        for wrong in (7, awaits):
            with pytest.raises(InvalidOption, match=r"LocalCluster\(setup=.*a plain function"):
                LocalCluster(1, setup=wrong)  # type: ignore[arg-type]


class TestPreload:
    def test_hooks_around_every_task(self, module: Callable[[str, str], Path]) -> None:
        notes = module("users_hooks", HOOKS)
        with LocalCluster(1, preload="users_hooks") as cluster, Client(cluster) as client:
            future = client.compute(prepared())
            assert future.result(WAIT) == "x"
            with pytest.raises(ValueError, match="as planned"):
                client.compute(fails()).result(WAIT)
            key = future.key
        lines = notes.read_text().splitlines()
        assert lines == [
            f"before prepared 1 worker-1 {key}",
            "after prepared x True",
            lines[2],
            "after fails ValueError('as planned') True",
        ]
        assert lines[2].startswith("before fails 1 worker-1 ")

    def test_a_hook_that_fails_is_reported_and_changes_nothing(
        self, module: Callable[[str, str], Path], capfd: pytest.CaptureFixture[str]
    ) -> None:
        module("broken_hooks", "def before_task(record):\n    raise ValueError('broken hook')\n")
        with LocalCluster(1, preload=["broken_hooks"]) as cluster, Client(cluster):
            assert prepared().compute() is None
        said = capfd.readouterr().err
        assert "before_task hook broken_hooks.before_task failed" in said
        assert "ValueError: broken hook" in said

    def test_a_module_that_is_not_there(self) -> None:
        with pytest.raises(ClusterFailed, match="--preload no_such_module: there is no module 'no_such_module'"):
            LocalCluster(1, preload="no_such_module")

    def test_one_that_cannot_be_imported(self, module: Callable[[str, str], Path]) -> None:
        module("needs_more", "import no_such_library\n")
        with pytest.raises(ClusterFailed) as caught:
            LocalCluster(1, preload="needs_more")
        said = str(caught.value)
        assert "--preload needs_more could not be imported:\nTraceback" in said
        assert "ModuleNotFoundError: No module named 'no_such_library'" in said
        assert "importlib" not in said


class TestOnTheCommandLine:
    def test_modules_of_the_working_directory(
        self, lazygraph: Lazygraph, scheduler: Scheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "users_hooks.py").write_text(HOOKS)
        (tmp_path / "users_tasks.py").write_text("app = None\ndef triple(x):\n    return 3 * x\n")
        monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
        _, address, _ = scheduler
        words = ("worker", address, "--name", "alice", "-A", "users_tasks:app", "--preload", "users_hooks")
        assert "has joined" in lazygraph(*words, cwd=tmp_path).line()
        with Client(address) as client:
            assert client.submit(lambda: sys.modules["users_tasks"].triple(2)).result(WAIT) == 6
            assert client.submit(lambda: os.environ["PREPARED"]).result(WAIT) == "x"
        assert (tmp_path / "notes").read_text().startswith("before <lambda> 1 alice ")

    @pytest.mark.parametrize(
        ("words", "text", "said"),
        [
            (
                "--preload users",
                "import lazygraph\n@lazygraph.worker_setup\ndef f():\n    1 / 0\n",
                "ZeroDivisionError",
            ),
            ("-A users", "1 / 0\n", "-A users could not be imported:\nTraceback"),
            ("-A users.celery", "", "-A users.celery: there is no module 'users.celery'"),
            ("-A users:app", "", "-A users:app: the module 'users' has no 'app'"),
            ("--preload users", "from lazygraph import before_task\nbefore_task(7)\n", "a plain function, not 7"),
        ],
    )
    def test_what_goes_wrong_ends_the_worker(
        self, lazygraph: Lazygraph, scheduler: Scheduler, tmp_path: Path, words: str, text: str, said: str
    ) -> None:
        (tmp_path / "users.py").write_text(text)
        _, address, _ = scheduler
        status, output = lazygraph("worker", address, *words.split(), cwd=tmp_path).rest()
        assert status == 1
        assert said in output
        assert "has joined" not in output and "preparing.py" not in output
