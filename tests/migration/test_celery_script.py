"""A script written for Celery's canvas runs when its import line and its decorator lines are changed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import lazygraph
from lazygraph import Client, LocalCluster

SCRIPT = Path(__file__).with_name("celery_script.py")

SAYS = """\
-- single calls
add 4
apply_async 125.0
by keywords Dear Ada, please pay 5 EUR.
total 6 True True False SUCCESS
-- signatures
signature 5 (2, 3) {}
partial 80.0 8.0
kwargs are merged 125.0
clone 160.0 () {'currency': 'CHF'}
immutable 2 ready
at once 42
-- chains
chain 640
its steps 64 8 None
pipe 16
generated 45
reduced 256
nested Dear Bo, please pay 225.0 USD.
filled later 240.0
waits only 8
-- groups
group [0, 2, 4, 6, 8, 10] 6 4
its members True True False False 6
joined [200, 300, 340]
partial [11, 20]
after a step [3, 4, 6] [3, 4, 6]
within a group [2, 4, 6]
keywords ['Welcome, Ada King!', 'ada@shop.org gets the news']
-- chords
chord 90
in one 840
pipe ['a', 'good']
its header 6 [2, 4]
of one 7
of none 0
ignoring ready
within a chord 23
in a chain 70
after a chord [7, 12]
-- many at once
map [45, 4950]
starmap [0, 2, 4, 6, 8]
chunks [[0, 2, 4], [6, 8, 10], [12]]
-- callbacks
link 4 [64]
linked to the stock: all is sold
on error to billing: not paid
of a chain to billing: a chain
-- failures
raised there is no order 7 FAILURE True False
returned LookupError('there is no order 8')
traceback True
in a chain the customer has not paid True
in a group ['2', 'the customer has not paid', '4'] True
in a chord True
"""

CELERY = """
import os, runpy, sys
from celery import Celery
from celery.contrib.testing.worker import start_worker
from celery.result import AsyncResult, ResultSet

# Its parts ask each other every second or half second, and so would this test for minutes.
for waits in (AsyncResult.get, ResultSet.get, ResultSet.join, ResultSet.join_native):
    waits.__defaults__ = tuple(0.01 if default == 0.5 else default for default in waits.__defaults__)

app = Celery("shop", broker="memory://", backend="cache+memory://")
app.conf.broker_transport_options = {"polling_interval": 0.01}
app.set_default()
script = runpy.run_path(sys.argv[1])
with start_worker(app, pool="threads", concurrency=4, perform_ping_check=False, loglevel="CRITICAL"):
    script["main"]()
    sys.stdout.flush()
    os._exit(0)  # the worker takes minutes to end
"""
"""Celery's own way to run it: the script as it was written, and a worker with four threads."""


def migrated() -> str:
    """Return the script with lazygraph in the place of Celery in its import line, and `delayed` in its decorators."""
    text = SCRIPT.read_text(encoding="utf-8")
    text = re.sub(r"^from celery import (.*)shared_task$", r"from lazygraph import \1delayed", text, flags=re.MULTILINE)
    text = re.sub(r"^@shared_task\(ignore_result=True\)$", "@delayed", text, flags=re.MULTILINE)
    return re.sub(r"^@shared_task", "@delayed", text, flags=re.MULTILINE)


def test_only_the_import_line_and_decorator_lines_change() -> None:
    before, after = SCRIPT.read_text(encoding="utf-8").splitlines(), migrated().splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed[0] == (
        "from celery import chain, chord, group, shared_task",
        "from lazygraph import chain, chord, group, delayed",
    )
    assert set(changed[1:]) == {
        ("@shared_task", "@delayed"),
        ('@shared_task(name="shop.total")', '@delayed(name="shop.total")'),
        ("@shared_task(ignore_result=True)", "@delayed"),
    }
    assert len(changed) == 1 + sum(line.startswith("@") for line in before)
    assert not any("celery" in line for line in after[after.index("import socket") :])
    assert len([line for line in after if line.strip()]) > 150


@pytest.fixture(params=["sync", "threads", "cluster"])
def where(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where the script runs: nothing in it says so."""
    if request.param == "cluster":
        with LocalCluster(n_workers=2) as cluster, Client(cluster):
            yield
    else:
        with lazygraph.use(request.param):
            yield


@pytest.mark.usefixtures("where")
def test_it_says_what_it_said_with_celery() -> None:
    module: Any = ModuleType("celery_script")
    exec(compile(migrated(), str(SCRIPT), "exec", dont_inherit=True), module.__dict__)
    said: list[str] = []
    module.main(say=lambda *words: said.append(" ".join(map(str, words)) + "\n"))
    assert "".join(said) == SAYS


def test_it_runs_as_a_program(tmp_path: Path) -> None:
    program = tmp_path / "shop.py"
    program.write_text(migrated(), encoding="utf-8")
    assert _said_by(str(program)) == SAYS


def test_celery_itself_says_the_same() -> None:
    if importlib.util.find_spec("celery") is None:
        pytest.skip("celery is not installed; with it this test runs the script as it was written")
    assert _said_by("-c", CELERY, str(SCRIPT)) == SAYS


def _said_by(*words: str) -> str:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
