"""The notebooks run from top to bottom as a reader runs them, and the picture in the README is what its code draws."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FIRST_GRAPH = ROOT / "notebooks" / "1_first_graph.ipynb"
CANVAS = ROOT / "notebooks" / "2_chain_group_chord.ipynb"
ENGINES = ROOT / "notebooks" / "5_other_engines.ipynb"
PICTURE = ROOT / "notebooks" / "first_graph.svg"


def read(path: Path) -> Any:
    """The notebook as it is stored, not brought up to a newer format."""
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The notebook after all its cells ran, in a directory that they leave empty; a cell that raises fails it."""
    home = tmp_path_factory.mktemp("notebook")
    cwd = home / "cwd"
    cwd.mkdir()
    notebook = read(request.param)
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(cwd)}})
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
            patch.setenv(variable, str(home / variable.lower()))
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # or Ray keeps one in the home directory
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        client.execute()
    assert os.listdir(cwd) == []
    yield notebook


def shown_by(notebook: Any) -> dict[str, Any]:
    """The outputs of each cell of code, by its id."""
    return {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


def said_by(notebook: Any, cell: str) -> str:
    """What a cell printed, and its value as text."""
    return "".join(o.text if "text" in o else o.data["text/plain"] for o in shown_by(notebook)[cell])


def picture_of(notebook: Any, cell: str) -> str:
    """The picture that is a cell's value."""
    [picture] = [o.data["image/svg+xml"] for o in shown_by(notebook)[cell] if "data" in o]
    assert picture.startswith("<svg")
    return str(picture)


def texts_in(picture: str) -> list[str]:
    """What is written in a picture: the names of the nodes, from top to bottom, and the legend."""
    return [element.text for element in ElementTree.fromstring(picture).iter() if element.tag.endswith("}text")]


def test_the_notebooks_that_the_readme_names_are_there() -> None:
    assert [FIRST_GRAPH, CANVAS, ENGINES] == NOTEBOOKS
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path for path in NOTEBOOKS if f"](notebooks/{path.name})" not in readme] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_valid_and_stored_without_outputs(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    stored = [cell.id for cell in notebook.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]
    assert stored == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("executed", NOTEBOOKS, ids=lambda path: path.name, indirect=True)
def test_notebook_runs_and_says_nothing_on_standard_error(executed: Any) -> None:
    outputs = [(cell.id, output) for cell in executed.cells if cell.cell_type == "code" for output in cell.outputs]
    assert outputs
    assert [(cell, output.text) for cell, output in outputs if output.get("name") == "stderr"] == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("executed", [FIRST_GRAPH], ids=lambda path: path.name, indirect=True)
def test_first_graph_shows_what_its_text_says(executed: Any) -> None:
    for drawn in ("picture", "chord"):
        picture_of(executed, drawn)

    def said(cell: str) -> str:
        return said_by(executed, cell)

    assert said("compute") == "-3.25"
    assert said("diamond-count") == "98 [7]\n"
    assert said("group") == "[[0, 2, 4], [0], []]"
    assert said("chord-compute") == "12"
    assert "invert" in said("error")
    assert "attempt 1" in said("error")
    assert said("cluster-compute") == "(-3.25, 98, 12)"
    assert said("cluster-error").startswith("[7]\nZeroDivisionError")
    assert "Remote traceback" in said("cluster-error")
    assert said("submit") == "328350"
    assert said("await") == "9801"
    assert said("close") == "{}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("executed", [CANVAS], ids=lambda path: path.name, indirect=True)
def test_chain_group_chord_shows_what_its_text_says(executed: Any) -> None:
    def said(cell: str) -> str:
        return said_by(executed, cell)

    assert said("functions") == "subtract.s(10) -> -7\nsubtract.s(x=10) -> 7\n"
    assert said("si") == "7"
    assert [line.partition(" (written at ")[0] for line in said("wrong").splitlines()] == [
        "add(x, y) cannot be called like this: too many positional arguments",
        "add(x, y) cannot be called like this: missing a required argument: 'y'",
    ]
    assert said("chain").startswith("{'add.s(1, 2) | add.s(3) | add.s(4)'}\n")
    assert said("chain-compute") == "[10, 10, 10, 10, 10]"
    assert said("immutability").startswith("False True 4\n")
    assert said("shapes") == "[[0, 2, 4], [0], []]"
    assert said("diamonds").startswith("[36, 23]\n")
    assert said("nested") == "4 [1, 2, 3, 4] | 3 [1, [2, 3], 4]\n"
    assert said("chord").splitlines()[1] == "12 [0, 0]"
    assert said("chunks").splitlines() == ["[0, 2, 4, 6, 8, 10, 12, 14, 16, 18]"] * 2
    assert said("mixed").startswith("149 [7]\n")
    assert said("quoted") == "('int: 6', 'Chain: add.s(1, 2) | add.s(3)')"
    first, *_, last = said("futures").splitlines()
    assert (first, last) == ("36 [13, 23] 3", "2 2 [True]")
    assert said("each-became").startswith("9 2 0\n")
    assert said("replace") == "(1144, 'done')"
    assert said("callback-runs").splitlines() == [
        "1.5 ['done: 1.5']",
        """ZeroDivisionError('division by zero') ["invert, attempt 1: ZeroDivisionError('division by zero')"]""",
    ]
    below = "ZeroDivisionError('division by zero') upstream_failed True"
    assert said("ended").splitlines()[:3] == [below, below, "upstream_failed failed succeeded"]
    assert "in invert" in said("ended")
    assert said("several").splitlines() == [
        "[1.0, ZeroDivisionError('division by zero'), 0.25]",
        "['succeeded', 'failed', 'succeeded']",
    ]
    assert [line.split(":")[0] for line in said("check").splitlines()] == ["LG008 error", "LG010 warning"]
    assert said("equal") == "True"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("executed", [CANVAS], ids=lambda path: path.name, indirect=True)
def test_chain_group_chord_draws_what_its_text_says(executed: Any) -> None:
    def nodes(cell: str) -> list[str]:
        return [text for text in texts_in(picture_of(executed, cell)) if text not in ("task", "output")]

    assert nodes("chain") == ["add", "add", "add"]
    assert nodes("immutability") == ["add", "three more", "three more", "add"]
    assert sorted(nodes("diamonds")) == ["add", "add", "add", "gather", "max", "total"]
    assert sorted(nodes("chord")) == ["add", "add", "add", "add", "total"]
    assert sorted(nodes("mixed")) == ["add", "add", "add", "expensive", "total"]
    assert nodes("each") == ["chapters", "each(words.s())", "total"]
    assert sorted(nodes("each-became")) == ["total", "words", "words", "words"]
    assert picture_of(executed, "each-again") == picture_of(executed, "each")
    assert sorted(nodes("callback-picture")) == ["add", "add", "done", "invert", "on failure", "report", "subtract"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("executed", [ENGINES], ids=lambda path: path.name, indirect=True)
def test_other_engines_shows_what_its_text_says(executed: Any) -> None:
    head, *rows = [line.split() for line in said_by(executed, "compare").splitlines()]
    assert head == ["executor", "seconds", "total", "processes", "moved", "here"]
    assert [row[0] for row in rows] == ["threads", "processes", "cluster", "dask", "ray"]
    assert len({row[2] for row in rows}) == 1
    assert {row[4] for row in rows} == {"0"}
    assert [row[5] for row in rows] == ["True", "False", "False", "False", "False"]
    assert "does not honour resources=" in said_by(executed, "refused")
    assert said_by(executed, "other-way") == "{'to': 2, 'be': 2, 'or': 1, 'not': 1}"


def test_picture_in_the_readme_is_what_its_code_draws(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [block] = [code for code in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S) if PICTURE.name in code]
    assert f"](notebooks/{PICTURE.name})" in text
    # Compiled under a short name: the tips in the picture name the file and line that built a node.
    script = f"exec(compile({block!r}, 'first_graph.py', 'exec'))"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.DEVNULL, check=True)
    drawn = (tmp_path / PICTURE.name).read_text(encoding="utf-8")
    assert drawn == PICTURE.read_text(encoding="utf-8"), (
        "draw it again: in notebooks/, run the README's block as `exec(compile(block, 'first_graph.py', 'exec'))`"
    )
