"""The pytest plugin: fixtures for tests of workflows, and any suite on any executor.

Fixtures: `lazygraph_sync`, `lazygraph_sim` (virtual time, an order made of a seed), `lazygraph_cluster` and
`lazygraph_recorder`.  Mark: `@pytest.mark.lazygraph(executor=..., seed=..., slots=...)`.  Option:
`--lazygraph-executor NAME`.  A fixture goes before the mark, the mark before the option.

Loaded at every start of pytest, so it imports nothing: fixtures import what they need, and start what they need.

Covers: fixtures, mark, option.
Does not cover: what they are made of (testing.rigs, testing.named).
"""

from __future__ import annotations

import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lazygraph.testing.rigs import ClusterRig, Rig, SharedCluster, SimRig

_KEYWORDS = ("executor", "seed", "slots")
_MARK = (
    "lazygraph(executor=None, seed=None, slots=8): the test's default executor (a name, or a list: one test each); "
    "what the order of lazygraph_sim is made of (a number, or several: one test each); how many tasks run at once there"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("lazygraph")
    group.addoption(
        "--lazygraph-executor",
        metavar="NAME",
        help="run every test on this executor by default: sync, threads, processes, sim, cluster, tcp://HOST:PORT or "
        "MODULE:attr (an executor, or what makes one)",
    )
    group.addoption("--lazygraph-seed", type=int, metavar="N", help="the seed of tests whose mark names none")


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the mark."""
    config.addinivalue_line("markers", _MARK)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each seed, and of each executor, where a mark names several."""
    mark = metafunc.definition.get_closest_marker("lazygraph")
    if mark is None:
        return
    wrong = [*map(repr, mark.args), *(name for name in mark.kwargs if name not in _KEYWORDS)]
    if wrong:
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid}: the mark lazygraph takes {'=, '.join(_KEYWORDS)}=, not {', '.join(wrong)}"
        )
    for keyword, fixture in (("seed", "_lazygraph_seed"), ("executor", "_lazygraph_named")):
        several = mark.kwargs.get(keyword)
        if isinstance(several, list | tuple | range):
            metafunc.parametrize(fixture, several, indirect=True, ids=[f"{keyword}={one}" for one in several])


@pytest.fixture
def _lazygraph_seed(request: pytest.FixtureRequest) -> int:
    """The seed of a test: its mark's, else the option's, else one made of its name."""
    if hasattr(request, "param"):
        return int(request.param)
    mark = request.node.get_closest_marker("lazygraph")
    said = mark.kwargs.get("seed") if mark is not None else None
    said = said if said is not None else request.config.getoption("--lazygraph-seed")
    return int(said) if said is not None else zlib.crc32(request.node.nodeid.encode())


@pytest.fixture
def _lazygraph_slots(request: pytest.FixtureRequest) -> int:
    mark = request.node.get_closest_marker("lazygraph")
    return int(mark.kwargs.get("slots", 8)) if mark is not None else 8


@pytest.fixture
def _lazygraph_named(request: pytest.FixtureRequest) -> Any:
    """The executor that a test's mark names; else "sim" where the option does; None: it is the session's, or nobody's.

    Only the simulated one is a test's own: its time begins with the test.
    """
    if hasattr(request, "param"):
        return request.param
    mark = request.node.get_closest_marker("lazygraph")
    said = mark.kwargs.get("executor") if mark is not None else None
    option = request.config.getoption("--lazygraph-executor")
    return said if said is not None else "sim" if option == "sim" else None


@pytest.fixture(scope="session")
def _lazygraph_shared() -> Iterator[SharedCluster]:
    """One cluster for all tests of a session, started when it is first used."""
    from lazygraph.testing.rigs import SharedCluster

    shared = SharedCluster()
    yield shared
    shared.close()


@pytest.fixture(scope="session", autouse=True)
def _lazygraph_of_session(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make the executor that the option names the default of all tests, and of what their fixtures compute."""
    named = request.config.getoption("--lazygraph-executor")
    if named in (None, "sim"):
        yield
        return
    with _default(request, named):
        yield


@pytest.fixture(autouse=True)
def _lazygraph_default(request: pytest.FixtureRequest, _lazygraph_named: Any) -> Iterator[None]:
    """Make the executor that a test's mark names its default."""
    if _lazygraph_named is None:
        yield
        return
    if _lazygraph_named != "sim":
        with _default(request, _lazygraph_named):
            yield
        return
    from lazygraph.testing.rigs import simulated

    seed, slots = request.getfixturevalue("_lazygraph_seed"), request.getfixturevalue("_lazygraph_slots")
    with simulated(seed, slots) as rig:
        _note_seed(request, rig)
        yield


@contextmanager
def _default(request: pytest.FixtureRequest, named: Any) -> Iterator[None]:
    from lazygraph.executors.current import enter, leave
    from lazygraph.testing.named import opened

    if named == "cluster":  # its `executor` is asked for when something is to run
        shared = request.getfixturevalue("_lazygraph_shared")
        enter(shared)
        try:
            yield
        finally:
            leave(shared)
        return
    with opened(named) as executor:
        enter(executor)
        try:
            yield
        finally:
            leave(executor)


@pytest.fixture
def _lazygraph_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that changes its inputs is an error in tests that use our fixtures, unless the environment says no."""
    import os

    if "LAZYGRAPH_CHECK_MUTATION" not in os.environ:
        monkeypatch.setenv("LAZYGRAPH_CHECK_MUTATION", "1")


@pytest.fixture
def lazygraph_sync(_lazygraph_strict: None) -> Iterator[Rig]:
    """The sync executor is the default: one task after the other, in this thread, in the order of the graph.

    `.calls` has every call, `.fail(...)` and `.kill_worker(...)` make some of them go wrong.
    """
    from lazygraph.executors.sync import SyncExecutor
    from lazygraph.testing.rigs import seen

    with SyncExecutor() as executor, seen(executor) as rig:
        yield rig
        _all_happened(rig)


@pytest.fixture
def lazygraph_sim(
    request: pytest.FixtureRequest, _lazygraph_strict: None, _lazygraph_seed: int, _lazygraph_slots: int
) -> Iterator[SimRig]:
    """A simulated executor is the default: delays pass at once, on a virtual clock, in an order made of a seed.

    As `lazygraph_sync`; besides `.now`, `.lasts(name, seconds)`, and `.held()` with `.advance(seconds)`.
    """
    from lazygraph.testing.rigs import simulated

    with simulated(_lazygraph_seed, _lazygraph_slots) as rig:
        _note_seed(request, rig)
        yield rig
        _all_happened(rig)


@pytest.fixture
def lazygraph_cluster(_lazygraph_shared: SharedCluster) -> Iterator[ClusterRig]:
    """A client of a cluster of two worker processes is the default; all tests of a session share the cluster.

    `.client` and `.cluster` are what they say; `.calls` has the tasks that workers ran, in the order of their notes;
    `.kill_worker(name)` has the worker die that is about to run a task.
    """
    with _lazygraph_shared.rig() as rig:
        yield rig
        _all_happened(rig)


@pytest.fixture
def lazygraph_recorder(request: pytest.FixtureRequest, _lazygraph_default: None) -> Iterator[Rig]:
    """See every call on the default executor of the test, whichever it is: sync, threads or a pool of threads."""
    from lazygraph.executors.registry import resolve
    from lazygraph.testing.rigs import seen

    with seen(resolve(None)) as rig:
        yield rig
        _all_happened(rig)


def _all_happened(rig: Any) -> None:
    missed = rig.missed
    if missed:
        ran = ", ".join(dict.fromkeys(rig.calls.names)) or "nothing"
        pytest.fail(
            f"what this test wanted to go wrong has not happened: {'; '.join(missed)}; ran: {ran}", pytrace=False
        )


def _note_seed(request: pytest.FixtureRequest, rig: SimRig) -> None:
    seed = rig.seed
    again = f"--lazygraph-seed {seed}, or @pytest.mark.lazygraph(seed={seed})"
    request.node.add_report_section("setup", "lazygraph", f"seed {seed}; the same order again: {again}")
