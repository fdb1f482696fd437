"""A real server and a CA that answers badly: one clear line says so, all else is served, the end is clean.

What the certifier makes of each answer, over hours, is in tests/acme.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

import pytest

from tests.support.acme_site import NAMES, AcmeSite, ask
from tests.support.false_ca import FalseCa
from tests.support.false_ca_answers import (
    CUT,
    JSON,
    Altered,
    Answer,
    Canned,
    bad_nonce,
    closed,
    elsewhere,
    garbage,
    html_error,
    huge,
    invalid_order,
    never,
    no_chain,
    plain,
    rate_limited,
    rejected_identifier,
)
from tests.support.server import Server
from tests.support.waiting import wait_until

NEW_ORDER, AUTHZ, ORDER = ("POST", "/new-order"), ("POST", "/authz"), ("POST", "/order")
FINALIZE, CERTIFICATE = ("POST", "/finalize"), ("POST", "/certificate")
DAY = 86400
# How each failure ends.
NEXT_TRY = "the next try is on"


class Case(NamedTuple):
    """Where the CA is wrong, how, and what the log says of it."""

    where: Tuple[str, str]
    answer: Answer
    about: str
    times: int = 1000


def plain_all(urls: List[str]) -> List[str]:
    """For an Altered: all of them with http:."""
    return list(map(plain, urls))


def elsewhere_all(urls: List[str]) -> List[str]:
    """For an Altered: all of them on another host."""
    return list(map(elsewhere, urls))


CUT_SHORT = Canned(201, {"Content-Type": JSON}, b'{"status": "pending"}' * 100, CUT)
SOMEBODY_S = no_chain(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")

# What no patience would mend.
FAILURES: Dict[str, Case] = {
    "rate limited": Case(NEW_ORDER, rate_limited(str(2 * DAY)), "rateLimited"),
    "garbage": Case(AUTHZ, garbage(), "no JSON object"),
    "garbage as the directory": Case(("GET", "/dir"), garbage(), "no JSON object"),
    "invalid": Case(FINALIZE, invalid_order(), "the order is invalid: unauthorized"),
    "invalid early": Case(NEW_ORDER, invalid_order(), "the order is invalid"),
    "subproblems": Case(NEW_ORDER, rejected_identifier(*NAMES), "b.test: rejectedIdentifier: not for b.test"),
    "bad nonces": Case(NEW_ORDER, bad_nonce(), "badNonce"),
    "no nonce": Case(("HEAD", "/new-nonce"), Altered({}, {"Replay-Nonce": None}), "no nonce"),
    "no certificate": Case(CERTIFICATE, SOMEBODY_S, "certificate"),
    "HTML for a certificate": Case(CERTIFICATE, html_error(200), "none in PEM"),
    "a challenge for somebody": Case(AUTHZ, Altered({"identifier": {"type": "dns", "value": "c.test"}}),
                                     "c.test, which nobody has asked for"),
    "a token": Case(AUTHZ, Altered({"challenges": lambda all_of_them: [
        {**each, "token": "../../etc/passwd\r\n\x1b[2J"} for each in all_of_them]}), "token is malformed"),
    "nothing known": Case(AUTHZ, Altered({"challenges": []}), "does not offer http-01"),
}

# What might pass: it is tried again in some seconds.
PAUSES: Dict[str, Case] = {
    "502": Case(NEW_ORDER, html_error(), "502", 1),
    "502 for ever": Case(NEW_ORDER, html_error(), "502"),
    "closed once": Case(NEW_ORDER, closed(), "", 1),    # a kept connection: it may have been tired of it
    "closed": Case(NEW_ORDER, closed(), "closed without a response"),
    "cut": Case(NEW_ORDER, CUT_SHORT, "127.0.0.1"),
    "5 MiB": Case(NEW_ORDER, huge(), "longer than"),
    "http": Case(NEW_ORDER, Altered({"authorizations": plain_all}), "no https:// URL"),
    "elsewhere": Case(NEW_ORDER, Altered({"authorizations": elsewhere_all}), "ca.invalid"),
    "never": Case(NEW_ORDER, never(), ""),
}


def serves(site: AcmeSite) -> None:
    """Whether all is as without ACME: plain requests, and a certificate of one's own for TLS."""
    assert b" 401 " in ask(site.http_port, "/", "a.test").split(b"\r\n")[0]
    wait_until(site.is_open, "a placeholder")
    assert site.served().names == NAMES


def lines(server: Server, level: str) -> List[str]:
    """The lines of the log at that level about ACME."""
    return [line for line in server.log().splitlines() if f" {level}: " in line and "acme: " in line]


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure(folder: Path, name: str) -> None:
    """One line at err level says what the CA has done; it is not asked again before the next try."""
    case = FAILURES[name]
    with FalseCa(folder / "ca") as ca:
        ca.answers[case.where] = [case.answer] * case.times
        site = AcmeSite(folder / "site", ca.directory_url, ca.ca_file)
        with site.server() as server:
            server.wait_for(NEXT_TRY)
            (line,) = lines(server, "E")
            assert case.about in line and "a.test: no certificate: " in line
            assert line.isprintable() and len(line) < 1000
            wait_until(lambda: site.state().failures == 1 and site.state().shown is None, "the state")
            serves(site)
            if name == "rate limited":
                shows_the_next_try(site)
            asked = len(ca.requests)
            server.stop()
            assert len(ca.requests) == asked and lines(server, "E") == [line]


def shows_the_next_try(site: AcmeSite) -> None:
    """Both the file of state and the command tell when it is."""
    state = site.state()
    assert abs(state.next_try - state.tried - 2 * DAY) < 60 and abs(state.tried - time.time()) < 60
    done = site.command("status")
    day = time.strftime("%d %b %Y %H:%M", time.gmtime(state.next_try))
    assert done.returncode == 1 and "rateLimited" in done.stdout
    assert any("next try" in line and day in line for line in done.stdout.splitlines()), done.stdout


def test_what_may_pass(folder: Path) -> None:
    """The CA is given some seconds; where that mends it, there is a certificate, and meanwhile all is served.
    A server that is told to stop does not wait for it."""
    with ExitStack() as stack:
        running: Dict[str, Tuple[FalseCa, AcmeSite, Server]] = {}
        for name, case in PAUSES.items():
            ca = stack.enter_context(FalseCa(folder / f"ca {name}"))
            ca.answers[case.where] = [case.answer] * case.times
            site = AcmeSite(folder / f"site {name}", ca.directory_url, ca.ca_file)
            running[name] = ca, site, stack.enter_context(site.server())
        for name, (ca, site, server) in running.items():
            case = PAUSES[name]
            ca.wait_for(*case.where)
            serves(site)
            if case.about:
                server.wait_for("trying again in 5 s", 20)
                line = next(line for line in lines(server, "N") if "trying again in" in line)
                assert case.about in line and line.isprintable()
        for name, (_, site, server) in running.items():
            if PAUSES[name].times == 1:
                site.wait_for_certificate(server)
                assert site.served().names == NAMES and site.state().failures == 0
            assert lines(server, "E") == []
            began = time.monotonic()
            server.stop()
            assert time.monotonic() - began < 5
            assert site.state().shown is None


def test_a_port_for_challenges_that_cannot_be_had(folder: Path) -> None:
    """Port 80 belongs to root, and to one server only.  It is said once, and left at that."""
    with FalseCa(folder / "ca") as ca, ExitStack() as stack:
        sites = [AcmeSite(folder / f"site{number}", ca.directory_url, ca.ca_file) for number in range(2)]
        servers = [stack.enter_context(site.server()) for site in sites]
        for site, server in zip(sites, servers):
            site.wait_for_certificate(server)
        without = [server.log() for server in servers if "gets no answer of ours" in server.log()]
        assert without
        for text in without:
            assert text.count("127.0.0.1:80") == 1, text


def test_a_server_that_ends_while_something_stands_in_the_dns(folder: Path) -> None:
    """It is taken away, if not then, by who comes next."""
    calls = folder / "calls"
    calls.touch()
    calls.chmod(0o666)
    hook = folder / "hook"
    hook.write_text(f'#!/bin/sh\n[ "$1" = present ] || sleep 0.2\necho "$1 $2 $3" >> {calls}\n')
    hook.chmod(0o755)
    with FalseCa(folder / "ca") as ca:
        ca.pending = 1000
        site = AcmeSite(folder / "site", ca.directory_url, ca.ca_file, challenge="dns-01", dns_hook=str(hook))
        with site.server():
            ca.wait_for("POST", "/challenge")
        ca.pending = 0
        with site.server() as server:
            site.wait_for_certificate(server)
    told = [line.split(" ", 1) for line in calls.read_text().splitlines()]
    presented = [what for verb, what in told if verb == "present"]
    assert len(presented) == 3 and presented[0].startswith("_acme-challenge.a.test. ")
    assert {what for verb, what in told if verb == "cleanup"} == set(presented)
    assert site.state().shown is None
