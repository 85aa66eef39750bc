"""A client's connection: an event loop in a thread of its own, the link to the scheduler, and links to workers.

Covers: posting from any thread, questions and their answers.
Does not cover: runs and futures (net.executor), the verbs (net.client).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import secrets
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.errors import CannotConnect, Closed, ConnectionLost
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net.hello import connect
from lazygraph.executors.cluster.net.link import encoded
from lazygraph.executors.cluster.net.peers import PeerLinks
from lazygraph.executors.cluster.net.returning import again
from lazygraph.running.waiting import LOOK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.executors.cluster.net.link import Link
    from lazygraph.executors.cluster.net.peers import Brought
    from lazygraph.executors.cluster.tls import TLS

Buffer = bytes | memoryview
MOST_QUEUED = 64 * 1024**2
GOODBYE = 1.0
"""Seconds that the end of a connection with TLS waits for the other side's."""
LATER = 0.005
"""Seconds that work which nobody waits for is gathered."""


class Hears(NamedTuple):
    """Who is told, in the loop's thread: messages, that it is over; and when a scheduler with a journal was away, ...

    `present()` names the runs that it is to know, `unknown(runs)` is told which of them it does not.
    """

    received: Callable[[m.Message, Buffer], None]
    lost: Callable[[Exception], None]
    present: Callable[[], list[int]]
    unknown: Callable[[Sequence[int]], None]


class Connection:
    """One link to a scheduler."""

    def __init__(
        self,
        address: str,
        token: str,
        timeout: float,
        hears: Hears,
        tls: TLS | None = None,
    ) -> None:
        self.address, self._tls = address, tls
        self._token, self._hears, self._ident = token, hears, secrets.token_hex(12)
        self._journal = ""
        self._away = False  # the scheduler is: what is to be said waits
        self._coming_back: asyncio.Task[None] | None = None
        self._unanswered: dict[int, bytes] = {}  # questions that the scheduler was sent
        self._jobs: deque[Callable[[], None]] = deque()
        self._later: deque[Callable[[], None]] = deque()
        self._later_due = False
        self._woken = False
        self._posted = 0  # bytes of messages among the jobs
        self._questions: dict[int, concurrent.futures.Future[Any]] = {}
        self._asked = 0
        self._link: Link | None = None
        self._lock = threading.Lock()
        self.out_of_reach: set[str] = set()  # workers that could not be given anything
        self.closed = False
        self.error: Exception | None = None
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="lazygraph-client", daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._connect(timeout), self.loop).result(timeout + 5)
        except BaseException as error:
            self.close()
            if isinstance(error, TimeoutError) and not isinstance(error, CannotConnect):
                raise CannotConnect(address, f"no answer within {timeout} s") from None
            raise

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        except BaseException as error:  # SystemExit, say, of what is done here: whoever waits must hear of it
            self._on_lost(RuntimeError(f"its thread was ended by {error!r}"))
            if self._link is not None:
                self._link.abort()
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        finally:
            self.loop.close()

    async def _connect(self, timeout: float) -> None:
        self._peers = PeerLinks(self._token, "client", self._answered_by_peer, own=True, tls=self._tls)
        self._link = await self._connected(timeout)
        self._journal = self._link.journal
        if self._journal:
            self._link.send(m.Present(self._ident, []))

    async def _connected(self, timeout: float) -> Link:
        return await connect(
            self.address,
            "client",
            self._token,
            on_message=self._received,
            on_lost=self._link_lost,
            timeout=timeout,
            tls=self._tls,
        )

    @property
    def _scheduler(self) -> Link:
        assert self._link is not None  # nobody has this connection before it is made
        return self._link

    @property
    def returns(self) -> bool:
        """Whether the scheduler keeps a journal, and may come back."""
        return bool(self._journal)

    # -- from any thread ---------------------------------------------------------------------------

    def post(self, job: Callable[[], None]) -> None:
        """Run `job` in the loop's thread, after what was posted before; the loop is woken once for many."""
        self._jobs.append(job)
        if not self._woken:
            self._woken = True
            try:
                self.loop.call_soon_threadsafe(self._work)
            except RuntimeError:  # the loop is closed: nobody is left to tell
                self._jobs.clear()

    def post_later(self, job: Callable[[], None]) -> None:
        """Run `job` in the loop's thread when it is awake anyway, or after a moment.  Takes no lock, never waits."""
        self._later.append(job)
        if not self._later_due:
            self._later_due = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self.loop.call_soon_threadsafe(self.loop.call_later, LATER, self._work_later)

    def _work_later(self) -> None:
        self._later_due = False
        count = len(self._later)
        self._work()  # first what was posted before these: a claim is not withdrawn before it is made
        for _ in range(count):
            self._do(self._later.popleft())

    def send_later(self, message: m.Message) -> None:
        """Send a message that nobody waits for (from the loop's thread)."""
        if self._away:
            self._jobs.append(lambda: self._scheduler.send_later(message))
        elif not self.closed and self.error is None:
            self._scheduler.send_later(message)

    def send(self, message: m.Message, *body: Buffer) -> None:
        """Send a message to the scheduler."""
        if self.closed or self.error is not None:
            raise self.why_closed()
        header = encoded(message)  # here, where an error finds whoever has made it
        if not self._jobs and not self._woken and self._scheduler.write_through(header, *body):
            return
        size = len(header) + sum(map(len, body))
        with self._lock:
            self._posted += size
        self.post(lambda: self._queue(header, body, size))

    def _queue(self, header: bytes, body: Sequence[Buffer], size: int) -> None:
        with self._lock:
            self._posted -= size
        self._scheduler.queue_encoded(header, *body)

    def wait_for_room(self) -> None:
        """Wait while more than `MOST_QUEUED` bytes are on their way to a scheduler that does not take them.

        Whoever submits faster than that reads is slowed down to it.  Not in the connection's own thread, which sends.
        """
        link = self._link
        if link is None or link.queued + self._posted <= MOST_QUEUED or self.is_this_thread:
            return
        taken = asyncio.run_coroutine_threadsafe(link.drain(), self.loop)
        while not taken.done():
            if self.closed or self.error is not None:
                raise self.why_closed()
            concurrent.futures.wait([taken], LOOK)

    def ask(self, make: Callable[[int], m.Message], worker: str = "") -> concurrent.futures.Future[Any]:
        """Send a question to the scheduler or to a worker; the future gets what `answer` is called with."""
        answer: concurrent.futures.Future[Any] = concurrent.futures.Future()
        with self._lock:
            self._asked += 1
            question = self._asked
        message = make(question)
        header = b"" if worker else encoded(message)
        with self._lock:
            if self.closed or self.error is not None:
                raise self.why_closed()
            self._questions[question] = answer
        if worker:
            self.post(lambda: self._peers.ask(worker, message))  # type: ignore[arg-type]
        else:
            self.post(lambda: self._ask(question, header))
        return answer

    def put(
        self, worker: str, name: str, place: m.Place | None, body: Sequence[memoryview]
    ) -> concurrent.futures.Future[Any]:
        """Give a worker a value, in a segment or as it is; the future gets what it says, or None if it says nothing."""
        answer: concurrent.futures.Future[Any] = concurrent.futures.Future()
        with self._lock:
            if self.closed or self.error is not None:
                raise self.why_closed()
            self._asked += 1
            self._questions[self._asked] = answer
            message = m.Put(self._asked, name, place)
        self.post(lambda: self._peers.put(worker, message, body))
        return answer

    def _ask(self, question: int, header: bytes) -> None:
        if self._journal:
            self._unanswered[question] = header
        self._scheduler.queue_encoded(header)

    @property
    def is_this_thread(self) -> bool:
        """Whether this is called in the loop's thread, where nothing may wait for an answer."""
        return threading.current_thread() is self._thread

    def why_closed(self) -> Exception:
        """Return the error for using this connection now."""
        return self.error or Closed(f"the client of {self.address}")

    def close(self) -> None:
        """End the link and the thread; what was posted before is sent.  Safe to call twice."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
        self.post(self._end)
        if threading.current_thread() is not self._thread:
            self._thread.join(5)

    # -- in the loop's thread ----------------------------------------------------------------------

    def _work(self) -> None:
        self._woken = False
        if self._away and not self.closed:
            return
        try:
            while self._jobs:
                self._do(self._jobs.popleft())
        finally:
            if self._link is not None:
                self._link.flush_now()

    def _do(self, job: Callable[[], None]) -> None:
        """Do one job of many: what is wrong with it is said, and the others are done."""
        try:
            job()
        except Exception as error:
            self.loop.call_exception_handler({"message": "a job of the client has failed", "exception": error})

    def _end(self) -> None:
        if self._link is not None:
            self._peers.close()
            self._link.queue(m.Linger(0.0))
            self._link.flush_now()
            if self._tls is not None:
                self._link.hand_over(_hear_nothing, lambda _, error: self._stop())
            self._link.close()
        self._fail_questions(Closed(f"the client of {self.address}"))
        if self._tls is None or self._link is None or self._link.over:
            self._stop()
        else:  # what was written is on its way when the other side has said goodbye too
            self.loop.call_later(GOODBYE, self._link.abort)

    def _stop(self) -> None:
        self.loop.call_soon(self.loop.stop)

    def answer(self, question: int, reply: Any) -> None:
        """An answer has come."""
        self._unanswered.pop(question, None)
        with self._lock:
            waiting = self._questions.pop(question, None)
        if waiting is not None:
            waiting.set_result(reply)

    def away(self, address: str) -> None:
        """A worker will not answer any more."""
        self._peers.away(address)

    def _answered_by_peer(self, question: m.Get | m.Put, brought: Brought | None) -> None:
        self.answer(question.question, brought)

    def _link_lost(self, link: Link, error: Exception | None) -> None:
        if link is not self._link:
            return  # a try that has failed
        if link.journal and not self.closed and self.error is None:
            self._away = True
            self._coming_back = self.loop.create_task(self._come_back(link.patience, error))
        else:
            self._on_lost(error)

    async def _come_back(self, patience: float, why: Exception | None) -> None:
        """Find the scheduler again; what it has missed is said when it has told what it knows (`_is_back`)."""
        link = await again(lambda: self._connected(5.0), patience, self._journal)
        if link is None or self.closed:
            if link is not None:
                link.close()
            self._away = False
            self._on_lost(why)
            return
        self._link = link
        link.send(m.Present(self._ident, self._hears.present()))

    def tell(self, message: m.Message, *body: Buffer) -> None:
        """Send a message before everything that waits (in the loop's thread)."""
        self._scheduler.queue(message, *body)

    def _received(self, link: Link, message: m.Message, body: Buffer) -> None:
        if not isinstance(message, m.Known):
            self._hears.received(message, body)
        elif self._away:
            self._is_back(message.unknown)

    def _is_back(self, unknown: Sequence[int]) -> None:
        """Go on, with the questions that have not been answered, and with what has been posted meanwhile."""
        self._hears.unknown(unknown)
        self._away = False
        for header in self._unanswered.values():
            self._scheduler.queue_encoded(header)
        self._work()

    def _on_lost(self, error: Exception | None) -> None:
        if self.closed or self.error is not None:
            return
        self.error = ConnectionLost(self.address, str(error) if error else "the scheduler closed it or has ended")
        self._fail_questions(self.error)
        self._hears.lost(self.error)

    def _fail_questions(self, error: Exception) -> None:
        with self._lock:
            waiting, self._questions = list(self._questions.values()), {}
        for future in waiting:
            future.set_exception(error)


def _hear_nothing(link: Link, message: m.Message, body: Buffer) -> None:
    pass
