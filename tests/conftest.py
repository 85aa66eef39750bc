"""What all tests share: the strictness of hypothesis, services that may be missing, and a look for processes left over.

The fixtures of one floor live in the conftest of that floor's folder.
"""

from __future__ import annotations

import itertools
import os
import select
import shutil
import signal
import sys
import uuid
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

try:
    distribution("lazygraph")
except PackageNotFoundError:
    pytest.exit("lazygraph is not installed for this Python; in the checkout run: pip install -e '.[test]'", 4)

IN_CI = bool(os.environ.get("CI"))
"""In CI a missing service is a failure; at home it is a reason to skip."""

SESSION = uuid.uuid4().hex
"""Every process that a test starts inherits this mark, also one whose parent has died."""
os.environ["LAZYGRAPH_TEST_SESSION"] = SESSION

# A background job or nohup leaves Ctrl-C ignored, and the processes that tests interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A task that changes its inputs is an error in every test that does not ask for something else.
os.environ.setdefault("LAZYGRAPH_CHECK_MUTATION", "1")

# No deadline: examples run on shared machines, and no test measures a wall clock. For the same reason slow generation
# is no defect. A failing example prints the line that brings it back (print_blob).
settings.register_profile(
    "default", max_examples=60, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
# The gate gives the same answer twice; new examples are looked for at home and in .ci/long.
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, database=None)
settings.register_profile("long", settings.get_profile("default"), max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if IN_CI else "default"))


_STATES = itertools.count()


@pytest.fixture(autouse=True)
def _named_runs_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is left of a named run is not for other tests; nothing is made as long as none is named."""
    os.environ["LAZYGRAPH_STATE"] = str(tmp_path_factory.getbasetemp() / f"state-{next(_STATES)}")
    yield
    del os.environ["LAZYGRAPH_STATE"]


def missing(what: str, remedy: str) -> NoReturn:
    """Skip the test because `what` is not there and `remedy` would bring it; in CI, fail."""
    sentence = f"{what} is missing; {remedy}"
    if IN_CI:
        pytest.fail(f"{sentence} (CI is set, so this is a failure and not a skip)", pytrace=False)
    pytest.skip(sentence)


def program(name: str, package: str, *, before: str = "") -> str:
    """Return the path of the program `name`, which Debian's `package` holds, or report it as missing.

    It is looked for in the folder `before`, then where all programs are.
    """
    found = shutil.which(name, path=before) or shutil.which(name)
    return found or missing(f"the program {name!r}", f"on Debian: apt-get install {package}")


@pytest.fixture(scope="session")
def needs_dot() -> str:
    """The path of graphviz's layout program."""
    return program("dot", "graphviz")


@pytest.fixture(scope="session")
def needs_redis() -> str:
    """The path of the redis server; the test starts its own on a free port."""
    return program("redis-server", "redis-server")


@pytest.fixture(scope="session")
def needs_rabbitmq() -> str:
    """The path of the RabbitMQ server; the test starts its own on free ports.

    Debian's is beside the search path: what bears its name there is for the machine's own service.
    """
    return program("rabbitmq-server", "rabbitmq-server", before="/usr/lib/rabbitmq/bin")


@pytest.fixture(scope="session", autouse=True)
def no_process_left_over() -> Iterator[None]:
    """Fail the session if a process that a test started outlives all tests."""
    yield
    if not sys.platform.startswith("linux"):
        return
    # One that has been told to end may still be ending: wait for its end itself, once, at most ten seconds in all.
    left = {pid: command for pid, command in _processes_of_this_session().items() if not _ends_within(pid, seconds=10)}
    assert left == {}, f"tests left processes behind: {left}"


def _processes_of_this_session() -> dict[int, str]:
    """Map the number of every living process that this test session started to its command line.

    Found by its mark, or as a child of ours (a forked child keeps the environment that we were started with).
    """
    mark = f"LAZYGRAPH_TEST_SESSION={SESSION}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            marked = mark in (folder / "environ").read_bytes().split(b"\0")
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue  # it has ended since, or it is another user's
        ours = marked or int(parent) == os.getpid()
        # Python's own resource tracker ends with us, by design.
        if ours and state != "Z" and "multiprocessing.resource_tracker" not in command:
            found[int(folder.name)] = command
    return found


def _ends_within(pid: int, seconds: float) -> bool:
    """Wait for the process to end; say whether it has."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)
