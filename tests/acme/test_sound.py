"""What may be served of all that can be in the files of a new certificate, whoever has written them."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import List

import pytest

from lwsws.acme import pending
from lwsws.acme.pending import MAX_CHAIN, Waiting, promote, sound, waiting
from lwsws.acme.settings import DAY, AcmeSettings
from lwsws.acme.store import Pair, Store
from lwsws.net.keeper import OwnKeeper
from lwsws.net.tls_files import TlsError
from lwsws.wire.dates import UNSET_CLOCK, format_date
from tests.acme.support import NAME, Ages, came, content, in_place, put, settings, updates
from tests.acme.talking import tool
from tests.support.certificates import Certificates, make_certificate

KEEPER = OwnKeeper()
WANTED = settings(Path("/a"))
JUNK = b"#!/bin/sh\nrm -rf /\n\0\xff"


def good(pair: Pair, wanted: AcmeSettings = WANTED) -> Waiting:
    """What is sound of `pair`."""
    return sound(pair, wanted, time.time())


def fault(pair: Pair, wanted: AcmeSettings = WANTED) -> str:
    """Why nothing is."""
    with pytest.raises(TlsError) as raised:
        good(pair, wanted)
    return str(raised.value)


@pytest.fixture
def young(ages: Ages) -> Pair:
    """A good one."""
    return content(ages.young)


def test_as_it_is(young: Pair) -> None:
    found = good(young)
    assert found.pair == young
    assert found.held.certificate.names == (NAME,)
    assert found.held.identifier.count(".") == 1


# Nothing but PEM.


@pytest.mark.parametrize("before", [b"", JUNK, b"subject=/CN=x\n", b"-----BEGIN CERTIFICATE-----\n"])
@pytest.mark.parametrize("after", [b"", JUNK, b"-----BEGIN CERTIFICATE-----\nAAAA", b"\n\n -----END X-----"])
def test_what_is_around_it_is_left_out(young: Pair, before: bytes, after: bytes) -> None:
    if before.startswith(b"-----"):
        before += b"AA$A\n"
    found = good(Pair(before + young.certificate + after, young.key))
    assert found.pair == young
    key_before = before.replace(b"CERTIFICATE", b"PRIVATE KEY")
    key_after = after.replace(b"CERTIFICATE", b"PRIVATE KEY")
    assert good(Pair(young.certificate, key_before + young.key + key_after)).pair == young


def test_lines_of_other_lengths_and_ends(young: Pair) -> None:
    for change in ((b"\n", b"\r\n"), (b"\n", b" \t\n\n"), (b"-----\n", b"-----\n ")):
        found = good(Pair(young.certificate.replace(*change), young.key.replace(*change)))
        assert found.pair == young


@pytest.mark.parametrize("label", [
    b"X509 CRL", b"TRUSTED CERTIFICATE", b"CERTIFICATE REQUEST", b"EC PARAMETERS", b"DH PARAMETERS",
    b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY"])
def test_blocks_of_other_kinds_are_left_out(young: Pair, label: bytes) -> None:
    block = b"-----BEGIN %s-----\nAAAA\n-----END %s-----\n" % (label, label)
    assert good(Pair(block + young.certificate + block, young.key)).pair == young
    if label != b"PRIVATE KEY":
        assert good(Pair(young.certificate, block + young.key + block)).pair == young


def test_a_key_that_stands_with_the_certificate_is_no_part_of_it(young: Pair) -> None:
    both = young.certificate + young.key
    assert good(Pair(both, both)).pair == young


def test_keys_in_older_formats(young: Pair, certificates: Certificates, tmp_path: Path) -> None:
    older = tool("ec", data=young.key)
    assert older.startswith(b"-----BEGIN EC PRIVATE KEY-----")
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert good(Pair(young.certificate, parameters + older)).pair == Pair(young.certificate, older)
    rsa = content(make_certificate(tmp_path, "rsa", [NAME], certificates.ca, key_type="rsa"))
    old_rsa = rsa.key.replace(b" PRIVATE", b" RSA PRIVATE")     # whatever the tool writes by itself
    try:
        old_rsa = tool("rsa", "-traditional", data=rsa.key)
    except OSError:
        pass
    assert good(Pair(rsa.certificate, old_rsa)).pair.key.startswith(b"-----BEGIN RSA PRIVATE KEY-----")


# How many.


def test_a_chain(young: Pair, certificates: Certificates) -> None:
    issuer = certificates.ca.cert.read_bytes()
    for count in range(MAX_CHAIN):
        chain = young.certificate + issuer * count
        assert good(Pair(chain, young.key)).pair.certificate == chain
    assert "certificate in it" in fault(Pair(young.certificate + issuer * MAX_CHAIN, young.key))


@pytest.mark.parametrize("number", [0, 2, 3])
def test_exactly_one_key(young: Pair, number: int) -> None:
    what = "more than 1" if number else "no whole"
    assert fault(Pair(young.certificate, young.key * number)) == f"there is {what} private key in it"


def test_two_keys_of_different_formats_are_two(young: Pair) -> None:
    older = tool("ec", data=young.key)
    assert "more than 1 private key" in fault(Pair(young.certificate, young.key + older))


def test_none(young: Pair) -> None:
    for data in (b"", JUNK, young.key, young.certificate[:-2], young.certificate[1:],
                 young.certificate.replace(b"END CERTIFICATE", b"END PRIVATE KEY"),
                 young.certificate.replace(b"CERTIFICATE", b"certificate")):
        assert fault(Pair(data, young.key)) == "there is no whole certificate in it"
    for data in (b"", young.certificate, young.key.replace(b"END PRIVATE", b"END EC PRIVATE"),
                 young.key.replace(b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY")):
        assert fault(Pair(young.certificate, data)) == "there is no whole private key in it"


def test_what_does_not_belong_together(ages: Ages) -> None:
    mixed = Pair(content(ages.young).certificate, content(ages.old).key)
    assert "is not the key of the certificate in" in fault(mixed)


def test_a_block_that_is_no_certificate(young: Pair) -> None:
    empty = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    for chain in (empty, empty + young.certificate, young.certificate + empty):
        assert fault(Pair(chain, young.key))


# When, and for whom.


@pytest.mark.parametrize("after, of, is_good", [
    (-DAY, "begin", True), (-DAY - 1, "begin", False), (0, "begin", True), (60 * DAY, "begin", True),
    (0, "end", True), (1, "end", False), (400 * DAY, "end", False), (-700 * DAY, "begin", False)])
def test_in_date(young: Pair, after: float, of: str, is_good: bool) -> None:
    """Clocks are a little late, often: what begins within a day is good."""
    certificate = good(young).held.certificate
    now = (certificate.not_before if of == "begin" else certificate.not_after) + after
    if is_good:
        assert sound(young, WANTED, now).pair == young
        return
    with pytest.raises(TlsError) as raised:
        sound(young, WANTED, now)
    dates = [format_date(each) for each in (certificate.not_before, certificate.not_after)]
    assert str(raised.value) == f"it is good from {dates[0]} until {dates[1]}"


@pytest.mark.parametrize("now", [0.0, 1000.0, UNSET_CLOCK - 1.0])
def test_a_clock_that_was_never_set_says_nothing(young: Pair, now: float) -> None:
    assert sound(young, WANTED, now).pair == young


@pytest.mark.parametrize("names, is_good", [
    ([NAME], True), (["b.test", NAME], True), (["B.TEST"], False), (["b.test"], False), (["a.w.test"], False),
    (["*.test"], False)])
def test_for_one_of_the_names(young: Pair, names: List[str], is_good: bool) -> None:
    """A name more that is wanted since yesterday is no reason to serve the one of before."""
    wanted = settings(Path("/a"), common_name=names[0], alt_names=names[1:], challenge="dns-01",
                      dns_hook="/bin/hook")
    if is_good:
        assert good(young, wanted).pair == young
    else:
        assert fault(young, wanted) == f"it is for {NAME}"


# In place.


class Refusing(OwnKeeper):
    """May not read one file."""

    def __init__(self, path: str, number: int) -> None:
        super().__init__()
        self._path = path
        self._number = number

    def read(self, path: str, limit: int) -> bytes:
        """As ever, but for that one."""
        if path == self._path:
            raise OSError(self._number, os.strerror(self._number), path)
        return super().read(path, limit)


@pytest.mark.parametrize("name", ["cert.pem", "key.pem"])
@pytest.mark.parametrize("number, is_missing", [
    (errno.ENOENT, True), (errno.ENOTDIR, True), (errno.EACCES, False), (errno.EIO, False)])
def test_what_cannot_be_read_is_not_missing(store: Store, ages: Ages, home: Path, name: str, number: int,
                                            is_missing: bool) -> None:
    """So nothing is ordered in its place; but what waits and can be read is better than that."""
    put(store, ages.old)
    keeper = Refusing(f"{home}/{name}", number)
    if is_missing:
        assert pending.in_place(store.settings, keeper.read) is None
    else:
        with pytest.raises(TlsError, match=os.strerror(number)):
            pending.in_place(store.settings, keeper.read)
    store.write_pair(content(ages.young))
    came(store, -20)
    found = waiting(store, keeper, time.time())
    assert found is not None and found.pair == content(ages.young)
    assert waiting(store, KEEPER, time.time()) is None


# At the start.


def left_alone(store: Store) -> str:
    """Why what waits is not put in place, which is said of it."""
    assert waiting(store, KEEPER, time.time()) is None
    is_done, said = promote(store, KEEPER, time.time())
    assert not is_done
    begin = f"{store.settings.cert_path}.upd is of no use, and left alone: "
    assert said.startswith(begin)
    return said[len(begin):]


def test_only_what_is_pem_gets_into_files_that_root_writes(store: Store, young: Pair) -> None:
    for path, data in zip(updates(store), young):
        path.write_bytes(JUNK + data + JUNK)
    found = waiting(store, KEEPER, time.time())
    assert found is not None and found.pair == young
    assert promote(store, KEEPER, time.time())[0]
    assert in_place(store) == young
    assert store.read_pair() == Pair(b"", b"")


def test_what_is_unsound_is_not_put_in_place(store: Store, ages: Ages, certificates: Certificates,
                                             tmp_path: Path) -> None:
    put(store, ages.old)
    old = content(make_certificate(tmp_path, "ended", [NAME], certificates.ca, days=90,
                                   not_before=int(time.time() - 91 * DAY)))
    early = content(make_certificate(tmp_path, "early", [NAME], certificates.ca, days=90,
                                     not_before=int(time.time() + 2 * DAY)))
    other = content(make_certificate(tmp_path, "other", ["b.test"], certificates.ca))
    double = Pair(content(ages.young).certificate, content(ages.young).key * 2)
    for pair, reason in ((old, "it is good from "), (early, "it is good from "), (other, "it is for b.test"),
                         (double, "there is more than 1 private key in it")):
        store.write_pair(pair)
        assert left_alone(store).startswith(reason)
        assert (in_place(store), store.read_pair()) == (content(ages.old), pair)
