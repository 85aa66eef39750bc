"""What the processes of a contender use: processor time and memory, told apart by what each of them is.

Linux only: processor time is read from the clocks of the processes, memory and parents from /proc.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_OF_PROCESS = 2  # the kind of a process's clock in the lowest bits of its id; above them are those of ~pid

Roles = Mapping[str, list[int]]
"""Process ids, by what they are: "client", "scheduler", "worker"."""


def descendants(root: int) -> list[int]:
    """Return the ids of all living processes below one."""
    below: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # After the name, which may have anything in it: state, then the parent.
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            below.setdefault(parent, []).append(int(folder.name))
    found, left = [], [root]
    while left:
        children = below.get(left.pop(), [])
        found += children
        left += children
    return sorted(found)


def roles(is_scheduler: Callable[[str], bool], is_worker: Callable[[str], bool]) -> Roles:
    """Return this process as the client, and of those below it the ones whose command lines are known."""
    found: dict[str, list[int]] = {"client": [os.getpid()], "scheduler": [], "worker": []}
    for number in descendants(os.getpid()):
        command = command_of(number)
        if is_scheduler(command):
            found["scheduler"].append(number)
        elif is_worker(command):
            found["worker"].append(number)
    return found


def command_of(number: int) -> str:
    """Return the command line of a process; nothing when it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def seconds(numbers: list[int]) -> float:
    """Return the processor time that processes have had, user's and system's."""
    return sum(time.clock_gettime((~number << 3) | _OF_PROCESS) for number in numbers)


def resident(numbers: list[int]) -> int:
    """Return how many bytes of memory processes have."""
    return sum(int(Path(f"/proc/{number}/statm").read_text().split()[1]) * PAGE for number in numbers)


def each(of: Callable[[list[int]], float], who: Roles) -> dict[str, float]:
    """Return a figure for each role."""
    return {role: of(numbers) for role, numbers in who.items()}
