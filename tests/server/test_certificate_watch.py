"""Certificates whose files change while they are served: what is in force is seen by handshakes."""

from __future__ import annotations

import gc
import os
import shutil
import ssl
import threading
import weakref
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from lwsws.server.certificates import DAY, LOOK_SECONDS, CertificateWatch
from tests.server.certificate_site import QUEUE_LIMIT, Site
from tests.support.certificates import Certificates, Pair, make_certificate, openssl
from tests.support.handshake import shake

no_root = pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")

@pytest.fixture
def site(tmp_path: Path, certificates: Certificates) -> Iterator[Site]:
    """One vhost a.test with the certificate of that name."""
    site = Site(tmp_path, certificates)
    site.put(certificates.a)
    yield site
    site.close()


Lines = Callable[[], List[str]]


@pytest.fixture
def lines(capfd: pytest.CaptureFixture[str]) -> Lines:
    """What was logged since the last call, without the time."""
    return lambda: [line.partition("] ")[2] for line in capfd.readouterr().err.splitlines()]


def der(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.cert.read_text())


# New files.


def test_without_a_change_nothing_happens(site: Site, lines: Lines) -> None:
    context = site.start().context
    site.look()
    site.check_now()
    assert site.vhosts[0].context is context
    assert lines() == []


def test_a_new_pair_is_for_new_connections(site: Site, lines: Lines) -> None:
    tls = site.start()
    old = tls.context
    assert old is not None
    site.put(site.made.b)
    site.look(LOOK_SECONDS - 1)
    assert site.served() == der(site.made.a)
    site.look(1)
    assert site.served() == der(site.made.b)
    assert tls.context is not old
    assert tls.certificate is not None
    assert tls.certificate.names == ("b.test",)
    line, = lines()
    assert line.startswith("N: TLS of a.test: new connections get the new certificate in "
                           f"{site.folder}/a.test.crt, valid until ")
    site.look()
    assert lines() == []


def test_looked_at_when_asked(site: Site) -> None:
    site.start()
    site.put(site.made.b)
    site.check_now()
    assert site.served() == der(site.made.b)


def test_looked_at_again_and_again(site: Site) -> None:
    site.start()
    for pair in (site.made.b, site.made.a, site.made.b):
        site.put(pair)
        site.look()
        assert site.served() == der(pair)


def test_a_new_authority_counts(site: Site, tmp_path: Path) -> None:
    shutil.copy(site.made.ca.cert, tmp_path / "ca")
    config = site.config()._replace(host_ssl_ca=str(tmp_path / "ca"), client_cert_required=True)
    tls = site.start(config)
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname = False
    stranger.verify_mode = ssl.CERT_NONE
    stranger.load_cert_chain(site.made.stranger.cert, site.made.stranger.key)
    for content, failure in ((site.made.ca, "CERTIFICATE_VERIFY_FAILED"),
                             (Pair(site.made.folder / "other-ca.crt", site.made.ca.key), "")):
        shutil.copy(content.cert, tmp_path / "ca")
        site.look()
        assert tls.context is not None
        ends = shake(tls.context, stranger)
        ends.close()
        assert ends.failure == failure


def test_a_half_replaced_pair_waits_for_its_other_half(site: Site, lines: Lines) -> None:
    context = site.start().context
    site.put(site.made.b, key=False)
    site.look()
    assert site.vhosts[0].context is context
    line, = lines()
    assert line == (f"E: TLS of a.test: '{site.folder}/a.test.key' is not the key of the certificate in "
                    f"'{site.folder}/a.test.crt'; the certificate in use stays")
    site.look()
    assert lines() == []
    site.put(site.made.b, cert=False)
    site.look()
    assert site.served() == der(site.made.b)
    assert len(lines()) == 1


def test_taken_back_is_no_fault_for_long(site: Site, lines: Lines) -> None:
    site.start()
    site.put(site.made.b, key=False)
    site.look()
    site.put(site.made.a, key=False)
    site.look()
    assert [line[:3] for line in lines()] == ["E: ", "N: "]
    assert site.served() == der(site.made.a)


def unlink_certificate(site: Site) -> None:
    (site.folder / "a.test.crt").unlink()


def unlink_key(site: Site) -> None:
    (site.folder / "a.test.key").unlink()


def empty_certificate(site: Site) -> None:
    (site.folder / "a.test.crt").write_bytes(b"")


def garble_key(site: Site) -> None:
    text = site.made.a.key.read_text()
    (site.folder / "a.test.key").write_text(text[:60] + "AAAA" + text[64:])


def encrypt_key(site: Site) -> None:
    openssl("pkey", "-in", str(site.made.a.key), "-aes128", "-passout", "pass:x",
            "-out", str(site.folder / "a.test.key"))


def make_directory(site: Site) -> None:
    unlink_key(site)
    (site.folder / "a.test.key").mkdir()


def let_expire(site: Site) -> None:
    site.put(make_certificate(site.folder, "old", not_after=int(site.wall.time) - 1))


def come_too_early(site: Site) -> None:
    site.put(make_certificate(site.folder, "early", not_before=int(site.wall.time) + DAY))


@pytest.mark.parametrize("spoil, words", [
    (unlink_certificate, "there is no file"), (unlink_key, "there is no file"),
    (empty_certificate, "there is no certificate in"), (garble_key, "is damaged"),
    (encrypt_key, "is encrypted"), (make_directory, "is not a file"),
    (let_expire, "the new certificate has expired on"),
    (come_too_early, "the new certificate is not valid before"),
])
def test_with_a_fault_the_old_pair_stays(site: Site, lines: Lines, spoil: Callable[[Site], None],
                                         words: str) -> None:
    tls = site.start()
    context, certificate = tls.context, tls.certificate
    spoil(site)
    site.look()
    assert (tls.context, tls.certificate) == (context, certificate)
    line, = lines()
    assert line.startswith("E: TLS of a.test: ")
    assert words in line
    assert line.endswith("; the certificate in use stays")
    site.look()
    assert lines() == []
    if (site.folder / "a.test.key").is_dir():
        (site.folder / "a.test.key").rmdir()
    site.put(site.made.b)
    site.look()
    assert site.served() == der(site.made.b)


def test_whoever_asks_is_told_of_a_fault_again(site: Site, lines: Lines) -> None:
    site.start()
    unlink_key(site)
    for _ in range(2):
        site.check_now()
        assert len(lines()) == 1
    site.look()
    assert lines() == []


def test_a_certificate_that_comes_too_early_is_taken_in_time(site: Site) -> None:
    site.start()
    early = make_certificate(site.folder, "early", not_before=int(site.wall.time) + 90)
    site.put(early)
    site.look()
    assert site.served() == der(site.made.a)
    site.look()
    assert site.served() == der(early)


@pytest.mark.parametrize("spoil", [let_expire, come_too_early])
def test_a_clock_that_was_never_set_says_nothing_of_dates(site: Site, spoil: Callable[[Site], None]) -> None:
    site.start()
    before = site.served()
    spoil(site)
    site.wall.time = 5.0
    site.look()
    assert site.served() != before


@no_root
def test_a_pair_that_only_root_may_read(site: Site, lines: Lines) -> None:
    site.start()
    site.put(site.made.b)
    (site.folder / "a.test.key").chmod(0)
    site.look()
    line, = lines()
    assert f"cannot read '{site.folder}/a.test.key': Permission denied. The new files can be loaded" in line
    (site.folder / "a.test.key").chmod(0o600)
    site.look()
    assert site.served() == der(site.made.b)


def test_the_first_pair_may_come_later(site: Site, lines: Lines) -> None:
    unlink_key(site)
    tls = site.start(site.config()._replace(ignore_missing_cert=True))
    site.look()
    assert tls.context is None
    assert lines() == []
    site.put(site.made.b, cert=False)
    site.look()
    line, = lines()
    assert "is not the key" in line
    assert line.endswith("; there is no TLS for it yet")
    site.put(site.made.b)
    site.look()
    assert site.served() == der(site.made.b)


def test_each_vhost_gets_its_own(site: Site, lines: Lines) -> None:
    for name in ("b.test", "c.test"):
        site.put(site.made.b, name)
    site.start(*(site.config(name) for name in ("a.test", "b.test", "c.test")))
    site.put(site.made.b)
    site.put(site.made.a, "b.test")
    site.put(site.made.a, "c.test", key=False)
    site.look()
    served = [site.served(tls) for tls in site.vhosts]
    assert served == [der(site.made.b), der(site.made.a), der(site.made.b)]
    assert [line.partition(": n")[0].partition(": '")[0] for line in lines()] == [
        "N: TLS of a.test", "N: TLS of b.test", "E: TLS of c.test"]


# The workers.


def test_busy_workers_are_asked_again_at_the_next_look(site: Site, lines: Lines) -> None:
    site.start()
    site.put(site.made.b)
    site.hold_worker()
    site.fill_queue()
    assert site.watch is not None
    site.watch.check_now()
    site.release.set()
    site.settle()
    assert site.served() == der(site.made.a)
    assert lines() == []
    site.look()
    assert site.served() == der(site.made.b)


def test_one_at_a_time_is_loaded(site: Site) -> None:
    """So that many vhosts with one certificate leave the workers to others, too."""
    site.put(site.made.b, "b.test")
    site.start(site.config(), site.config("b.test"))
    site.put(site.made.b)
    site.put(site.made.a, "b.test")
    site.hold_worker()
    assert site.watch is not None
    site.watch.check_now()
    site.watch.check_now()
    assert site.fill_queue() == QUEUE_LIMIT - 1
    site.release.set()
    site.settle()
    site.look()
    assert [site.served(tls) for tls in site.vhosts] == [der(site.made.b), der(site.made.a)]


def test_a_fault_of_ours_changes_nothing(site: Site, lines: Lines) -> None:
    site.start()
    reactor_thread = threading.get_ident()

    def wall() -> float:
        if threading.get_ident() != reactor_thread:
            raise ZeroDivisionError("on the worker")
        return site.wall()

    watch = CertificateWatch(site.reactor, site.workers, site.vhosts, wall)
    site.put(site.made.b)
    watch.check_now()
    site.settle()
    line, = lines()
    assert "ZeroDivisionError" in line
    assert site.served() == der(site.made.a)
    watch.close()
    site.check_now()
    assert site.served() == der(site.made.b)


def test_nothing_happens_after_the_end(site: Site) -> None:
    tls = site.start()
    context = tls.context
    assert site.watch is not None
    site.put(site.made.b)
    site.hold_worker()
    site.watch.check_now()
    site.watch.close()
    site.release.set()
    site.settle()
    site.look()
    site.check_now()
    assert tls.context is context


def test_nothing_keeps_the_watch_after_the_end(site: Site) -> None:
    site.start()
    site.look()
    assert site.watch is not None
    gone = weakref.ref(site.watch)
    site.watch.close()
    site.watch = None
    gc.collect()
    assert gone() is None


def test_without_vhosts_no_timer_runs(site: Site) -> None:
    watch = CertificateWatch(site.reactor, site.workers, [], site.wall)
    watch.start()
    assert site.reactor.timers.next_at() is None


# Reminders.


def test_an_end_that_comes_near_is_told_of_once_a_day(site: Site, lines: Lines) -> None:
    site.put(make_certificate(site.folder, "short", days=15))
    site.start()
    site.look(DAY - LOOK_SECONDS)
    assert lines() == []
    for days in (13, 12, 11):
        site.look(DAY / 2)
        site.look(DAY / 2)
        line, = lines()
        assert line.startswith(f"W: TLS of a.test: the certificate in {site.folder}/a.test.crt expires in "
                               f"{days} days, on ")
    site.look(20 * DAY)
    line, = lines()
    assert "has expired on" in line


def test_at_the_start_it_is_told_by_others(site: Site, lines: Lines) -> None:
    """Namely by the checks of the configuration, so a minute later it would be told twice."""
    site.put(make_certificate(site.folder, "short", days=3))
    site.start()
    site.look()
    assert lines() == []


def test_a_new_certificate_that_ends_soon_is_told_of_at_once(site: Site, lines: Lines) -> None:
    site.start()
    site.put(make_certificate(site.folder, "short", days=3))
    site.look()
    assert [line[:3] for line in lines()] == ["N: "]
    site.look()
    line, = lines()
    assert "expires in 2 days" in line
    site.look()
    assert lines() == []
