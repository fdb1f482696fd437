"""The challenges that are up: found in the files of state, and answered before whatever a vhost has there."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest

from lwsws import log
from lwsws.acme.board import WELL_KNOWN, Board, ChallengeHandler
from lwsws.acme.state import Shown, State
from lwsws.acme.store import Store
from lwsws.core.exchange import Exchange
from lwsws.core.handler import Handler
from lwsws.wire.acme import DNS_01, HTTP_01, TLS_ALPN_01
from tests.acme.conftest import Lines, MakeStore
from tests.acme.support import AUTHORIZATION, Ages, challenge, content, shown
from tests.support.docroot import file_mount
from tests.support.handlers import Faulty
from tests.support.handshake import any_client, shake
from tests.support.peer import Answer, Bench
from tests.support.upgrade import asked

TOKEN = f"{WELL_KNOWN}/token_-1"


@pytest.fixture
def stores(make_store: MakeStore, home: Path) -> List[Store]:
    """Three certificates."""
    return [make_store(cert_path=f"{home}/c{number}", key_path=f"{home}/k{number}") for number in range(3)]


# http-01.


def test_the_authorization_of_a_token(stores: List[Store]) -> None:
    board = Board(stores)
    stores[1].write_state(State(mark="m", shown=shown()))
    stores[2].write_state(State(shown=shown(token="other")))
    assert board.authorization("token_-1") == AUTHORIZATION
    assert board.authorization("other") == "other.thumbprint"


@pytest.mark.parametrize("token", ["", "token_-", "token_-1x", "TOKEN_-1", "token_-1.thumbprint", "w.test",
                                   "t\u00f6ken", "\0", "../token_-1"])
def test_an_unknown_token(stores: List[Store], token: str) -> None:
    assert Board(stores).authorization(token) == ""
    stores[0].write_state(State(shown=shown()))
    assert Board(stores).authorization(token) == ""


def test_a_change_is_seen_at_once(stores: List[Store], home: Path) -> None:
    board = Board(stores)
    for token in ("one", "two"):
        stores[0].write_state(State(shown=shown(token=token)))
        assert board.authorization(token) == f"{token}.thumbprint"
    assert board.authorization("one") == ""
    stores[0].write_state(State())
    assert board.authorization("two") == ""
    (home / "c0.acme").write_text("garbage\n")
    assert board.authorization("two") == ""


@pytest.mark.parametrize("kind", [TLS_ALPN_01, DNS_01, "x"])
def test_a_challenge_of_another_kind(stores: List[Store], kind: str) -> None:
    stores[0].write_state(State(shown=shown(kind)))
    assert Board(stores).authorization("token_-1") == ""


def test_another_process_has_put_it_up(make_store: MakeStore) -> None:
    """As after a reload: each has files of its own open."""
    board = Board([make_store()])
    make_store().write_state(State(shown=shown()))
    assert board.authorization("token_-1") == AUTHORIZATION


def test_a_damaged_token_is_nobodys(stores: List[Store]) -> None:
    stores[0].write_state(State(shown=shown(token="t\u00f6ken")))
    stores[1].write_state(State(shown=shown()))
    board = Board(stores)
    assert board.authorization("token_-1") == AUTHORIZATION
    assert board.authorization("x") == ""


# tls-alpn-01.


def pem_of(ages: Ages) -> str:
    """A certificate with its key, for want of one with the extension."""
    pair = content(ages.young)
    return (pair.certificate + pair.key).decode()


def test_the_context_for_a_name(stores: List[Store], ages: Ages) -> None:
    board = Board(stores)
    assert board.context("w.test") is None
    stores[1].write_state(State(shown=shown(TLS_ALPN_01, pem=pem_of(ages))))
    context = board.context("w.test")
    assert context is not None
    for name in ("", "b.test", "a.w.test", "test"):
        assert board.context(name) is None
    client = any_client()
    client.set_alpn_protocols(["acme-tls/1"])
    ends = shake(context, client, "w.test")
    assert ends.failure == ""
    assert ends.client.selected_alpn_protocol() == "acme-tls/1"
    assert ends.client.getpeercert(True) == ssl.PEM_cert_to_DER_cert(content(ages.young).certificate.decode())
    ends.close()


def test_one_context_as_long_as_it_is_up(stores: List[Store], ages: Ages) -> None:
    """The CA comes from several places."""
    board = Board(stores)
    stores[0].write_state(State(shown=shown(TLS_ALPN_01, pem=pem_of(ages))))
    first = board.context("w.test")
    assert board.context("w.test") is first
    old = content(ages.old)
    stores[0].write_state(State(shown=shown(TLS_ALPN_01, pem=(old.certificate + old.key).decode())))
    second = board.context("w.test")
    assert second is not None and second is not first
    stores[0].write_state(State())
    assert board.context("w.test") is None


@pytest.mark.parametrize("pem", ["", "junk", "-----BEGIN CERTIFICATE-----\n", "PRIVATE KEY-----"])
def test_a_damaged_certificate_is_none(stores: List[Store], lines: Lines, pem: str) -> None:
    stores[0].write_state(State(shown=Shown(challenge(TLS_ALPN_01), pem)))
    assert Board(stores).context("w.test") is None
    line, = lines()
    assert line.startswith("W: acme: w.test: the challenge cannot be shown: ")


def test_one_that_cannot_even_be_pem_is_not_shown(stores: List[Store], lines: Lines) -> None:
    stores[0].write_state(State(shown=Shown(challenge(TLS_ALPN_01), "\u00e4")))
    assert Board(stores).context("w.test") is None
    assert lines() == []


def test_http_01_is_no_reason_for_a_context(stores: List[Store], ages: Ages) -> None:
    stores[0].write_state(State(shown=shown(HTTP_01, pem=pem_of(ages))))
    assert Board(stores).context("w.test") is None


# In a vhost.


class Site:
    """A vhost, as a configuration makes it, which asks for a certificate."""

    def __init__(self, folder: Path, home: Path, *mounts: Dict[str, Any], **keys: Any) -> None:
        options = {"auth-path": f"{home}/account.pem", "cert-path": f"{home}/cert.pem",
                   "key-path": f"{home}/key.pem", "directory-url": "https://ca.test/dir",
                   "common-name": "w.test", "email": "a@w.test"}
        protocols: List[Dict[str, Any]] = [{"lws-acme-client": options}]
        named = {key.replace("_", "-"): value for key, value in keys.items()}
        self.bench = Bench(folder, {"mounts": list(mounts), **named, "ws-protocols": [
            *protocols, *named.get("ws-protocols", [])]})
        mount = self.bench.vhosts().default.routes.match(WELL_KNOWN)
        assert mount is not None and isinstance(mount.handler, ChallengeHandler)
        self.store, = self.stores = mount.handler._board._stores
        self.store.write_state(State(shown=shown()))

    def get(self, target: str, *fields: str) -> Answer:
        """The answer on a connection of its own."""
        return self.bench.connect().get(target, *fields)

    def ask(self, method: str, target: str, *fields: str) -> Answer:
        """The same by another method."""
        lines = (f"{method} {target} HTTP/1.1", "Host: localhost", *fields)
        return self.bench.connect().ask("\n".join(lines), method)

    def close(self) -> None:
        """End it."""
        self.bench.close()
        del self.bench      # with what its mounts have open
        for store in self.stores:
            store.close()


@pytest.fixture(params=["files", "redirect", "auth", "nothing", "well-known"])
def site(request: pytest.FixtureRequest, tmp_path: Path, home: Path, _nothing_left: None) -> Iterator[Site]:
    """With a mount of each of these kinds below the challenges."""
    www = tmp_path / "www"
    (www / WELL_KNOWN[1:]).mkdir(parents=True)
    (www / WELL_KNOWN[1:] / "own.txt").write_text("own")
    (tmp_path / "pw").write_text("joe:secret\n")
    (tmp_path / "pw").chmod(0o600)
    mounts = {"files": [file_mount("/", www)], "redirect": [{"mountpoint": "/", "origin": ">https://x.test"}],
              "auth": [file_mount("/", www, basic_auth=f"{tmp_path}/pw")], "nothing": [],
              "well-known": [file_mount(WELL_KNOWN, www / WELL_KNOWN[1:])]}
    made = Site(tmp_path, home, *mounts[request.param])
    yield made
    made.close()


@pytest.fixture
def all_lines(lines: Lines) -> Iterator[Lines]:
    """Lines of the log, those for who looks closely as well."""
    log.set_level(log.DEFAULT_MASK | log.INFO)
    yield lines
    log.set_level(log.DEFAULT_MASK)


SAID = "acme: 192.0.2.7 has asked for the challenge of localhost"


def test_answered_before_all_mounts(site: Site, all_lines: Lines) -> None:
    answer = site.get(TOKEN)
    assert (answer.status, answer.body) == (200, AUTHORIZATION.encode())
    assert answer.get("content-type") == "application/octet-stream"
    assert [line for line in all_lines() if "challenge" in line] == [f"I: {SAID}"]
    head = site.ask("HEAD", TOKEN)
    assert (head.status, head.get("content-length")) == (200, str(len(AUTHORIZATION)))


def test_everybody_may_ask_so_nothing_is_said_of_it(site: Site, lines: Lines) -> None:
    """Not to who looks at his log as it comes: whoever has seen a token once can fill it."""
    assert site.get(TOKEN).status == 200
    assert not [line for line in lines() if "challenge" in line]


def test_not_any_more_when_it_is_taken_away(site: Site) -> None:
    peer = site.bench.connect()
    for _ in range(3):
        assert peer.get(TOKEN).body == AUTHORIZATION.encode()
    site.store.write_state(State())
    assert AUTHORIZATION.encode() not in peer.get(TOKEN).body
    site.store.write_state(State(shown=shown()))
    assert site.get(TOKEN).body == AUTHORIZATION.encode()


BELOW: Dict[str, Tuple[int, int]] = {
    # of a file that is there, of one that is not
    "files": (200, 404), "redirect": (301, 301), "auth": (401, 401), "nothing": (404, 404),
    "well-known": (200, 404)}


def test_all_else_is_for_the_mount_below(site: Site, request: pytest.FixtureRequest) -> None:
    there, missing = BELOW[request.node.callspec.params["site"]]
    answer = site.get(f"{WELL_KNOWN}/own.txt")
    assert answer.status == there
    assert (answer.body == b"own") == (there == 200)
    for target in (f"{WELL_KNOWN}/unknown", f"{TOKEN}/x", f"{TOKEN}x", f"{WELL_KNOWN}/x/token_-1",
                   f"{WELL_KNOWN}/%C3%B6", "/.well-known/acme-challengex/token_-1"):
        answer = site.get(target)
        assert answer.status == missing
        assert AUTHORIZATION.encode() not in answer.body
    for target in (WELL_KNOWN, f"{WELL_KNOWN}/"):
        assert site.get(target).status in (missing, 301, 403, 404)


def test_other_methods_are_for_the_mount_below(site: Site, request: pytest.FixtureRequest) -> None:
    kind = request.node.callspec.params["site"]
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = site.ask(method, TOKEN, "Content-Length: 0")
        assert AUTHORIZATION.encode() not in answer.body
        assert answer.status == {"auth": 401, "nothing": 404}.get(kind, answer.status)
        assert answer.status >= 300 or method == "OPTIONS"


def test_the_token_in_other_words(site: Site) -> None:
    """As any path: normalised, without its query."""
    for target in (f"{WELL_KNOWN}/x/../token_-1", f"{WELL_KNOWN}//token_-1", f"{WELL_KNOWN}/%74oken_-1",
                   f"{TOKEN}?x=y", f"http://localhost{TOKEN}"):
        assert site.get(target).body == AUTHORIZATION.encode()


def test_a_fault_below_is_a_fault_there(site: Site) -> None:
    mount = site.bench.vhosts().default.routes.match("/")
    if mount is None:
        return
    mount.handler = Faulty(ZeroDivisionError("below"))
    assert site.get(f"{WELL_KNOWN}/unknown").status == 500
    assert site.get(TOKEN).status == 200


class Upgradable(Handler):
    """Takes WebSockets for itself."""

    def begin(self, exchange: Exchange) -> None:
        """Say where it is."""
        mount = exchange.mount
        assert mount is not None
        exchange.respond(200, [], f"{mount.prefix} {exchange.rest}".encode())

    def takes_upgrade(self, exchange: Exchange) -> bool:
        """Yes."""
        return True


@pytest.fixture
def speaking(tmp_path: Path, home: Path, _nothing_left: None) -> Iterator[Site]:
    """With a protocol for WebSockets, and files."""
    (tmp_path / "www").mkdir()
    made = Site(tmp_path, home, file_mount("/", tmp_path / "www"), ws_protocols=[{"lws-echo": {}}])
    yield made
    made.close()


def test_websockets_are_opened_as_ever(speaking: Site) -> None:
    for target in (f"{WELL_KNOWN}/x", TOKEN, "/"):
        assert asked(speaking.bench.connect(), target).status == 101


def test_a_mount_below_that_takes_websockets(speaking: Site) -> None:
    mount = speaking.bench.vhosts().default.routes.match("/")
    assert mount is not None
    mount.handler = Upgradable()
    answer = asked(speaking.bench.connect(), f"{WELL_KNOWN}/x")
    assert (answer.status, answer.body) == (200, f"{mount.prefix} {WELL_KNOWN}/x".encode())


def test_no_certificate_no_handler(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"mounts": []})
    assert bench.vhosts().default.routes.match(WELL_KNOWN) is None
    bench.close()
