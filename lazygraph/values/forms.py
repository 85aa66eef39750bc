"""What a content key is made from: one value, one level deep, as kind, data and parts.

Plain values are written as they are, each with its type and its length; everything else becomes a `Form`, whose parts
are written by the digest of their own form.  Nothing here depends on addresses, hash seeds or the order of imports.

Covers: the record, its digest, plain values, how a value is named in a sentence.
Does not cover: which form a value has (values.canonical), walking nested ones (values.keys).
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

SIZE = 20
"""Bytes in a digest: 160 bits, so that even keys kept for years do not collide."""
_LONG = 1024
"""Texts and bytes above this length are not copied into what contains them, but stand there by their digest."""

ORDERED, UNORDERED = range(2)
"""How the parts of a form belong together: one after another, or as in a set."""


class Form(NamedTuple):
    """One level of a value.  Two values are the same if kind, data, order and all parts are.

    `labels` say in words what each part is (without them it is counted) and `text` what the whole is: for people only.
    """

    kind: str
    data: bytes = b""
    parts: Sequence[Any] = ()
    order: int = ORDERED
    labels: Sequence[str] = ()
    text: str = ""

    def label(self, part: int) -> str:
        """Return what a part is called."""
        return self.labels[part] if self.labels else f"[{part}]"


class Sentinel(NamedTuple):
    """Stands for a bare `object()` in a function or class: all it has is being different from the others there."""

    number: int


class Absent(NamedTuple):
    """Stands for what a function refers to and is not there (yet)."""

    name: str


def digest(form: Form, tokens: Sequence[bytes]) -> bytes:
    """Return the token of a form whose parts have these tokens."""
    return _hashed(form.kind, form.data, sorted(tokens) if form.order == UNORDERED else tokens)


def _hashed(kind: str, data: bytes, tokens: Iterable[bytes]) -> bytes:
    head = f"{kind}\0{len(data)}\0".encode("utf-8", "surrogatepass")
    return b"#" + blake2b(b"".join((head, data, *tokens)), digest_size=SIZE).digest()


def words(texts: Iterable[str]) -> bytes:
    """Write texts one after another so that no two different sequences look the same."""
    return b"".join(map(_text, texts))


# -- plain values: a letter for the type, and no two values alike -------------------------------------


def _whole(value: int) -> bytes:
    size = value.bit_length() // 8 + 1
    return b"i%d:%b" % (size, value.to_bytes(size, "big", signed=True))


def _float(value: float) -> bytes:
    return b"f" + struct.pack(">d", value)


def _complex(value: complex) -> bytes:
    return b"c" + struct.pack(">dd", value.real, value.imag)


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"s%d:%b" % (len(data), data) if len(data) <= _LONG else _hashed("str", data, ())


def _bytes(value: bytes) -> bytes:
    return b"b%d:%b" % (len(value), value) if len(value) <= _LONG else _hashed("bytes", value, ())


ATOMS: Mapping[type, Callable[[Any], bytes]] = {
    int: _whole,
    float: _float,
    str: _text,
    bool: lambda value: b"T" if value else b"F",
    type(None): lambda _: b"N",
    bytes: _bytes,
    complex: _complex,
    type(...): lambda _: b"E",
    type(NotImplemented): lambda _: b"I",
}
"""Types whose values are written as they are.  No token is the beginning of another one."""


def short(value: Any) -> str:
    """Name a value in a sentence: a plain one by its text, any other by its type, never by its own `repr`."""
    kind = type(value)
    if kind in ATOMS:
        if kind is int and value.bit_length() > 200:
            return f"<int of {value.bit_length()} bits>"
        text = repr(value[:50] if kind in (str, bytes) else value)
        return text if len(text) <= 48 else f"{text[:40]}...{text[-1]}"
    if kind in (list, tuple, dict, set, frozenset):
        return f"<{kind.__name__} of {len(value)}>"
    name = getattr(value, "__qualname__", None)
    if isinstance(name, str) and (isinstance(value, type) or callable(value)):
        return f"{'class' if isinstance(value, type) else 'function'} {name}"
    return f"<{kind.__name__}>"
