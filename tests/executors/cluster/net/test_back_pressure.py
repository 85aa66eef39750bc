"""Who asks for more than he reads is not read himself: what waits for him has a bound."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net import link as link_module

ANSWER = 64 * 1024
MOST = 16 * ANSWER
QUESTIONS = 2000


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "_UNREAD", MOST)


async def until_held(link: Any) -> None:
    """Return when a link reads no more."""
    held, pause = asyncio.Event(), link._transport.pause_reading

    def noting() -> None:
        pause()
        held.set()

    link._transport.pause_reading = noting
    if not link._held:
        await held.wait()


@pytest.mark.usefixtures("limited")
async def test_what_is_asked_for_and_not_read_does_not_pile_up(linked: Any, near: Any, far: Any) -> None:
    most = 0
    async with linked() as (caller, called):

        def answer(link: Any, message: m.Message, body: bytes) -> None:
            nonlocal most
            far.message(link, message, body)
            link.send(m.Forget(len(far.heard)), bytes(ANSWER))
            most = max(most, link.queued)

        called.on_message = answer
        called.hold_back()
        caller._transport.pause_reading()
        for number in range(QUESTIONS):
            caller.send(m.Forget(number))
        await until_held(called)
        heard = len(far.heard)
        assert heard < QUESTIONS // 2
        assert not called._transport.is_reading()
        caller.send(m.Forget(QUESTIONS))
        caller._transport.resume_reading()
        await near.until_heard(QUESTIONS + 1)
    assert [message for message, _ in far.heard] == [m.Forget(number) for number in range(QUESTIONS + 1)]
    assert [message.block for message, _ in near.heard] == [*range(1, QUESTIONS + 2)]
    assert most < MOST + 2 * ANSWER


@pytest.mark.usefixtures("limited")
async def test_questions_that_came_in_one_read_wait_too(linked: Any, near: Any, far: Any) -> None:
    async with linked() as (caller, called):

        def answer(link: Any, message: m.Message, body: bytes) -> None:
            far.message(link, message, body)
            link.send(message, bytes(100 * MOST))

        called.on_message = answer
        called.hold_back()
        caller._transport.pause_reading()
        for number in range(3):
            caller.send(m.Forget(number))
        await until_held(called)
        assert [message for message, _ in far.heard] == [m.Forget(0)]
        caller._transport.resume_reading()
        await near.until_heard(3)
    assert [(message, len(body)) for message, body in near.heard] == [(m.Forget(n), 100 * MOST) for n in range(3)]


@pytest.mark.usefixtures("limited")
async def test_who_is_held_back_and_goes_is_gone(linked: Any, far: Any) -> None:
    async with linked() as (caller, called):
        called.on_message = lambda link, message, body: link.send(message, bytes(100 * MOST))
        called.hold_back()
        caller._transport.pause_reading()
        caller.send(m.Forget(0))
        await until_held(called)
        caller.abort()
        await far.until_lost()


@pytest.mark.usefixtures("limited")
async def test_two_that_send_much_at_once_are_not_held_back(linked: Any, near: Any, far: Any) -> None:
    async with linked() as (caller, called):
        caller.send(m.Forget(1), bytes(100 * MOST))
        called.send(m.Forget(2), bytes(100 * MOST))
        await near.until_heard(1)
        await far.until_heard(1)
    assert (near.heard[0][0], far.heard[0][0]) == (m.Forget(2), m.Forget(1))
