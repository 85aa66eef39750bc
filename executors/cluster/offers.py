"""What a worker offers: threads, the queues it takes tasks from, amounts of resources.

Covers: reading that from a command line or from what `LocalCluster` was given, and saying what is wrong with it.
Does not cover: which worker gets a task (cluster.placement).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lazygraph.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DEFAULT_QUEUES = ("default",)


@dataclass(frozen=True, slots=True)
class Offer:
    """One worker's offer; `name` is "" as long as it has none."""

    name: str = ""
    threads: int = 1
    queues: tuple[str, ...] = DEFAULT_QUEUES
    resources: Mapping[str, float] = field(default_factory=dict)

    def words(self) -> list[str]:
        """Return the options of `lazygraph worker` that say this."""
        words = ["--name", self.name, "--threads", str(self.threads), "-Q", ",".join(self.queues)]
        if self.resources:
            words += ["--resources", ",".join(f"{name}={amount!r}" for name, amount in self.resources.items())]
        return words


def queues_of(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Return names of queues, each once; each of `names` may be several with commas between them.

    Raises `InvalidOption` when there are none, or an empty one; `where` says who has said that.
    """
    found = dict.fromkeys(name.strip() for text in names for name in text.split(","))
    if not found or "" in found:
        raise InvalidOption(f"{where}: names of queues are wanted, with commas between them, as in high,default")
    return tuple(found)


def resources_of(text: str, where: str) -> dict[str, float]:
    """Return the amounts in a text like `gpu=1,mem=2.5`.  Raises `InvalidOption`; `where` says who has said it."""
    amounts: dict[str, Any] = {}
    for part in text.split(","):
        name, _, amount = part.partition("=")
        amounts[name.strip()] = amount
    return checked_resources(amounts, where)


def checked_resources(amounts: Mapping[Any, Any], where: str) -> dict[str, float]:
    """Return amounts as numbers.  Raises `InvalidOption` for one that is none, below 0 or without end."""
    found = {}
    for name, given in amounts.items():
        try:
            amount = float(given)
        except (TypeError, ValueError):
            amount = math.nan
        if not isinstance(name, str) or not name or set(name) & set(",=") or not 0 <= amount < math.inf:
            raise InvalidOption(
                f"{where}: {name!r}={given!r} is no name with an amount of at least 0; it is written as gpu=1,mem=2.5"
            )
        found[name] = amount
    return found


_UNITS = {"": 1, "B": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_UNITS |= {f"{unit}B": size for unit, size in _UNITS.items() if unit not in ("", "B")}
_UNITS |= {f"{unit}IB": 1024**at for at, unit in enumerate("KMGT", 1)}


def bytes_of(given: object, where: str) -> int | None:
    """Return how many bytes `2GB`, `512MiB`, `0` or a number is; None for `auto`.  Raises `InvalidOption`."""
    text = str(given).strip().upper()
    if text == "AUTO":
        return None
    number = text.rstrip("BKMGTI")
    try:
        amount = float(number) * _UNITS[text[len(number) :].strip()]
    except (ValueError, KeyError):
        amount = math.nan
    if isinstance(given, bool) or not 0 <= amount < math.inf or 0 < amount < LEAST_MEMORY:
        raise InvalidOption(
            f"{where}: {given!r} is no amount of memory; it is written as 2GB or 512MiB, at least 1MB, or "
            f"0 (no limit), or auto (a share of the machine)"
        )
    return int(amount)


LEAST_MEMORY = 1_000_000
"""Bytes below which a limit is a slip of the pen: 2 for 2GB."""


def offers_of(count: int | None, threads: int, queues: Any, resources: Any, default_count: int) -> list[Offer]:
    """Return the offers of a local cluster's workers; `queues` and `resources` are for all, or a list, one for each.

    `count` None: as many as such a list has members, else `default_count`.  Raises `InvalidOption`.
    """
    several = isinstance(queues, list | tuple) and any(not isinstance(one, str) for one in queues)
    per_worker = {"queues": queues if several else None, "resources": resources if _is_list(resources) else None}
    lengths = {name: len(given) for name, given in per_worker.items() if given is not None}
    if count is None:
        count = next(iter(lengths.values()), default_count)
    for name, length in lengths.items():
        if length != count:
            raise InvalidOption(f"LocalCluster({name}=...): {length} of them for {count} workers; give one to each")
    each_queues: Sequence[Any] = queues if several else [queues] * count
    each_resources: Sequence[Any] = resources if _is_list(resources) else [resources] * count
    return [
        Offer("", threads, _queues(mine), _resources(amounts))
        for mine, amounts in zip(each_queues, each_resources, strict=True)
    ]


def _is_list(given: Any) -> bool:
    return isinstance(given, list | tuple)


def _queues(given: Any) -> tuple[str, ...]:
    if given is None:
        return DEFAULT_QUEUES
    names = [given] if isinstance(given, str) else given
    if not _is_list(names) or not all(isinstance(name, str) for name in names):
        raise InvalidOption(f"LocalCluster(queues=...): {given!r} is no list of names")
    return queues_of(names, "LocalCluster(queues=...)")


def _resources(given: Any) -> dict[str, float]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidOption(f"LocalCluster(resources=...): {given!r} is no dict of names and amounts")
    return checked_resources(given, "LocalCluster(resources=...)")
