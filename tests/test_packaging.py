"""What people install is what stands in the checkout: one top-level name, executors in it, nothing forgotten."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("lazygraph", "executors", "pyproject.toml", "setup.cfg", "README.md", "LICENSE")


def expected_modules() -> set[str]:
    """Every module of the checkout, by the path it must have in a wheel."""
    inside = {path.relative_to(ROOT) for path in (ROOT / "lazygraph").rglob("*.py")}
    beside = {Path("lazygraph") / path.relative_to(ROOT) for path in (ROOT / "executors").rglob("*.py")}
    assert beside, "executors/ is empty"
    return {path.as_posix() for path in inside | beside}


@pytest.fixture(scope="module", params=["from the checkout", "from the source distribution"])
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy (a build leaves files in its tree) with the setuptools that is installed here."""
    copy, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("out")
    ignore = shutil.ignore_patterns("__pycache__")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, symlinks=True, ignore=ignore)
        else:
            shutil.copy(ROOT / part, copy / part)
    kind = ["--wheel"] if request.param == "from the checkout" else []  # without it: an sdist, and the wheel from that
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", *kind, "--outdir", out, copy], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = out.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.mark.timeout(300)
def test_wheel_holds_every_module_and_the_type_marker(wheel: zipfile.ZipFile) -> None:
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert files == expected_modules() | {"lazygraph/py.typed"}


@pytest.mark.timeout(300)
def test_wheel_has_one_top_level_name(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"lazygraph"}
    [said] = [name for name in wheel.namelist() if name.endswith(".dist-info/top_level.txt")]
    assert wheel.read(said).split() == [b"lazygraph"]


@pytest.mark.timeout(300)
def test_wheel_runs_without_the_checkout(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "import lazygraph.executors, lazygraph.version; print(lazygraph.executors.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(tmp_path / "lazygraph" / "executors" / "__init__.py")
