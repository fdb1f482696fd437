"""One attempt to get one certificate, from the account key to the files.

    account key ──> its public half ──> the order (wire/acme.py) ──> checked ──> <path>.upd
     made first, if there is none

Whoever begins an attempt holds the lock of the account.
"""

from __future__ import annotations

from typing import Callable, Optional

from lwsws.acme.conversation import Conversation, Means
from lwsws.acme.exhibit import Cancellable, Exhibit
from lwsws.acme.pending import Waiting, sound
from lwsws.acme.schedule import Held, missing_names
from lwsws.acme.store import Pair, Store, StoreError
from lwsws.core.context import Context
from lwsws.net.fetch import Fetcher
from lwsws.net.openssl import Openssl
from lwsws.net.tls_files import TlsError
from lwsws.wire.acme import Order, Wanted
from lwsws.wire.acme_answer import AcmeError
from lwsws.wire.jws import read_public_key

# All in all; each step has a limit of its own.
ORDER_SECONDS = 3600.0

Done = Callable[[Optional[Held], Optional[AcmeError]], None]


class Attempt:
    """Calls `done(held, None)` when the new certificate is in its files, or `done(None, error)`; never from
    within the constructor, nor after cancel()."""

    def __init__(self, store: Store, replaces: str, context: Context, openssl: Openssl, fetcher: Fetcher,
                 say: Callable[[str], None], done: Done) -> None:
        """`replaces` identifies the certificate that is renewed, "" for none."""
        reactor = context.reactor
        self._store = store
        self._replaces = replaces
        self._reactor = reactor
        self._openssl = openssl
        self._fetcher = fetcher
        self._say = say
        self._done: Optional[Done] = done
        self._exhibit = Exhibit(store, openssl, context.programs, say)
        self._wall_clock = context.wall_clock
        self._account_key = b""
        self._is_new_key = False
        self._conversation: Optional[Conversation[bytes]] = None
        self._running: Optional[Cancellable] = reactor.call_later(0, self._clear_up)
        self._limit = reactor.call_later(ORDER_SECONDS, self._too_long)

    def cancel(self) -> None:
        """Give up, and tell nobody."""
        self._done = None
        self._limit.cancel()
        self._fetcher.close()
        if self._running is not None:
            self._running.cancel()
            self._running = None
        self._exhibit.hide()

    def _clear_up(self) -> None:
        """First of all: a hook must not clean up after somebody who was killed when ours has been called."""
        self._running = None
        self._exhibit.take_down(self._store.read_state().shown, self._begin)

    def _begin(self) -> None:
        try:
            key = self._store.account_key()
        except (StoreError, OSError) as error:
            self._fail(str(error))
            return
        if key:
            self._find_public_half(key)
        else:
            self._say("making an account key")
            self._running = self._openssl.new_key(self._key_made)

    def _key_made(self, key: Optional[bytes], reason: str) -> None:
        if key is None:
            self._fail(reason)
            return
        self._is_new_key = True
        self._find_public_half(key)

    def _find_public_half(self, key: bytes) -> None:
        self._account_key = key
        self._running = self._openssl.public_key(key, self._public_half_found)

    def _public_half_found(self, der: Optional[bytes], reason: str) -> None:
        if der is None:
            self._fail(f"the account key cannot be used: {reason}")
            return
        settings = self._store.settings
        try:
            key = read_public_key(der)
            if self._is_new_key:    # now that it is known to be one
                self._store.save_account_key(self._account_key)
        except ValueError as error:
            self._fail(f"the account key cannot be used: {error}")
            return
        except StoreError as error:
            self._fail(str(error))
            return
        wanted = Wanted(settings.directory_url, settings.names, settings.challenge, key, settings.email,
                        settings.binding, self._replaces)
        means = Means(self._reactor, self._fetcher, self._openssl, self._exhibit, self._account_key,
                      self._say)
        conversation = Conversation(Order(wanted).run(), means, self._ended)
        self._running = self._conversation = conversation

    def _ended(self, chain: Optional[bytes], error: Optional[AcmeError]) -> None:
        conversation = self._conversation
        if chain is None or conversation is None:
            self._finish(None, error)
            return
        try:
            pair, held = self._check(Pair(chain, conversation.site_key))
            self._store.write_pair(pair)
        except (TlsError, StoreError) as fault:
            self._fail(str(fault))
            return
        self._finish(held, None)

    def _check(self, pair: Pair) -> Waiting:
        """What the CA gave us, if that is what was asked for; TlsError, StoreError."""
        try:
            found = sound(pair, self._store.settings, self._wall_clock())
        except TlsError as error:
            raise StoreError(f"the CA's certificate is of no use: {error}") from None
        missing = missing_names(self._store.settings, found.held)
        if missing:
            raise StoreError(f"the CA's certificate is not for {', '.join(missing)}")
        return found

    def _too_long(self) -> None:
        if self._running is not None:
            self._running.cancel()
        self._fail(f"the order took longer than {ORDER_SECONDS / 60:.0f} minutes")

    def _fail(self, text: str) -> None:
        self._finish(None, AcmeError(text))

    def _finish(self, held: Optional[Held], error: Optional[AcmeError]) -> None:
        done = self._done
        self._running = None
        self.cancel()
        if done is not None:
            done(held, error)
