"""Certificates of TLS vhosts: loaded at the start, and again when their files change.

The files are looked at once a minute, and when asked.  Where one has changed, a worker makes a new context
of them and checks it: it parses, the key matches, it is in date.  Then the reactor puts it in place of the
old one for new connections; those that are open keep theirs.  With any fault the old one stays, and a line
says so, once for each change.  So a pair of which only one file is new yet is no disaster: the next look
sees the other one.

A vhost that began without a certificate (`ignore-missing-cert`) gets its first one in the same way.
"""

from __future__ import annotations

import functools
import os
import time
from collections import deque
from typing import TYPE_CHECKING, Callable, Deque, Iterable, NamedTuple, Optional, Sequence, Tuple

from lwsws import log
from lwsws.config.model import GlobalConfig, VhostConfig
from lwsws.net.keeper import FileKeeper, OwnKeeper
from lwsws.net.reactor import Reactor
from lwsws.net.regular_file import FileState
from lwsws.net.timers import NEVER, Timer
from lwsws.net.tls import ServerSettings, ServerTls, server_context, try_server_context
from lwsws.net.tls_files import PemFiles, TlsError, leaf_certificate
from lwsws.net.workers import Overloaded, Workers
from lwsws.server.tls_settings import server_settings
from lwsws.wire.certificate import Certificate
from lwsws.wire.dates import UNSET_CLOCK, format_date

if TYPE_CHECKING:
    from ssl import SSLContext

DAY = 24 * 3600
# How often the files are looked at; a renewed certificate has weeks of time.
LOOK_SECONDS = 60
# So many vhosts in one pass of the reactor: each of their files may be a question to the parent.
AT_A_TIME = 16
# When an end that comes near is warned about; and how often, then.
NEAR_SECONDS = 14 * DAY
REMIND_SECONDS = DAY
# How often files that change while they are read are read again; the next look comes in a minute anyway.
MAX_READS = 3

Clock = Callable[[], float]


class Loaded(NamedTuple):
    """What came out of loading: the states of the files at that time and a context, or a fault.

    `is_missing`: a file is not there.  `retry_at` is when, in unix seconds, the same files might do, though
    they do not now.
    """

    files: Tuple[FileState, ...]
    context: Optional[SSLContext] = None
    certificate: Optional[Certificate] = None
    fault: str = ""
    retry_at: float = NEVER
    is_missing: bool = False


# Dates.


def date_fault(certificate: Certificate, now: float) -> str:
    """Why clients would refuse `certificate` at `now` (unix seconds); "" if its dates are no reason."""
    if now < UNSET_CLOCK:
        return ""
    if now > certificate.not_after:     # RFC 5280 4.1.2.5: both ends belong to the time
        return f"has expired on {format_date(certificate.not_after)}"
    if now < certificate.not_before:
        return f"is not valid before {format_date(certificate.not_before)}"
    return ""


def expiry_warning(certificate: Certificate, now: float) -> str:
    """That `certificate` has expired or will soon, for people; "" if neither."""
    if now < UNSET_CLOCK or now <= certificate.not_after - NEAR_SECONDS:
        return ""
    left = certificate.not_after - now
    if left < 0:
        return date_fault(certificate, now)
    days = int(left // DAY)
    when = f"in {days} day{'s' if days != 1 else ''}" if days else "within a day"
    return f"expires {when}, on {format_date(certificate.not_after)}"


# Loading.


def load_tls(vhost: VhostConfig, settings: GlobalConfig, keeper: Optional[FileKeeper] = None) -> ServerTls:
    """The TLS side of `vhost`, loaded now from what `keeper` reads.  TlsError if that cannot be.

    With `ignore-missing-cert`, one without context where a file is missing.  Dates are no reason not to
    start (server/verify_tls.py warns of them).
    """
    tls = ServerTls(vhost.name, server_settings(vhost, settings))
    keeper = keeper or OwnKeeper()
    tls.files = file_states(tls.settings.files, keeper)
    files = PemFiles(keeper.read)
    context, faults = try_server_context(tls.settings, files)
    if vhost.ignore_missing_cert and faults and all(fault.is_missing for fault in faults):
        return tls
    if faults:
        raise faults[0]
    tls.context = context
    tls.certificate = _leaf(tls.settings.certificate, files)
    return tls


def file_states(paths: Sequence[str], keeper: FileKeeper) -> Tuple[FileState, ...]:
    """What tells versions of the files at `paths` apart, as `keeper` sees them."""
    return tuple(map(keeper.state, paths))


def _leaf(path: str, files: PemFiles) -> Optional[Certificate]:
    """The certificate that a context was made of; None if only OpenSSL can take it apart."""
    try:
        return leaf_certificate(path, files)
    except TlsError:
        return None


def load_anew(settings: ServerSettings, clock: Clock, keeper: FileKeeper) -> Loaded:
    """Load what is in the files now, and check it; on a worker."""
    for _ in range(MAX_READS):
        states = file_states(settings.files, keeper)
        loaded = _load(states, settings, clock(), keeper)
        if file_states(settings.files, keeper) == states:
            break
    return loaded


def _load(states: Tuple[FileState, ...], settings: ServerSettings, now: float, keeper: FileKeeper) -> Loaded:
    files = PemFiles(keeper.read)
    try:
        context = server_context(settings, files)
    except TlsError as error:
        return Loaded(states, fault=f"{error}{_remedy(error, keeper)}", is_missing=error.is_missing)
    certificate = _leaf(settings.certificate, files)
    reason = date_fault(certificate, now) if certificate is not None else ""
    if certificate is not None and reason:
        retry_at = certificate.not_before if now < certificate.not_before else NEVER
        return Loaded(states, fault=f"the new certificate {reason}", retry_at=retry_at)
    return Loaded(states, context, certificate)


def _remedy(error: TlsError, keeper: FileKeeper) -> str:
    """What to do about a file that only root may read, and we are not root any more."""
    if not error.is_forbidden:
        return ""
    return (f". The new files can be loaded by {keeper.anew}, or once the server's user {os.getuid()} may "
            f"read them (chgrp {os.getgid()} and chmod g+r)")


# Watching.


class CertificateWatch:
    """Looks after the certificates of vhosts, from start() to close(); one load at a time.

    All its methods are for the reactor's thread.
    """

    def __init__(self, reactor: Reactor, workers: Workers, vhosts: Iterable[ServerTls],
                 clock: Clock = time.time, keeper: Optional[FileKeeper] = None) -> None:
        """`clock` tells unix seconds, for the dates in certificates; `keeper` reads the files."""
        self.closed = False
        self._reactor = reactor
        self._workers = workers
        self._clock = clock
        self._keeper: FileKeeper = keeper or OwnKeeper()
        self._watched = [_Watched(tls) for tls in vhosts]
        self._to_look_at: Deque[_Watched] = deque()     # in the look that is under way
        self._changed: Deque[_Watched] = deque()
        self._timer: Optional[Timer] = None
        self._is_loading = False

    def start(self) -> None:
        """Look every minute from now on.  Whoever starts the server has told of dates at the start."""
        for watched in self._watched:
            watched.remind_at = self._reactor.clock() + REMIND_SECONDS
        self._set_timer()

    def check_now(self) -> int:
        """Look at all now, and try those again that had a fault (SIGUSR1); how many are to be loaded."""
        for watched in self._watched:
            watched.retry_at = min(watched.retry_at, 0.0) if watched.has_fault else watched.retry_at
        self._look_at(self._watched)
        self._load_next()
        return sum(watched.is_queued for watched in self._watched)

    def close(self) -> None:
        """Look no more; what a worker brings later is dropped."""
        self.closed = True
        self._to_look_at.clear()
        self._changed.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        if not self.closed and self._watched:
            self._timer = self._reactor.call_later(LOOK_SECONDS, self._minute)

    def _minute(self) -> None:
        self._set_timer()   # first: whatever happens in this look, there is a next one
        for watched in self._watched:
            self._remind(watched)
        is_under_way = bool(self._to_look_at)
        self._to_look_at = deque(self._watched)
        if not is_under_way:
            self._reactor.call_soon(self._look_at_some)

    def _look_at_some(self) -> None:
        """Go on with the look that is under way, a few vhosts in each pass of the reactor."""
        count = min(AT_A_TIME, len(self._to_look_at))
        if not self._look_at([self._to_look_at.popleft() for _ in range(count)]):
            self._to_look_at.clear()
        self._load_next()
        if self._to_look_at:
            self._reactor.call_soon(self._look_at_some)

    def _look_at(self, some: Sequence[_Watched]) -> bool:
        """Note which of them have to be loaded.  False if nobody answers: the rest is for the next look."""
        now = self._clock()
        for watched in some:
            try:
                needs_loading = not watched.is_queued and watched.needs_loading(now, self._keeper)
            except TimeoutError as error:
                log.warn(f"cannot look for new certificates: {error.strerror or error}")
                return False
            if needs_loading:
                watched.is_queued = True
                self._changed.append(watched)
        return True

    def _load_next(self) -> None:
        if self._is_loading or not self._changed or self.closed:
            return
        watched = self._changed[0]
        job = functools.partial(load_anew, watched.tls.settings, self._clock, self._keeper)
        try:
            self._workers.submit(job, functools.partial(self._loaded, watched), self)
        except Overloaded:
            # The next look finds them changed still.
            for waiting in self._changed:
                waiting.is_queued = False
            self._changed.clear()
            return
        self._changed.popleft()
        self._is_loading = True

    def _loaded(self, watched: _Watched, loaded: Optional[Loaded], error: Optional[Exception]) -> None:
        self._is_loading = False
        watched.is_queued = False
        if loaded is None:
            # Out of memory, at worst: no state was seen, so the next look tries it again.
            log.err(f"TLS of {watched.tls.name}: {error!r}; {watched.what_stays()}")
        else:
            watched.take(loaded)
            watched.remind_at = min(watched.remind_at, self._reactor.clock() if loaded.context else NEVER)
        self._load_next()

    def _remind(self, watched: _Watched) -> None:
        """Warn of an end that is near, once a day."""
        certificate, now = watched.tls.certificate, self._reactor.clock()
        if certificate is None or now < watched.remind_at:
            return
        warning = expiry_warning(certificate, self._clock())
        if warning:
            watched.remind_at = now + REMIND_SECONDS
            log.warn(f"TLS of {watched.tls.name}: the certificate in {watched.tls.settings.certificate} "
                     f"{warning}")


class _Watched:
    """One vhost, and what was seen of its files."""

    __slots__ = ("tls", "seen", "has_fault", "is_queued", "retry_at", "remind_at")

    def __init__(self, tls: ServerTls) -> None:
        self.tls = tls
        self.seen = tls.files   # at the last attempt
        self.has_fault = False
        self.is_queued = False
        self.retry_at = NEVER   # in unix seconds
        self.remind_at = 0.0    # on the reactor's clock

    def needs_loading(self, now: float, keeper: FileKeeper) -> bool:
        """Whether the files are others than at the last attempt, or might do by now."""
        return now >= self.retry_at or file_states(self.tls.settings.files, keeper) != self.seen

    def what_stays(self) -> str:
        """What is in force after a fault."""
        return "there is no TLS for it yet" if self.tls.context is None else "the certificate in use stays"

    def take(self, loaded: Loaded) -> None:
        """Put what was loaded in force, or say why not."""
        tls = self.tls
        self.seen, self.retry_at, self.has_fault = loaded.files, loaded.retry_at, loaded.context is None
        if loaded.context is None:
            # Who has never had one waits for the first.
            tell = log.info if loaded.is_missing and tls.certificate is None else log.err
            tell(f"TLS of {tls.name}: {loaded.fault}; {self.what_stays()}")
            return
        tls.context, tls.certificate, tls.files = loaded.context, loaded.certificate, loaded.files
        until = ""
        if loaded.certificate is not None:
            until = f", valid until {format_date(loaded.certificate.not_after)}"
        log.notice(f"TLS of {tls.name}: new connections get the new certificate in "
                   f"{tls.settings.certificate}{until}")
