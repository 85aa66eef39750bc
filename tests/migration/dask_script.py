"""The books of a small shop, as somebody wrote them with dask.delayed.

Loads the orders of four regions, cleans them, joins them with customers and rates, adds everything up in a tree, and
prints a report.  Run it with `python dask_script.py [FOLDER]`: with a folder it also writes its notes and a picture.
"""

import contextlib
import functools
import operator
import pickle
import sys
from collections import Counter, OrderedDict, namedtuple
from dataclasses import dataclass, field
from pathlib import Path

import dask
from dask import compute, delayed, optimize, persist, visualize
from dask.delayed import Delayed
from dask.graph_manipulation import bind, checkpoint, clone, wait_on

ORDERS = {
    "north": "1,ada,12.50,EUR\n2,bob,,EUR\n3,cyd,8.00,GBP\n",
    "south": "4,ada,100.00,USD\n5,dan,1.25,EUR\n",
    "east": "6,bob,7.75,GBP\n7,eve,not a number,USD\n8,cyd,3.00,EUR\n9,cyd,3.00,EUR\n",
    "west": "",
}
CUSTOMERS = {"ada": "wholesale", "bob": "retail", "cyd": "retail", "dan": "wholesale"}
RATES = {"EUR": 1.0, "GBP": 1.25, "USD": 0.5}

Order = namedtuple("Order", "number customer amount currency")


@dataclass
class Summary:
    """What is known of one kind of customer."""

    kind: str
    total: float
    orders: list = field(default_factory=list)


@dataclass(frozen=True)
class Window:
    """Which of the orders to look at."""

    first: int
    last: int


# -- loading and cleaning --------------------------------------------------------------------------

loaded = []  # which regions have been read, to see what is computed how often


@delayed
def load(region):
    """Return the lines of one region."""
    loaded.append(region)
    return ORDERS[region].splitlines()


@delayed(nout=2)
def parse(lines):
    """Return the orders in these lines, and the lines that hold none."""
    good, bad = [], []
    for line in lines:
        number, customer, amount, currency = line.split(",")
        try:
            good.append(Order(int(number), customer, float(amount), currency))
        except ValueError:
            bad.append(line)
    return good, bad


@delayed(pure=True)
def rate_of(currency):
    """Return what one unit of a currency is worth."""
    loaded.append(currency)
    return RATES[currency]


class Converter:
    """Amounts in euros, by the rates of one day."""

    def __init__(self, rates, digits=2):
        self.rates = rates
        self.digits = digits

    @delayed
    def convert(self, orders):
        """Return the orders in euros."""
        return [order._replace(amount=self.euros(order), currency="EUR") for order in orders]

    def euros(self, order):
        """Return what an order is worth in euros."""
        return round(order.amount * self.rates[order.currency], self.digits)

    @classmethod
    @delayed
    def describe(cls, n):
        """Say what this is."""
        return f"{cls.__name__} of {n} currencies"

    @staticmethod
    @delayed
    def highest(orders):
        """Return the highest amount of these orders."""
        return max((order.amount for order in orders), default=0.0)


class Threshold:
    """A callable object."""

    def __init__(self, least):
        self.least = least

    def __call__(self, orders):
        return [order for order in orders if order.amount >= self.least]


# -- joining and reducing --------------------------------------------------------------------------


@delayed
def by_kind(orders, customers, *, unknown="unknown"):
    """Return a list of orders for every kind of customer."""
    kinds = {}
    for order in orders:
        kinds.setdefault(customers.get(order.customer, unknown), []).append(order)
    return kinds


@delayed
def merged(left, right):
    """Return both, joined kind by kind."""
    return {kind: left.get(kind, []) + right.get(kind, []) for kind in {**left, **right}}


@delayed
def summary(kind, orders):
    """Return the summary of one kind."""
    return Summary(kind, sum(order.amount for order in orders), sorted(order.number for order in orders))


def reduced(parts, two):
    """Join neighbours until one is left."""
    while len(parts) > 1:
        pairs = [two(*parts[at : at + 2]) for at in range(0, len(parts) - 1, 2)]
        parts = pairs + parts[len(parts) - len(parts) % 2 :]
    return parts[0]


def shop():
    """Return the promises of everything that the report needs."""
    rates = {currency: rate_of(currency) for currency in RATES}
    converter = Converter(RATES)
    regions = {}
    for region in ORDERS:
        orders, rejected = parse(load(region, dask_key_name=f"load-{region}"))
        if region == "south":
            orders = delayed(Threshold(2.0))(orders)  # they do not look at small orders there
        regions[region] = converter.convert(orders), rejected
    customers = delayed(CUSTOMERS, name="customers")
    joined = reduced([by_kind(orders, customers) for orders, _ in regions.values()], merged)
    kinds = sorted({*CUSTOMERS.values(), "unknown"})
    summaries = [summary(kind, joined.get(kind, [])) for kind in kinds]
    rejected = delayed(sum)([lines for _, lines in regions.values()], [])
    return rates, converter, regions, joined, summaries, rejected


# -- the report ------------------------------------------------------------------------------------


def report(say):
    """Compute the shop's numbers, and say them."""
    rates, converter, regions, joined, summaries, rejected = shop()
    total = functools.reduce(operator.add, [one.total for one in summaries])
    say("built, and nothing has been read:", loaded)

    results, lines, euros, three = compute(summaries, rejected, total, 3)
    for one in results:
        say(f"  {one.kind:10} {one.total:8.2f} {one.orders}")
    say("rejected:", lines, "total:", euros, "and", three)
    say("each region was read once:", sorted(loaded))

    # Operators on either side, items, slices with promises in them, attributes, methods.
    share = 100 * summaries[0].total / total
    say("retail share:", round(share.compute(scheduler="sync"), 2), (-total).compute(), (10 - total // 2).compute())
    say("is it much?", (total > 50).compute(), (total == total).compute(), (abs(-total) >= total).compute())
    first, last = delayed(min)(summaries[0].orders), delayed(len)(summaries[0].orders)
    numbers = delayed(list(range(10)))
    say("a window:", numbers[first : last + 3].compute(), numbers[Window(2, last).last].compute())
    say("words:", joined.keys().compute() == {"retail", "wholesale"}, rejected[0].split(",")[1].upper().compute())
    say("quotient and rest:", compute(*delayed(divmod, nout=2)(delayed(7), 2)), compute(*divmod_of(total)))

    # Collections as arguments and as results; classes, builtins, partial functions and objects that can be called.
    best = {region: converter.highest(orders) for region, (orders, _) in regions.items()}
    nested = {"best": best, "pair": (total, [first, {last}]), delayed("key"): OrderedDict(n=last)}
    answer = dask.compute(nested, traverse=True)[0]
    say("nested:", answer["best"], answer["pair"], answer["key"], Converter.describe(delayed(len)(rates)).compute())
    say("how often:", delayed(Counter)([delayed(str)(kind) for kind in "aba"]).compute().most_common(1))
    say("hex:", delayed(functools.partial(int, base=16))(delayed("f") + "f").compute())
    say("sorted:", delayed(sorted)(list(best.values()), reverse=True).compute()[:2])
    say("a dataclass:", delayed(Summary)("all", total, [first, last]).compute())
    say("inside one:", delayed(operator.attrgetter("first"))(Window(first, last)).compute())
    say("left alone:", isinstance(compute([total], traverse=False)[0][0], Delayed))
    return total, joined, rejected


@delayed(nout=2, name="divmod_of")
def divmod_of(value):
    """Return how often seven is in it, and what is left."""
    return divmod(int(value), 7)


def keys_and_sharing(say):
    """What has which key, and what is computed once."""
    loaded.clear()
    one, same = rate_of("EUR"), rate_of("EUR")
    say("pure calls run once:", compute(one, same), loaded)
    again = load("west", pure=True), load("west", pure=True)
    say("and where the call says so:", compute(*again), loaded)
    say("keys:", load("west", dask_key_name="mine").key, delayed([1], name="list").key, load.__name__, load.__doc__)
    first, (second, third) = optimize(one, [same, one + 1])
    say("optimized:", compute(first, second, third))
    copy = pickle.loads(pickle.dumps(delayed(operator.mul)(delayed(6), 7)))
    with dask.config.set(scheduler="sync"):
        say("there and back:", copy.compute(), dask.config.get("scheduler"))

    loaded.clear()
    (kept,) = persist(delayed(sum)([rate_of("USD"), rate_of("GBP")]))
    half = kept / 2
    say("persisted:", kept.compute(), half.compute(), half.persist().compute(), sorted(loaded))


def in_order(say, folder):
    """Steps that exchange no data and must not overlap: through the file system."""
    notes = folder / "notes.txt"

    @delayed
    def write(text, *inputs):
        with notes.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        return text

    def written():
        lines = notes.read_text(encoding="utf-8").split()
        notes.unlink()
        return lines

    say("after all:", bind(write("child"), [write("parent")]).compute(), written())
    top = write("top")
    left, right = bind([write("left", top), write("right", top)], write("between"), omit=top)
    say("but not above:", compute(left, right), written()[-1] in {"left", "right"})
    both = wait_on(write("a"), write("b"))
    say("wait for both:", write("c", both[0]).compute(), written()[2])
    say("all is written:", checkpoint(*[write(letter) for letter in "xyz"]).compute(), sorted(written()))
    once = write("once")
    say("and again:", compute(once, clone(once)), written())


def mistakes(say):
    """What cannot work says so: some of it before anything runs."""
    total = delayed(operator.truediv)(1, delayed(0))
    for wrong in (lambda: bool(total), lambda: list(total), lambda: len(total), lambda: total._hidden):
        try:
            wrong()
        except (TypeError, AttributeError) as error:
            say("refused, a TypeError:", isinstance(error, TypeError))
    try:
        total["key"] = 1
    except TypeError:
        say("refused: a promise has no items to set")
    for scheduler in ("sync", "threads"):
        try:
            (total + 1).compute(scheduler=scheduler)
        except ZeroDivisionError as error:
            say("raised:", error, "on", scheduler)
    safe = delayed(lambda value, other: other if value is None else value)
    say("recovered:", safe(None, 5).compute(), delayed({}).get("nothing").compute())


def main(folder=None, say=print):
    """Do all of it."""
    loaded.clear()
    total, joined, rejected = report(say)
    keys_and_sharing(say)
    mistakes(say)
    if folder is not None:
        in_order(say, folder)
        with contextlib.suppress(RuntimeError):  # no program to draw with
            visualize(total, joined, rejected, filename=str(folder / "shop.svg"), optimize_graph=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
