"""Segments: what one process puts there another maps, as long as it likes; nothing is reused under a reader's eyes."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lazygraph.executors.cluster.messages import Place
from lazygraph.executors.cluster.net import segments as module
from lazygraph.executors.cluster.net.segments import CannotShare, Kept, Mapped, Segments

pytestmark = pytest.mark.skipif(not module.this_host(), reason="memory is shared through /proc, which Linux has")

READER = """
import sys
import msgspec
from lazygraph.executors.cluster.messages import Place
from lazygraph.executors.cluster.net.segments import Mapped

mapped = Mapped(msgspec.json.decode(sys.argv[1], type=Place), own=False)
print(bytes(mapped.view[:5]).decode(), flush=True)
sys.stdin.readline()
print(bytes(mapped.view[:5]).decode(), flush=True)
"""


def put(segments: Segments, *pieces: bytes) -> Kept:
    kept = segments.put([memoryview(piece) for piece in pieces], sum(map(len, pieces)))
    assert kept is not None
    return kept


def read(place: Place, own: bool = False) -> bytes:
    return bytes(Mapped(place, own).view)


@pytest.fixture
def reader() -> Any:
    """Start processes that have a segment mapped; each says what it sees, and once more when it is sent a line."""
    started: list[subprocess.Popen[str]] = []

    def start(place: Place) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", READER, msgspec.json.encode(place).decode()]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def descriptors() -> set[str]:
    """What this process has open of memory and of files without a name."""
    found = set()
    for one in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the listing itself
            found.add(f"{one} {os.readlink(f'/proc/self/fd/{one}')}")
    return {one for one in found if "deleted" in one}


# -- putting and reading ---------------------------------------------------------------------------


def test_what_was_put_is_read() -> None:
    kept = put(Segments(), b"abc", b"", b"defg")
    assert read(kept.place) == b"abcdefg"


@pytest.mark.parametrize("count", [1, 511, 512, 513, 3_000])
def test_any_number_of_pieces(count: int) -> None:
    segments = Segments()
    pieces = [bytes([number % 251]) * 3 for number in range(count)]
    for _ in range(2):  # into fresh memory, and into recycled
        assert read(put(segments, *pieces).place) == b"".join(pieces)


def test_another_process_reads_it(reader: Any) -> None:
    kept = put(Segments(), b"hello")
    assert line(reader(kept.place)) == "hello"


def test_a_reader_cannot_change_it() -> None:
    kept = put(Segments(), b"hello")
    mapped = Mapped(kept.place, own=False)
    assert mapped.view.readonly
    with pytest.raises(TypeError):
        mapped.view[0] = 1


def test_what_is_the_readers_own_changes_for_nobody_else() -> None:
    kept = put(Segments(), b"hello")
    mapped = Mapped(kept.place, own=True)
    mapped.view[:2] = b"ju"
    assert (bytes(mapped.view), read(kept.place)) == (b"jullo", b"hello")


def test_a_reader_tells_others_of_the_same_segment() -> None:
    kept = put(Segments(), b"hello")
    first = Mapped(kept.place, own=False)
    del kept
    assert (first.place.inode, read(first.place)) == (Mapped(first.place, own=True).place.inode, b"hello")


# -- filling again ---------------------------------------------------------------------------------


def test_a_segment_that_nobody_needs_is_filled_again() -> None:
    segments = Segments()
    first = put(segments, b"first").place
    second = put(segments, b"again").place
    assert (second.descriptor, second.inode) == (first.descriptor, first.inode)
    assert read(second) == b"again"


def test_whoever_comes_too_late_does_not_read_what_stands_there_now() -> None:
    segments = Segments()
    first = put(segments, b"first").place
    kept = put(segments, b"again")
    with pytest.raises(CannotShare, match="something else"):
        Mapped(first, own=False)
    assert read(kept.place) == b"again"


def test_a_segment_that_somebody_has_mapped_is_not_filled_again(reader: Any) -> None:
    segments = Segments()
    kept = put(segments, b"hello")
    process = reader(kept.place)
    assert line(process) == "hello"
    first = kept.place
    del kept
    assert put(segments, b"other").place.inode != first.inode
    print(file=process.stdin, flush=True)
    assert line(process) == "hello"


def test_a_view_is_enough_to_keep_it() -> None:
    segments = Segments()
    kept = put(segments, b"hello")
    view, first = Mapped(kept.place, own=False).view[1:], kept.place
    del kept
    assert put(segments, b"other").place.inode != first.inode
    assert bytes(view) == b"ello"


def test_a_segment_whose_reader_was_killed_is_filled_again(reader: Any) -> None:
    segments = Segments()
    kept = put(segments, b"hello")
    process = reader(kept.place)
    assert line(process) == "hello"
    process.kill()
    process.wait()
    first = kept.place
    del kept
    assert put(segments, b"other").place.inode == first.inode


def test_a_child_that_was_forked_is_a_reader_too() -> None:
    segments = Segments()
    kept = put(segments, b"hello")
    mapped = Mapped(kept.place, own=False)
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(theirs)
        os.read(ours, 1)
        os._exit(0)
    os.close(ours)
    first = kept.place
    del kept, mapped
    try:
        assert put(segments, b"other").place.inode != first.inode
    finally:
        os.close(theirs)
        os.waitpid(child, 0)


def test_one_that_is_much_too_large_is_left_for_what_needs_it() -> None:
    segments = Segments()
    large = put(segments, bytes(100_000)).place
    small = put(segments, bytes(10_000))
    assert small.place.inode != large.inode
    assert put(segments, bytes(60_000)).place.inode == large.inode


def test_what_is_kept_for_nothing_has_a_limit() -> None:
    segments = Segments(most_kept=100_000)
    before = descriptors()
    held = [put(segments, bytes(60_000)) for _ in range(3)]
    assert len(descriptors() - before) == 3
    held.clear()
    assert len(descriptors() - before) == 1


def test_what_is_idle_for_long_is_let_go() -> None:
    segments = Segments()
    before = descriptors()
    kept = put(segments, bytes(60_000))
    assert segments.in_use
    del kept
    assert segments.trim(kept_for=1000.0) and segments.in_use
    assert not segments.trim(kept_for=0.0) and not segments.in_use
    assert descriptors() == before


# -- whom to believe -------------------------------------------------------------------------------


def test_only_what_we_make_is_opened(tmp_path: Path) -> None:
    kept = put(Segments(), b"hello")
    place = kept.place
    named = tmp_path / "named"
    named.write_bytes(bytes(64) + b"hello")
    with open(named, "rb") as file:
        found = os.fstat(file.fileno())
        as_named = Place(os.getpid(), file.fileno(), found.st_dev, found.st_ino, 5, bytes(16))
        with pytest.raises(CannotShare):  # it has a name: it may be anybody's
            Mapped(as_named, own=False)
    ours, theirs = os.pipe()
    with pytest.raises(CannotShare, match="no file"):
        Mapped(msgspec.structs.replace(place, descriptor=ours), own=False)
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pid": 2**22 + 1},
        {"pid": -1},
        {"descriptor": 10_000_000},
        {"descriptor": 2**70},
        {"inode": 1},
        {"device": 0},
        {"length": 10**6},
        {"length": -100},
        {"length": 2**70},
        {"stamp": bytes(16)},
        {"stamp": b""},
    ],
)
def test_a_place_that_is_not_true_is_refused(wrong: dict[str, Any]) -> None:
    kept = put(Segments(), b"hello")
    before = descriptors()
    with pytest.raises(CannotShare):
        Mapped(msgspec.structs.replace(kept.place, **wrong), own=False)
    gc.collect()
    assert descriptors() == before


# -- when there is no room -------------------------------------------------------------------------


def test_where_memory_is_short_a_file_without_a_name_is_used(tmp_path: Path, reader: Any) -> None:
    segments = Segments(available=lambda: 0, folder=str(tmp_path))
    kept = put(segments, b"hello")
    assert os.readlink(f"/proc/self/fd/{kept.place.descriptor}").startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert line(reader(kept.place)) == "hello"
    first = kept.place
    del kept
    assert put(segments, b"other").place.inode != first.inode  # the reader still has it


def test_without_shared_memory_a_file_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "memfd_create", none)
    kept = put(Segments(folder=str(tmp_path)), b"hello")
    assert read(kept.place) == b"hello"


def test_without_room_anywhere_there_is_no_segment(tmp_path: Path) -> None:
    before = descriptors()
    assert Segments(available=lambda: 0, folder=str(tmp_path)).put([memoryview(b"x")], 2**62) is None
    assert Segments(available=lambda: 0, folder=str(tmp_path / "gone")).put([memoryview(b"x")], 1) is None
    assert descriptors() == before


def test_segments_leave_descriptors_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "most_mapped", lambda: 4)
    segments = Segments()
    held = [segments.put([memoryview(b"x")], 1) for _ in range(3)]
    assert [one is None for one in held] == [False, False, True]


# -- leaving nothing behind ------------------------------------------------------------------------


def test_closed_it_leaves_nothing(tmp_path: Path) -> None:
    before = descriptors()
    segments = Segments()
    kept = put(segments, b"hello")
    del kept
    still = put(segments, bytes(10**6))
    segments.close()
    assert read(still.place) == bytes(10**6)
    del still
    assert descriptors() == before


def test_a_process_that_is_killed_leaves_nothing(tmp_path: Path, reader: Any) -> None:
    owner = (
        "import msgspec, sys\n"
        "from lazygraph.executors.cluster.net.segments import Segments\n"
        "for segments in (Segments(), Segments(available=lambda: 0, folder=sys.argv[1])):\n"
        "    kept = segments.put([memoryview(b'hello')], 5)\n"
        "    print(msgspec.json.encode(kept.place).decode(), flush=True)\n"
        "    globals()[repr(kept)] = kept\n"
        "sys.stdin.readline()\n"
    )
    before = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    process = subprocess.Popen(
        [sys.executable, "-c", owner, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    places = [msgspec.json.decode(line(process), type=Place) for _ in range(2)]
    readers = [reader(place) for place in places]
    assert [line(one) for one in readers] == ["hello", "hello"]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(tmp_path.iterdir()) == []
    assert (set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()) <= before
    for one in readers:  # what they have, they keep
        print(file=one.stdin, flush=True)
    assert [line(one) for one in readers] == ["hello", "hello"]
    for place in places:
        with pytest.raises(CannotShare):
            Mapped(place, own=False)


def test_a_process_that_shall_not_share_is_on_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [sys.executable, "-c", "from lazygraph.executors.cluster.net.segments import this_host; print(this_host())"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() == module.this_host()
    monkeypatch.setenv(module.VARIABLE, "0")
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() == ""
