"""The notebooks run from top to bottom as a reader runs them, and the picture in the README is what its code draws."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FIRST_GRAPH = ROOT / "notebooks" / "1_first_graph.ipynb"
PICTURE = ROOT / "notebooks" / "first_graph.svg"


def read(path: Path) -> Any:
    """The notebook as it is stored, not brought up to a newer format."""
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


@pytest.fixture
def executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """The notebook after all its cells ran, in a directory that they leave empty; a cell that raises fails it."""
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    notebook = read(request.param)
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(cwd)}}).execute()
    assert os.listdir(cwd) == []
    return notebook


def test_there_is_a_first_notebook() -> None:
    assert FIRST_GRAPH in NOTEBOOKS


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
    shown = {cell.id: cell.outputs for cell in executed.cells if cell.cell_type == "code"}
    for drawn in ("picture", "chord"):
        [output] = shown[drawn]
        assert output.data["image/svg+xml"].startswith("<svg")

    def said(cell: str) -> str:
        return "".join(output.text if "text" in output else output.data["text/plain"] for output in shown[cell])

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
