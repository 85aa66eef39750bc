"""Tokens: the secret that the processes of one cluster share.

A scheduler that is given none makes one and keeps it in a directory that only its user can open, in a file named after
its address, where clients and workers of the same user find it.

Covers: making, keeping, finding and removing tokens.
Does not cover: proving that one knows it (net.hello).
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lazygraph.errors import CannotConnect, InvalidOption, UnsafeTokenPlace
from lazygraph.executors.cluster.net.addresses import format_address, parse_address

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0", "::"})
"""What this machine calls itself, and what a scheduler is told that listens on all of its addresses."""
_LONGEST = 4096


class KeptToken:
    """A token in its file, until `remove`."""

    def __init__(self, token: str, path: Path) -> None:
        self.token, self.path = token, path

    def remove(self) -> None:
        """Remove the file, unless another scheduler has put its own token there since.  Safe to call twice."""
        # An unsafe place is not what was left there, and so not this object's to remove.
        with contextlib.suppress(FileNotFoundError, UnsafeTokenPlace), _opened(self.path.parent) as folder:
            if _read_private(folder, self.path) == self.token:
                os.unlink(self.path.name, dir_fd=folder)


def make_token() -> str:
    """Return a new random token."""
    return secrets.token_hex(32)


def keep_token(address: str, token: str) -> KeptToken:
    """Write the token where `find_token` of the same user finds it for this address.

    An older one is replaced, whatever it is (a link is not followed).  Raises UnsafeTokenPlace when the directory
    belongs to somebody else or is open to others.
    """
    path = token_path(address)
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir(mode=0o700)
    draft = f".{path.name}.{secrets.token_hex(8)}"
    with _opened(path.parent) as folder:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(token)
            os.replace(draft, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(draft, dir_fd=folder)
            raise
    return KeptToken(token, path)


def find_token(address: str, explicit: str | None = None) -> str:
    """Return the token for the cluster at this address.

    It is the explicit one, else LAZYGRAPH_TOKEN, else the content of the file LAZYGRAPH_TOKEN_FILE, else what a
    scheduler of this user on this machine keeps.  Raises CannotConnect, which says where tokens come from, when there
    is none.
    """
    path = token_path(address)
    token = explicit or os.environ.get("LAZYGRAPH_TOKEN")
    if token:
        return token
    file = os.environ.get("LAZYGRAPH_TOKEN_FILE")
    if file:
        return read_token(file)
    try:
        with _opened(path.parent) as folder:
            return _read_private(folder, path)
    except FileNotFoundError:
        raise CannotConnect(
            format_address(*parse_address(address)),
            f"no scheduler of this user keeps a token for it in {path.parent}, and none is given by Client(token=), "
            f"LAZYGRAPH_TOKEN or --token-file / LAZYGRAPH_TOKEN_FILE",
        ) from None


def read_token(file: str | os.PathLike[str]) -> str:
    """Return the token in a file of the user's own.  Raises InvalidOption when there is none in it."""
    try:
        with open(file, encoding="utf-8") as opened:
            token = opened.read(_LONGEST + 1).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOption(f"the token file {os.fspath(file)!r} cannot be read: {error}") from error
    if not token or len(token) > _LONGEST:
        what = f"more than {_LONGEST} characters" if token else "nothing"
        raise InvalidOption(f"the token file {os.fspath(file)!r} has {what} in it; put the token there, and only that")
    return token


def token_path(address: str) -> Path:
    """Return where the token for this address is kept; all names of the loopback are one."""
    host, port = parse_address(address)
    host = "localhost" if host.lower() in _LOOPBACK else host.lower()
    return _directory() / f"{re.sub('[^a-z0-9.-]', '-', host)}_{port}.token"


def _directory() -> Path:
    """Return the directory for tokens: in the session's runtime directory if that is ours, else a temporary one."""
    user = os.geteuid()
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isabs(runtime) and os.path.isdir(runtime) and os.stat(runtime).st_uid == user:
        return Path(runtime, "lazygraph")
    return Path(tempfile.gettempdir(), f"lazygraph-{user}")


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int]:
    """Open the directory of tokens; what is checked and what is used are the same directory, whoever renames it."""
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise
    except OSError as error:  # a link is "not a directory" here, or too many links, as the system likes
        raise UnsafeTokenPlace(directory, f"it cannot be opened as a directory ({error.strerror})") from None
    try:
        _check_private(handle, directory)
        yield handle
    finally:
        os.close(handle)


def _read_private(folder: int, path: Path) -> str:
    try:
        # Not blocking: opening a pipe that somebody left here would wait for its writer.
        handle = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnsafeTokenPlace(path, f"it cannot be opened as a file ({error.strerror})") from None
    try:
        _check_private(handle, path)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise UnsafeTokenPlace(path, "it is no regular file")
        return os.read(handle, _LONGEST).decode(errors="replace")
    finally:
        os.close(handle)


def _check_private(handle: int, path: Path) -> None:
    """Raise UnsafeTokenPlace unless it is ours alone."""
    found = os.fstat(handle)
    if found.st_uid != os.geteuid():
        raise UnsafeTokenPlace(path, "it belongs to another user")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise UnsafeTokenPlace(path, f"others may open it (its mode is {stat.S_IMODE(found.st_mode):o})")
