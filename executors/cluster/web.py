"""The scheduler's web page: tornado, on the scheduler's own loop.  It reads the mind and never changes it.

On loopback it is open to whoever is on this machine; anywhere else it is read with the cluster's token only: as
`Authorization: Bearer TOKEN`, or in a browser by a form, after which a cookie stands for it.

Covers: `/` (a page that refreshes itself), `/status.json`, `/health`, `/login`, who may read.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import tornado.web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from lazygraph.errors import InvalidOption
from lazygraph.executors.cluster.records import plain_stats
from lazygraph.executors.cluster.tls import PLAIN, Guard, check_listening, is_loopback
from lazygraph.version import __version__

if TYPE_CHECKING:
    from lazygraph.executors.cluster.scheduler_machine import SchedulerMachine

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<title>lazygraph</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 56rem; padding: 0 1rem;
       color-scheme: light dark }}
table {{ border-collapse: collapse; width: 100%; margin: 1rem 0 }}
th, td {{ text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884 }}
</style><h1>lazygraph {version}</h1>
<h2>Workers</h2><table>
<tr><th>name<th>address<th>threads<th>outstanding<th>memory<th>values<th>on disk<th>{workers}</table>
<h2>Runs</h2><table><tr><th>run<th>tasks done<th>open<th>bytes kept<th>bytes moved{runs}</table></html>"""


def status_of(mind: SchedulerMachine) -> dict[str, Any]:
    """Return what there is to show, as plain data."""
    runs = [
        {
            "run": record.run,
            "client": record.client,
            "tasks": len(record.block) - record.block.shape.externals,
            "open": record.block.open,
            "done": record.done,
            "bytes_kept": record.kept,
            "bytes_moved": record.moved,
        }
        for record in mind.records.values()
    ]
    return {
        "version": __version__,
        "workers": plain_stats(list(mind.workers.values()), mind._silent, mind._leaving, mind._full),
        "runs": runs,
    }


_LOGIN = """<!doctype html><html lang="en"><meta charset="utf-8"><title>lazygraph</title>
<form method="post" action="/login"><label>Token of this cluster
<input name="token" type="password" autocomplete="off" autofocus></label> <button>Open</button></form></html>"""
_COOKIE = "lazygraph"
_MOST_SENT = 64 * 1024
"""Bytes of a request's body: nothing here is sent more than a token."""


@dataclass(frozen=True)
class _Door:
    """Who may read: on loopback whoever asks for it by a name of the loopback, elsewhere who knows the token."""

    token: str
    loopback: bool
    encrypted: bool

    @property
    def cookie(self) -> str:
        """What a browser keeps: it shows that the token was known, and does not tell it."""
        return hmac.new(self.token.encode(), b"lazygraph page", hashlib.sha256).hexdigest()

    def opens_for(self, authorization: str, cookie: str) -> bool:
        """Whether these show that somebody knows the token."""
        kind, _, said = authorization.partition(" ")
        bearer = kind.lower() == "bearer" and _same(said.strip(), self.token)
        return bearer or _same(cookie, self.cookie)


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode())


class _Handler(tornado.web.RequestHandler):
    open_to_all = False

    def initialize(self, mind: SchedulerMachine, door: _Door) -> None:
        self.mind, self.door = mind, door

    def set_default_headers(self) -> None:
        for name, value in (
            ("Cache-Control", "no-store"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
        ):
            self.set_header(name, value)

    def prepare(self) -> None:
        """Let nobody in who may not read."""
        if self.door.loopback:
            # A page from elsewhere whose name was made to mean 127.0.0.1 is refused by that name.
            if not is_loopback(self.request.host_name.strip("[]")):
                raise tornado.web.HTTPError(403, reason="ask for this page as localhost or 127.0.0.1")
        elif not self.open_to_all and not self.door.opens_for(
            self.request.headers.get("Authorization", ""), self.get_cookie(_COOKIE, "") or ""
        ):
            self.set_status(401)
            self.set_header("WWW-Authenticate", 'Bearer realm="lazygraph"')
            self.finish(_LOGIN)


class _Login(_Handler):
    open_to_all = True

    def post(self) -> None:
        if not _same(self.get_body_argument("token", "").strip(), self.door.token):
            self.set_status(401)
            self.finish(_LOGIN)
            return
        self.set_cookie(_COOKIE, self.door.cookie, httponly=True, samesite="Strict", secure=self.door.encrypted)
        self.redirect("/", status=303)


class _Status(_Handler):
    def get(self) -> None:
        self.write(status_of(self.mind))


class _Health(_Handler):
    open_to_all = True

    def get(self) -> None:
        self.write("ok")


class _Page(_Handler):
    def get(self) -> None:
        said = status_of(self.mind)
        workers = "".join(
            f"<tr><td>{escape(w['name'])}<td>{escape(address)}<td>{w['threads']}<td>{w['outstanding']}"
            f"<td>{w['memory']:,}<td>{w['managed']:,}<td>{w['spilled']:,}<td>{escape(w['state'])}"
            for address, w in said["workers"].items()
        )
        runs = "".join(
            f"<tr><td>{r['run']}<td>{r['done']}<td>{r['open']}<td>{r['bytes_kept']:,}<td>{r['bytes_moved']:,}"
            for r in said["runs"]
        )
        self.write(_PAGE.format(version=__version__, workers=workers, runs=runs))


def serve_web(mind: SchedulerMachine, address: str, token: str, guard: Guard = PLAIN) -> str:
    """Serve the page on `host:port` (no host: loopback; port 0: a free one); return its link.

    Off loopback it is read with the token only, over https with the certificate of `guard`.  Raises InvalidOption when
    there is none, unless the guard says that this is meant.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdigit():
        raise InvalidOption(f"dashboard address {address!r} is not of the form host:port, for instance 127.0.0.1:8787")
    check_listening(host, guard.tls, guard.insecure)
    tls = None if is_loopback(host) else guard.tls
    door = _Door(token, is_loopback(host), tls is not None)
    rules = [(r"/", _Page), (r"/status\.json", _Status), (r"/health", _Health), (r"/login", _Login)]
    server = HTTPServer(
        tornado.web.Application([(path, handler, {"mind": mind, "door": door}) for path, handler in rules]),
        ssl_options=None if tls is None else tls.web_side(),
        max_body_size=_MOST_SENT,
        max_buffer_size=2 * _MOST_SENT,
        idle_connection_timeout=60.0,
        body_timeout=10.0,
    )
    sockets = bind_sockets(int(port), host)
    server.add_sockets(sockets)
    shown = f"[{host}]" if ":" in host else host
    return f"{'http' if tls is None else 'https'}://{shown}:{sockets[0].getsockname()[1]}/"
