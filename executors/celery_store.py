"""Redis, where an executor on Celery and its workers meet: what lies there, under which names, and for how long.

Covers: plans, leases and values by name; claims on leases; dropping what nobody here stands for any more.
Does not cover: messages (executors.on_celery), reports (executors.celery_calls), what workers do
(executors.celery_tasks).
"""

from __future__ import annotations

import uuid
import weakref
from base64 import b64encode
from collections import deque
from typing import TYPE_CHECKING, Any

from lazygraph.errors import CannotConnect, ConnectionLost, InvalidOption, LostData

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LARGE = 4_000
"""A parcel of more bytes goes to redis, and only its name into messages."""

DAY = 24 * 3600
"""Seconds for which a claim stays of a lease that nobody is to begin, where results do not expire."""

TASK = "lazygraph.lease"
"""What the task of Celery's is called that runs a lease."""

CANCELLED = "cancelled"
"""Who claims a lease that nobody is to begin; others are called by the life of their process."""

# A site's names begin with its own, a lease's with that of the lease, which begins with that of its site.


def reports_of(site: str) -> str:
    """Return the name of the stream of a site's reports."""
    return f"{site}-reports"


def claim_of(lease: str) -> str:
    """Return the name of what says who has begun a lease."""
    return f"{lease}-begun"


def life_of(worker: str, word: str) -> str:
    """Return the name of the signs of life of a process; `word` is no other's."""
    return f"lazygraph-life-{word}-{worker}"


def worker_of(life: str) -> str:
    """Return what the process of a life is called."""
    return life.split("-", 3)[3]


def value_of(lease: str, entry: int) -> str:
    """Return the name of a value that a lease has left."""
    return f"{lease}-value-{entry}"


def text_of(blob: bytes) -> str:
    """Return bytes as JSON can have them."""
    return b64encode(blob).decode()


def lying(redis: Any, name: str) -> bytes:
    """Return what lies in redis.  Raises `LostData`."""
    blob: bytes | None = redis.get(name)
    if blob is None:
        raise LostData(name, "redis does not have it any more: it was evicted, or has expired (result_expires)")
    return blob


class Parcel:
    """Bytes on their way: `said` is how a message says them, in it or by name."""

    __slots__ = ("__weakref__", "said")

    def __init__(self, said: Mapping[str, str]) -> None:
        self.said = said


class Left:
    """What a lease has left: small pickles came back with the report, the others are in redis under its name."""

    __slots__ = ("__weakref__", "lease", "small")

    def __init__(self, lease: str) -> None:
        self.lease, self.small = lease, dict[int, bytes]()

    @property
    def said(self) -> list[Any]:
        """How a message says it."""
        return [self.lease, {str(entry): text_of(blob) for entry, blob in self.small.items()}]


class Store:
    """What lies in redis for one site, until nobody here holds what stands for it; `expires` is in seconds.

    What is held is renewed before it expires; what a process leaves behind that died is not.
    """

    def __init__(self, app: Any) -> None:
        """Make one in the result backend of an application.  Raises `InvalidOption`, `CannotConnect`."""
        from celery.backends.redis import RedisBackend  # type: ignore[import-untyped]

        if not isinstance(app.backend, RedisBackend):
            raise InvalidOption(
                f"the result backend of {app!r} is not redis; give it one: result_backend='redis://...'"
            )
        self._backend: Any = app.backend
        self.redis, self.expires = self._backend.client, int(self._backend.expires or 0) or None
        self.errors_of_redis: Any = self._backend.connection_errors
        if self.redis.connection_pool.connection_kwargs.get("decode_responses"):
            raise InvalidOption(
                f"the result backend of {app!r} decodes what it reads; values are bytes: leave that out"
            )
        self.site = f"lazygraph-{uuid.uuid4().hex[:12]}"
        self._mark = f"{self.site}-mark"
        self._lying: dict[str, None] = {}
        self._dropped: deque[str] = deque()  # the collector may say so anywhere: it only notes it
        try:
            self._put_mark()
        except self.errors_of_redis as error:
            raise CannotConnect(str(self._backend.as_uri()), f"{type(error).__name__}: {error}", "redis") from error

    def away(self, error: BaseException) -> ConnectionLost:
        """Return what one of the `errors_of_redis` says."""
        return ConnectionLost(self._backend.as_uri(), f"{type(error).__name__}: {error}")

    def parcel(self, name: str, blob: bytes) -> Parcel:
        """Make a parcel of bytes; large ones go to redis under a name."""
        if len(blob) < LARGE:
            return Parcel({"blob": text_of(blob)})
        self.redis.set(name, blob, ex=self.expires)
        parcel = Parcel({"name": name})
        self.keep(parcel, [name])
        return parcel

    def keep(self, stands: object, names: Iterable[str]) -> None:
        """See that what lies under these names does so for as long as there is what stands for it here."""
        for name in names:
            self._lying[name] = None
            weakref.finalize(stands, self._dropped.append, name).atexit = False

    def claim(self, lease: str) -> bool:
        """Claim a lease before a worker does, so that none ever begins it; return whether none had."""
        return bool(self.redis.set(claim_of(lease), CANCELLED, nx=True, ex=self.expires or DAY))

    def errors(self, leases: Iterable[str]) -> list[Any]:
        """Return what Celery itself says that these have failed with, None of one of which it says nothing."""
        said = self.redis.mget([self._backend.get_key_for_task(lease) for lease in leases])
        return [None if one is None else self._backend.decode_result(one)["result"] for one in said]

    def drop_error(self, lease: str) -> None:
        """Note that nobody wants to know any more what Celery says of one."""
        self.drop(self._backend.get_key_for_task(lease))

    def has_all(self) -> bool:
        """Whether redis has not been emptied since this was asked, or since there is the store: by a mark of ours."""
        if self.redis.expire(self._mark, 7 * DAY):
            return True
        self._put_mark()
        return False

    def _put_mark(self) -> None:
        self.redis.set(self._mark, b"1", ex=7 * DAY)

    def drop(self, *names: str) -> None:
        """Note that nobody wants these any more."""
        self._dropped.extend(names)

    def sweep(self) -> None:
        """Delete what nobody wants any more."""
        names = [self._dropped.popleft() for _ in range(len(self._dropped))]
        if names:
            self.redis.unlink(*names)
            for name in names:
                self._lying.pop(name, None)

    def renew(self) -> None:
        """Begin the time anew after which redis forgets what is held."""
        with self.redis.pipeline(transaction=False) as pipe:
            for name in list(self._lying):
                pipe.expire(name, self.expires)
            pipe.execute()

    def clear(self) -> None:
        """Delete all there is; claims on what nobody is to begin stay, for what a broker still has."""
        self.drop(*self._lying, reports_of(self.site), self._mark)
        self.sweep()
