"""`lazygraph certs create`: an authority and certificates for one cluster.

Covers: making files.  Does not cover: using them (executors.cluster.tls).
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

NAMES = ("ca", "node", "client")


@click.group()
def certs() -> None:
    """Make certificates, for a cluster whose connections speak TLS."""


@certs.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--host",
    "hosts",
    multiple=True,
    help="Name or address by which schedulers and workers are reached; may be repeated.  [default: this machine's]",
)
@click.option("--days", default=365, show_default=True, type=click.IntRange(1, 36500), help="How long they are good.")
def create(directory: Path, hosts: tuple[str, ...], days: int) -> None:
    """Write to DIRECTORY an authority (ca), a certificate for schedulers and workers (node), and one for clients.

    Whoever has ca-key.pem can make more of them: no process of the cluster needs it.  All files have mode 0600.
    """
    own = hosts or (socket.gethostname(),)
    named: list[str] = list(dict.fromkeys((*own, "localhost", "127.0.0.1", "::1")))
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise click.ClickException(
            "certificates are made by a library that is not installed; pip install 'lazygraph[tls]'"
        ) from None
    files = {directory / f"{name}{kind}.pem" for name in NAMES for kind in ("", "-key")}
    there = sorted(str(file) for file in files if os.path.lexists(file))
    if there:
        raise click.ClickException(f"{there[0]} is there already, and is not overwritten; name another directory")
    try:
        _write_all(directory, named, days)
    except OSError as error:
        raise click.ClickException(f"the certificates cannot be written: {error}") from None
    at = directory / "ca.pem"
    click.echo(f"certificates for {', '.join(named)}, good for {days} days, are in {directory}")
    for command, name in (("lazygraph scheduler", "node"), ("lazygraph worker tls://HOST:8786", "node")):
        click.echo(f"{command} --tls-ca {at} --tls-cert {directory / name}.pem --tls-key {directory / name}-key.pem")
    click.echo(
        f"Client('tls://HOST:8786', tls=TLS({str(at)!r}, {str(directory / 'client.pem')!r}, "
        f"{str(directory / 'client-key.pem')!r}))"
    )


def _write_all(directory: Path, hosts: Sequence[str], days: int) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.x509.oid import ExtendedKeyUsageOID

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = generate_private_key(SECP256R1())
    authority = _certificate("authority", key, None, days)
    _write(directory, "ca", authority, key)
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    for name, uses, names in (("node", both, hosts), ("client", both[1:], ())):
        own = generate_private_key(SECP256R1())
        _write(directory, name, _certificate(name, own, (authority, key), days, uses, names), own)


def _certificate(
    name: str,
    key: EllipticCurvePrivateKey,
    issuer: tuple[Certificate, EllipticCurvePrivateKey] | None,
    days: int,
    uses: Sequence[Any] = (),
    hosts: Sequence[str] = (),
) -> Certificate:
    """Return a certificate; without an issuer it is an authority that signs itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"lazygraph {name}")])
    now = datetime.datetime.now(datetime.UTC)
    signer = key if issuer is None else issuer[1]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=0 if issuer is None else None), True)
        .add_extension(_usage(issuer is None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)
    )
    if uses:
        made = made.add_extension(x509.ExtendedKeyUsage(uses), False)
    if hosts:
        made = made.add_extension(x509.SubjectAlternativeName([_name(host) for host in hosts]), False)
    return made.sign(signer, hashes.SHA256())


def _usage(signs_others: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_others,
        key_cert_sign=signs_others,
        crl_sign=signs_others,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(host: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError:
        raise click.ClickException(f"--host {host!r} is neither an address nor a name in ASCII") from None


def _write(directory: Path, name: str, certificate: Certificate, key: EllipticCurvePrivateKey) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for file, content in ((f"{name}.pem", certificate.public_bytes(Encoding.PEM)), (f"{name}-key.pem", private)):
        handle = os.open(directory / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "wb") as opened:
            opened.write(content)
