"""The scheduler's web page: tornado, on the scheduler's own loop.  It reads the mind and never changes it.

Covers: `/` (a page that refreshes itself), `/status.json`, `/health`.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import tornado.web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from lazygraph.errors import InvalidOption
from lazygraph.executors.cluster.records import plain_stats
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
<h2>Workers</h2><table><tr><th>name<th>address<th>threads<th>outstanding{workers}</table>
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
        "workers": plain_stats(list(mind.workers.values()), mind._silent, mind._leaving),
        "runs": runs,
    }


class _Handler(tornado.web.RequestHandler):
    def initialize(self, mind: SchedulerMachine) -> None:
        self.mind = mind


class _Status(_Handler):
    def get(self) -> None:
        self.write(status_of(self.mind))


class _Health(_Handler):
    def get(self) -> None:
        self.write("ok")


class _Page(_Handler):
    def get(self) -> None:
        said = status_of(self.mind)
        workers = "".join(
            f"<tr><td>{escape(w['name'])}<td>{escape(address)}<td>{w['threads']}<td>{w['outstanding']}"
            for address, w in said["workers"].items()
        )
        runs = "".join(
            f"<tr><td>{r['run']}<td>{r['done']}<td>{r['open']}<td>{r['bytes_kept']:,}<td>{r['bytes_moved']:,}"
            for r in said["runs"]
        )
        self.write(_PAGE.format(version=__version__, workers=workers, runs=runs))


def serve_web(mind: SchedulerMachine, address: str) -> str:
    """Serve the page on `host:port` (no host: loopback; port 0: a free one); return its link."""
    host, _, port = address.rpartition(":")
    host = host or "127.0.0.1"
    if not port.isdigit():
        raise InvalidOption(f"dashboard address {address!r} is not of the form host:port, for instance 127.0.0.1:8787")
    rules = [(r"/", _Page), (r"/status\.json", _Status), (r"/health", _Health)]
    server = HTTPServer(tornado.web.Application([(path, handler, {"mind": mind}) for path, handler in rules]))
    sockets = bind_sockets(int(port), host)
    server.add_sockets(sockets)
    return f"http://{host}:{sockets[0].getsockname()[1]}/"
