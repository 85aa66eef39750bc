"""The benchmark of large values: that it works, and tells put and read apart; nothing about speed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from click.testing import CliRunner

from benchmarks import data

if TYPE_CHECKING:
    import pytest


def test_it_measures_every_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(data.VARIABLE, raising=False)
    result = CliRunner().invoke(data.main, ["--megabytes", "2", "--runs", "1"], catch_exceptions=False)
    lines = result.output.splitlines()
    for row in (*data.PUTS, data.COPY, data.SOCKET, data.SENT, "shared: the client, once it is there"):
        assert any(line.startswith(row) and " ms " in line for line in lines), row
    assert "of the speed of: bare socket" in result.output
    assert data.VARIABLE not in os.environ
