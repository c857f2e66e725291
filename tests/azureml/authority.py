"""A certificate authority of the tests' own, and names that lead to loopback.

The SDK is used as users have it: its real hosts, port 443, certificates verified. Only the
answer to "where is that host" is the tests': what is not listed does not exist.
"""

from __future__ import annotations

import datetime as dt
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["make_authority", "resolver"]

_DAY = dt.timedelta(days=1)


def make_authority(folder: Path, hosts: tuple[str, ...]) -> tuple[Path, ssl.SSLContext]:
    """Return the authority's certificate and a server context for ``hosts``, signed by it."""
    from cryptography import x509  # noqa: PLC0415 - comes with the extra 'azureml'
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - same
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - same
    from cryptography.x509.oid import NameOID  # noqa: PLC0415 - same

    def name(text: str) -> Any:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = dt.datetime.now(dt.UTC)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    usage = {
        "digital_signature": True,
        "key_cert_sign": True,
        "crl_sign": True,
        **dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment"), False),
        **dict.fromkeys(("key_agreement", "encipher_only", "decipher_only"), False),
    }
    root = (
        _certificate(x509, name("tests of autotune"), root_key.public_key(), now)
        .issuer_name(name("tests of autotune"))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(identifier, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    leaf = (
        _certificate(x509, name("service"), key.public_key(), now)
        .issuer_name(root.subject)
        .add_extension(names, critical=False)
        .add_extension(issuer, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    authority, chain = folder / "authority.pem", folder / "service.pem"
    authority.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    chain.write_bytes(private + leaf.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return authority, context


def _certificate(x509: Any, subject: Any, public_key: Any, now: dt.datetime) -> Any:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )


def resolver(hosts: tuple[str, ...], port: int) -> Callable[..., list[Any]]:
    """Return a ``getaddrinfo`` that knows ``hosts`` alone and sends them to a loopback port."""

    def getaddrinfo(host: str, _port: object, *_: object, **__: object) -> list[Any]:
        if host not in (*hosts, "127.0.0.1"):
            raise socket.gaierror(socket.EAI_NONAME, f"the tests know no host {host!r}")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    return getaddrinfo
