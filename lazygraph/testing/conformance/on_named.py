"""The suite's tests of options on an executor that is named: what `lazygraph doctor --conformance NAME` runs.

Covers: running them with pytest, and what came of each option.
Does not cover: the command (cli.doctor), the tests themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from lazygraph.errors import InvalidOption
from lazygraph.testing.conformance.matrix import SAMPLES, reason
from lazygraph.testing.conformance.suite import AsynchronousSuite
from lazygraph.testing.named import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lazygraph.executors.base import Executor

_PLUGIN = "lazygraph-conformance"
_WAITING = ("sync", "sim")
"""Executors whose `submit` returns when the run has ended."""


class TestNamed(AsynchronousSuite):
    """The executor that the command names."""

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls, request: pytest.FixtureRequest) -> Iterator[Executor]:
        """Opened once."""
        proof = request.config.pluginmanager.get_plugin(_PLUGIN)
        if proof is None:
            pytest.skip("run by: lazygraph doctor --conformance NAME")
        with opened(proof.name) as chosen:
            executor = getattr(chosen, "executor", chosen)
            proof.note(executor)
            yield executor

    @pytest.fixture(autouse=True)
    def _only_where_it_can(self, request: pytest.FixtureRequest, executor: Executor) -> None:
        asynchronous = "Asynchronous" in request.function.__qualname__
        if asynchronous and executor.name in _WAITING:
            pytest.skip("its submit returns when the run has ended")


@dataclass(slots=True)
class Verdict:
    """What an executor does with an option: `honoured` is what it says, `failed` are the tests that say otherwise."""

    honoured: bool
    reason: str
    tests: int = 0
    failed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if self.failed:
            return f"WRONG: {'; '.join(self.failed)}"
        return "yes" if self.honoured else f"refused: {self.reason}"


class Proof:
    """A pytest plugin that keeps the tests of options and notes what came of them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.called = name
        self.verdicts: dict[str, Verdict] = {}
        self._options: dict[str, tuple[str, ...]] = {}

    def note(self, executor: Executor) -> None:
        """Say which executor it is."""
        self.called = executor.name
        for option in SAMPLES:
            honoured = option in executor.capabilities
            self.verdicts[option] = Verdict(honoured, "" if honoured else reason(option, executor.name))

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Keep the tests of options."""
        for item in items:
            parameters = getattr(item, "callspec", None)
            own = parameters.params.get("option") if parameters is not None else None
            self._options[item.nodeid] = (own,) if own is not None else getattr(item.function, "needs", ())
        items[:] = [item for item in items if self._options[item.nodeid]]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what came of a test."""
        if report.when != "call" and not report.failed:
            return
        for option in self._options.get(report.nodeid, ()):
            verdict = self.verdicts.get(option)
            if verdict is None:  # it could not be opened
                verdict = self.verdicts[option] = Verdict(False, "it could not be opened")
            verdict.tests += report.when == "call"
            if report.failed:
                said = getattr(getattr(report.longrepr, "reprcrash", None), "message", str(report.longrepr))
                verdict.failed.append(f"{report.nodeid.rpartition('::')[2]}: {said.strip().splitlines()[0]}")


def prove(name: str) -> Proof:
    """Run the tests of options on an executor; return what came of them.  Raises `InvalidOption` for one that is none.

    A cluster that is named by its address has to serve the queues "default" and "other", to offer {"gpu": 1}, and to
    have a worker with the name "worker-1"; every cluster has to share this machine, for what tests look at is in files.
    """
    with opened(name):  # or it would be one error a test
        proof = Proof(name)
    with TemporaryDirectory(prefix="lazygraph-conformance-") as folder:
        config = Path(folder, "pytest.ini")
        config.write_text("[pytest]\n", encoding="utf-8")
        words = ["-c", str(config), f"--basetemp={folder}/tests", "-p", "no:cacheprovider", "-p", "no:terminal"]
        status = pytest.main([*words, "--noconftest", str(Path(__file__))], plugins=[_Named(proof), proof])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise InvalidOption(f"the tests could not be run on {name!r}: pytest ended with status {int(status)}")
    return proof


class _Named:
    """Registers a proof under its name before anything is collected."""

    def __init__(self, proof: Proof) -> None:
        self._proof = proof

    def pytest_configure(self, config: pytest.Config) -> None:
        """Give the proof its name."""
        config.pluginmanager.unregister(self._proof)
        config.pluginmanager.register(self._proof, _PLUGIN)
