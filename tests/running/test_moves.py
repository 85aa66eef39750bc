"""The table of moves, drawn."""

from __future__ import annotations

from lazygraph.values.status import MOVES, TERMINAL, UNHAPPY, State

LOST_AGAIN = {State.WAITING, State.RELEASED, State.SUCCEEDED, State.LOST}
"""Where a success may go: it is freed, or its value is lost."""


def drawn() -> str:
    """Return the diagram as text: a line for every state, and where it may go."""
    width = max(len(state.name) for state in State)
    lines = [f"{state.name:{width}} -> {' '.join(after.name for after in sorted(MOVES[state]))}" for state in State]
    return "\n".join(line.rstrip() for line in lines)


def test_the_diagram() -> None:
    assert drawn() == DIAGRAM.strip("\n")


def test_every_state_can_be_reached_from_waiting() -> None:
    reached, stack = {State.WAITING}, [State.WAITING]
    while stack:
        for after in MOVES[stack.pop()] - reached:
            reached.add(after)
            stack.append(after)
    assert reached == set(State)


def test_nothing_leaves_an_end_but_values_that_are_lost_or_freed() -> None:
    assert all(MOVES[state] == frozenset() for state in UNHAPPY)
    assert all(MOVES[state] <= LOST_AGAIN for state in TERMINAL - UNHAPPY)


def test_every_other_state_can_end_well_and_badly() -> None:
    for state in set(State) - TERMINAL:
        ends, stack = set[State](), [state]
        while stack:
            for after in MOVES[stack.pop()] - ends:
                ends.add(after)
                stack.extend([after] if after not in TERMINAL else [])
        assert State.SUCCEEDED in ends
        assert State.CANCELLED in ends
        assert State.UPSTREAM_FAILED in ends


DIAGRAM = """
WAITING         -> SCHEDULED QUEUED LEASED SUCCEEDED FAILED CANCELLED EXPIRED UPSTREAM_FAILED SKIPPED
SCHEDULED       -> WAITING QUEUED CANCELLED EXPIRED UPSTREAM_FAILED SKIPPED
QUEUED          -> WAITING SCHEDULED LEASED CANCELLED EXPIRED UPSTREAM_FAILED SKIPPED
LEASED          -> WAITING QUEUED RUNNING RETRYING SUCCEEDED FAILED CANCELLED EXPIRED UPSTREAM_FAILED LOST SKIPPED
RUNNING         -> WAITING QUEUED RETRYING SUCCEEDED FAILED CANCELLED UPSTREAM_FAILED LOST SKIPPED
RETRYING        -> WAITING QUEUED CANCELLED EXPIRED UPSTREAM_FAILED SKIPPED
SUCCEEDED       -> WAITING RELEASED LOST
RELEASED        -> WAITING SUCCEEDED LOST
FAILED          ->
CANCELLED       ->
EXPIRED         ->
UPSTREAM_FAILED ->
LOST            ->
SKIPPED         ->
"""
