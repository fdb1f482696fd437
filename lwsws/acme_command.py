"""`lwsws acme`: what there is of certificates by ACME, and having one renewed now.

Both look at the files of the certificates, so they need the rights of their owner, which is mostly root.  A
server that runs sees within seconds what is asked of it; nothing else is between the two.
"""

from __future__ import annotations

import sys
import time
from typing import Iterator, List, NamedTuple, Optional, Sequence, TextIO

from lwsws.acme.pending import in_place, waiting
from lwsws.acme.schedule import Held, ends, next_order
from lwsws.acme.settings import STATE, UPD, AcmeSettings
from lwsws.acme.state import MAX_BYTES, State, decode
from lwsws.acme.store import Store, StoreError
from lwsws.config.loader import load
from lwsws.net.keeper import OwnKeeper
from lwsws.net.regular_file import read_regular_file
from lwsws.net.tls_files import TlsError
from lwsws.server.acme import find_certificates
from lwsws.wire.dates import format_date

USAGE = """\
usage: lwsws acme DIR status
       lwsws acme DIR renew-now [NAME]

Looks after the certificates that lws-acme-client gets for the configuration
in DIR.

  status     say for each certificate until when it is good, when it will be
             renewed, and how the last try ended
  renew-now  have the running server renew the certificate of NAME (or all)
             now, and wait for it
  -h         print this
"""

DONE, FAILED, MISUSED = 0, 1, 2

# How long a server may take to notice, and to get a certificate.
NOTICE_SECONDS = 30.0
RENEW_SECONDS = 3600.0
POLL_SECONDS = 0.25


def main(arguments: Sequence[str], data_dir: str) -> int:
    """Run `lwsws acme` with its arguments; returns the exit code.  `data_dir` is what `_lws_ddir_` means."""
    words = list(arguments)
    if words[:1] in (["-h"], ["--help"]):
        _say(USAGE.rstrip())
        return DONE
    if not (words[1:] == ["status"] or (words[1:2] == ["renew-now"] and len(words) <= 3)):
        _say(f"lwsws acme: no such command: {' '.join(words)}" if words else "lwsws acme: no DIR is given",
             sys.stderr)
        _say(USAGE.rstrip(), sys.stderr)
        return MISUSED
    loaded = load(words[0], data_dir)
    if loaded.config is None:
        for fault in loaded.faults:
            _say(str(fault), sys.stderr)
        return FAILED
    asked = [each.settings for each in find_certificates(loaded.config)]
    if not asked:
        _say(f"{words[0]} asks for no certificate: there is no sound entry of lws-acme-client (`lwsws -t` "
             "says more)", sys.stderr)
        return FAILED
    if words[1] == "status":
        return _status(asked)
    return _renew(asked, words[2] if len(words) == 3 else "")


def _say(text: str, where: Optional[TextIO] = None) -> None:
    print(text, file=where or sys.stdout, flush=True)


# Status.


def _status(asked: Sequence[AcmeSettings]) -> int:
    """Tell of all certificates; FAILED if one is missing, or its last try has failed."""
    code = DONE
    now = time.time()
    for settings in asked:
        try:
            found = _look(settings)
        except (OSError, StoreError, TlsError) as error:
            reason = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error)
            _say(f"{settings.name}: {reason}", sys.stderr)
            code = FAILED
            continue
        for line in _lines(settings, found, now):
            _say(line)
        if found.held is None or found.state.failures:
            code = FAILED
    return code


class _Found(NamedTuple):
    """What there is of one certificate; `is_waiting`: it takes its place with the next start.  `is_busy`: an
    order of its account is under way."""

    state: State
    held: Optional[Held]
    is_waiting: bool
    is_busy: bool = False


def _look(settings: AcmeSettings) -> _Found:
    """What there is now; OSError, StoreError or TlsError if that may not be seen.  Makes no files."""
    try:
        state = decode(read_regular_file(settings.cert_path + STATE, MAX_BYTES))
    except FileNotFoundError:   # no server has had this configuration yet
        return _Found(State(), in_place(settings, read_regular_file), False)
    store = Store(settings)
    try:
        new = waiting(store, OwnKeeper(), time.time())
        is_busy = not store.lock()
    finally:
        store.close()
    held = in_place(settings, read_regular_file) if new is None else new.held
    return _Found(state, held, new is not None, is_busy)


def _lines(settings: AcmeSettings, found: _Found, now: float) -> Iterator[str]:
    """What is said of one certificate."""
    state, held = found.state, found.held
    yield ", ".join(settings.names)
    if held is None:
        yield f"  certificate  there is none yet in {settings.cert_path}"
    else:
        until = f"until {format_date(held.certificate.not_after)}, {ends(held.certificate, now)}"
        yield f"  certificate  {settings.cert_path}{UPD if found.is_waiting else ''}, {until}"
    if found.is_waiting:
        yield "               served already; it takes its place with the next start of the server"
    yield f"  from         {settings.directory_url}, by {settings.challenge}"
    if state.failures:
        often = f" ({state.failures} in a row)" if state.failures > 1 else ""
        yield f"  last try     failed on {format_date(int(state.tried))}{often}: {state.error}"
    elif state.renewed:
        yield f"  last try     good on {format_date(int(state.renewed))}"
    if found.is_busy:
        challenge = None if state.shown is None else state.shown.challenge
        what = "with this account" if challenge is None else f"{challenge.kind} for {challenge.name}"
        yield f"  now          an order is under way: {what}"
    due = next_order(settings, state, held, now)
    when = "now" if due.at <= now else f"on {format_date(int(due.at))}"
    if due.is_in_time and not state.failures:
        yield f"  renewal      {when}"
    else:
        yield f"  next try     {when}: {due.why}"


# Renewing.


def _renew(asked: Sequence[AcmeSettings], name: str) -> int:
    """Ask for the renewal of the certificate of `name`, or all ("")."""
    chosen = [settings for settings in asked if not name or name in settings.names]
    if not chosen:
        _say(f"no certificate is for {name}: there is {'; '.join(', '.join(each.names) for each in asked)}",
             sys.stderr)
        return FAILED
    codes: List[int] = []
    for settings in chosen:
        try:
            store = Store(settings)
            try:
                codes.append(_renew_one(store))
            finally:
                store.close()
        except StoreError as error:
            _say(f"{settings.name}: {error}", sys.stderr)
            codes.append(FAILED)
    return max(codes)


def _renew_one(store: Store) -> int:
    name, began = store.settings.name, time.time()
    is_asked = False
    while True:
        state, waited = store.read_state(), time.time() - began
        if is_asked and not state.renew_now:
            if state.failures:
                _say(f"{name}: {state.error}", sys.stderr)
                return FAILED
            _say(f"{name}: renewed")
            return DONE
        is_free = store.lock()
        if is_free and not is_asked:
            # With the lock, and as it is then.
            store.write_state(store.read_state()._replace(renew_now=True))
            _say(f"{name}: asked for; waiting for the server")
            is_asked, began, waited = True, time.time(), 0.0
        if is_free:
            store.unlock()
            if waited > NOTICE_SECONDS:
                _say(f"{name}: no server has begun within {NOTICE_SECONDS:.0f} s: is it running, with this "
                     "configuration? It will when it starts", sys.stderr)
                return FAILED
        elif waited > RENEW_SECONDS:
            _say(f"{name}: not done within an hour: the log of the server says more", sys.stderr)
            return FAILED
        time.sleep(POLL_SECONDS)
