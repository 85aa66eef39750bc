"""What leases say while they run, in datagrams: for an engine that has no way of its own that costs nothing unused.

One may be lost, or be kept out by a firewall: then it is not heard how far a task is, and all else goes on.  Whoever
does not know the word in front is not listened to.

Covers: hearing them, sending them.
Does not cover: what is in them (executors.saying).
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from functools import lru_cache
from hmac import compare_digest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WORD = 16
"""Bytes of the word."""

MOST = 65_536
"""No datagram is longer."""


class Ear:
    """Hears datagrams at a host's address in a thread of its own, until it is closed.

    `where` says whom to send them, and with which word in front: bytes, because it goes with every call.
    """

    def __init__(self, host: str, hear: Callable[[bytes], object], name: str) -> None:
        """Raises OSError when the host is not this one."""
        self._socket = _socket_of(host)
        try:
            self._socket.bind((host, 0))
        except OSError:
            self._socket.close()
            raise
        self._host, word = host, os.urandom(WORD)
        self.where = word + f"{self._socket.getsockname()[1]} {host}".encode()
        threading.Thread(target=_listen, args=(self._socket, word, hear), name=name, daemon=True).start()

    def close(self) -> None:
        """Hear nothing more; the thread ends."""
        with suppress(OSError), _socket_of(self._host) as mouth:
            _way_to(mouth, self.where)(b"")


def _listen(ear: socket.socket, word: bytes, hear: Callable[[bytes], object]) -> None:
    with ear:
        while True:
            datagram = ear.recv(MOST)
            if compare_digest(datagram[:WORD], word):
                if len(datagram) == WORD:
                    return
                hear(datagram[WORD:])


@lru_cache(maxsize=8)
def saying_to(where: bytes) -> Callable[[bytes], object]:
    """Return what sends a message there."""
    return _way_to(_socket_of(_host_of(where)), where)


def _host_of(where: bytes) -> str:
    return where[WORD:].decode().partition(" ")[2]


def _socket_of(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)


def _way_to(mouth: socket.socket, where: bytes) -> Callable[[bytes], object]:
    word, (port, host) = where[:WORD], where[WORD:].decode().split(" ")
    return lambda message: mouth.sendto(word + message, (host, int(port)))
