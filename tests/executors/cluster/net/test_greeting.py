"""The greeting without any I/O: who gets in, who does not and what they are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from lazygraph.errors import InvalidOption, Refused
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net.hello import HERE, Answerer, Caller

ROLES = ("client", "worker")
ONE, TWO = bytes(range(32)), bytes(range(32, 64))


def greet(caller: Caller, answerer: Answerer) -> list[m.Message]:
    """Let both sides speak until one has nothing more to say; return all that was said."""
    said: list[m.Message] = [caller.hello()]
    while (answer := answerer.receive(said[-1])) is not None:
        said.append(answer)
        reply = caller.receive(answer)
        if reply is None:
            break
        said.append(reply)
    return said


@pytest.mark.parametrize("role", ROLES)
def test_who_knows_the_token_gets_in(role: str) -> None:
    caller, answerer = Caller(role, "secret", ONE), Answerer("secret", TWO, ROLES)
    said = greet(caller, answerer)
    assert [type(message) for message in said] == [m.Hello, m.Challenge, m.Proof, m.Welcome]
    assert caller.done
    assert answerer.done
    assert answerer.role == role


def test_the_token_and_equal_proofs_never_travel() -> None:
    said = greet(Caller("client", "secret", ONE), Answerer("secret", TWO, ROLES))
    assert not any(b"secret" in m.encode(message) for message in said)
    assert said[2].proof != said[3].proof


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        (
            replace(HERE, protocol=HERE.protocol + 1),
            (
                f"the worker speaks wire protocol {HERE.protocol + 1} (lazygraph {{0.lazygraph}}), the cluster speaks "
                f"{HERE.protocol} (lazygraph {{0.lazygraph}}); install the same lazygraph on both sides"
            ),
        ),
        (
            replace(HERE, lazygraph="7.3.1"),
            (
                "the worker has lazygraph 7.3.1, the cluster has {0.lazygraph}; install lazygraph 0.1 for the worker, "
                "or update the cluster"
            ),
        ),
        (
            replace(HERE, python="2.7"),
            (
                "the worker runs Python 2.7, the cluster runs {0.python}, and functions travel as bytecode, which "
                "differs; start the worker with Python {0.python}"
            ),
        ),
        (
            replace(HERE, byteorder="middle"),
            (
                "the worker's machine is middle-endian, the cluster is {0.byteorder}-endian; "
                "use machines of one byte order"
            ),
        ),
    ],
)
def test_what_differs_is_said_by_either_side(there: Any, sentence: str) -> None:
    expected = sentence.format(HERE)
    with pytest.raises(Refused) as refused:
        Answerer("secret", TWO, ROLES).receive(Caller("worker", "secret", ONE, there).hello())
    assert str(refused.value) == expected
    if there.byteorder == HERE.byteorder:  # a Challenge does not say it
        caller = Caller("worker", "secret", ONE, there)
        with pytest.raises(Refused) as refused:
            caller.receive(m.Challenge(HERE.protocol, HERE.lazygraph, HERE.python, TWO))
        assert str(refused.value) == expected
        assert not caller.done


def test_a_patch_version_may_differ() -> None:
    there = replace(HERE, lazygraph=f"{HERE.lazygraph.rpartition('.')[0]}.99")
    caller = Caller("client", "secret", ONE, there)
    greet(caller, Answerer("secret", TWO, ROLES))
    assert caller.done


def test_an_unknown_role_is_refused_and_cannot_drive_a_terminal() -> None:
    with pytest.raises(Refused) as refused:
        Answerer("secret", TWO, ROLES).receive(Caller("spy\x1b[2J", "secret", ONE).hello())
    assert str(refused.value) == "nobody connects here as 'spy [2J', only as client or worker; check the address"
    with pytest.raises(Refused) as refused:
        Caller("client", "secret", ONE).receive(m.Refusal("no\x1b[2J"))
    assert str(refused.value) == "no [2J"


def test_a_caller_with_another_token_is_refused() -> None:
    answerer = Answerer("secret", TWO, ROLES)
    with pytest.raises(Refused, match=r"the client's token is not this cluster's; .*LAZYGRAPH_TOKEN, --token-file"):
        greet(Caller("client", "another", ONE), answerer)
    assert not answerer.done


def test_a_server_without_the_token_is_refused() -> None:
    caller = Caller("client", "secret", ONE)
    proof = caller.receive(Answerer("another", TWO, ROLES).receive(caller.hello()))
    for guess in (b"", bytes(32), proof.proof):  # the last one: the caller's own proof, sent back
        with pytest.raises(Refused, match="it did not prove that it knows the token"):
            caller.receive(m.Welcome(guess))
    assert not caller.done


def test_a_recorded_greeting_opens_nothing_a_second_time() -> None:
    hello, _, proof, _ = greet(Caller("client", "secret", ONE), Answerer("secret", TWO, ROLES))
    again = Answerer("secret", bytes(32), ROLES)
    again.receive(hello)
    with pytest.raises(Refused, match="token"):
        again.receive(proof)
    assert not again.done


def test_a_proof_is_for_one_role() -> None:
    caller, answerer = Caller("client", "secret", ONE), Answerer("secret", TWO, ROLES)
    challenge = answerer.receive(structs.replace(caller.hello(), role="worker"))
    with pytest.raises(Refused, match="token"):
        answerer.receive(caller.receive(challenge))


@pytest.mark.parametrize("nonce", [b"", bytes(31), bytes(33)])
def test_a_nonce_of_another_length_is_malformed(nonce: bytes) -> None:
    with pytest.raises(Refused, match="malformed"):
        Answerer("secret", TWO, ROLES).receive(Caller("client", "secret", nonce).hello())
    with pytest.raises(Refused, match="malformed"):
        Caller("client", "secret", ONE).receive(m.Challenge(HERE.protocol, HERE.lazygraph, HERE.python, nonce))


@pytest.mark.parametrize("make", [lambda: Caller("client", "", ONE), lambda: Answerer("", TWO, ROLES)])
def test_an_empty_token_is_none(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidOption, match="cannot be empty"):
        make()


SAID = greet(Caller("client", "secret", ONE), Answerer("secret", TWO, ROLES))
WITHOUT_TOKEN = st.one_of(
    st.sampled_from([SAID[0], SAID[1], SAID[3], m.Refusal("no")]),
    st.builds(m.Proof, st.binary(max_size=40) | st.just(SAID[2].proof)),
    st.builds(m.Welcome, st.binary(max_size=40)),
)


@given(st.lists(WITHOUT_TOKEN, max_size=8))
def test_without_the_token_no_order_of_messages_gets_in(said: list[m.Message]) -> None:
    """Everything recorded in one greeting, in any order, to both sides of another."""
    answerer, caller = Answerer("secret", b"n" * 32, ROLES), Caller("client", "secret", b"m" * 32)
    for side in (answerer, caller):
        for message in said:
            try:
                side.receive(message)
            except Refused:
                break
        assert not side.done
