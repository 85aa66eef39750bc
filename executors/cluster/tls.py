"""TLS with certificates on both sides: whoever connects proves who it is, and so does whoever is connected to.

One authority (CA) signs the certificates of one cluster; a peer without a certificate of it does not even get to the
greeting.  The token is proven inside, as without TLS.

Covers: where certificates are, contexts for both sides, who may listen without TLS.
Does not cover: making certificates (cli.certs), connections (net.hello), pages (web).
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lazygraph.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = {"ca": "LAZYGRAPH_TLS_CA", "cert": "LAZYGRAPH_TLS_CERT", "key": "LAZYGRAPH_TLS_KEY"}
"""Where each file may be named in the environment."""


@dataclass(frozen=True, slots=True)
class TLS:
    """The files of one process: the authority that it trusts, its own certificate, and the key of that.

    >>> TLS(ca="certs/ca.pem", cert="certs/client.pem", key="certs/client-key.pem").key
    'certs/client-key.pem'
    """

    ca: str
    cert: str
    key: str

    def server_side(self) -> ssl.SSLContext:
        """Return the context of whoever is connected to: callers must have a certificate of the authority."""
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_side(self) -> ssl.SSLContext:
        """Return the context of whoever connects: the certificate must be for the host that was asked for."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def web_side(self) -> ssl.SSLContext:
        """Return the context of pages: browsers have no certificate, the token is asked for instead."""
        return self._context(ssl.PROTOCOL_TLS_SERVER)

    def words(self) -> list[str]:
        """Return the options of a command that uses these files."""
        return ["--tls-ca", self.ca, "--tls-cert", self.cert, "--tls-key", self.key]

    def _context(self, side: int) -> ssl.SSLContext:
        context = ssl.SSLContext(side)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(self.ca)
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        except (OSError, ValueError) as error:
            raise InvalidOption(
                f"the certificates cannot be used (ca {self.ca!r}, cert {self.cert!r}, key {self.key!r}): "
                f"{_reason(error)}; `lazygraph certs create DIR` makes a set that fits together"
            ) from None
        return context


@dataclass(frozen=True, slots=True)
class Guard:
    """How a process that listens is guarded: by TLS, or, off loopback too, by nothing when that is said aloud."""

    tls: TLS | None = None
    insecure: bool = False


PLAIN = Guard()
"""Loopback only, without TLS."""


def tls_of(given: Mapping[str, str | None]) -> TLS | None:
    """Return what is given by `ca`, `cert` and `key`, and for what is not by the environment; None if by neither.

    Raises InvalidOption when only a part of it is there.
    """
    found = {name: given.get(name) or os.environ.get(variable) for name, variable in VARIABLES.items()}
    missing = [name for name, file in found.items() if not file]
    if len(missing) == len(found):
        return None
    if missing:
        wanted = " and ".join(f"--tls-{name} ({VARIABLES[name]})" for name in missing)
        raise InvalidOption(f"TLS needs an authority, a certificate and its key; {wanted} is missing")
    return TLS(**{name: os.path.abspath(file) for name, file in found.items() if file})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address.  A name other than localhost may mean anything."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_listening(host: str, tls: TLS | None, insecure: bool) -> None:
    """Raise InvalidOption for a listener that others on the network could read, unless that was said aloud."""
    if tls is None and not insecure and not is_loopback(host):
        raise InvalidOption(
            f"listening on {host!r} without TLS would send functions and values in the clear to whoever can read the "
            f"network; make certificates with `lazygraph certs create DIR` and give them by --tls-ca, --tls-cert and "
            f"--tls-key (LocalCluster(tls=)), or say --insecure (insecure=True) if the network is trusted"
        )


def _no_password() -> str:
    # Without this OpenSSL would ask on the terminal, and whoever has started us would wait for ever.
    raise ValueError("the key is encrypted, which is not supported: keep it in a file of mode 0600")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "they are no certificate and key in PEM form"
    return str(error)
