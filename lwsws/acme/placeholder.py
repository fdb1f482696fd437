"""A certificate of one's own for vhosts that have none yet (`ignore-missing-cert`).

Browsers warn of it, but the vhost is there, and a CA that comes by https gets its answer.  It is kept in
memory only, and made anew before it ends, for as long as no real one comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Optional, Sequence, Tuple

from lwsws import log
from lwsws.acme.exhibit import Cancellable
from lwsws.acme.pending import PendingFiles
from lwsws.net.openssl import Openssl
from lwsws.net.reactor import Reactor
from lwsws.net.tls import ServerTls, server_context
from lwsws.net.tls_files import PemFiles, TlsError

if TYPE_CHECKING:
    from ssl import SSLContext

    Contexts = Dict[ServerTls, Optional[SSLContext]]

DAYS = 7
ANEW_SECONDS = (DAYS - 1) * 24 * 3600.0
# After a failure.
AGAIN_SECONDS = 3600.0


# The names of a certificate, and the vhosts that wait for it.
Group = Tuple[Sequence[str], Sequence[ServerTls]]


class Placeholders:
    """The placeholders of vhosts that have no certificate, until close(); made one after the other."""

    def __init__(self, reactor: Reactor, openssl: Openssl, files: PendingFiles,
                 groups: Sequence[Group]) -> None:
        """`files` has what else the vhosts need."""
        self._reactor = reactor
        self._openssl = openssl
        self._files = files
        # Each vhost with the context that it has now: if that changes, it has got a real one.
        self._groups = [(names, {tls: tls.context for tls in vhosts}) for names, vhosts in groups if vhosts]
        self._left = list(self._groups)
        self._has_failed = False    # in this round
        self._running: Optional[Cancellable] = reactor.call_later(0, self._next)

    def close(self) -> None:
        """Make none any more."""
        if self._running is not None:
            self._running.cancel()
            self._running = None

    def _next(self) -> None:
        """Make that of the next group; after the last one wait until they have to be made anew."""
        self._running = None
        while self._left:
            names, vhosts = self._left.pop(0)
            waiting = [tls for tls, ours in vhosts.items() if tls.context is ours]
            if waiting:
                self._make(names, waiting, vhosts)
                return
        self._left = list(self._groups)
        seconds = AGAIN_SECONDS if self._has_failed else ANEW_SECONDS
        self._has_failed = False
        self._running = self._reactor.call_later(seconds, self._next)

    def _make(self, names: Sequence[str], waiting: Sequence[ServerTls], vhosts: Contexts) -> None:
        def key_made(key: Optional[bytes], reason: str) -> None:
            if key is None:
                self._fail(names, reason)
                return
            pem = key
            self._running = self._openssl.self_signed(
                pem, names, DAYS, lambda certificate, reason: made(pem, certificate, reason))

        def made(key: bytes, certificate: Optional[bytes], reason: str) -> None:
            if certificate is None:
                self._fail(names, reason)
                return
            for tls in waiting:
                if tls.context is vhosts[tls]:
                    self._put_in_force(tls, certificate, key)
                    vhosts[tls] = tls.context
            self._next()

        self._running = self._openssl.new_key(key_made)

    def _put_in_force(self, tls: ServerTls, certificate: bytes, key: bytes) -> None:
        own = {tls.settings.certificate: certificate, tls.settings.key: key}
        is_first = tls.context is None

        def read(path: str, most: int) -> bytes:
            return own[path] if path in own else self._files.read(path, most)

        try:
            tls.context = server_context(tls.settings, PemFiles(read))
        except TlsError as error:
            log.err(f"TLS of {tls.name}: no placeholder: {error}")
            return
        if is_first:
            log.notice(f"TLS of {tls.name}: a placeholder until there is a certificate")

    def _fail(self, names: Sequence[str], reason: str) -> None:
        log.err(f"acme: {names[0]}: no placeholder: {reason}")
        self._has_failed = True
        self._next()
