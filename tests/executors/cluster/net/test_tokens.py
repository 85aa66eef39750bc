"""Tokens: kept where only their user finds them, found in the order that is promised."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lazygraph.errors import CannotConnect, InvalidOption
from lazygraph.executors.cluster.net.addresses import format_address
from lazygraph.executors.cluster.net.tokens import (
    UnsafeTokenPlace,
    find_token,
    keep_token,
    make_token,
    read_token,
    token_path,
)

HERE = "tcp://127.0.0.1:8786"


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime directory and a temporary directory of the test's own, and no token in the environment."""
    (tmp_path / "run").mkdir(mode=0o700)
    (tmp_path / "tmp").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.delenv("LAZYGRAPH_TOKEN", raising=False)
    monkeypatch.delenv("LAZYGRAPH_TOKEN_FILE", raising=False)
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_tokens_are_long_and_never_the_same() -> None:
    assert len({make_token() for _ in range(100)}) == 100
    assert len(bytes.fromhex(make_token())) == 32


def test_what_is_kept_is_found_and_is_nobody_elses(places: Path) -> None:
    kept = keep_token(HERE, "secret")
    assert find_token(HERE) == "secret"
    assert kept.path == places / "run" / "lazygraph" / "localhost_8786.token"
    assert (mode(kept.path), mode(kept.path.parent)) == (0o600, 0o700)
    assert os.listdir(kept.path.parent) == [kept.path.name], "a draft was left"


def test_a_loose_umask_opens_nothing() -> None:
    before = os.umask(0)
    try:
        kept = keep_token(HERE, "secret")
    finally:
        os.umask(before)
    assert (mode(kept.path), mode(kept.path.parent)) == (0o600, 0o700)


def test_all_names_of_this_machine_are_one_but_ports_and_hosts_are_not() -> None:
    keep_token("tcp://0.0.0.0:8786", "secret")
    for name in ("localhost", "LocalHost:8786", "127.0.0.1", "tcp://[::1]:8786"):
        assert find_token(name) == "secret"
    for name in ("tcp://127.0.0.1:8787", "tcp://elsewhere:8786"):
        with pytest.raises(CannotConnect):
            find_token(name)


def test_a_given_token_comes_before_the_environment_before_a_file_before_what_is_kept(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_token(HERE, "kept")
    assert find_token(HERE) == "kept"
    (places / "file").write_text("  filed\n")
    monkeypatch.setenv("LAZYGRAPH_TOKEN_FILE", str(places / "file"))
    assert find_token(HERE) == "filed"
    monkeypatch.setenv("LAZYGRAPH_TOKEN", "environment")
    assert find_token(HERE) == "environment"
    assert find_token(HERE, "given") == "given"


def test_without_a_token_the_error_says_what_to_start_and_where_tokens_come_from(places: Path) -> None:
    with pytest.raises(CannotConnect) as error:
        find_token("localhost:9000")
    for words in (
        "tcp://localhost:9000",
        "lazygraph scheduler --port 9000",
        "Client(token=)",
        "LAZYGRAPH_TOKEN",
        "--token-file",
        str(places / "run" / "lazygraph"),
    ):
        assert words in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"", "has nothing"),
        (b" \n", "has nothing"),
        (b"\xff", "cannot be read"),
        (b"x" * 5000, "has more than 4096"),
    ],
)
def test_a_token_file_without_a_token_is_an_error(
    places: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, words: str
) -> None:
    file = places / "file"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("LAZYGRAPH_TOKEN_FILE", str(file))
    keep_token(HERE, "a token that must not be used instead")
    with pytest.raises(InvalidOption, match=words):
        find_token(HERE)
    with pytest.raises(InvalidOption, match="file"):
        read_token(file)


def test_a_new_scheduler_replaces_the_token_and_the_old_one_does_not_remove_it() -> None:
    old = keep_token(HERE, "old")
    new = keep_token(HERE, "new")
    old.remove()
    assert find_token(HERE) == "new"
    new.remove()
    new.remove()
    assert not new.path.exists()


def test_without_a_runtime_directory_of_ours_there_is_one_in_tmp(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for runtime in ("", "relative", str(places / "missing")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        kept = keep_token(HERE, "secret")
        assert kept.path.parent == places / "tmp" / f"lazygraph-{os.geteuid()}"
        assert mode(kept.path.parent) == 0o700
        assert find_token(HERE) == "secret"
        kept.remove()


def test_somebody_elses_directories_are_not_used(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Seen as another user, everything here is somebody else's: the runtime directory and the one laid out in tmp.
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    (places / "tmp" / f"lazygraph-{other}").mkdir(mode=0o700)
    with pytest.raises(UnsafeTokenPlace, match="belongs to another user"):
        keep_token(HERE, "secret")
    with pytest.raises(UnsafeTokenPlace, match="belongs to another user"):
        find_token(HERE)
    assert os.listdir(places / "run") == []
    assert os.listdir(places / "tmp" / f"lazygraph-{other}") == []


@pytest.mark.parametrize("open_to", [0o710, 0o701, 0o777])
def test_a_directory_that_others_may_open_is_refused(places: Path, open_to: int) -> None:
    folder = places / "run" / "lazygraph"
    folder.mkdir()
    folder.chmod(open_to)
    with pytest.raises(UnsafeTokenPlace, match=f"others may open it .its mode is {open_to:o}"):
        keep_token(HERE, "secret")
    assert os.listdir(folder) == []


def test_a_link_in_place_of_the_directory_is_refused(places: Path) -> None:
    trap = places / "trap"
    trap.mkdir(mode=0o700)
    (places / "run" / "lazygraph").symlink_to(trap)
    for act in (lambda: keep_token(HERE, "secret"), lambda: find_token(HERE)):
        with pytest.raises(UnsafeTokenPlace, match="cannot be opened as a directory"):
            act()
    assert os.listdir(trap) == []


def test_a_link_in_place_of_the_file_is_replaced_not_followed(places: Path) -> None:
    victim = places / "victim"
    victim.write_text("precious")
    victim.chmod(0o600)
    path = token_path(HERE)
    path.parent.mkdir(mode=0o700)
    path.symlink_to(victim)
    with pytest.raises(UnsafeTokenPlace, match="cannot be opened as a file"):
        find_token(HERE)
    keep_token(HERE, "secret")
    assert victim.read_text() == "precious"
    assert not path.is_symlink()
    assert find_token(HERE) == "secret"


def test_a_file_that_others_may_read_is_refused() -> None:
    kept = keep_token(HERE, "secret")
    kept.path.chmod(0o640)
    with pytest.raises(UnsafeTokenPlace, match="its mode is 640"):
        find_token(HERE)
    kept.remove()
    assert kept.path.exists(), "what has been tampered with is left for its user to see"


def test_a_pipe_in_place_of_the_file_holds_nobody_up() -> None:
    path = token_path(HERE)
    path.parent.mkdir(mode=0o700)
    os.mkfifo(path, 0o600)
    with pytest.raises(UnsafeTokenPlace, match="it is no regular file"):
        find_token(HERE)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_characters="\n"), min_size=1) | st.just(".."), st.integers(1, 65535))
def test_no_address_leads_out_of_the_directory(places: Path, host: str, port: int) -> None:
    try:
        path = token_path(format_address(host, port))
    except InvalidOption:
        return
    assert path.parent == places / "run" / "lazygraph"
    assert path.name.endswith(f"_{port}.token")
