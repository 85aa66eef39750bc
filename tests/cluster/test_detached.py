"""Work that outlasts the process that started it, and futures found again in another one.

What is not here: for how long results are kept (tests.executors.cluster.test_keeping, with a clock of its own).
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import CancelledError
from operator import add
from pathlib import Path

import pytest

from lazygraph import Client, LocalCluster, Status, delayed, group, start, use
from lazygraph.errors import LostData, UnknownKey

WAIT = 60

Script = Callable[..., list[str]]
"""Runs Python in a process of its own; returns the words it printed."""


@pytest.fixture
def script(cluster: LocalCluster) -> Script:
    """Run a program that has a client of the cluster, until it ends."""

    def run(text: str, *words: str, status: int = 0) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(STARTS) + textwrap.dedent(text), cluster.address, *words],
            env={**os.environ, "LAZYGRAPH_TOKEN": cluster.token},
            capture_output=True,
            text=True,
            timeout=WAIT,
        )
        assert done.returncode == status, done.stderr
        assert "may be lost" not in done.stderr
        return done.stdout.split()

    return run


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe: a task that reads it waits until the test writes to it."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


STARTS = """
    import os, sys
    from pathlib import Path
    from lazygraph import Client, delayed

    @delayed
    def read(path):
        return Path(path).read_text()

    client = Client(sys.argv[1], grace=0.0)
"""


class TestDelay:
    def test_it_goes_on_when_its_client_is_killed(self, client: Client, script: Script, pipe: Path) -> None:
        text = """
            future = (read.s(sys.argv[2]) | delayed(str.upper).s()).delay()
            assert future.accepted(30) is True
            print(future.key, flush=True)
            os._exit(9)
        """
        [key] = script(text, str(pipe), status=9)
        future = client.future(key)
        assert not future.done()
        pipe.write_text("go on")
        assert future.result(WAIT) == "GO ON"
        assert (future.key, future.status) == (key, Status.SUCCEEDED)

    def test_exit_waits_until_the_scheduler_has_it_and_for_nothing_else(
        self, client: Client, script: Script, pipe: Path
    ) -> None:
        text = """
            held = client.submit(Path(sys.argv[2]).read_text)
            futures = [delayed(pow).delay(2, at) for at in range(50)]
            print(*[future.key for future in futures], read.delay(sys.argv[2]).key)
        """
        *keys, last = script(text, str(pipe))
        assert client.gather([client.future(key) for key in keys]) == [2**at for at in range(50)]
        assert not client.future(last).done()
        pipe.write_text("")

    def test_a_failure_is_kept_too(self, client: Client, script: Script) -> None:
        [key] = script("print(delayed(divmod).apply_async((1, 0)).key)")
        future = client.future(key)
        with pytest.raises(ZeroDivisionError) as caught:
            future.result(WAIT)
        assert any(f"(key {key}, attempt 1 on worker-" in note for note in caught.value.__notes__)
        assert (future.status, future.cause) == (Status.FAILED, None)

    def test_detach_says_the_same_of_a_submission(self, client: Client, script: Script) -> None:
        text = """
            mine = client.submit(pow, 2, 10)
            print(client.submit(pow, 2, 11, detach=True).key, *[f.key for f in client.map(abs, [-1, -2], detach=True)])
            mine.result()
            print(mine.key)
        """
        *kept, gone = script(text)
        assert [client.future(key).result(WAIT) for key in kept] == [2048, 1, 2]
        with pytest.raises(UnknownKey, match=gone):
            client.future(gone)

    def test_what_it_reads_is_made_for_it_although_that_is_not_detached(
        self, client: Client, script: Script, pipe: Path
    ) -> None:
        text = """
            held = client.submit(Path(sys.argv[2]).read_text)
            print(client.submit(str.upper, held, detach=True).key)
        """
        [key] = script(text, str(pipe))
        future = client.future(key)
        pipe.write_text("read")
        assert future.result(WAIT) == "READ"

    def test_what_is_not_detached_is_cancelled(self, client: Client, script: Script, tmp_path: Path) -> None:
        text = """
            waiting = client.submit(Path.touch, Path(sys.argv[2]), workers=["nobody"])
            print(waiting.key)
            client.executor.state()
            os._exit(0)
        """
        [key] = script(text, str(tmp_path / "ran"))
        client.scheduler_info()  # by now it has heard of the end of that process
        with pytest.raises(KeyError, match=key):
            client.future(key)

    @pytest.mark.parametrize("inside", ["with client:", "if client:"])
    def test_nothing_is_waited_for_after_ctrl_c(self, cluster: LocalCluster, script: Script, inside: str) -> None:
        text = """
            import signal
            os.kill(int(sys.argv[2]), signal.SIGSTOP)  # the scheduler answers nothing any more
            with client:
                delayed(pow).delay(2, 3)
                raise KeyboardInterrupt
        """
        pid = cluster._scheduler.process.pid
        try:
            script(text.replace("with client:", inside), str(pid), status=-signal.SIGINT)
        finally:
            os.kill(pid, signal.SIGCONT)

    def test_fire_and_forget(self, client: Client, script: Script, pipe: Path, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "ran")
        text = """
            def copy(source, target):
                target.write_text(source.read_text())
            client.fire_and_forget(client.submit(copy, Path(sys.argv[2]), Path(sys.argv[3])))
        """
        script(text, str(pipe), str(tmp_path / "ran"))
        pipe.write_text("done")
        assert (tmp_path / "ran").read_text() == "done"

    def test_two_clients_never_have_the_same_key(self, cluster: LocalCluster, client: Client) -> None:
        with Client(cluster, set_as_default=False) as other:
            futures = [one.submit(add, 1, at) for one in (client, other) for at in range(3)]
            assert len({future.key for future in futures}) == 6
            assert [client.future(future.key).result(WAIT) for future in futures] == [1, 2, 3] * 2


class TestTheKeyOfARunningTask:
    def test_it_is_the_futures(self, client: Client) -> None:
        @delayed(bind=True)
        def own(self: object) -> object:
            return self.request.key  # type: ignore[attr-defined]

        future = own.delay()
        assert future.result(WAIT) == future.key
        assert client.future(future.key).result(WAIT) == future.key

    def test_whatever_it_is_called(self, client: Client) -> None:
        named = client.submit(add, 1, 2, key="three-and-more")
        nodes = [delayed(add, name="sum")(1, 2), delayed(abs)(delayed(add)(delayed(int)("1"), 1))]
        for future in (named, *client.compute(nodes)):
            assert client.future(future.key).result(WAIT) == future.result(WAIT)

    @pytest.mark.parametrize("name", ["sync", "threads", "cluster"])
    def test_a_failure_has_it_too(self, client: Client, name: str) -> None:
        nodes = [
            delayed(divmod)(1, 0, dask_key_name="mine"),
            delayed(divmod, name="named")(1, 0),
            delayed(divmod)(1, 0),
        ]
        chosen = client if name == "cluster" else name
        for future in start(*nodes, executor=chosen, fail_fast=False).futures:
            failure = future.failure(WAIT)
            assert failure is not None
            assert failure.key == future.key


class TestForget:
    def test_a_forgotten_result_is_gone(self, client: Client) -> None:
        future = delayed(add).delay(1, 2)
        assert future.get(WAIT) == 3
        key = future.key
        future.forget()
        with pytest.raises(KeyError, match=key):
            client.future(key)

    def test_from_another_process(self, client: Client, script: Script) -> None:
        [key] = script("print(delayed(pow).delay(2, 3).key)")
        found = client.future(key)
        assert found.result(WAIT) == 8
        found.forget()
        with pytest.raises(KeyError, match=key):
            client.future(key)

    def test_a_ttl_of_nothing_keeps_nothing(self, cluster: LocalCluster) -> None:
        with Client(cluster, result_ttl=0) as client:
            future = delayed(add).delay(1, 2)
            key = future.key
            assert future.get(WAIT) == 3
            future.forget()
            with pytest.raises(KeyError):
                client.future(key)
        with pytest.raises(ValueError, match="result_ttl=-1"):
            Client(cluster, result_ttl=-1)


class TestAttach:
    def test_a_run_by_its_name_in_another_process(self, client: Client, script: Script, pipe: Path) -> None:
        run = start(delayed(Path.read_text)(pipe), delayed(add)(1, 2), run_name="nightly")
        text = """
            run = client.attach("nightly")
            print(run.id, [f.key for f in run.futures] == sys.argv[3:], run.done())
            Path(sys.argv[2]).write_text("read")
            print(*run.result(30))
        """
        words = script(text, str(pipe), *[future.key for future in run.futures])
        assert words == ["nightly", "True", "False", "read", "3"]
        assert run.result(WAIT) == ("read", 3)

    def test_detached_work_by_the_id_of_its_run(self, client: Client, script: Script) -> None:
        [run_id] = script("print((delayed(abs).s(-1) | delayed(str).s()).delay().run_id)")
        assert sorted(map(str, client.attach(run_id).result(WAIT))) == ["1", "1"]

    def test_an_attached_run_can_be_cancelled(self, client: Client, script: Script) -> None:
        run = start(delayed(add, workers=["nobody"])(1, 2), run_name="stuck")
        script("client.attach('stuck').cancel()")
        with pytest.raises(CancelledError):
            run.futures[0].result(WAIT)

    def test_an_unknown_name(self, client: Client) -> None:
        with pytest.raises(KeyError, match="no run with the name 'never'"):
            client.attach("never")


class TestPickles:
    def test_a_future_claims_its_value_where_it_is_opened(self, client: Client, script: Script) -> None:
        future = client.submit(add, 20, 22)
        text = """
            import pickle
            client.close()
            future = pickle.loads(bytes.fromhex(sys.argv[2]))
            print(future.key, future.result(30))
        """
        assert script(text, pickle.dumps(future).hex()) == [future.key, "42"]

    def test_a_group_of_them(self, client: Client, script: Script) -> None:
        result = group(delayed(add).s(at, at) for at in range(3)).delay()
        text = """
            import pickle
            print(*pickle.loads(bytes.fromhex(sys.argv[2])).get(30))
        """
        assert script(text, pickle.dumps(result).hex()) == ["0", "2", "4"]

    def test_through_the_default_client_of_that_address(self, client: Client) -> None:
        future = client.submit(add, 1, 2)
        again = pickle.loads(pickle.dumps(future))
        assert again.run.owner is client.executor
        del future
        assert again.result(WAIT) == 3

    def test_one_whose_value_is_gone(self, client: Client) -> None:
        future = delayed(add).delay(1, 2)
        future.get(WAIT)
        pickled = pickle.dumps(future)
        future.forget()
        with pytest.raises(LostData, match=r"is lost: the scheduler at .* does not know it any more"):
            pickle.loads(pickled)

    @pytest.mark.parametrize("name", ["sync", "threads"])
    def test_a_local_one_has_no_value_elsewhere(self, name: str) -> None:
        with use(name):
            future = delayed(add).delay(1, 2)
            assert future.accepted(0) is True
            with pytest.raises(TypeError, match="cannot be pickled"):
                pickle.dumps(future)


class TestAcceptance:
    def test_of_what_is_not_detached_too(self, client: Client) -> None:
        assert client.submit(add, 1, 2).accepted(WAIT) is True

    def test_what_is_refused_is_not_accepted(self, client: Client, tmp_path: Path) -> None:
        with (tmp_path / "open").open("w") as file:
            future = client.submit(print, file)
            with pytest.raises(TypeError, match="cannot be sent"):
                future.accepted(WAIT)


class TestLocally:
    @pytest.mark.parametrize("chosen", ["'threads'", "'processes'", "ThreadExecutor(2)", "ProcessExecutor(2)"])
    def test_exit_finishes_what_was_started(self, chosen: str, tmp_path: Path) -> None:
        text = """
            import os, sys
            from pathlib import Path
            from lazygraph import delayed, use
            from lazygraph.executors import ProcessExecutor, ThreadExecutor

            def say(word, *rest):
                with open(sys.argv[1], "a") as file:
                    print(word, file=file)

            with use(CHOSEN):
                (delayed(say).si("first") | delayed(say).si("second")).delay()
                delayed(say).delay("third")
        """
        program = textwrap.dedent(text).replace("CHOSEN", chosen).replace("sys.argv[1]", repr(str(tmp_path / "said")))
        subprocess.run([sys.executable, "-c", program], check=True, timeout=WAIT)
        assert sorted((tmp_path / "said").read_text().split()) == ["first", "second", "third"]
