"""Basic authentication of mounts (RFC 7617; spec "Lwsws Other mount options" 7).

`BasicAuthHandler` stands before the handler of a mount and passes on the exchanges of those whose
name and password are in the mount's `PasswordFile`; all others get 401.  Plain secrets are compared
on the spot; hashed ones on a worker, where one is remembered for a minute once it was right.

What an attacker can learn is the same for every failure (LESSONS 3.26): names and passwords are
compared as keyed digests in constant time, and where the file has hashes, any failure costs one
hash, be the user unknown, plain or hashed.  A stored hash is never a password (3.27).  Failures
are logged and counted by address (3.28): after ten in a minute the address gets 429 and waits.

Credentials are bytes here: the client chooses the charset (RFC 7617 2.1 without "charset").

While a password is at a worker the exchange just waits; its request body waits too, because the
http role holds it back until somebody takes it.
"""

from __future__ import annotations

import binascii
import re
from typing import Optional, Tuple

from lwsws import log
from lwsws.core.accesslog import escape
from lwsws.core.exchange import Exchange, HttpError
from lwsws.core.handler import Handler
from lwsws.core.peers import address_key
from lwsws.handlers.passwordfile import PasswordFile
from lwsws.handlers.passwords import verify
from lwsws.net.workers import Overloaded

__all__ = ["BasicAuthHandler", "PasswordFile", "parse_credentials"]

# The original's, exactly: browsers remember passwords by it.
CHALLENGE = ("WWW-Authenticate", 'Basic realm="lwsws"')

# Bytes of base64, about 1 KB of name and password: more than people have, little to hash.
MAX_ENCODED = 1400

# Of a name in the log.
MAX_NAME_LOGGED = 64

_CREDENTIALS = re.compile(r"basic +([A-Za-z0-9+/]+={0,2})", re.IGNORECASE | re.ASCII)
# RFC 7617 section 2: neither part may hold control characters.  The original let a newline in.
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


def parse_credentials(value: str) -> Optional[Tuple[bytes, bytes]]:
    """Name and password of an Authorization field, None if it is not well-formed Basic (RFC 7617 2)."""
    match = _CREDENTIALS.fullmatch(value) if len(value) <= MAX_ENCODED else None
    if match is None:
        return None
    encoded = match.group(1).encode("ascii")
    try:
        data = binascii.a2b_base64(encoded)
    except binascii.Error:
        return None
    # Only the one right encoding: no missing or excess padding, no stray bits.
    if binascii.b2a_base64(data, newline=False) != encoded or _CONTROL.search(data):
        return None
    user, colon, password = data.partition(b":")
    return (user, password) if colon and user else None


class BasicAuthHandler(Handler):
    """Lets `inner` answer the exchanges of those who are in `password_file`."""

    __slots__ = ("_file", "_inner", "is_live")

    def __init__(self, password_file: PasswordFile, inner: Handler) -> None:
        self._file = password_file
        self._inner = inner
        self.is_live = inner.is_live

    def begin(self, exchange: Exchange) -> None:
        """Pass `exchange` on, now or when a worker has checked the password; HttpError 401, 429, 503."""
        user, password = _credentials_of(exchange)
        file, address = self._file, address_key(exchange.peer)
        wait = file.failures.wait(address)
        if wait:
            # Also for a right password: any difference would tell the guesser that it is right.
            raise HttpError(429, "too many attempts to log in from here", [("Retry-After", str(wait))])
        file.refresh()
        hashes = file.hashes_of(user)
        key = file.verified.key(user, password, hashes) if hashes else b""
        if file.accepts_plain(user, password) or (hashes and file.verified.has(key)):
            file.failures.succeeded(address)
            self._pass_on(exchange, user)
        elif hashes:
            self._ask_worker(exchange, user, password, hashes, key)
        elif file.decoys_for(user):
            self._ask_worker(exchange, user, password, file.decoys_for(user), None)
        else:
            raise self._refusal(exchange, user, address)

    def takes_upgrade(self, exchange: Exchange) -> bool:
        """As the handler behind it, which is asked only after the password."""
        return self._inner.takes_upgrade(exchange)

    def serve_document(self, exchange: Exchange, path: str, status: int) -> bool:
        """An error document of a protected mount is for those only who got in by the same file."""
        mount = exchange.mount
        if mount is None or exchange.user is None or not isinstance(mount.handler, BasicAuthHandler):
            return False
        return mount.handler._file is self._file and self._inner.serve_document(exchange, path, status)

    def _ask_worker(self, exchange: Exchange, user: bytes, password: bytes, hashes: Tuple[str, ...],
                    key: Optional[bytes]) -> None:
        """Hash on a worker, then pass on or refuse; without a `key` the hashes are decoys."""
        file, address = self._file, address_key(exchange.peer)

        def decided(met: Optional[bool], error: Optional[Exception]) -> None:
            file.failures.dropped(address)
            if met and key is not None:
                file.failures.succeeded(address)
                file.verified.add(key)
                if not exchange.closed:
                    self._pass_on_later(exchange, user)
                return
            failure = HttpError(500) if error is not None else self._refusal(exchange, user, address)
            if error is not None:
                log.err(f"conn {exchange.conn.ident}: password check: {type(error).__name__}: {error}")
            if not exchange.closed:
                exchange.fail(failure)

        try:
            # No owner: who hangs up before the answer has made an attempt all the same.
            exchange.context.workers.submit(lambda: _verify_any(password, hashes), decided)
        except Overloaded:
            raise HttpError(503, "too many log-ins at the moment", [("Retry-After", "1")]) from None
        file.failures.begun(address)

    def _pass_on(self, exchange: Exchange, user: bytes) -> None:
        exchange.user = _name(user)
        self._inner.begin(exchange)

    def _pass_on_later(self, exchange: Exchange, user: bytes) -> None:
        """The same from a worker's answer, where nobody above us turns faults into answers."""
        answered = False
        try:
            self._pass_on(exchange, user)
            answered = True
        except HttpError as error:
            exchange.fail(error)
            answered = True
        finally:
            if not answered:    # a fault of the inner handler, which the reactor logs
                exchange.fail(HttpError(500))

    def _refusal(self, exchange: Exchange, user: bytes, address: Optional[str]) -> HttpError:
        """Count and log a failure; the answer to it."""
        name = escape(_name(user)[:MAX_NAME_LOGGED])
        log.notice(f'conn {exchange.conn.ident}: {exchange.peer}: basic auth failed for user "{name}"')
        if self._file.failures.failed(address):
            log.notice(f"conn {exchange.conn.ident}: {exchange.peer}: too many failures, has to wait")
        return _unauthorized()


def _credentials_of(exchange: Exchange) -> Tuple[bytes, bytes]:
    """Name and password that came with the request; HttpError 401 without."""
    value = exchange.request.headers.get("authorization")
    credentials = parse_credentials(value) if value is not None else None
    if credentials is None:
        if value is not None:
            log.info(f"conn {exchange.conn.ident}: malformed Authorization field")
        raise _unauthorized()
    return credentials


def _verify_any(password: bytes, hashes: Tuple[str, ...]) -> bool:
    """The worker's part: all of the hashes, however early one is met."""
    results = [verify(password, stored) for stored in hashes]
    return any(results)


def _unauthorized() -> HttpError:
    return HttpError(401, "name and password required", [CHALLENGE])


def _name(user: bytes) -> str:
    """The name as text: UTF-8, or Latin-1 as older clients send it."""
    try:
        return user.decode("utf-8")
    except UnicodeDecodeError:
        return user.decode("latin-1")
