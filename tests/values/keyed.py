"""What the tests of content keys share: classes to make values of, and two ways to run a program given as text."""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Number(enum.IntEnum):
    ONE = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = 0

    def norm(self) -> Any:
        return abs(self.x) + abs(self.y)

    @classmethod
    def origin(cls) -> Point:
        return cls(0)


class Pair(NamedTuple):
    left: Any
    right: Any


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, **given: Any) -> None:
        for name, value in given.items():
            setattr(self, name, value)


class Bag:
    def __init__(self, **given: Any) -> None:
        self.__dict__.update(given)


class OtherBag(Bag):
    pass


class MyList(list[Any]):
    pass


class MyDict(dict[Any, Any]):
    pass


class MySet(set[Any]):
    pass


class MyText(str):
    pass


class SlottedSet(set[Any]):
    __slots__ = ("note",)


def noted(note: str) -> SlottedSet:
    made = SlottedSet({1})
    made.note = note
    return made


def defined(source: str, name: str = "f", file: str = "one.py", **space: Any) -> Any:
    """Run a module's source and return what it calls `name`."""
    found: dict[str, Any] = {"__name__": "somewhere", **space}
    exec(compile(source, file, "exec"), found)
    return found[name]


def in_another_process(code: str, *words: str, seed: int, cwd: Path, **environment: str) -> Any:
    """Run a program that prints one JSON document, under the given hash seed and in the given directory."""
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, "PYTHONHASHSEED": str(seed), **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
