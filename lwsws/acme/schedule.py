"""When something is to be done for a certificate.  No clock and no files: `now` and the rest are told.

A certificate is renewed when a third of its lifetime is left, or `renew-before`; or when the CA wants it,
if it says so (ARI, RFC 9773).  A little earlier than that, by a share of its own that each certificate has:
so not all the world comes at once, and the time stays the same however often the server is started.

After a failure the next try is an hour away, then two, up to a day.
"""

from __future__ import annotations

import hashlib
import re
from typing import List, NamedTuple, Optional

from lwsws.acme.settings import DAY, HOUR, AcmeSettings
from lwsws.acme.state import MAX_ERROR, State
from lwsws.wire.acme import Renewal
from lwsws.wire.acme_answer import printable
from lwsws.wire.certificate import Certificate, covers
from lwsws.wire.dates import seconds_since_1970

FIRST_DELAY, LAST_DELAY = HOUR, DAY
# One certificate after the other in less is odd, and of a short-lived one in a part of its life.
QUICK = 2 * DAY
# After a second such certificate; four times that after the third, and so on, up to a day.
TURN_SECONDS = 60.0
# How much longer than that it may be: several servers behind one name should not fail together.
DELAY_JITTER = 0.1
# Of the lifetime: left when it is time, how much earlier that may be, and never before so much has passed.
LEFT, EARLIER, YOUNGEST = 1 / 3, 1 / 30, 1 / 10
# How often the CA is asked, where it does not say; where it does, within these bounds.
ASK_SECONDS, MIN_ASK, MAX_ASK = 6 * HOUR, HOUR, DAY

ORDER, ASK = "order", "ask"
ASKED_FOR = "as asked for"

# RFC 3339 5.6, as far as clocks have it.
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))",
                   re.ASCII)


class Due(NamedTuple):
    """What is to be done next, ORDER or ASK, at what time, and why it is an order; `is_in_time`: only because
    a certificate that is good will end."""

    what: str
    at: float
    why: str = ""
    is_in_time: bool = False


class Held(NamedTuple):
    """A certificate that there is; `identifier` tells the CA which one (RFC 9773 4.1), "" if it has none.
    `is_self_issued`: it is of no CA."""

    certificate: Certificate
    identifier: str = ""
    is_self_issued: bool = False


def next_due(settings: AcmeSettings, state: State, held: Optional[Held], now: float) -> Due:
    """What is to be done next for the certificate of `settings`."""
    order = next_order(settings, state, held, now)
    if held is None or not held.identifier or not order.is_in_time:
        return order
    # The CA may have another opinion of when.
    asked = state.window_of == held.identifier and state.ask_at <= now + MAX_ASK
    ask = Due(ASK, state.ask_at if asked else 0.0)
    return ask if ask.at < order.at else order


def next_order(settings: AcmeSettings, state: State, held: Optional[Held], now: float) -> Due:
    """When a certificate is ordered next, as far as is known, and why."""
    if state.renew_now:
        return Due(ORDER, now, ASKED_FOR)
    again = _not_before(settings, state, now)
    if held is None:
        return Due(ORDER, max(again, now), "there is no certificate")
    missing = missing_names(settings, held)
    if missing:
        return Due(ORDER, max(again, now), f"the certificate is not for {', '.join(missing[:5])}")
    if held.is_self_issued:
        return Due(ORDER, max(again, now), "the certificate is signed by itself")
    if state.directory and state.directory != settings.directory_url:
        return Due(ORDER, max(again, now), "the certificate is from another directory")
    # A window is of use only for the certificate that it is about.
    is_told = bool(held.identifier) and state.window_of == held.identifier and state.window_end > 0
    at = _in_window(state, held, now) if is_told else usual_time(settings, held)
    why = "the CA wants it renewed" if is_told else f"it {ends(held.certificate, now)}"
    return Due(ORDER, max(at, again), why, True)


def _not_before(settings: AcmeSettings, state: State, now: float) -> float:
    """Before when nothing is ordered again: what failed, or what has come and is of no use; unless something
    else is asked for now, or the clock was ahead then."""
    if state.tried > now or state.renewed > now:
        return 0.0
    # Whatever makes one certificate follow the other will get tired of it.
    pause = min(TURN_SECONDS * 4 ** min(state.turns - 1, 10), DAY) if state.turns > 0 else 0.0
    if state.mark != settings.mark:
        return state.renewed + pause
    return max(state.next_try, state.renewed + max(FIRST_DELAY, pause))


def usual_time(settings: AcmeSettings, held: Held) -> float:
    """When the certificate is renewed, if the CA does not say."""
    begin, end = held.certificate.not_before, held.certificate.not_after
    life = end - begin
    at = end - (settings.renew_before or life * LEFT) - life * EARLIER * share(held)
    return max(at, begin + life * YOUNGEST)


def _in_window(state: State, held: Held, now: float) -> float:
    """When the CA wants the certificate renewed: not after its end, and not every hour."""
    begin, end = held.certificate.not_before, held.certificate.not_after
    at = state.window_start + (state.window_end - state.window_start) * share(held)
    if state.renewed <= now:
        at = max(at, state.renewed + DAY)
    return min(at, end - (end - begin) * YOUNGEST)


def share(held: Held) -> float:
    """A number from 0 to 1, which is another one for each certificate."""
    certificate = held.certificate
    text = f"{held.identifier} {certificate.not_before} {' '.join(certificate.names)}"
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:4], "big") / 2 ** 32


def missing_names(settings: AcmeSettings, held: Held) -> List[str]:
    """The names that the certificate should be for, and is not."""
    names = held.certificate.names
    # What has a wildcard is covered by nothing but itself.
    return [name for name in settings.names
            if not (name in names if name.startswith("*.") else covers(names, name))]


def ends(certificate: Certificate, now: float) -> str:
    """When it ends, in words."""
    left = certificate.not_after - now
    if left < 0:
        return "has ended"
    return f"ends in {left / DAY:.0f} days" if left >= 2 * DAY else f"ends in {left / HOUR:.0f} h"


def after_failure(state: State, settings: AcmeSettings, error: str, now: float, retry_after: float,
                  jitter: float) -> State:
    """The state after a failure at `now`; `retry_after` is what the CA asks for, `jitter` is from 0 to 1."""
    failures = (state.failures if state.mark == settings.mark else 0) + 1
    delay = min(FIRST_DELAY * 2 ** min(failures - 1, 10), LAST_DELAY) * (1 + DELAY_JITTER * jitter)
    return state._replace(mark=settings.mark, failures=failures, error=printable(error, MAX_ERROR), tried=now,
                          next_try=now + max(delay, retry_after), renew_now=False, shown=None)


def after_success(state: State, settings: AcmeSettings, now: float, life: float,
                  was_asked_for: bool = False) -> State:
    """The state after a certificate has come, which is good for `life` seconds; `was_asked_for`: by an
    administrator, who knows what he does."""
    is_quick = 0 <= now - state.renewed < min(QUICK, life * LEFT)
    turns = state.turns + (not was_asked_for) if is_quick else 0
    return State(mark=settings.mark, tried=now, renewed=now, directory=settings.directory_url, turns=turns)


def after_asking(state: State, identifier: str, renewal: Optional[Renewal], now: float) -> State:
    """The state after the CA was asked when to renew the certificate; None: it does not say."""
    start = end = 0.0
    seconds = ASK_SECONDS
    if renewal is not None:
        start, end = read_time(renewal.start), read_time(renewal.end)
        seconds = min(max(renewal.seconds or ASK_SECONDS, MIN_ASK), MAX_ASK)
    if not 0 < start < end:
        start = end = 0.0       # what makes no sense is no word at all
    return state._replace(window_of=identifier, window_start=start, window_end=end, ask_at=now + seconds)


def after_asking_in_vain(state: State, identifier: str, retry_after: float, now: float) -> State:
    """The state after the CA gave no proper answer to that: what it said last still holds."""
    seconds = min(max(retry_after, ASK_SECONDS), MAX_ASK)
    if state.window_of != identifier:
        state = state._replace(window_of=identifier, window_start=0.0, window_end=0.0)
    return state._replace(ask_at=now + seconds)


def read_time(text: str) -> float:
    """The unix seconds of a time as RFC 3339 writes it; 0 if it is none."""
    match = _TIME.fullmatch(text)
    if match is None:
        return 0.0
    moment = seconds_since_1970(*map(int, match.group(1, 2, 3, 4, 5, 6)))
    if moment is None:
        return 0.0
    offset = 60 * (60 * int(match[8]) + int(match[9])) if match[7] else 0
    return float(moment - (offset if match[7] == "+" else -offset))
