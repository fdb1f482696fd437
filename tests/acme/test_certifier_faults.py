"""The certifier where something is not right: clocks, files, disks, and what the CA gives."""

from __future__ import annotations

import errno
import json
import subprocess
from pathlib import Path
from typing import Dict, Iterator, Tuple

import pytest

from lwsws import log
from lwsws.acme.settings import DAY, HOUR, STATE, UPD
from lwsws.net.fetch import FETCH_SECONDS
from lwsws.net.keeper import OwnKeeper
from lwsws.net.regular_file import FileState
from lwsws.wire.base64url import b64url
from tests.acme.certifying import CERTIFICATE, NAMES, NEW_ORDER, Options, World, read_only
from tests.support.certificates import make_certificate
from tests.support.false_ca_answers import (
    Altered,
    Answer,
    Canned,
    bad_nonce,
    closed,
    decode64,
    elsewhere,
    garbage,
    html_error,
    huge,
    never,
    no_chain,
    plain,
    problem,
)
from tests.support.programs import need

MINUTE = 60.0
YEAR = 365 * DAY


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A CA without ARI."""
    with World(tmp_path) as world:
        yield world


def only_one_error(world: World, about: str) -> None:
    """One line, one failure, and the next try in an hour."""
    assert len(world.errors()) == 1 and about in world.errors()[0], world.text()
    asked = len(world.ca.requests)
    world.look(5)
    assert len(world.ca.requests) == asked and len(world.errors()) == 1, world.text()


# Clocks.


def test_a_clock_that_was_never_set(world: World) -> None:
    """As on small boards without a battery: it says so once, and waits."""
    now, world.wall.time = world.wall(), 1000.0
    process = world.start()
    world.look(5)
    assert world.ca.requests == [] and len(world.lines(log.WARN, "waiting for the clock")) == 1
    assert process.served() is not None
    world.at(now)
    assert process.serves(world.ca.issued[0].chain)


def test_a_clock_that_is_set_back(world: World) -> None:
    """A certificate that does not hold yet is no reason for another one; time goes on from there."""
    process = world.first()
    at = process.usual_time()
    world.days(-30)
    world.look()
    assert world.orders() == 1
    world.at(at)
    assert world.orders() == 2 and world.errors() == []


def test_a_failure_while_the_clock_was_far_ahead(world: World) -> None:
    """The CA's own certificate has ended then, as far as we can tell; once the clock is right, the next try
    is not a year away."""
    now = world.wall()
    world.wall.time = now + 5 * YEAR
    world.ca.answers["GET", "/dir"] = [problem("malformed", 400)]
    process = world.start()
    world.settle()
    assert process.state.failures == 1
    world.at(now)
    world.days(2)
    assert world.orders() == 1


def test_a_ca_whose_certificates_have_ended_before_they_come(world: World) -> None:
    """Or one that is right while our clock is not: no reason to order one every few seconds."""
    world.ca.clock = lambda: world.wall() - 100 * DAY
    world.start()
    world.settle()
    for _ in range(5):
        world.hours(0.1)
    assert world.orders() <= 2


@pytest.mark.parametrize("names", [NAMES, ("old.test",)], ids=["renewed", "other-names"])
def test_a_certificate_that_begins_before_the_one_in_its_place(world: World, names: Tuple[str, ...]) -> None:
    """CAs let theirs begin an hour ago, or this midnight; an administrator's was made a minute ago.  What was
    ordered is what is served, and nothing is ordered twice."""
    world.ca.clock = lambda: world.wall() - HOUR
    begin = int(world.wall() - MINUTE)
    world.put(make_certificate(world.home.parent, "own", names, world.ca.issuer, days=90, not_before=begin))
    process = world.start()
    world.settle()
    if names == NAMES:
        process.store.write_state(process.state._replace(renew_now=True))
    world.look()
    assert len(world.ca.issued) == 1, world.text()
    assert process.serves(world.ca.issued[0].chain)
    process.close()
    assert world.start().serves(world.ca.issued[0].chain)


# The account key.


def test_an_account_key_of_the_original(world: World) -> None:
    """A JWK, as its plugin writes it: the account goes on to be used, and the file stays."""
    text = subprocess.run([need("openssl"), "ecparam", "-name", "prime256v1", "-genkey", "-noout"],
                          capture_output=True, check=True).stdout
    shown = subprocess.run([need("openssl"), "ec", "-noout", "-text"], input=text, capture_output=True,
                           check=True).stdout.decode()
    private, public = (bytes.fromhex("".join(shown.split(begin)[1].split(end)[0].split()).replace(":", ""))
                       for begin, end in (("priv:", "pub:"), ("pub:", "ASN1")))
    public = public[-64:]
    jwk = {"crv": "P-256", "d": b64url(private[-32:].rjust(32, b"\0")), "kty": "EC", "x": b64url(public[:32]),
           "y": b64url(public[32:])}
    path = Path(world.settings().auth_path)
    path.write_text(json.dumps(jwk))
    process = world.first()
    sent = world.ca.of("POST", "/new-account")[0].protected
    assert sent is not None and sent["jwk"] == {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    assert json.loads(path.read_text()) == jwk and process.serves(world.ca.issued[0].chain)


@pytest.mark.parametrize("content", [
    b"\0\1\2\3" * 50, b'{"kty": "EC"}\n', b"[1, 2]\n", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"],
    ids=["bytes", "jwk", "json", "pem"])
def test_something_else_in_place_of_the_account_key(world: World, content: bytes) -> None:
    """It may be valuable, so it stays as it is, and the CA hears nothing."""
    path = Path(world.settings().auth_path)
    path.write_bytes(content)
    process = world.start()
    world.settle()
    only_one_error(world, "account key")
    assert path.read_bytes() == content and world.ca.requests == []
    assert process.state.failures == 1 and process.served() is not None
    path.unlink()


def test_an_account_key_is_made_once(world: World) -> None:
    world.ca.answers[NEW_ORDER] = [problem("rejectedIdentifier", 403)]
    process = world.start()
    world.settle()
    path = Path(world.settings().auth_path)
    key = path.read_bytes()
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----") and path.stat().st_mode & 0o777 == 0o600
    process.close()
    world.wall.advance(2 * HOUR)
    world.start()
    world.settle()
    assert path.read_bytes() == key
    first, second = (seen.protected for seen in world.ca.of("POST", "/new-account"))
    assert first is not None and second is not None and first["jwk"] == second["jwk"]


# Files that cannot be written.


def test_a_disk_that_takes_no_certificate(world: World) -> None:
    """It says what, and serves on."""
    process = world.first()
    first = world.ca.issued[0].chain
    path = process.store.settings.cert_path + UPD
    read_only(path)
    world.at(process.usual_time())
    only_one_error(world, path)
    assert process.serves(first) and process.state.failures == 1
    process.close()
    world.nothing_left()
    again = world.start()
    world.hours(2)
    assert again.serves(world.ca.issued[-1].chain) and len(world.ca.issued) > 1


@pytest.mark.parametrize("is_first", [True, False])
def test_a_disk_that_takes_no_state(world: World, is_first: bool) -> None:
    """Where nothing can be kept, as on one that the kernel has made read-only: the CA is not asked for
    another order, nor when to renew, every few seconds; nor is the log filled."""
    process = world.start() if is_first else world.first()
    path = process.store.settings.cert_path + STATE
    read_only(path)
    if is_first:
        world.settle()
    else:
        world.at(process.usual_time())
    assert any(path in line for line in world.errors()), world.text()
    asked, said = len(world.ca.requests), len(world.errors())
    world.look(5)
    assert (len(world.ca.requests), len(world.errors())) == (asked, said), world.text()
    assert process.served() is not None


def test_a_disk_that_takes_no_account_key(world: World) -> None:
    process = world.start()
    path = process.store.settings.auth_path
    read_only(path)
    world.settle()
    only_one_error(world, path)
    assert world.ca.requests == [] and process.served() is not None
    process.close()
    world.start()
    world.hours(2)
    assert len(world.ca.issued) == 1


def test_an_account_key_that_was_cut_short(world: World) -> None:
    """By a disk that was full when it was written, or by a loss of power: nobody has opened an account with
    it yet, so it is of no value."""
    path = Path(world.settings().auth_path)
    process = world.start()
    read_only(str(path))
    world.settle()
    process.close()
    key = subprocess.run([need("openssl"), "genpkey", "-algorithm", "EC", "-pkeyopt",
                          "ec_paramgen_curve:P-256"], capture_output=True, check=True).stdout
    path.write_bytes(key[:100])
    world.start()
    world.hours(2)
    assert world.errors() and "account key" in world.errors()[-1]


def test_trust_in_the_ca_that_cannot_be_read(world: World) -> None:
    process = world.start(ca_file=str(world.home / "nothing.pem"))
    world.settle()
    only_one_error(world, "nothing.pem")
    assert world.ca.requests == [] and process.state.failures == 1
    process.close()
    world.nothing_left()


class BusyKeeper(OwnKeeper):
    """As that of a serving process whose parent does not answer in time, for a while."""

    is_busy = False

    def read(self, path: str, limit: int) -> bytes:
        self._look(path)
        return super().read(path, limit)

    def state(self, path: str) -> FileState:
        self._look(path)
        return super().state(path)

    def _look(self, path: str) -> None:
        if self.is_busy and path.endswith((".pem", ".key")):
            raise TimeoutError(errno.ETIMEDOUT, "the parent process does not answer")


@pytest.mark.parametrize("is_waiting", [False, True], ids=["in-place", "waiting"])
def test_a_certificate_that_cannot_be_read_for_a_moment(world: World, is_waiting: bool) -> None:
    """As by a parent that is busy, or where no descriptor is left: that does not mean that there is none."""
    keeper = BusyKeeper()
    if is_waiting:
        world.keep_waiting()
    process = world.add({}, other(world), keeper=keeper)
    world.settle()
    world.look()
    assert len(world.ca.issued) == 2 and process.state.renewed
    keeper.is_busy = True
    world.hours(1.1)
    keeper.is_busy = False
    assert world.orders() == 2, world.text()
    assert world.errors() == [], world.text()
    world.hours(1.1)
    assert world.orders() == 2
    # Nor has it forgotten any.
    world.days(61)
    world.look()    # for the other one
    assert len(world.ca.issued) == 4


def other(world: World) -> Options:
    """The options of a second certificate."""
    return {"common_name": "c.test", "alt_names": None, "cert_path": f"{world.home}/c.pem",
            "key_path": f"{world.home}/c.key"}


# Certificates that are refused.


def issued_for(world: World, names: Tuple[str, ...]) -> str:
    """A certificate for `names`, of the key of the last request."""
    request = world.ca.of("POST", "/finalize")[-1].payload["csr"]
    folder = world.home.parent
    (folder / "last.csr").write_bytes(decode64(request))
    (folder / "last.ext").write_text("subjectAltName=" + ",".join(f"DNS:{name}" for name in names))
    done = subprocess.run([need("openssl"), "x509", "-req", "-inform", "DER", "-in", str(folder / "last.csr"),
                           "-CA", str(world.ca.issuer.cert), "-CAkey", str(world.ca.issuer.key),
                           "-days", "99", "-set_serial", "5", "-extfile", str(folder / "last.ext")],
                          capture_output=True, check=True)
    return done.stdout.decode() + world.ca.issuer.cert.read_text()


def refused(world: World, chain: bytes, about: str) -> None:
    """The renewal fails with `chain`, or one for other names if that is b"", and all is as before."""
    process = world.first()
    first, held = world.ca.issued[0].chain, process.held()
    world.ca.answers[CERTIFICATE] = [no_chain(chain)]
    if not chain:
        world.ca.processing = 1
    world.wall.time = process.usual_time()
    world.hurry(lambda: world.ca.of("POST", "/finalize")[1:], "the request")
    if not chain:
        world.ca.answers[CERTIFICATE] = [no_chain(issued_for(world, NAMES[:1]).encode())]
    world.hurry(lambda: not process.certifier.busy, "the end of the order")
    only_one_error(world, about)
    assert len(world.ca.of(*CERTIFICATE)) == 2 and process.state.failures == 1
    assert process.serves(first) and process.held() == held
    assert process.store.read_pair().certificate == b"" == process.store.read_pair().key
    assert Path(process.store.settings.cert_path).read_text() == first


def test_a_certificate_for_other_names_than_ordered(world: World) -> None:
    refused(world, b"", "the CA's certificate is not for b.test")


def test_a_certificate_of_another_key(world: World) -> None:
    other = world.make("other", ca=world.ca.issuer)
    refused(world, other.cert.read_bytes() + world.ca.issuer.cert.read_bytes(), "key")


@pytest.mark.parametrize("chain", [
    b" ", b"nothing\n", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    b"-----BEGIN CERTIFICATE-----\n\xff\xfe\n", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"],
    ids=["empty", "text", "no-der", "torn", "a-key"])
def test_a_chain_that_is_none(world: World, chain: bytes) -> None:
    refused(world, chain, "no certificate:")


# Answers that are not right, to their end: the server goes on while they are (test_acme_hostile.py).

CASES: Dict[str, Tuple[Tuple[str, str], Answer, str]] = {
    "no json": (("POST", "/authz"), garbage(), "no JSON object"),
    "html": (NEW_ORDER, html_error(), "502"),
    "5 MiB": (NEW_ORDER, huge(), "longer than"),
    "closed": (NEW_ORDER, closed(), "closed without a response"),
    "cut": (NEW_ORDER, Canned(200, {}, b"{" * 100, "cut"), "127.0.0.1"),
    "http order": (NEW_ORDER, Altered({}, {"Location": plain}), "no https:// URL"),
    "http parts": (NEW_ORDER, Altered({"authorizations": lambda urls: [plain(url) for url in urls]}),
                   "no https:// URL"),
    "elsewhere": (NEW_ORDER, Altered({"authorizations": lambda urls: [elsewhere(url) for url in urls]}),
                  "ca.invalid"),
    "no nonce": (NEW_ORDER, bad_nonce(), "badNonce"),
    "file": (("GET", "/dir"), Altered({"newOrder": "file:///etc/passwd"}), "no https:// URL"),
    "numbers": (("GET", "/dir"), Altered({"newOrder": 5}), "newOrder"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_ca_that_is_always_wrong(world: World, case: str) -> None:
    """One line says why, it is tried again in an hour, and then it does."""
    where, answer, about = CASES[case]
    world.ca.answers[where] = [answer] * 200
    process = world.start()
    world.settle(40)
    only_one_error(world, about)
    assert process.state.shown is None and process.served() is not None
    assert about in process.state.error
    del world.ca.answers[where]
    world.hours(2)
    assert process.state.failures == 0 and process.serves(world.ca.issued[-1].chain)


def test_a_ca_that_never_answers(world: World) -> None:
    """Half a minute for each of some tries."""
    world.ca.answers["GET", "/dir"] = [never()] * 4
    process = world.start()
    # Time that is skipped is no time for programs.
    world.until(lambda: process.tls.context is not None, "a placeholder")
    for count in range(1, 5):
        world.until(lambda count=count: len(world.ca.of("GET", "/dir")) == count, "a try")  # type: ignore[misc]
        world.skip(FETCH_SECONDS)
    world.settle()
    only_one_error(world, "within 30 s")
    assert process.state.failures == 1 and process.served() is not None
