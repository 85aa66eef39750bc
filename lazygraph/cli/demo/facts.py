"""What is known about Python sources, as values that can be added up in any grouping.

One type serves a file and a whole tree: `Facts` of one file are merged into `Facts` of many. `merge_many` is
associative and commutative and `Facts()` is its neutral element, so a tree of merges and one flat merge are equal.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A file that could not be used: its path and a sentence saying why."""

    path: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about some files.

    `files` counts every file looked at, also those with a problem; `lines`, `functions` and `classes` come from the
    files without one. `identifiers` says how often each name occurs in code. `imports` maps a module's dotted name
    to what it imports while it is being imported itself, sorted; `deferred` the same for what it imports later (in
    functions), as a script, or only for type checkers. An import is written `package.module`, or `package.module:name`
    for `from package.module import name`, whose meaning depends on which modules exist.
    """

    files: int = 0
    lines: int = 0
    functions: int = 0
    classes: int = 0
    identifiers: dict[str, int] = field(default_factory=dict)
    imports: dict[str, tuple[str, ...]] = field(default_factory=dict)
    deferred: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def merge(left: Facts, right: Facts) -> Facts:
    """Return the facts about the files of both; neither is changed."""
    return merge_many([left, right])


def merge_many(parts: Iterable[Facts]) -> Facts:
    """Return the facts about all files of all parts; of no parts, the neutral `Facts()`."""
    every = list(parts)
    return Facts(
        files=sum(part.files for part in every),
        lines=sum(part.lines for part in every),
        functions=sum(part.functions for part in every),
        classes=sum(part.classes for part in every),
        identifiers=_add_counts(part.identifiers for part in every),
        imports=_join_imports(part.imports for part in every),
        deferred=_join_imports(part.deferred for part in every),
        problems=tuple(sorted(problem for part in every for problem in part.problems)),
    )


def _add_counts(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part)
    # A plain dict: Counter's == treats a missing name as zero, and two results must be equal entry by entry.
    return dict(counts)


def _join_imports(parts: Iterable[dict[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    """Return the union; a module that two parts know (two files of one name) keeps the imports of both."""
    joined: dict[str, tuple[str, ...]] = {}
    for part in parts:
        for module, imports in part.items():
            known = joined.get(module)
            joined[module] = imports if known is None else tuple(sorted({*known, *imports}))
    return joined
