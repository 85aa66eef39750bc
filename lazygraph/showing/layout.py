"""Where boxes stand and arrows run: a layered layout, top to bottom, in pure Python.

Four steps, each a loop: rows by longest path, waypoints where an arrow passes a row, the order inside a row (barycentre
sweeps, the order with fewest crossings wins), positions (least squares that keep order and distance). The same picture
gives the same layout on every machine. Takes the boxes' widths as numbers; knows nothing of fonts, colours or SVG.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lazygraph.showing.picture import Picture, levels

BOX_HEIGHT = 36.0
BOX_GAP = 28.0
LINE_GAP = 18.0  # between two arrows that pass a row side by side
ROW_GAP = 46.0
STEEPEST_ROW_GAP = 130.0
PORT_GAP = 13.0
CORNER = 14.0  # no arrow leaves or enters a box nearer to its corner
SPREAD_PORTS = 6  # more arrows than this meet in one point
ORDER_SWEEPS = 12
ORDER_SWEEPS_LARGE = 4
LARGE = 3000  # segments
PLACE_SWEEPS = 10

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Rect:
    """A box's place: left, top, width and height in pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Layout:
    """Places for one picture: `boxes` and `routes` by index, in a canvas of `width` by `height` that starts at 0, 0.

    `rows` is each box's row, from the top. A route is a list of pairs: leave a row here, enter the next there; between
    two pairs it runs straight down.
    """

    boxes: tuple[Rect, ...]
    rows: tuple[int, ...]
    routes: tuple[tuple[Point, ...], ...]
    width: float
    height: float


@dataclass(slots=True)
class _Net:
    """Boxes (first) and waypoints in their rows, and who stands above and below whom."""

    row: list[int]
    width: list[float]
    above: list[list[int]]
    below: list[list[int]]
    boxes: int
    rows: list[list[int]]

    def weight(self, one: int, other: int) -> float:
        """How much a line wants to be straight: the more, the longer it is."""
        return (1.0, 2.0, 8.0)[(one >= self.boxes) + (other >= self.boxes)]


def lay_out(picture: Picture, widths: Sequence[float]) -> Layout:
    """Place every box (of the given width) and arrow; raises `CyclicGraph` when arrows go in a circle."""
    if not picture.nodes:
        return Layout((), (), (), 0.0, 0.0)
    row = _rows(picture)
    net, ways = _net(picture, row, widths)
    _reduce_crossings(net)
    centre = _place(net)
    left = min(centre[slot] - net.width[slot] / 2 for slot in range(len(centre)))
    centre = [at - left for at in centre]
    top = _tops(net, centre)
    boxes = tuple(
        Rect(centre[box] - widths[box] / 2, top[row[box]], widths[box], BOX_HEIGHT) for box in range(len(row))
    )
    routes = _routes(net, ways, centre, top)
    width = max(centre[slot] + net.width[slot] / 2 for slot in range(len(centre)))
    return Layout(boxes, tuple(row), routes, width, top[-1] + BOX_HEIGHT)


def _rows(picture: Picture) -> list[int]:
    """Longest path; a value that is simply there stands right above the first box that reads it, not at the top."""
    row = levels(picture)
    first_reader: dict[int, int] = {}
    for arrow in picture.edges:
        first_reader[arrow.source] = min(row[arrow.target], first_reader.get(arrow.source, row[arrow.target]))
    for box, reader in first_reader.items():
        if row[box] == 0 and picture.nodes[box].kind in ("constant", "external"):
            row[box] = reader - 1
    # Pulling the values down can leave the top row empty.
    highest = min(row)
    return [at - highest for at in row]


def _net(picture: Picture, row: list[int], widths: Sequence[float]) -> tuple[_Net, list[list[int]]]:
    """The net, and for each arrow the slots it visits.

    Arrows of one kind from one box share their waypoints, so that a value read far below is one line with branches.
    Waypoints are kept linear in the size of the picture: beyond that, the longest arrows run straight over the rows.
    """
    size = len(picture.nodes)
    net = _Net(list(row), list(widths), [[] for _ in row], [[] for _ in row], size, [])
    budget = 1000 + 4 * (size + len(picture.edges))
    trunks: dict[tuple[int, str], list[int]] = {}
    ways: list[list[int]] = [[] for _ in picture.edges]
    seen: set[tuple[int, int]] = set()
    for number in sorted(range(len(ways)), key=lambda edge: _span(picture, row, edge)):
        arrow = picture.edges[number]
        trunk = trunks.setdefault((arrow.source, arrow.kind), [arrow.source])
        need = _span(picture, row, number) - len(trunk)
        if need <= budget:
            budget -= max(0, need)
            for _ in range(need):
                trunk.append(_waypoint(net, net.row[trunk[-1]] + 1))
            ways[number] = [*trunk[: row[arrow.target] - row[arrow.source]], arrow.target]
            _connect(net, ways[number], seen)
        else:
            ways[number] = [arrow.source, arrow.target]
    net.rows = [[] for _ in range(max(row) + 1)]
    for slot, at in enumerate(net.row):
        net.rows[at].append(slot)
    return net, ways


def _span(picture: Picture, row: Sequence[int], edge: int) -> int:
    return row[picture.edges[edge].target] - row[picture.edges[edge].source]


def _waypoint(net: _Net, row: int) -> int:
    net.row.append(row)
    net.width.append(0.0)
    net.above.append([])
    net.below.append([])
    return len(net.row) - 1


def _connect(net: _Net, way: Sequence[int], seen: set[tuple[int, int]]) -> None:
    for upper, lower in pairwise(way):
        if (upper, lower) not in seen:
            seen.add((upper, lower))
            net.below[upper].append(lower)
            net.above[lower].append(upper)


def _reduce_crossings(net: _Net) -> None:
    """Sort each row by the mean position of its neighbours, down and up in turn; keep the best order seen."""
    position = [0] * len(net.row)
    for row in net.rows:
        _number(row, position)
    segments = sum(map(len, net.below))
    best, fewest = [list(row) for row in net.rows], _crossings(net, position)
    for sweep in range(ORDER_SWEEPS if segments < LARGE else ORDER_SWEEPS_LARGE):
        if not fewest:
            break
        downwards = sweep % 2 == 0
        neighbours = net.above if downwards else net.below
        for row in net.rows if downwards else reversed(net.rows):
            row.sort(key=lambda slot: _barycentre(neighbours[slot], position, position[slot]))
            _number(row, position)
        crossings = _crossings(net, position)
        if crossings < fewest:
            best, fewest = [list(row) for row in net.rows], crossings
    net.rows = best


def _number(row: Sequence[int], position: list[int]) -> None:
    for at, slot in enumerate(row):
        position[slot] = at


def _barycentre(neighbours: Sequence[int], position: Sequence[int], otherwise: float) -> float:
    return sum(position[slot] for slot in neighbours) / len(neighbours) if neighbours else otherwise


def _crossings(net: _Net, position: Sequence[int]) -> int:
    """Pairs of lines that cross between neighbouring rows, counted with a Fenwick tree in O(lines log boxes)."""
    total = 0
    for upper, lower in pairwise(net.rows):
        size = len(lower)
        tree = [0] * (size + 1)
        placed = 0
        for slot in sorted(upper, key=position.__getitem__):
            targets = [position[target] for target in net.below[slot]]
            for target in targets:  # lines placed so far that end to the right of this one
                at, left = target + 1, 0
                while at:
                    left += tree[at]
                    at &= at - 1
                total += placed - left
            for target in targets:
                at = target + 1
                while at <= size:
                    tree[at] += 1
                    at += at & -at
            placed += len(targets)
    return total


def _place(net: _Net) -> list[float]:
    """The middle of every slot: near the mean of its neighbours, never nearer than allowed to the next in its row."""
    centre = [0.0] * len(net.row)
    offsets = [_offsets(net, row) for row in net.rows]
    for row, offset in zip(net.rows, offsets, strict=True):
        for slot, at in zip(row, offset, strict=True):
            centre[slot] = at - offset[-1] / 2
    order = range(len(net.rows))
    passes: list[tuple[Iterable[int], tuple[list[list[int]], ...]]] = []
    for _ in range(PLACE_SWEEPS):
        passes += [(order, (net.above,)), (reversed(order), (net.below,))]
    # The last word is the way down: what merges stands in the middle below what it merges, fans open evenly.
    passes.append((order, (net.above,)))
    for rows, sides in passes:
        for number in rows:
            _place_row(net, net.rows[number], offsets[number], sides, centre)
    return centre


def _offsets(net: _Net, row: Sequence[int]) -> list[float]:
    """Each slot's distance from the first of its row when the row is packed as tight as allowed."""
    offset = [0.0]
    for one, other in pairwise(row):
        gap = LINE_GAP if one >= net.boxes and other >= net.boxes else BOX_GAP
        offset.append(offset[-1] + net.width[one] / 2 + gap + net.width[other] / 2)
    return offset


def _place_row(
    net: _Net, row: Sequence[int], offset: Sequence[float], sides: tuple[list[list[int]], ...], centre: list[float]
) -> None:
    """Weighted least squares under "keep order and distance": pool neighbours that want to change places."""
    pools: list[tuple[float, float, int]] = []  # wanted place minus offset, weight, slots in the pool
    for slot, at in zip(row, offset, strict=True):
        wanted = weight = 0.0
        for side in sides:
            for other in side[slot]:
                pull = net.weight(slot, other)
                wanted += pull * centre[other]
                weight += pull
        pool = (wanted / weight - at, weight, 1) if weight else (centre[slot] - at, 0.01, 1)
        while pools and pools[-1][0] > pool[0]:
            place, mass, slots = pools.pop()
            together = mass + pool[1]
            pool = ((place * mass + pool[0] * pool[1]) / together, together, slots + pool[2])
        pools.append(pool)
    number = 0
    for place, _, slots in pools:
        for slot in row[number : number + slots]:
            centre[slot] = place + offset[number]
            number += 1


def _tops(net: _Net, centre: Sequence[float]) -> list[float]:
    """The upper edge of each row; rows that are joined by wide arrows stand further apart, so that no line is flat."""
    top = [0.0]
    for row in net.rows[:-1]:
        reach = max((abs(centre[slot] - centre[other]) for slot in row for other in net.below[slot]), default=0.0)
        top.append(top[-1] + BOX_HEIGHT + min(STEEPEST_ROW_GAP, ROW_GAP + 0.07 * reach))
    return top


def _routes(
    net: _Net, ways: Sequence[Sequence[int]], centre: Sequence[float], top: Sequence[float]
) -> tuple[tuple[Point, ...], ...]:
    out: list[set[int]] = [set() for _ in net.row]
    into: list[set[int]] = [set() for _ in net.row]
    for way in ways:
        for one, other in pairwise(way):
            out[one].add(other)
            into[other].add(one)
    leave = [_ports(net, slot, out[slot], centre) for slot in range(len(net.row))]
    enter = [_ports(net, slot, into[slot], centre) for slot in range(len(net.row))]
    _straighten(net, leave, enter)
    routes: list[tuple[Point, ...]] = []
    for way in ways:
        points: list[Point] = []
        for one, other in pairwise(way):
            points.append((leave[one][other], top[net.row[one]] + BOX_HEIGHT))
            points.append((enter[other][one], top[net.row[other]]))
        routes.append(tuple(points))
    return tuple(routes)


def _ports(net: _Net, slot: int, others: set[int], centre: Sequence[float]) -> dict[int, float]:
    """Where on its edge a box meets the line of each neighbour: a few side by side, many in one point."""
    if slot >= net.boxes or not 1 < len(others) <= SPREAD_PORTS:
        return dict.fromkeys(others, centre[slot])
    step = max(0.0, min(PORT_GAP, (net.width[slot] - 2 * CORNER) / (len(others) - 1)))
    first = centre[slot] - step * (len(others) - 1) / 2
    ordered = sorted(others, key=lambda other: (centre[other], other))
    return {other: first + step * number for number, other in enumerate(ordered)}


def _straighten(net: _Net, leave: Sequence[dict[int, float]], enter: Sequence[dict[int, float]]) -> None:
    """Let an only line slide along the edge of its box, so that an arrow that is almost straight is straight."""
    for slot in range(net.boxes):
        if len(leave[slot]) == 1:
            ((other, at),) = leave[slot].items()
            if abs(enter[other][slot] - at) <= PORT_GAP:
                leave[slot][other] = enter[other][slot]
        if len(enter[slot]) == 1:
            ((other, at),) = enter[slot].items()
            if abs(leave[other][slot] - at) <= PORT_GAP:
                enter[slot][other] = leave[other][slot]
