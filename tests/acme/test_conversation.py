"""Steps done one after the other: hand-made ones, over programs, files and sockets as they are."""

from __future__ import annotations

import hashlib
import inspect
import resource
from pathlib import Path
from typing import Any, Callable, Dict, Generator, List, Tuple

import pytest

from lwsws.acme.board import Board
from lwsws.acme.exhibit import HOOK_SECONDS
from lwsws.acme.state import State
from lwsws.wire.acme import (
    DNS_01,
    HTTP_01,
    TLS_ALPN_01,
    Action,
    Fetch,
    Hide,
    MakeRequest,
    Say,
    Show,
    Sign,
    Steps,
    Wait,
)
from lwsws.wire.acme_answer import AcmeError, Unreachable
from lwsws.wire.base64url import b64url
from tests.acme.support import AUTHORIZATION, challenge, shown
from tests.acme.talking import Hook, Talk, tool
from tests.net.fetching import CHUNKED, HELLO

VALUE = b64url(hashlib.sha256(AUTHORIZATION.encode()).digest())
TOLD = f"_acme-challenge.w.test. {VALUE} w.test {VALUE}"


def doing(*actions: Action) -> Steps[List[Any]]:
    """Steps that do these, and return what came of each."""
    outcomes = []
    for action in actions:
        outcomes.append((yield action))
    return outcomes


def failing(*actions: Action) -> Steps[str]:
    """Steps that do these, the last of which fails, and say how."""
    yield from actions[:-1]
    try:
        yield actions[-1]
    except AcmeError as error:
        return f"{type(error).__name__}: {error}"
    return ""


# One step after the other.


def test_nothing_to_do(talk: Talk) -> None:
    assert talk.result(doing()) == []


def test_say_and_wait(talk: Talk) -> None:
    talk.begin(doing(Say("one"), Wait(5.0), Say("two"), Wait(0.0)))
    assert talk.said == []
    talk.settle()
    assert (talk.said, talk.told) == (["one"], [])
    talk.clock.advance(4.9)
    talk.settle()
    assert talk.said == ["one"]
    talk.clock.advance(0.2)
    assert talk.end() == ([None] * 4, None)
    assert talk.said == ["one", "two"]


def test_a_signature(talk: Talk, tmp_path: Path) -> None:
    signature, = talk.result(doing(Sign(b"header.payload")))
    (tmp_path / "public").write_bytes(tool("pkey", "-pubout", data=talk.key))
    (tmp_path / "signature").write_bytes(signature)
    assert tool("dgst", "-sha256", "-verify", str(tmp_path / "public"), "-signature",
                str(tmp_path / "signature"), data=b"header.payload") == b"Verified OK\n"


def test_a_certificate_request_with_a_new_key(talk: Talk) -> None:
    conversation = talk.begin(doing(MakeRequest(("w.test", "*.w.test")), MakeRequest(("b.test",))))
    assert conversation.site_key == b""
    (first, second), error = talk.end()
    assert error is None
    assert b"DNS:w.test, DNS:*.w.test\n" in tool("req", "-inform", "DER", "-noout", "-text", data=first)
    public = tool("pkey", "-pubout", data=conversation.site_key)
    assert tool("req", "-inform", "DER", "-noout", "-pubkey", data=second) == public
    assert tool("req", "-inform", "DER", "-noout", "-pubkey", data=first) != public
    assert conversation.site_key != talk.key


def test_an_answer(talk: Talk) -> None:
    server = talk.serve([HELLO, b"HTTP/1.1 404 No\r\nReplay-Nonce: n\r\nContent-Length: 2\r\n\r\n{}"])
    url = f"https://127.0.0.1:{server.port}/dir"
    one, other = talk.result(doing(Fetch("GET", url), Fetch("POST", url, b"body", "a/b")))
    assert (one.status, one.body) == (200, b"hello")
    assert (other.status, other.headers.get("replay-nonce"), other.body) == (404, "n", b"{}")
    assert server.requests[0].startswith(b"GET /dir HTTP/1.1\r\n")
    assert server.requests[1].endswith(b"Content-Type: a/b\r\nContent-Length: 4\r\n\r\nbody")


def test_no_answer_is_thrown_in(talk: Talk) -> None:
    said = talk.result(failing(Fetch("GET", "http://a.test/")))
    assert said == "Unreachable: 'http://a.test/' is no https:// URL"


def test_who_catches_it_goes_on(talk: Talk) -> None:
    def steps() -> Steps[List[str]]:
        found = []
        for _ in range(3):
            try:
                yield Fetch("GET", "http://a.test/")
            except Unreachable:
                found.append("caught")
            yield Wait(0.0)
        return found

    assert talk.result(steps()) == ["caught"] * 3


def test_a_key_that_cannot_sign(talk: Talk) -> None:
    talk.key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    assert talk.result(failing(Sign(b"x"))).startswith("AcmeError: openssl dgst: exit status 1: ")


TOO_LARGE = "an input file may have at most 60000 bytes"


def test_a_key_that_is_too_large(talk: Talk) -> None:
    """No file has such a key, as the store refuses it."""
    talk.key += b"#" * 62_000
    assert talk.result(failing(Sign(b"x"))) == f"AcmeError: openssl dgst: {TOO_LARGE}"


@pytest.mark.parametrize("names, reason", [
    (("w.test", "a b"), "no DNS name, wildcard or IP address: 'a b'"), ((), "a certificate for no name"),
    (("a" * 63,) * 1000, f"openssl req: {TOO_LARGE}")], ids=["no name", "none", "too many"])
def test_names_that_the_tool_is_not_asked_for(talk: Talk, names: Tuple[str, ...], reason: str) -> None:
    """Whoever drives the steps hears of it, and the order does not stand still until its time is up."""
    assert talk.result(failing(Say("x"), MakeRequest(names))) == f"AcmeError: {reason}"
    assert talk.programs.alive == 0


def test_a_request_that_cannot_be_made_is_an_error_in_the_end(talk: Talk) -> None:
    assert str(talk.fault(doing(MakeRequest(("a b",)), Wait(60.0)))).startswith("no DNS name")


def test_the_error_in_the_end(talk: Talk) -> None:
    wanted = AcmeError("the CA says no", "rateLimited", 77.0)

    def steps() -> Steps[None]:
        yield Say("x")
        raise wanted

    assert talk.fault(steps()) is wanted
    talk.told.clear()
    assert str(talk.fault(doing(Fetch("GET", "x")))) == "'x' is no https:// URL"


# What is shown.


def test_http_01(talk: Talk) -> None:
    talk.store.write_state(State(mark="m", failures=2))
    board = Board([talk.store])
    talk.begin(doing(Show(challenge()), Wait(1.0), Hide(), Wait(1.0)))
    talk.spin_until(lambda: board.authorization("token_-1"))
    assert talk.store.read_state() == State(mark="m", failures=2, shown=shown())
    talk.settle()
    talk.clock.advance(1.0)
    talk.settle()
    assert talk.store.read_state() == State(mark="m", failures=2)
    assert talk.told == []
    talk.clock.advance(1.0)
    assert talk.end() == ([None] * 4, None)


def test_tls_alpn_01(talk: Talk) -> None:
    board = Board([talk.store])
    talk.begin(doing(Show(challenge(TLS_ALPN_01)), Wait(1.0), Hide()))
    talk.spin_until(lambda: talk.store.read_state().shown is not None)
    assert board.context("w.test") is not None
    assert board.authorization("token_-1") == ""
    up = talk.store.read_state().shown
    assert up is not None and up.challenge == challenge(TLS_ALPN_01)
    text = tool("x509", "-noout", "-text", data=up.pem.encode())
    assert b"1.3.6.1.5.5.7.1.31: critical" in text
    assert b"DNS:w.test\n" in text
    der = tool("x509", "-outform", "DER", data=up.pem.encode())
    assert der.count(b"\x04\x22\x04\x20" + hashlib.sha256(AUTHORIZATION.encode()).digest()) == 1
    talk.settle()
    talk.clock.advance(1.0)
    assert talk.end() == ([None] * 3, None)
    assert board.context("w.test") is None


def test_dns_01(dns_talk: Talk, hook: Hook) -> None:
    assert dns_talk.result(doing(Show(challenge(DNS_01)), Hide())) == [None, None]
    assert hook.said == [f"present {TOLD}", f"cleanup {TOLD}"]
    assert dns_talk.store.read_state() == State()
    assert dns_talk.warned == []


def test_names_one_after_the_other(dns_talk: Talk, hook: Hook) -> None:
    for name in ("w.test", "b.test"):
        dns_talk.result(doing(Show(challenge(DNS_01, name)), Hide()))
        dns_talk.told.clear()
    assert [line.split()[:2] for line in hook.said] == [
        ["present", "_acme-challenge.w.test."], ["cleanup", "_acme-challenge.w.test."],
        ["present", "_acme-challenge.b.test."], ["cleanup", "_acme-challenge.b.test."]]


@pytest.mark.parametrize("kind", [HTTP_01, TLS_ALPN_01])
def test_taken_away_though_nobody_says_so(talk: Talk, kind: str) -> None:
    states: List[State] = []

    def steps() -> Steps[None]:
        yield Show(challenge(kind))
        states.append(talk.store.read_state())
        raise AcmeError("x")

    assert str(talk.fault(steps())) == "x"
    assert states[0].shown is not None and states[0].shown.challenge == challenge(kind)
    assert talk.store.read_state().shown is None
    talk.told.clear()
    talk.result(doing(Show(challenge(kind))))
    assert talk.store.read_state().shown is None


def test_the_hook_is_told_before_the_end_is(dns_talk: Talk, hook: Hook) -> None:
    assert dns_talk.result(doing(Show(challenge(DNS_01)))) == [None]
    assert [line.split()[0] for line in hook.said] == ["present", "cleanup"]
    assert dns_talk.programs.alive == 0


def test_to_hide_what_is_not_shown(talk: Talk) -> None:
    assert talk.result(doing(Hide(), Hide())) == [None, None]


def test_a_full_disk(talk: Talk, home: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limit[1]))
    try:
        said = talk.result(failing(Show(challenge())))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert said.startswith(f"AcmeError: cannot write '{home}/cert.pem.acme': ")
    assert talk.store.read_state() == State()


# Hooks that fail.


@pytest.mark.parametrize("present, reason", [
    ("echo no such zone >&2; exit 3", "exited with status 3: no such zone"),
    ("exit 1", "exited with status 1: it says nothing"),
    ("echo to stdout; exit 1", "exited with status 1: it says nothing"),
    ("kill -9 $$", "was ended by SIGKILL: it says nothing"),
    (r"printf 'a\033[1mb\n\nc\n' >&2; exit 2", "exited with status 2: a?[1mb c")])
def test_a_hook_that_fails(dns_talk: Talk, hook: Hook, present: str, reason: str) -> None:
    hook.write(present)
    assert dns_talk.result(failing(Show(challenge(DNS_01)))) == f"AcmeError: dns-hook present {reason}"
    # It may have done half of it.
    assert hook.said == [f"present {TOLD}", f"cleanup {TOLD}"]


def test_a_hook_that_is_not_there(dns_talk: Talk, hook: Hook) -> None:
    hook.path.unlink()
    said = dns_talk.result(failing(Show(challenge(DNS_01))))
    assert said.startswith(f"AcmeError: dns-hook {hook.path} cannot be started: No such file or directory")
    assert len(dns_talk.warned) == 1


def test_a_hook_that_does_not_clean_up(dns_talk: Talk, hook: Hook) -> None:
    hook.write(cleanup="echo cannot >&2; exit 1")
    assert dns_talk.result(doing(Show(challenge(DNS_01)), Hide(), Say("on"))) == [None] * 3
    assert dns_talk.warned == ["dns-hook cleanup exited with status 1: cannot"]
    assert dns_talk.said == ["on"]


def test_a_hook_that_hangs(dns_talk: Talk, hook: Hook) -> None:
    hook.write("exec sleep 1000")
    dns_talk.begin(failing(Show(challenge(DNS_01))))
    dns_talk.spin_until(lambda: hook.said)
    dns_talk.clock.advance(HOOK_SECONDS - 1)
    dns_talk.settle()
    assert dns_talk.told == []
    dns_talk.clock.advance(1)
    said, error = dns_talk.end()
    assert (said, error) == (f"AcmeError: dns-hook {hook.path} did not end within 600 s", None)
    dns_talk.reap()
    assert [line.split()[0] for line in hook.said] == ["present", "cleanup"]


# Given up.


class Phase:
    """A conversation that is cancelled when `is_there`."""

    def __init__(self, actions: List[Action], is_there: Callable[[Talk], object]) -> None:
        self.actions = actions
        self.is_there = is_there


def up(talk: Talk) -> object:
    return talk.store.read_state().shown


def runs(talk: Talk) -> object:
    return talk.programs.alive


PHASES: Dict[str, Phase] = {
    "before it begins": Phase([Say("x")], lambda talk: True),
    "waiting": Phase([Say("x"), Wait(60.0)], lambda talk: talk.said),
    "signing": Phase([Sign(b"x")], runs),
    "making a key": Phase([MakeRequest(("w.test",))], runs),
    "making a request": Phase([MakeRequest(("w.test",))], lambda talk: talk.programs.started == 2),
    "http-01": Phase([Show(challenge()), Wait(60.0)], up),
    "tls-alpn-01, making a key": Phase([Show(challenge(TLS_ALPN_01))], runs),
    "tls-alpn-01, certifying": Phase([Show(challenge(TLS_ALPN_01))], lambda talk: talk.programs.started == 2),
    "tls-alpn-01": Phase([Show(challenge(TLS_ALPN_01)), Wait(60.0)], up),
}


def given_up(talk: Talk, steps: Generator[Action, Any, Any], is_there: Callable[[Talk], object]) -> None:
    """Cancel when it is there: nothing may be left, and nobody told."""
    conversation = talk.begin(steps)
    talk.spin_until(lambda: is_there(talk))
    conversation.cancel()
    assert inspect.getgeneratorstate(steps) == inspect.GEN_CLOSED
    # What a hook has to take away is known until it has.
    assert bool(talk.store.read_state().shown) == bool(talk.store.settings.dns_hook)
    talk.reap()
    talk.clock.advance(1000.0)
    talk.settle()
    conversation.cancel()
    assert talk.told == []
    assert not talk.fetcher.busy
    assert talk.store.read_state().shown is None


@pytest.mark.parametrize("name", PHASES)
def test_given_up(talk: Talk, name: str) -> None:
    given_up(talk, doing(*PHASES[name].actions), PHASES[name].is_there)
    # Whoever begins anew is not disturbed by what was.
    assert talk.result(doing(Show(challenge()), Hide())) == [None, None]


def test_given_up_while_fetching(talk: Talk) -> None:
    server = talk.serve([CHUNKED])
    url = f"https://127.0.0.1:{server.port}/"
    given_up(talk, doing(Fetch("GET", url)), lambda talk: server.requests)


@pytest.mark.parametrize("hangs", ["exec sleep 1000", "sleep 1000", "sleep 1000 & wait"])
def test_given_up_while_the_hook_presents(dns_talk: Talk, hook: Hook, hangs: str) -> None:
    hook.write(hangs)
    given_up(dns_talk, doing(Show(challenge(DNS_01))), lambda talk: hook.said)
    assert [line.split()[0] for line in hook.said] == ["present", "cleanup"]


def test_given_up_while_the_hook_presents_and_does_not_listen(dns_talk: Talk, hook: Hook) -> None:
    hook.write(f"trap '' TERM; echo deaf >> {hook.path.parent}/said; while :; do sleep 0.01; done")
    conversation = dns_talk.begin(doing(Show(challenge(DNS_01))))
    dns_talk.spin_until(lambda: len(hook.said) == 2)
    conversation.cancel()
    dns_talk.spin_until(lambda: len(hook.said) == 3)
    dns_talk.reap()
    assert dns_talk.told == []


def test_given_up_while_the_record_is_there(dns_talk: Talk, hook: Hook) -> None:
    given_up(dns_talk, doing(Show(challenge(DNS_01)), Say("there"), Wait(60.0)), lambda talk: talk.said)
    assert hook.said == [f"present {TOLD}", f"cleanup {TOLD}"]


@pytest.mark.parametrize("more", [[Hide()], []], ids=["as a step", "in the end"])
def test_given_up_while_the_hook_cleans_up(dns_talk: Talk, hook: Hook, more: List[Action]) -> None:
    gate = hook.path.parent / "gate"
    hook.write(cleanup=f"while [ ! -e {gate} ]; do sleep 0.01; done")
    conversation = dns_talk.begin(doing(Show(challenge(DNS_01)), *more))
    dns_talk.spin_until(lambda: len(hook.said) == 2)
    conversation.cancel()
    gate.touch()    # it does what it has begun
    dns_talk.spin_until(lambda: dns_talk.programs.alive == 0)
    dns_talk.settle()
    assert dns_talk.told == [] and len(hook.said) == 2


def test_given_up_from_within(talk: Talk) -> None:
    """By whoever hears what is said."""
    conversation = talk.begin(doing(Show(challenge()), Say("x"), Say("y"), Wait(0.0)))
    real = talk.said

    class Listener(List[str]):
        def append(self, text: str) -> None:
            real.append(text)
            conversation.cancel()

    means = conversation._means
    conversation._means = means._replace(say=Listener().append)
    talk.spin_until(lambda: real)
    talk.settle()
    assert (real, talk.told) == (["x"], [])
    assert talk.store.read_state().shown is None


def test_given_up_when_it_is_over(talk: Talk) -> None:
    conversation = talk.begin(doing(Say("x")))
    talk.end()
    conversation.cancel()
    talk.settle()
    assert len(talk.told) == 1
