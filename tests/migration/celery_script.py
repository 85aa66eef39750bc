"""The nightly work of a small shop, written for Celery: prices, invoices, statistics, letters.

Its tasks are in this file, its application (broker, backend) is configured elsewhere, as in any Celery project.  The
test beside it runs it under lazygraph, with its import line and its decorator lines changed and nothing else.
"""

import functools
import operator
import socket

from celery import chain, chord, group, shared_task

RATES = {"EUR": 1.0, "USD": 1.25, "CHF": 0.8}
ORDERS = {
    1: [["lamp", 2, 40], ["chair", 1, 120]],
    2: [["table", 1, 300]],
    3: [["lamp", 1, 40], ["shelf", 3, 70], ["rug", 1, 90]],
}
REVIEWS = ["a lamp is a lamp", "a good chair", "the rug is good", "a good good lamp"]


# -- tasks -----------------------------------------------------------------------------------------


@shared_task
def add(x, y):
    return x + y


@shared_task
def mul(x, y):
    return x * y


@shared_task(name="shop.total")
def total(numbers):
    return sum(numbers)


@shared_task
def fetch(number):
    if number not in ORDERS:
        raise LookupError(f"there is no order {number}")
    return ORDERS[number]


@shared_task
def price(lines, discount=0):
    return sum(amount * each for _, amount, each in lines) - discount


@shared_task
def convert(amount, currency="EUR", digits=2):
    return round(amount * RATES[currency], digits)


@shared_task
def letter(amount, name, currency="EUR"):
    return f"Dear {name}, please pay {amount} {currency}."


@shared_task
def count(line):
    words = line.split()
    return {word: words.count(word) for word in sorted(set(words))}


@shared_task
def merge(counts):
    merged = {}
    for one in counts:
        for word, times in one.items():
            merged[word] = merged.get(word, 0) + times
    return merged


@shared_task
def most(counts, n=1):
    return sorted(counts, key=lambda word: (-counts[word], word))[:n]


@shared_task
def refuse(*args):
    raise ValueError("the customer has not paid")


@shared_task
def ready():
    return "ready"


@shared_task(ignore_result=True)
def notice(port, text):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as letter_box:
        letter_box.sendto(text.encode(), ("127.0.0.1", port))


@shared_task
def customer(first, last, mail):
    return {"name": f"{first} {last}", "mail": mail}


@shared_task
def welcome(customer):
    return f"Welcome, {customer['name']}!"


@shared_task
def subscribe(customer):
    return f"{customer['mail']} gets the news"


# -- what the shop does ----------------------------------------------------------------------------


def single_calls(say):
    say("add", add.delay(2, 2).get(timeout=30))
    say("apply_async", convert.apply_async((100,), {"currency": "USD"}).get(timeout=30))
    say("by keywords", letter.apply_async(kwargs={"amount": 5, "name": "Ada"}).get(timeout=30))
    result = total.delay([1, 2, 3])
    say("total", result.get(timeout=30), result.ready(), result.successful(), result.failed(), result.state)


def signatures(say):
    whole = add.signature((2, 3))
    say("signature", whole.delay().get(timeout=30), tuple(whole.args), dict(whole.kwargs))
    rest = convert.s(currency="CHF")
    say("partial", rest.delay(100).get(timeout=30), rest.delay(10, digits=0).get(timeout=30))
    say("kwargs are merged", rest.apply_async((100,), {"currency": "USD"}).get(timeout=30))
    more = rest.clone(args=(200,), kwargs={"digits": 1})
    say("clone", more.delay().get(timeout=30), tuple(rest.args), dict(rest.kwargs))
    say("immutable", add.si(1, 1).delay().get(timeout=30), (add.s(9, 9) | ready.si()).delay().get(timeout=30))
    say("at once", ~add.s(20, 22))


def chains(say):
    result = chain(add.s(4, 4), mul.s(8), mul.s(10))()
    say("chain", result.get(timeout=30))
    say("its steps", result.parent.get(timeout=30), result.parent.parent.get(timeout=30), result.parent.parent.parent)
    say("pipe", (add.s(2, 2) | add.s(4) | add.s(8))().get(timeout=30))
    say("generated", chain(add.s(0, 0), *(add.s(i) for i in range(10))).delay().get(timeout=30))
    say("reduced", functools.reduce(operator.or_, [mul.s(2) for _ in range(8)]).delay(1).get(timeout=30))
    nested = chain(fetch.s(1), chain(price.s(discount=20), chain(convert.s("USD"), letter.s("Bo", currency="USD"))))
    say("nested", nested.delay().get(timeout=30))
    invoice = fetch.s() | price.s() | convert.s(currency="CHF")
    say("filled later", invoice.delay(2).get(timeout=30))
    say("waits only", (add.si(1, 1) | add.si(2, 2) | add.si(4, 4)).delay().get(timeout=30))


def groups(say):
    result = group(add.s(i, i) for i in range(6))()
    say("group", result.get(timeout=30), len(result), result[2].get(timeout=30))
    say("its members", result.ready(), result.successful(), result.failed(), result.waiting(), result.completed_count())
    say("joined", group([price.s(lines) for lines in ORDERS.values()]).delay().join(timeout=30))
    say("partial", group(add.s(1), mul.s(2)).delay(10).get(timeout=30))
    after = (add.s(1, 1) | group(add.s(1), add.s(2), mul.s(3))).delay()
    say("after a step", after.get(timeout=30), [member.get(timeout=30) for member in after.results])
    say("within a group", group(add.s(1, 1), group(add.s(2, 2), add.s(3, 3))).delay().get(timeout=30))
    welcomed = customer.s() | group(welcome.s(), subscribe.s())
    say("keywords", welcomed.delay(first="Ada", last="King", mail="ada@shop.org").get(timeout=30))


def chords(say):
    say("chord", chord([add.s(i, i) for i in range(10)])(total.s()).get(timeout=30))
    say("in one", chord((fetch.s(number) | price.s() for number in ORDERS), total.s())().get(timeout=30))
    words = group(count.s(line) for line in REVIEWS) | merge.s() | most.s(n=2)
    say("pipe", words.delay().get(timeout=30))
    result = chord([add.s(1, 1), add.s(2, 2)], total.s()).delay()
    say("its header", result.get(timeout=30), result.parent.get(timeout=30))
    say("of one", chord([add.s(2, 5)], total.s()).delay().get(timeout=30))
    say("of none", chord([], total.s()).delay().get(timeout=30))
    say("ignoring", chord([add.s(1, 1), add.s(2, 2)], ready.si()).delay().get(timeout=30))
    inner = chord([add.s(1, 2), add.s(3, 4)], total.s())
    say("within a chord", chord([inner, add.s(6, 7)], total.s()).delay().get(timeout=30))
    say("in a chain", (add.s(1, 1) | chord([add.s(1), add.s(2)], total.s()) | mul.s(10)).delay().get(timeout=30))
    say("after a chord", (group(add.s(1, 1), add.s(2, 2)) | total.s() | group(add.s(1), mul.s(2))).delay().get(30))


def many_at_once(say):
    say("map", ~total.map([list(range(10)), list(range(100))]))
    say("starmap", add.starmap(zip(range(5), range(5), strict=True)).delay().get(timeout=30))
    say("chunks", add.chunks(zip(range(7), range(7), strict=True), 3)().get(timeout=30))


def callbacks(say):
    result = add.apply_async((2, 2), link=mul.s(16))
    say("link", result.get(timeout=30), [child.get(timeout=30) for child in result.children])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as letter_box:
        letter_box.settimeout(30)
        letter_box.bind(("127.0.0.1", 0))
        port = letter_box.getsockname()[1]
        add.apply_async((1, 1), link=notice.si(port, "to the stock: all is sold")).get(timeout=30)
        say("linked", letter_box.recv(100).decode())
        refuse.s(3).on_error(notice.si(port, "to billing: not paid")).delay().get(timeout=30, propagate=False)
        say("on error", letter_box.recv(100).decode())
        unpaid = fetch.s(1) | refuse.s() | price.s()
        unpaid.apply_async(link_error=notice.si(port, "to billing: a chain")).get(timeout=30, propagate=False)
        say("of a chain", letter_box.recv(100).decode())


def failures(say):
    result = fetch.delay(7)
    try:
        result.get(timeout=30)
    except LookupError as error:
        say("raised", error, result.state, result.failed(), result.successful())
    say("returned", repr(fetch.delay(8).get(timeout=30, propagate=False)))
    say("traceback", "LookupError" in result.traceback)
    broken = (fetch.s(1) | refuse.s() | price.s()).delay()
    try:
        broken.get(timeout=30)
    except ValueError as error:
        say("in a chain", error, broken.parent.parent.get(timeout=30) == ORDERS[1])
    mixed = group(add.s(1, 1), refuse.s(), add.s(2, 2)).delay()
    say("in a group", [str(one) for one in mixed.get(timeout=30, propagate=False)], mixed.failed())
    try:
        chord([add.s(1, 1), refuse.s()], total.s()).delay().get(timeout=30)
    except Exception as error:
        say("in a chord", "has not paid" in str(error))


def main(say=print):
    for part in (single_calls, signatures, chains, groups, chords, many_at_once, callbacks, failures):
        say(f"-- {part.__name__.replace('_', ' ')}")
        part(say)


if __name__ == "__main__":
    main()
