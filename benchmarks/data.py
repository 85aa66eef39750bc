"""Large values between processes of one host: ``python -m benchmarks.data [--megabytes 500] [--runs 5]``.

An array made on one worker is read by a task on another: through shared memory, where putting it there and reading it
are told apart, and over TCP, beside a bare socket and a bare copy.  Figures of one run may be compared with each other,
as ratios; each is a median with its extremes.

Covers: workers and the client of one host.  Does not cover: many small values, other hosts.
"""

from __future__ import annotations

import mmap
import os
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from lazygraph import Client, LocalCluster, wait
from lazygraph.executors.cluster.net.room import room_for
from lazygraph.executors.cluster.net.segments import VARIABLE, Segments

QUEUES = "maker", "reader", "late reader"


def make(length: int, fill: int) -> Any:
    """Return an array of bytes."""
    import numpy

    return numpy.full(length, fill, dtype=numpy.uint8)


def look(array: Any) -> int:
    """Read an array, but not all of it."""
    return len(array) + int(array[0]) + int(array[-1])


def seconds(job: Callable[[], Any]) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


class Table:
    """Rows of figures: seconds, by what was done."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.rows: dict[str, list[float]] = {}

    def note(self, row: str, took: float) -> None:
        """Note one figure."""
        self.rows.setdefault(row, []).append(took)

    def show(self) -> None:
        """Print everything, and what it comes to."""
        for row, took in self.rows.items():
            low, middle, high = min(took), statistics.median(took), max(took)
            speed = f"{self.length / middle / 1e9:8.2f} GB/s, at best {self.length / low / 1e9:.2f}"
            rate = "" if "once it is there" in row or "nothing" in row else speed
            print(f"{row:50} {middle * 1e3:9.2f} ms  ({low * 1e3:.2f} to {high * 1e3:.2f}) {rate}")
        print()
        self._compare(SENT, SOCKET)
        self._compare("put, recycled segment", COPY)

    def _compare(self, row: str, other: str) -> None:
        ours, theirs = self.rows[row], self.rows[other]
        middle, best = statistics.median(theirs) / statistics.median(ours), min(theirs) / min(ours)
        print(f"{row}: {middle:.2f} of the speed of: {other} (best of each: {best:.2f})")


COPY, SOCKET, SENT = "bare copy", "bare socket, into fresh memory", "TCP: a task on another worker"


class Bare:
    """What memory and sockets of this machine do by themselves."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.source = memoryview(bytearray(os.urandom(1024)) * (length // 1024))
        self.target = memoryview(bytearray(self.source))

    def measure(self, table: Table) -> None:
        """Copy once and send once."""
        table.note(COPY, seconds(self._copy))
        listener = socket.create_server(("127.0.0.1", 0))
        # A thread, not a fork: after that every page of ours is copied, or asked about, when it is written to.
        sender = threading.Thread(target=self._send, args=(listener.getsockname(),))
        sender.start()
        receiver, _ = listener.accept()
        with receiver, listener:
            receiver.send(b"x")
            table.note(SOCKET, seconds(lambda: self._receive(receiver)))
            receiver.send(b"x")
        sender.join()

    def _copy(self) -> None:
        self.target[:] = self.source

    def _send(self, address: tuple[str, int]) -> None:
        with socket.create_connection(address) as out:
            out.recv(1)
            out.sendall(self.source)
            out.recv(1)

    def _receive(self, receiver: socket.socket) -> None:
        room, got = room_for(0, self.length), 0
        while got < self.length:
            got += receiver.recv_into(room[got:])


def touch(length: int) -> None:
    """Touch memory: a virtual machine gets it from its host then, which takes several times as long as using it."""
    memory = mmap.mmap(-1, length)
    for at in range(0, length, mmap.PAGESIZE):
        memory[at] = 1


PUTS = "put, fresh pages", "put, recycled for the first time", "put, recycled segment", "put, recycled segment"


def segments(table: Table, source: memoryview) -> None:
    """What putting costs by itself: into fresh pages, into a segment that is mapped again, into one that stayed so."""
    pool = Segments(most_kept=2 * table.length)
    pieces = [source]
    for row in PUTS:
        table.note(row, seconds(lambda: pool.put(pieces, table.length)))
    pool.close()


@contextmanager
def cluster(shared: bool) -> Iterator[Client]:
    """Three workers."""
    before = os.environ.pop(VARIABLE, None)
    if not shared:
        os.environ[VARIABLE] = "0"
    try:
        with LocalCluster(3, queues=[[queue] for queue in QUEUES]) as workers, Client(workers) as client:
            client.wait_for_workers(3)
            small = client.submit(make, 1000, 1, queue="maker")
            for queue in QUEUES:
                client.submit(look, small, queue=queue).result()
            yield client
    finally:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before


def on_workers(table: Table, client: Client, shared: bool, fill: int) -> None:
    """Make a value on one worker, read it on another, and on a third, and here."""
    way = "shared" if shared else "TCP"
    right = table.length + 2 * fill

    def read(queue: str) -> None:
        assert client.submit(look, value, queue=queue, pure=False).result() == right

    small = client.submit(make, 1000, fill, queue="maker")
    wait([small])
    table.note(f"{way}: a task that reads next to nothing", seconds(client.submit(look, small, queue="reader").result))
    value = client.submit(make, table.length, fill, queue="maker")
    wait([value])
    table.note(f"{way}: a task on another worker", seconds(lambda: read("reader")))
    again = "once it is there" if shared else "again"
    table.note(f"{way}: a task on a third worker, {again}", seconds(lambda: read("late reader")))
    table.note(f"{way}: the client, {again}", seconds(value.result))


@click.command()
@click.option("--megabytes", type=click.IntRange(min=2), default=500, show_default=True, help="Size of the array.")
@click.option("--runs", type=click.IntRange(min=1), default=5, show_default=True)
def main(megabytes: int, runs: int) -> None:
    """Measure, and print one table."""
    table = Table(megabytes * 1_000_000 // 1024 * 1024)
    touch(min(20 * table.length, os.sysconf("SC_AVPHYS_PAGES") * mmap.PAGESIZE // 2))
    limits = Bare(table.length)
    print(f"{megabytes} MB, {runs} runs, load before: {os.getloadavg()[0]:.2f}\n")
    with cluster(True) as near:
        on_workers(Table(table.length), near, True, 1)  # what is nobody's yet is made and mapped
        with cluster(False) as far:
            for run in range(runs):
                limits.measure(table)
                segments(table, limits.source)
                os.environ.pop(VARIABLE, None)
                on_workers(table, near, True, run + 2)
                os.environ[VARIABLE] = "0"
                on_workers(table, far, False, run + 2)
    table.show()


if __name__ == "__main__":
    main()
