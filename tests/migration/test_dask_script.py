"""A script written for dask.delayed runs when its import lines, and nothing else, are changed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import lazygraph

SCRIPT = Path(__file__).with_name("dask_script.py")

SAYS = """\
built, and nothing has been read: []
  retail        25.69 [3, 6, 8, 9]
  unknown        0.00 []
  wholesale     62.50 [1, 4]
rejected: ['2,bob,,EUR', '7,eve,not a number,USD'] total: 88.19 and 3
each region was read once: ['east', 'north', 'south', 'west']
retail share: 29.13 -88.19 -34.0
is it much? True True True
a window: [3, 4, 5, 6] 4
words: True BOB
quotient and rest: (3, 1) (12, 4)
nested: {'north': 12.5, 'south': 50.0, 'east': 9.69, 'west': 0.0} (88.19, [3, {4}]) OrderedDict([('n', 4)]) \
Converter of 3 currencies
how often: [('a', 2)]
hex: 255
sorted: [50.0, 12.5]
a dataclass: Summary(kind='all', total=88.19, orders=[3, 4])
inside one: 3
left alone: True
pure calls run once: (1.0, 1.0) ['EUR']
and where the call says so: ([], []) ['EUR', 'west']
keys: mine list load Return the lines of one region.
optimized: (1.0, 1.0, 2.0)
there and back: 42 sync
persisted: 1.75 0.875 0.875 ['GBP', 'USD']
refused, a TypeError: True
refused, a TypeError: True
refused, a TypeError: True
refused, a TypeError: False
refused: a promise has no items to set
raised: division by zero on sync
raised: division by zero on threads
recovered: 5 None
after all: child ['parent', 'child']
but not above: ('left', 'right') True
wait for both: c c
all is written: None ['x', 'y', 'z']
and again: ('once', 'once') ['once', 'once']
"""


def migrated() -> str:
    """Return the script with `lazygraph` in the place of `dask` in its import lines."""
    text = SCRIPT.read_text(encoding="utf-8")
    text = re.sub(r"^import dask$", "import lazygraph as dask", text, flags=re.MULTILINE)
    return re.sub(r"^from dask[.\w]* import ", "from lazygraph import ", text, flags=re.MULTILINE)


def test_only_import_lines_change() -> None:
    before, after = SCRIPT.read_text(encoding="utf-8").splitlines(), migrated().splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [
        ("import dask", "import lazygraph as dask"),
        ("from dask import compute, delayed, optimize, persist, visualize",
         "from lazygraph import compute, delayed, optimize, persist, visualize"),
        ("from dask.delayed import Delayed", "from lazygraph import Delayed"),
        ("from dask.graph_manipulation import bind, checkpoint, clone, wait_on",
         "from lazygraph import bind, checkpoint, clone, wait_on"),
    ]  # fmt: skip
    assert len([line for line in after if line.strip()]) > 200


@pytest.mark.parametrize("executor", ["sync", "threads"])
def test_it_says_what_it_said_with_dask(executor: str, tmp_path: Path) -> None:
    module: Any = ModuleType("dask_script")
    exec(compile(migrated(), str(SCRIPT), "exec", dont_inherit=True), module.__dict__)
    said: list[str] = []
    with lazygraph.use(executor):
        module.main(tmp_path, say=lambda *words: said.append(" ".join(map(str, words)) + "\n"))
    assert "".join(said) == SAYS
    assert "<svg" in (tmp_path / "shop.svg").read_text(encoding="utf-8")


def test_it_runs_as_a_program(tmp_path: Path) -> None:
    program = tmp_path / "shop.py"
    program.write_text(migrated(), encoding="utf-8")
    assert _said_by(program, tmp_path) == SAYS


def test_dask_itself_says_the_same(tmp_path: Path) -> None:
    if importlib.util.find_spec("dask") is None:
        pytest.skip("dask is not installed; with it this test runs the script as it was written")
    assert _said_by(SCRIPT, tmp_path) == SAYS


def _said_by(program: Path, folder: Path) -> str:
    done = subprocess.run([sys.executable, str(program), str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
