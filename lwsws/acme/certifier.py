"""Keeps the certificates of a configuration there, and in date.

Each process of the server has a Certifier.  All look every few seconds at what the files say is due, and the
one that gets the lock of the account does it, so there is never more than one order of an account under way:
not with several processes, nor when a reload brings new ones beside those that are ending.  The others find
the new certificate in its files.

An order that is under way when a newer process takes over goes on to its end.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Callable, Deque, Optional, Sequence

from lwsws import log
from lwsws.acme.attempt import Attempt
from lwsws.acme.conversation import Conversation, Means
from lwsws.acme.exhibit import Cancellable, Exhibit
from lwsws.acme.pending import PendingFiles, in_place, promote
from lwsws.acme.placeholder import Placeholders
from lwsws.acme.schedule import (
    ASK,
    ASKED_FOR,
    Due,
    Held,
    after_asking,
    after_asking_in_vain,
    after_failure,
    after_success,
    ends,
    next_due,
)
from lwsws.acme.settings import HOUR, UPD
from lwsws.acme.state import State
from lwsws.acme.store import Store, StoreError
from lwsws.core.context import Context
from lwsws.net.fetch import Fetcher
from lwsws.net.keeper import Keeper
from lwsws.net.openssl import Openssl, Tool
from lwsws.net.regular_file import FileState
from lwsws.net.timers import NEVER, Timer
from lwsws.net.tls import ClientSettings, ServerTls, client_context
from lwsws.net.tls_files import PemFiles, TlsError
from lwsws.wire.acme import Renewal, ask_renewal
from lwsws.wire.acme_answer import AcmeError
from lwsws.wire.dates import UNSET_CLOCK, format_date

# How often the files are looked at.
LOOK_SECONDS = 2.0
# And what they say is thought over anew, if they have not changed.
THINK_SECONDS = HOUR
# Sooner, if the files could not be read.
THINK_AGAIN = 60.0
# Thinking of one takes some milliseconds where its files have changed.
AT_A_TIME = 4


class _Managed:
    """One certificate, and what was last seen of it."""

    __slots__ = ("store", "targets", "seen", "pair", "due", "thought_at", "not_before",
                 "noted_at", "is_stuck")

    def __init__(self, store: Store, targets: Sequence[ServerTls]) -> None:
        self.store = store
        self.targets = targets
        self.seen: FileState = ()
        self.pair = store.pair_state()
        self.due = Due("", 0.0)
        self.thought_at = 0.0
        # Of the last failure, which may stand nowhere else: it could not be written.
        self.not_before = self.noted_at = 0.0
        self.is_stuck = False

    @property
    def name(self) -> str:
        """What it is called in the log."""
        return self.store.settings.name


class Certifier:
    """The certificates of one process; all methods are for the reactor's thread."""

    def __init__(self, context: Context, stores: Sequence[Store], vhosts: Sequence[ServerTls], keeper: Keeper,
                 tool: Tool, user_agent: str, changed: Callable[[], None]) -> None:
        """`vhosts` are all that have TLS, `tool` is for Openssl(); `changed` is called when there is a
        new certificate in its files."""
        self._context = context
        self._reactor = context.reactor
        self._files = PendingFiles(keeper, stores, context.wall_clock)
        self._openssl = Openssl(context.programs, tool)
        self._user_agent = user_agent
        self._changed = changed
        self._managed = [_Managed(store, [tls for tls in vhosts if _uses(tls, store)]) for store in stores]
        self._running: Optional[Cancellable] = None
        self._working: Optional[_Managed] = None
        self._fetcher: Optional[Fetcher] = None
        self._timer: Optional[Timer] = None
        self._placeholders: Optional[Placeholders] = None
        self._to_think_of: Deque[_Managed] = deque()    # in the look that is under way
        self._has_said_clock = False
        self._was_asked_for = False     # the order that is under way

    @property
    def busy(self) -> bool:
        """Whether an order is under way."""
        return self._working is not None

    def start(self) -> None:
        """Look from now on."""
        without = [(managed.store.settings.names, [tls for tls in managed.targets if tls.context is None])
                   for managed in self._managed]
        self._placeholders = Placeholders(self._reactor, self._openssl, self._files, without)
        self._timer = self._reactor.call_later(0, self._look)

    def wind_down(self) -> None:
        """Begin nothing more; what is under way goes on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._to_think_of.clear()
        if self._placeholders is not None:
            self._placeholders.close()

    def close(self) -> None:
        """Give up what is under way."""
        self.wind_down()
        managed, self._working = self._working, None
        if self._running is not None:
            self._running.cancel()
            self._running = None
        self._close_fetcher()
        if managed is not None:
            log.notice(f"acme: {managed.name}: given up, the next start begins it anew")
            managed.store.unlock()

    def _look(self) -> None:
        self._timer = self._reactor.call_later(LOOK_SECONDS, self._look)
        if self._context.wall_clock() < UNSET_CLOCK:
            if not self._has_said_clock:
                log.warn("acme: waiting for the clock of this system to be set")
                self._has_said_clock = True
            return
        is_new = False
        for managed in self._managed:
            pair = managed.store.pair_state()
            is_new = is_new or pair != managed.pair
            managed.pair = pair
        if is_new:
            self._changed()
        if not self._to_think_of:
            self._to_think_of.extend(self._managed)
            self._think_on()

    def _think_on(self) -> None:
        """Go on with the look that is under way, for a few in each pass of the reactor, up to one of which
        something is due; when that is done, with those behind it."""
        for _ in range(AT_A_TIME):
            if self._working is not None or not self._to_think_of:
                return
            managed = self._to_think_of.popleft()
            if self._is_due(managed):
                self._begin(managed)
        if self._to_think_of:
            self._reactor.call_soon(self._think_on)

    # What is due.

    def _is_due(self, managed: _Managed) -> bool:
        """Whether something is to be done now, as far as can be told without the lock."""
        now = self._context.wall_clock()
        seen = managed.store.state_version() + managed.pair
        if seen != managed.seen or not managed.thought_at <= now < managed.thought_at + THINK_SECONDS:
            managed.seen, managed.thought_at = seen, now
            try:
                held = self._held(managed)
            except TlsError as error:
                log.warn(f"acme: {managed.name}: {error}: whether it is good cannot be told now")
                managed.due = Due("", NEVER)
                managed.thought_at = now - THINK_SECONDS + THINK_AGAIN
                return False
            due = next_due(managed.store.settings, managed.store.read_state(), held, now)
            if due.at > now and due[:2] != managed.due[:2]:
                log.info(f"acme: {managed.name}: the next {due.what} is on {format_date(int(due.at))}")
            managed.due = due
        # What an administrator wants is tried at once, unless it cannot even be noted that it was.
        at_once = managed.due.why == ASKED_FOR and not managed.is_stuck
        # If the clock was ahead when it was noted, it says nothing.
        is_free = at_once or managed.noted_at > now or managed.not_before <= now
        return is_free and managed.due.at <= now

    def _held(self, managed: _Managed) -> Optional[Held]:
        """The certificate that there is; TlsError if that cannot be told."""
        try:
            return in_place(managed.store.settings, self._files.read)
        except TlsError as error:
            if not error.is_forbidden:
                raise
            # Root's file, and nobody to read it for us: there is what was loaded at the start, or nothing.
            loaded = [tls.certificate for tls in managed.targets if tls.certificate is not None]
            return Held(loaded[0]) if loaded else None

    def _begin(self, managed: _Managed) -> None:
        """Do what is due, unless somebody else does."""
        store = managed.store
        if not store.lock():
            log.info(f"acme: {managed.name}: another process is at work with this account")
            return
        # Somebody else may have done it meanwhile.
        managed.thought_at = 0.0
        state, now = store.read_state(), self._context.wall_clock()
        try:
            held = self._held(managed)
        except TlsError:    # the next look tells
            store.unlock()
            return
        due = next_due(store.settings, state, held, now)
        if due.at > now:
            store.unlock()
            return
        self._working = managed
        try:
            # First: what cannot be kept is not asked for.
            store.check_room()
            store.write_state(state)
            self._fetcher = self._make_fetcher(store)
        except (TlsError, StoreError) as error:
            self._failed(managed, AcmeError(str(error)))
            return
        if due.what == ASK and held is not None:
            self._ask(managed, held, self._fetcher)
        else:
            self._order(managed, held, due, self._fetcher)

    def _make_fetcher(self, store: Store) -> Fetcher:
        settings = ClientSettings(ca=store.settings.ca_file)
        tls = client_context(settings, PemFiles(self._files.read))
        return Fetcher(self._reactor, self._context.workers, tls, self._user_agent)

    # Ordering.

    def _order(self, managed: _Managed, held: Optional[Held], due: Due, fetcher: Fetcher) -> None:
        settings = managed.store.settings
        self._was_asked_for = due.why == ASKED_FOR
        names = ", ".join(settings.names)
        log.notice(f"acme: {managed.name}: asking {settings.directory_url} for a certificate for {names}, by "
                   f"{settings.challenge}: {due.why}")
        self._running = Attempt(managed.store, held.identifier if held is not None else "", self._context,
                                self._openssl, fetcher,
                                lambda text: log.notice(f"acme: {managed.name}: {text}"),
                                lambda held, error: self._ordered(managed, held, error))

    def _ordered(self, managed: _Managed, held: Optional[Held], error: Optional[AcmeError]) -> None:
        if held is None:
            self._failed(managed, error or AcmeError("no certificate, and no reason"))
            return
        store, now = managed.store, self._context.wall_clock()
        certificate = held.certificate
        life = certificate.not_after - certificate.not_before
        state = after_success(store.read_state(), store.settings, now, life, self._was_asked_for)
        if self._write(managed, state):
            managed.not_before = 0.0
        place, why_not = f"{store.settings.cert_path}{UPD} until the next start", ""
        try:
            # Where we may, at once.
            is_in_place, why_not = promote(store, self._files.placed, now)
            if is_in_place:
                place, why_not = store.settings.cert_path, ""
        except (OSError, StoreError):
            pass    # as it is for who has given up root
        log.notice(f"acme: {managed.name}: there is a new certificate, in {place}, which "
                   f"{ends(held.certificate, now)}")
        if why_not:
            log.err(f"acme: {managed.name}: {why_not}")
        self._finish(managed)
        managed.pair = store.pair_state()
        self._changed()

    def _failed(self, managed: _Managed, error: AcmeError) -> None:
        store, now = managed.store, self._context.wall_clock()
        state = after_failure(store.read_state(), store.settings, error.text, now, error.retry_after,
                              os.urandom(1)[0] / 255)
        managed.is_stuck = not self._write(managed, state)
        managed.not_before, managed.noted_at = state.next_try, now
        often = f" ({state.failures} times now)" if state.failures > 1 else ""
        log.err(f"acme: {managed.name}: no certificate: {error}{often}; the next try is on "
                f"{format_date(int(state.next_try))}, or by `lwsws acme DIR renew-now`")
        self._finish(managed)

    # Asking when to renew.

    def _ask(self, managed: _Managed, held: Held, fetcher: Fetcher) -> None:
        store = managed.store
        exhibit = Exhibit(store, self._openssl, self._context.programs, log.info)
        means = Means(self._reactor, fetcher, self._openssl, exhibit, b"",
                      lambda text: log.info(f"acme: {managed.name}: {text}"))

        def done(renewal: Optional[Renewal], error: Optional[AcmeError]) -> None:
            if error is not None:
                log.info(f"acme: {managed.name}: the CA does not say when to renew: {error}")
            elif renewal is not None and renewal.reason:
                log.notice(f"acme: {managed.name}: the CA explains when to renew: {renewal.reason}")
            now = self._context.wall_clock()
            state = store.read_state()
            if error is None:
                state = after_asking(state, held.identifier, renewal, now)
            else:
                state = after_asking_in_vain(state, held.identifier, error.retry_after, now)
            if not self._write(managed, state):
                managed.not_before, managed.noted_at = now + HOUR, now
            self._finish(managed)

        steps = ask_renewal(store.settings.directory_url, held.identifier)
        self._running = Conversation(steps, means, done)

    # The end of either.

    def _write(self, managed: _Managed, state: State) -> bool:
        try:
            managed.store.write_state(state)
        except StoreError as error:
            log.err(f"acme: {managed.name}: {error}")
            return False
        return True

    def _close_fetcher(self) -> None:
        fetcher, self._fetcher = self._fetcher, None
        if fetcher is not None:
            fetcher.close()

    def _finish(self, managed: _Managed) -> None:
        self._running = self._working = None
        self._close_fetcher()
        managed.thought_at = -NEVER     # think anew
        managed.store.unlock()
        if self._to_think_of:
            self._reactor.call_soon(self._think_on)


def _uses(tls: ServerTls, store: Store) -> bool:
    """Whether a vhost serves with the certificate of `store`."""
    settings = store.settings
    return (os.path.normpath(tls.settings.certificate) == settings.cert_path
            and os.path.normpath(tls.settings.key) == settings.key_path)
