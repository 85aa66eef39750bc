"""What to change first, by the figures of an observed run: a few rules, each with its figures.

A rule speaks only where it explains a good part of the time; what would gain most comes first.

Covers: the rules.
Does not cover: the figures (showing.analysis).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from lazygraph.showing.seconds import percent_text, seconds_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lazygraph.showing.analysis import Course, Group

SHORT = 50e-6
"""Seconds below which a task is hardly worth being one."""
MUCH, SOME, LITTLE = 0.5, 0.2, 0.05
"""Parts of the time that are worth a word."""
TIMES = 2.0
"""A group that takes so many times what was expected is worth a word."""


class Advice(NamedTuple):
    """What to change: a word for the rule, a sentence, and about what part of the elapsed time it is about."""

    rule: str
    sentence: str
    part: float


def advice_on(course: Course, held_back: Sequence[str] = ()) -> list[Advice]:
    """Return what to change, what is about the largest part of the time first.

    `held_back` are the names of tasks that options hold back: limits, rates, earliest starts.
    """
    if not course.attempts or course.elapsed <= 0:
        return []
    held = frozenset(held_back)
    found = [advice for rule in _RULES for advice in rule(course, held)]
    return sorted(found, key=lambda advice: -advice.part)


def _on_path(course: Course, held: frozenset[str]) -> Iterator[Advice]:
    """One name is most of the critical path, and not because slots were missing."""
    running: dict[str, float] = {}
    tasks = Counter[str]()
    for step in course.path:
        running[step.attempt.name] = running.get(step.attempt.name, 0.0) + step.attempt.running
        tasks[step.attempt.name] += 1
    name, seconds = max(running.items(), key=lambda item: item[1])
    part, slots = seconds / course.elapsed, course.slots
    busy = slots.count > 1 and slots.idle < SOME * slots.count * slots.elapsed  # then others take as long as this
    if part < MUCH or busy or _waits_for_slots(course) >= MUCH:
        return
    what = f"one task `{name}`" if tasks[name] == 1 else f"{tasks[name]} tasks `{name}`, one after the other,"
    verb = "is" if tasks[name] == 1 else "are"
    more = "split it, or make it faster" if tasks[name] == 1 else "make them faster, or have fewer of them in a row"
    yield Advice(
        "path",
        f"{what} {verb} {percent_text(part, 1)} of the critical path ({seconds_text(seconds)} of "
        f"{seconds_text(course.elapsed)}): {more}; nothing else helps as much",
        part,
    )


def _short(course: Course, held: frozenset[str]) -> Iterator[Advice]:
    """Most attempts are so short that handing them out costs as much."""
    short = [one.running for one in course.attempts if one.running < SHORT]
    if len(short) < 1000 or len(short) < MUCH * len(course.attempts):
        return
    slots = course.slots
    around = max(0.0, slots.count * slots.elapsed - sum(one.running for one in course.attempts))
    part = around / (slots.count * slots.elapsed)
    if part < SOME:
        return
    yield Advice(
        "short",
        f"{len(short)} of {len(course.attempts)} tasks took less than {seconds_text(SHORT)} "
        f"({seconds_text(sum(short) / len(short))} on average), and slots spent {percent_text(part, 1)} of the time "
        f"outside of tasks: put more into each, with `.chunks(...)` or by calling the function on a list",
        part,
    )


def _idle(course: Course, held: frozenset[str]) -> Iterator[Advice]:
    """The slots had nothing to do."""
    slots = course.slots
    part = slots.idle / (slots.count * slots.elapsed)
    if slots.count < 2 or part < MUCH or held or any(_short(course, held)):
        return
    busy = (slots.running + slots.moving) / slots.elapsed
    text = f"the slots were idle {percent_text(part, 1)} of the time: {busy:.1f} of {slots.count} were busy on average"
    if course.longest >= MUCH * course.elapsed:
        text += (
            f", and the longest way through the graph takes {seconds_text(course.longest)} of "
            f"{seconds_text(course.elapsed)}: more slots do not help, more side by side does"
        )
    else:
        text += "; the longest way does not explain it: look at what tasks waited for"
    yield Advice("idle", text, part * (1 - 1 / slots.count))


def _slots(course: Course, held: frozenset[str]) -> Iterator[Advice]:
    """The critical path is one of slots: there was always something else to do first."""
    part, slots = _waits_for_slots(course), course.slots
    if part < MUCH or slots.idle > SOME * slots.count * slots.elapsed:
        return
    work = sum(one.running for one in course.attempts)
    twice = max(work / (2 * slots.count), course.longest)
    if twice > (1 - SOME) * course.elapsed:
        return
    which = f"one of the {slots.count} slots" if slots.count > 1 else "the only slot"
    yield Advice(
        "slots",
        f"tasks waited for {which} for most of the critical path: twice as many could end it in {seconds_text(twice)} "
        f"instead of {seconds_text(course.elapsed)}, and the longest way through the graph takes "
        f"{seconds_text(course.longest)}",
        1 - twice / course.elapsed,
    )


def _waits_for_slots(course: Course) -> float:
    """Return the part of the critical path that runs behind something only because of a slot."""
    waited = 0.0
    for step, after in zip(course.path, course.path[1:], strict=False):
        if after.because == "slot":
            waited += step.after + step.attempt.running
    return waited / course.elapsed


def _moving(course: Course, held: frozenset[str]) -> Iterator[Advice]:
    """Slots waited for what was on its way."""
    slots = course.slots
    part = slots.moving / (slots.count * slots.elapsed)
    on_path = sum(step.moving for step in course.path) / course.elapsed
    if max(part, on_path) < SOME:
        return
    most = max(course.groups, key=lambda group: group.moving)
    yield Advice(
        "moving",
        f"slots waited {percent_text(part, 1)} of the time, and the critical path {percent_text(on_path, 1)}, for "
        f"tasks and values that were on their way, most for `{most.name}`: pass names of files instead of "
        f"large values, or join what passes them on (in the first run it includes the start of processes)",
        max(part, on_path),
    )


def _failed(course: Course, held: frozenset[str]) -> Iterator[Advice]:
    """Attempts that failed and were made again took part of the time."""
    running = sum(one.running for one in course.attempts)
    lost = [one for one in course.attempts if one.failed]
    part = sum(one.running for one in lost) / running if running else 0.0
    if part < LITTLE:
        return
    [(name, _)] = Counter(one.name for one in lost).most_common(1)
    yield Advice(
        "failed",
        f"{len(lost)} attempt{'s' * (len(lost) != 1)}, most of `{name}`, failed and took {percent_text(part, 1)} of "
        f"the running time",
        part * running / (course.slots.count * course.elapsed),
    )


def _held_back(course: Course, held: frozenset[str]) -> Iterator[Advice]:
    """Options held tasks back while slots were idle."""
    slots = course.slots
    if slots.idle < SOME * slots.count * slots.elapsed:
        return
    waited = {step.attempt.name: 0.0 for step in course.path if step.attempt.name in held}
    for step in course.path:
        if step.attempt.name in waited:
            waited[step.attempt.name] += step.after - step.moving
    for name, seconds in sorted(waited.items(), key=lambda item: -item[1])[:1]:
        if seconds >= SOME * course.elapsed:
            yield Advice(
                "held back",
                f"`{name}` was held back {seconds_text(seconds)} of the critical path while slots were idle: its own "
                f"options (rates, limits, delays, retries) decide when it begins",
                seconds / course.elapsed,
            )


def _slower(course: Course, held: frozenset[str]) -> Iterator[Advice]:
    """A group took much longer than it did before."""

    def beyond(group: Group) -> float:
        return group.running - group.attempts * (group.expected or 0.0)

    slower = [g for g in course.groups if g.expected and g.mean > TIMES * g.expected]
    for group in sorted(slower, key=lambda group: -beyond(group))[:1]:
        assert group.expected
        part = beyond(group) / (course.slots.count * course.elapsed)
        if part >= LITTLE:
            yield Advice(
                "slower",
                f"`{group.name}` took {seconds_text(group.mean)} a call, {group.mean / group.expected:.1f} times what "
                f"earlier runs took ({seconds_text(group.expected)})",
                part,
            )


_RULES: Sequence[Callable[[Course, frozenset[str]], Iterator[Advice]]] = (
    _on_path,
    _short,
    _idle,
    _slots,
    _moving,
    _failed,
    _held_back,
    _slower,
)
