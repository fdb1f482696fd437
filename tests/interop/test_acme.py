"""Certificates from a real ACME server: pebble, strict, which refuses a third of all good nonces."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.support.acme_site import NAMES, AcmeSite, ask
from tests.support.pebble import Pebble
from tests.support.programs import give_up
from tests.support.server import free_ports, is_free
from tests.support.waiting import wait_until

# What the log says of each order.
ASKING = ": asking https://"
KID, SECRET = "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


def start_ca(folder: Path, **keys: Any) -> Pebble:
    """A CA, to be used in `with`, that looks at two free ports."""
    http_port, tls_port = free_ports(2)
    return Pebble(folder / "pebble", http_port=http_port, tls_port=tls_port, **keys)


def make(folder: Path, ca: Pebble, challenge: str = "http-01", **options: str) -> AcmeSite:
    """A site that asks `ca`, which looks where the site listens."""
    site = AcmeSite(folder / "site", ca.directory_url, ca.ca_file, challenge=challenge, **options)
    site.http_port, site.tls_port = ca.http_port, ca.tls_port
    return site


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01", "dns-01"])
def test_the_first_certificate(folder: Path, challenge: str) -> None:
    """For two names, by two processes in a sandbox that have given up root, while the files are root's."""
    with start_ca(folder, authz_reuse=0) as ca:
        site = make(folder, ca, challenge)
        site.settings.update(count_processes=2, sandbox="1")
        if challenge == "dns-01":
            ca.directory.chmod(0o777)
            site.change(dns_hook=str(ca.hook_script(folder / "hook")))
            site.settings["sandbox_write"] = [str(ca.directory)]
        with site.server() as server:
            site.wait_for_certificate(server)
            wait_until(lambda: server.log().count("get the new certificate") == 2, "both processes have it")
            assert {site.served().names for _ in range(10)} == {NAMES}
            first = site.served_der()
            assert site.state().shown is None and site.state().failures == 0
            modes = {stat.S_IMODE(path.stat().st_mode) for path in site.private.iterdir()}
            assert modes == {0o600}
            if os.getuid() == 0:
                assert not site.certificate.exists() and b"BEGIN CERTIFICATE" in site.upd()
        if challenge == "dns-01":
            told = [(call[0], call[1]) for call in ca.hook_calls()]
            assert sorted(told) == [(verb, f"_acme-challenge.{name}.")
                                    for verb in ("cleanup", "present") for name in NAMES]
        requests = ca.log().count("POST /order-plz")
        with site.server() as server:
            # The next start puts it in its place, and asks for nothing.
            wait_until(lambda: site.upd() == b"", "the promotion")
            assert site.served_der() == first and b"BEGIN CERTIFICATE" in site.certificate.read_bytes()
            assert b"PRIVATE KEY" in site.key.read_bytes()
            wait_until(lambda: site.state().window_of, "the question when to renew")
            assert ASKING not in server.log()
        assert ca.log().count("POST /order-plz") == requests


def test_a_wildcard_by_dns_01(folder: Path) -> None:
    """The name and the wildcard above it share one TXT record, which the hook can only set or clear."""
    with start_ca(folder, authz_reuse=0) as ca:
        ca.directory.chmod(0o777)
        site = make(folder, ca, "dns-01", dns_hook=str(ca.hook_script(folder / "hook")),
                    common_name="*.w.test", alt_names="w.test")
        with site.server() as server:
            site.wait_for_certificate(server)
            assert set(site.served("a.test").names) == {"*.w.test", "w.test"}


def test_port_80_is_opened_for_challenges_alone(folder: Path) -> None:
    """Where no vhost listens there, and we may."""
    if os.getuid() != 0:
        give_up("port 80 needs root")
    wait_until(lambda: is_free(80), "port 80 to be free", 60)
    with Pebble(folder / "pebble", http_port=80) as ca:
        site = AcmeSite(folder / "site", ca.directory_url, ca.ca_file)
        with site.server() as server:
            site.wait_for_certificate(server)
            assert site.served().names == NAMES
            assert b" 404 " in ask(80, "/", "a.test")
            # A reload that has a vhost there takes it over.
            site.http_port = 80
            site.configure()
            server.reload()
            wait_until(lambda: b" 401 " in ask(80, "/", "a.test"), "the new vhost")


def test_an_external_account(folder: Path) -> None:
    """A CA that knows its customers: without the two options it says so, with them it gives a certificate."""
    with start_ca(folder, eab=(KID, SECRET)) as ca:
        site = make(folder, ca)
        with site.server() as server:
            server.wait_for("eab-kid")
        site.change(eab_kid=KID, eab_hmac=SECRET)
        # Other settings, so what failed is tried at once.
        with site.server() as server:
            site.wait_for_certificate(server)
            assert site.served().names == NAMES
            assert SECRET not in server.log()


def test_a_ca_that_is_down(folder: Path) -> None:
    """The site is served with a placeholder, and gets its certificate once the CA is back."""
    with start_ca(folder) as ca:
        site = make(folder, ca)
        ca.stop()
        with site.server() as server:
            server.wait_for("trying again in 5 s")
            wait_until(site.is_open, "a placeholder")
            assert site.served().names == NAMES
            assert b" 401 " in ask(site.http_port, "/x", "a.test")
            server.kill()
        ca.start()
        with site.server() as server:
            # It was killed before it could say that it failed.
            site.wait_for_certificate(server)


def test_challenges_come_before_all_else(folder: Path) -> None:
    """What is no challenge gets what the mount below it says."""
    with start_ca(folder) as ca:
        site = make(folder, ca)
        with site.server() as server:
            site.wait_for_certificate(server)
            for target in ("/", "/.well-known/acme-challenge/unknown", "/.well-known/acme-challenge/"):
                assert b" 401 " in ask(site.http_port, target, "a.test").split(b"\r\n")[0]


def test_an_invalid_order(folder: Path) -> None:
    """The CA looks elsewhere: why there is no certificate stands in the log, the next try is in an hour, and
    neither a reload nor a restart makes it sooner."""
    with start_ca(folder, authz_reuse=0) as ca:
        site = make(folder, ca)
        site.http_port, = free_ports(1)
        with site.server() as server:
            server.wait_for("no certificate: http-01 has failed for ", 60)
            server.wait_for("the next try is on")
            state = site.state()
            assert state.failures == 1 and "connection" in state.error and state.shown is None
            assert 3500 < state.next_try - state.tried < 4000
            server.reload()
            assert site.command("status").returncode == 1
            assert "http-01 has failed for" in site.command("status").stdout
        with site.server() as server:
            wait_until(site.is_open, "a placeholder")
            done = site.command("renew-now", "a.test")      # has the server look, so it has looked before
            assert done.returncode == 1 and "http-01 has failed for" in done.stderr
            assert server.log().count(ASKING) == 1 and "as asked for" in server.log()
            assert site.state().failures == 2


def test_a_reload_while_an_order_is_under_way(folder: Path) -> None:
    """The process that has begun goes on to the end, the new one answers the CA and serves what comes."""
    with start_ca(folder, authz_reuse=0, va_sleep=2) as ca:
        site = make(folder, ca)
        with site.server() as server:
            wait_until(lambda: site.state().shown, "a challenge", 30)
            server.reload()
            wait_until(lambda: "there is a new certificate" in server.log(), "a certificate", 60)
            server.wait_for("get the new certificate")
            assert site.served().names == NAMES and b"Pebble" in site.served_der()
            wait_until(lambda: len(server.generations()) == 1, "the end of the old process")
            assert server.log().count(ASKING) == 1


def test_vhosts_that_share_the_files(folder: Path) -> None:
    """They get the certificate as well, whether they ask for one or not."""
    with start_ca(folder) as ca:
        site = make(folder, ca)
        (other,) = free_ports(1)
        site.more = [site.tls_vhost("b.test"), site.tls_vhost("c.test", other)]
        with site.server() as server:
            site.wait_for_certificate(server)
            wait_until(lambda: server.log().count("get the new certificate") == 3, "all vhosts")
            served = {site.served_der("a.test"), site.served_der("b.test"), site.served_der("c.test", other)}
            assert len(served) == 1


def test_a_torn_certificate_is_left_alone(folder: Path) -> None:
    """Cut short by a power failure, as it might be: the one that is there goes on."""
    with start_ca(folder) as ca:
        site = make(folder, ca)
        with site.server() as server:
            site.wait_for_certificate(server)
        with site.server() as server:
            wait_until(lambda: site.upd() == b"", "the promotion")
            first = site.served_der()
            assert site.command("renew-now").returncode == 0
            site.wait_for_certificate(server)
            assert site.served_der() != first
        upd = Path(f"{site.certificate}.upd")
        upd.write_bytes(upd.read_bytes()[:700])
        with site.server() as server:
            server.wait_for("is of no use, and left alone")
            assert site.served_der() == first


def test_files_that_cannot_be_written(folder: Path) -> None:
    """The log says which, and all else is served."""
    with start_ca(folder) as ca:
        site = make(folder, ca)
        site.private.chmod(0o777)
        with site.server() as server:
            server.wait_for("chmod go-w")
            assert b" 401 " in ask(site.http_port, "/", "a.test")
            assert ASKING not in server.log()
        site.private.chmod(0o700)
        os.rename(site.private, folder / "elsewhere")
        with site.server() as server:
            server.wait_for("there is no directory")
            assert b" 401 " in ask(site.http_port, "/", "a.test")


def test_options_that_are_not_sound_any_more(folder: Path) -> None:
    """A misspelled word costs the next renewal, and not the certificate that waits."""
    with start_ca(folder) as ca:
        site = make(folder, ca)
        with site.server() as server:
            site.wait_for_certificate(server)
            first = site.served_der()
        site.change(email="nobody")
        with site.server() as server:
            server.wait_for("is no address for e-mail")
            assert site.served_der() == first and site.upd() == b""
            assert ASKING not in server.log()
