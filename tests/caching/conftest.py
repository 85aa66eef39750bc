"""What tests of `cache=` share: a store of their own, and tasks that say that they have run."""

from __future__ import annotations

from pathlib import Path

import pytest

from lazygraph import Store


@pytest.fixture(autouse=True)
def _default_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAZYGRAPH_CACHE", str(tmp_path / "default"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """The folder in which tasks leave a mark."""
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder
