"""A certificate of one's own for vhosts that have none yet (`ignore-missing-cert`).

Browsers warn of it, but the vhost is there, and a CA that comes by https gets its answer.  It is kept in
memory only, and made anew before it ends, for as long as no real one comes.
"""

from __future__ import annotations

from typing import Dict, Optional, Sequence

from lwsws import log
from lwsws.acme.exhibit import Cancellable
from lwsws.acme.pending import PendingFiles
from lwsws.net.openssl import Openssl
from lwsws.net.reactor import Reactor
from lwsws.net.tls import ServerTls, server_context
from lwsws.net.tls_files import PemFiles, TlsError

DAYS = 7
ANEW_SECONDS = (DAYS - 1) * 24 * 3600.0


class Placeholder:
    """The placeholder of some vhosts that share their files, until close()."""

    def __init__(self, reactor: Reactor, openssl: Openssl, files: PendingFiles, names: Sequence[str],
                 vhosts: Sequence[ServerTls]) -> None:
        """`files` has what else the vhosts need."""
        self._reactor = reactor
        self._openssl = openssl
        self._files = files
        self._names = names
        self._vhosts = [(tls, tls.context) for tls in vhosts]
        self._running: Optional[Cancellable] = reactor.call_later(0, self._begin)

    def close(self) -> None:
        """Make none any more."""
        if self._running is not None:
            self._running.cancel()
            self._running = None

    def _begin(self) -> None:
        # Those that have got a real one meanwhile need none any more.
        self._vhosts = [(tls, ours) for tls, ours in self._vhosts if tls.context is ours]
        self._running = self._openssl.new_key(self._key_made) if self._vhosts else None

    def _key_made(self, key: Optional[bytes], reason: str) -> None:
        if key is None:
            self._fail(reason)
            return
        pem = key
        self._running = self._openssl.self_signed(
            pem, self._names, DAYS, lambda certificate, reason: self._made(pem, certificate, reason))

    def _made(self, key: bytes, certificate: Optional[bytes], reason: str) -> None:
        if certificate is None:
            self._fail(reason)
            return
        pem = certificate
        made = []
        for tls, ours in self._vhosts:
            own = {tls.settings.certificate: pem, tls.settings.key: key}

            def read(path: str, most: int, own: Dict[str, bytes] = own) -> bytes:
                return own[path] if path in own else self._files.read(path, most)

            if tls.context is not ours:
                continue
            try:
                tls.context = server_context(tls.settings, PemFiles(read))
            except TlsError as error:
                log.err(f"TLS of {tls.name}: no placeholder: {error}")
                continue
            made.append((tls, tls.context))
            log.notice(f"TLS of {tls.name}: a placeholder until there is a certificate")
        self._vhosts = list(made)
        self._running = self._reactor.call_later(ANEW_SECONDS, self._begin)

    def _fail(self, reason: str) -> None:
        self._running = None
        log.err(f"acme: {self._names[0]}: no placeholder: {reason}")
