"""The graphs of benchmarks.pressure: what reads what, by key.  Nothing of them is run.

Three families: Dask's collections, built and optimized by Dask; shapes that its own benchmarks and tests of ordering
use, built here; and the graphs of the Estee set, read from its archives.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import ZipFile

Reads = dict[Hashable, list[Hashable]]
"""For each task the tasks that it reads, each once."""


def estee(folder: Path) -> Iterator[tuple[str, Reads]]:
    """Yield name and graph of each row of each archive in a folder."""
    for archive in sorted(folder.glob("*.zip")):
        with ZipFile(archive) as opened:
            table = json.loads(opened.read(opened.namelist()[0]))
        names: Mapping[str, str] = table["graph_name"]
        for row, name in names.items():
            tasks = json.loads(table["graph"][row])
            yield f"{archive.stem}/{row} {name}", {at: _once(task["inputs"]) for at, task in enumerate(tasks)}


def _once(inputs: list[list[int]]) -> list[Hashable]:
    return list(dict.fromkeys(task for task, _ in inputs))


# -- Dask's collections ----------------------------------------------------------------------------


def of_collections(build: Callable[[], Any]) -> Reads:
    """Return the optimized graph of the Dask collections that `build` makes: tasks only.

    Another name for a task is that task; data that is there is no task.
    """
    from dask._task_spec import Alias, DataNode, convert_legacy_graph
    from dask.base import collections_to_expr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are many chunks; that expressions and layers are mixed
        built = build()
        collections = list(built) if isinstance(built, list | tuple) else [built]
        expression: Any = collections_to_expr(collections, optimize_graph=True).optimize()
        graph = expression.__dask_graph__()
        tasks: dict[Hashable, Any] = convert_legacy_graph(dict(graph))

    def meant(key: Hashable) -> Hashable:
        while isinstance(task := tasks[key], Alias):
            key = task.target
        return key

    reads: Reads = {}
    for key, task in tasks.items():
        if not isinstance(task, Alias | DataNode):
            inputs = sorted(map(meant, task.dependencies), key=str)
            reads[key] = [read for read in dict.fromkeys(inputs) if not isinstance(tasks[read], DataNode)]
    return reads


def _arrays(n: int) -> dict[str, Callable[[], Any]]:
    """Computations on arrays of n by n chunks, or of n * n along the first axis."""
    da: Any = import_module("dask.array")

    def square(seed: int = 1) -> Any:
        return da.random.default_rng(seed).random((4 * n, 4 * n), chunks=4)

    def tall(seed: int = 2) -> Any:
        return da.random.default_rng(seed).random((8 * n * n, 8), chunks=(8, 8))

    def compressed() -> Any:
        return da.linalg.svd_compressed(tall(), 4, iterator="power", n_power_iter=1, seed=3)

    def vorticity() -> Any:
        u, v = tall(4), tall(5)
        turning = (v[2:] - v[:-2]) / 2 - (u[2:] - u[:-2]) / 2
        return (turning**2).mean(0)

    def squares_and_product() -> Any:
        u, v = tall(4), tall(5)
        return [(u**2).mean(0), (v**2).mean(0), (u * v).mean(0)]

    def anomaly() -> Any:
        x = tall()
        parts = [x.blocks[day::5] for day in range(5)]
        return da.concatenate([part - part.mean(0) for part in parts]).mean(0)

    def rechunk_transpose() -> Any:
        y = tall().rechunk((16 * n, 2))
        return y.T.dot(y)

    def solves() -> Any:
        x, y = tall(4)[: 8 * n], da.random.default_rng(6).random((8 * n,), chunks=8)
        xy = (x * y[:, None]).cumsum(axis=0)
        xx = (x[:, None, :] * x[:, :, None]).cumsum(axis=0)
        beta = da.stack([da.linalg.solve(xx[i], xy[i]) for i in range(0, 8 * n, 4)])
        return (x[::4] * beta).sum(axis=1)

    def steps() -> Any:
        x = square()
        for _ in range(3):
            x = x.map_overlap(abs, depth=1, boundary="none")
        return x

    def masked() -> Any:
        x = square()
        return [x[x > 0.5].sum(), x.min()]

    return {
        "sum": lambda: square().sum(),
        "minus the mean": lambda: (square() - square().mean(0)).sum(),
        "standardized": lambda: (square() - square().mean(0)) / square().std(0),
        "minus the mean, kept": lambda: square() - square().mean(),
        "x + x.T": lambda: square() + square().T,
        "x + x.T, summed": lambda: (square() + square().T).sum(axis=0),
        "x.dot(x.T)": lambda: square().dot(square().T),
        "x.dot(y)": lambda: square(1).dot(square(2)),
        "tensordot": lambda: da.tensordot(square(1), square(2), axes=((0, 1), (0, 1))),
        "covariance": lambda: da.cov(square()),
        "outer": lambda: da.outer(tall()[:, 0], tall()[:, 0]),
        "elementwise of two": lambda: (square(1) * square(2) + square(1)).sum(axis=0),
        "map_overlap": lambda: square().map_overlap(abs, depth=1, boundary="none"),
        "map_overlap, periodic": lambda: square().map_overlap(abs, depth=1, boundary="periodic"),
        "map_overlap, 3 times": steps,
        "map_overlap, summed": lambda: square().map_overlap(abs, depth=1, boundary="reflect").sum(),
        "cumsum": lambda: square().cumsum(axis=0),
        "cumsum, blelloch": lambda: da.cumsum(tall(), axis=0, method="blelloch"),
        "cumsum, both ways": lambda: square().cumsum(axis=0).cumsum(axis=1),
        "rechunk": lambda: square().rechunk((1, 4 * n)),
        "rechunk, summed": lambda: square().rechunk((4 * n, 4)).sum(axis=0),
        "rechunk there and back": lambda: square().rechunk((1, 4 * n)).rechunk((4 * n, 1)),
        "rechunk, transposed, dot": rechunk_transpose,
        "svd": lambda: da.linalg.svd(tall()),
        "svd_compressed": compressed,
        "qr": lambda: da.linalg.qr(tall()),
        "cholesky": lambda: da.linalg.cholesky(square()),
        "lu": lambda: da.linalg.lu(square()),
        "inverse": lambda: da.linalg.inv(square()),
        "solves": solves,
        "vorticity": vorticity,
        "squares and product": squares_and_product,
        "anomaly mean": anomaly,
        "histogram": lambda: da.histogram(square(), bins=8, range=(0, 1))[0],
        "slices": lambda: square()[1::3, ::-1].mean(0),
        "shuffled rows": lambda: tall()[random.Random(7).sample(range(8 * n * n), 4 * n * n)],
        "masked": masked,
        "topk": lambda: da.topk(tall(), 3, axis=0),
        "percentiles": lambda: da.percentile(tall()[:, 0], [10, 50, 90]),
        "differences": lambda: da.diff(tall(), n=2, axis=0),
        "fft": lambda: da.fft.fft(square().rechunk((4, 4 * n)), axis=1).rechunk((4 * n, 4)),
    }


def _bags_and_frames(n: int) -> dict[str, Callable[[], Any]]:
    """Computations on bags and tables of n * n partitions."""
    db: Any = import_module("dask.bag")
    dd: Any = import_module("dask.dataframe")
    pd: Any = import_module("pandas")

    def bag() -> Any:
        return db.from_sequence(range(4 * n * n), npartitions=n * n).map(str)

    def frame() -> Any:
        rows = 8 * n * n
        table = pd.DataFrame({"key": [i * 7 % 13 for i in range(rows)], "value": range(rows), "other": range(rows)})
        return dd.from_pandas(table, npartitions=n * n)

    def shuffled() -> Any:
        return frame().shuffle("key", shuffle_method="tasks", max_branch=8)

    return {
        "bag, counted": lambda: bag().count(),
        "bag, mean and deviation": lambda: [bag().map(len).mean(), bag().map(len).std()],
        "bag, foldby": lambda: bag().foldby(len, lambda a, b: b, split_every=4),
        "bag, groupby": lambda: bag().groupby(len, shuffle="tasks", max_branch=8).map(len),
        "bag, frequencies": lambda: bag().frequencies(split_every=4),
        "frame, groupby": lambda: frame().groupby("key").value.sum(split_every=4),
        "frame, groupby, split out": lambda: frame().groupby("key").value.sum(split_every=4, split_out=n),
        "frame, shuffle": shuffled,
        "frame, shuffle, counted": lambda: shuffled().map_partitions(len).sum(),
        "frame, merge": lambda: frame().merge(shuffled(), on="key", shuffle_method="tasks"),
        "frame, rolling": lambda: frame().value.rolling(3).mean(),
        "frame, cumsum": lambda: frame().value.cumsum(),
        "frame, minus the mean": lambda: (frame().value - frame().value.mean()).std(),
        "frame, sorted": lambda: frame().set_index("other", divisions=[*range(0, 8 * n * n, 8), 8 * n * n]),
    }


# -- shapes ----------------------------------------------------------------------------------------


def tree(leaves: int, ways: int = 2) -> Reads:
    """A reduction: `ways` at a time."""
    return _reduced({("leaf", i): [] for i in range(leaves)}, ways)


def _reduced(reads: Reads, ways: int, level: list[Hashable] | None = None, name: str = "sum") -> Reads:
    level = list(reads) if level is None else level
    height = 0
    while len(level) > 1:
        groups = [level[i : i + ways] for i in range(0, len(level), ways)]
        reads.update({(name, height, i): group for i, group in enumerate(groups)})
        level = [(name, height, i) for i in range(len(groups))]
        height += 1
    return reads


def layers(width: int, height: int) -> Reads:
    """Every task reads all of the layer before."""
    return {(h, w): [(h - 1, v) for v in range(width)] if h else [] for h in range(height) for w in range(width)}


def danglers(width: int, height: int) -> Reads:
    """A chain, with `width` - 1 more tasks that read each link."""
    return {(0, 0): [], **{(h, w): [(h - 1, 0)] for h in range(1, height) for w in range(width)}}


def all_before(n: int) -> Reads:
    """Every task reads all tasks before it."""
    return {i: list(range(i)) for i in range(n)}


def rings(count: int, width: int, height: int = 2) -> Reads:
    """Separate graphs whose tasks read two neighbours of the layer before, around a ring."""
    return {
        (g, h, w): list(dict.fromkeys([(g, h - 1, w), (g, h - 1, (w + 1) % width)])) if h else []
        for g in range(count)
        for h in range(height)
        for w in range(width)
    }


def butterfly(stages: int) -> Reads:
    """A shuffle of 2**stages parts by exchanges of pairs."""
    width = 2**stages
    return {(s, w): [(s - 1, w), (s - 1, w ^ 1 << s - 1)] if s else [] for s in range(stages + 1) for w in range(width)}


def stencil(width: int, height: int) -> Reads:
    """Every task reads itself and its two neighbours of the step before."""
    return {
        (h, w): [(h - 1, v) for v in (w - 1, w, w + 1) if 0 <= v < width] if h else []
        for h in range(height)
        for w in range(width)
    }


def grid(side: int) -> Reads:
    """Every task reads its left and its upper neighbour."""
    return {
        (i, j): [(a, b) for a, b in ((i - 1, j), (i, j - 1)) if a >= 0 and b >= 0]
        for i in range(side)
        for j in range(side)
    }


def cohorts(times: int, groups: int, ways: int = 4) -> Reads:
    """Groupwise reductions over time: each chunk is cut into a part a group, parts are joined a group at a time."""
    reads: Reads = {("load", t): [] for t in range(times)}
    reads.update({("part", t, g): [("load", t)] for t in range(times) for g in range(groups)})
    for g in range(groups):
        _reduced(reads, ways, [("part", t, g) for t in range(times)], f"group {g}")
    return reads


def climatology(days: int, years: int) -> Reads:
    """The mean of each day over the years, taken from each year's day; then a mean over days."""
    reads: Reads = {("load", y, d): [] for y in range(years) for d in range(days)}
    for d in range(days):
        reads["mean", d] = [("load", y, d) for y in range(years)]
        reads.update({("less", y, d): [("load", y, d), ("mean", d)] for y in range(years)})
    reads.update({("year", y): [("less", y, d) for d in range(days)] for y in range(years)})
    return reads


def neighbours(n: int, reach: int = 3) -> Reads:
    """Every result reads `reach` sources that lie side by side."""
    reads: Reads = {("source", i): [] for i in range(n)}
    reads.update({("result", i): [("source", i + k) for k in range(reach)] for i in range(n - reach + 1)})
    return reads


def pairs(n: int) -> Reads:
    """A comparison of every two sources, and for each source what was best."""
    reads: Reads = {("source", i): [] for i in range(n)}
    reads.update({("pair", i, j): [("source", i), ("source", j)] for i in range(n) for j in range(i)})
    reads.update({("best", i): [("pair", max(i, j), min(i, j)) for j in range(n) if j != i] for i in range(n)})
    return reads


def scattered(n: int, most: int, near: int, seed: int) -> Reads:
    """Random: a task reads up to `most` of the `near` tasks before it."""
    draw = random.Random(seed)
    reads: Reads = {}
    for i in range(n):
        window = range(max(0, i - near), i)
        reads[i] = list(draw.sample(window, min(len(window), draw.randint(0, most))))
    return reads


def _shapes(n: int) -> dict[str, Callable[[], Any]]:
    m = n * n
    return {
        "tree": partial(tree, 4 * m),
        "tree of 8": partial(tree, 8 * m, 8),
        "chains": partial(rings, 4 * n, 1, 4 * n),
        "layers": partial(layers, n, 2 * n),
        "wide layers": partial(layers, 4 * n, 3),
        "danglers": partial(danglers, 5, m),
        "all before": partial(all_before, 4 * n),
        "rings": partial(rings, n, 4 * n),
        "one ring": partial(rings, 1, 2 * m),
        "high rings": partial(rings, 2, n, 2 * n),
        "butterfly": partial(butterfly, n.bit_length() + 2),
        "stencil": partial(stencil, 2 * n, 2 * n),
        "grid": partial(grid, 2 * n),
        "cohorts": partial(cohorts, 2 * n, n),
        "climatology": partial(climatology, n, 2 * n),
        "neighbours": partial(neighbours, m),
        "pairs": partial(pairs, n),
        "scattered near": partial(scattered, 4 * m, 3, n, 11),
        "scattered far": partial(scattered, 4 * m, 3, m, 12),
    }


def made(n: int) -> Iterator[tuple[str, Reads]]:
    """Yield name and graph of all that is built here; a graph has some n * n tasks, times a factor of its own."""
    for name, build in {**_arrays(n), **_bags_and_frames(n)}.items():
        yield f"dask/{name}", of_collections(build)
    for name, build in _shapes(n).items():
        yield f"shape/{name}", build()
