"""Connections to the servers, plain or TLS, and the certificate that all servers are given.

Servers that are compared must do the same work: the certificate is one of ECDSA P-256 made anew for
each run, clients offer TLS 1.3 only, and a server that chooses another cipher than the one both
prefer by default is refused, because its figures would say little.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path
from typing import Optional

from bench.subjects import HOST, find

TIMEOUT = 30.0

NAME = "localhost"
VERSION = ssl.TLSVersion.TLSv1_3
# What OpenSSL's client and server agree on unless one of them is told otherwise.
SPOKEN = ("TLSv1.3", "TLS_AES_256_GCM_SHA384")

DAYS = "30"  # of a certificate that runs out sooner, servers may warn
KEY_TYPE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
SUBJECT = ("-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME},IP:{HOST}")


def make_certificate(certificate: Path, key: Path) -> None:
    """Write a self-signed certificate and its key, made with the openssl tool."""
    files = ["-keyout", str(key), "-out", str(certificate)]
    command = [find("openssl") or "openssl", "req", "-x509", "-days", DAYS, *KEY_TYPE, *SUBJECT, *files]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl made no certificate:\n{done.stderr}")


def connect(port: int) -> socket.socket:
    """A connection to the server on `port`."""
    sock = socket.create_connection((HOST, port), TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def client_context(certificate: Path) -> ssl.SSLContext:
    """For connections to a server that has just this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificate)
    context.minimum_version = VERSION
    return context


def connect_tls(
    port: int, context: ssl.SSLContext, session: Optional[ssl.SSLSession] = None
) -> ssl.SSLSocket:
    """A connection to the server on `port` after a TLS handshake, with `session` a resumed one."""
    return context.wrap_socket(connect(port), server_hostname=NAME, session=session)


def check_spoken(sock: ssl.SSLSocket) -> None:
    """RuntimeError unless the server chose what both prefer."""
    cipher = sock.cipher()
    found = (sock.version(), cipher[0] if cipher else "")
    if found != SPOKEN:
        raise RuntimeError(f"it chose {found[0]} with {found[1]}, not {SPOKEN[0]} with {SPOKEN[1]}")
