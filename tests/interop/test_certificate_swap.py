"""Certificates renewed while clients come and go: no request fails, and a bad renewal changes nothing."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import ssl
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from tests.interop.conftest import Serve
from tests.support.certificates import DAY, Certificates, Pair, make_certificate
from tests.support.client import Client
from tests.support.procfs import fd_count, idle_fds
from tests.support.programs import give_up
from tests.support.server import Server, file_mount, site_server
from tests.support.tls_peer import client_context
from tests.support.tls_site import connect_tls, tls_keys
from tests.support.waiting import wait_until

PAGE = b"<p>page</p>"
CLIENTS = 3
SWAPS = 6
# How many clients must have met each certificate before the next one comes.
MEETINGS = 10
NOBODY = 65534

NEW = "new connections get the new certificate"


class Files:
    """Certificate and key of a site, in a folder with its page, and those that come in their place."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.html").write_bytes(PAGE)
        self.folder = folder
        self.ca = certificates.ca
        self.pair = Pair(folder / "site.crt", folder / "site.key")
        # With the common names "one" and "two", by which clients tell them apart.
        self.one, self.two = self.make("one"), self.make("two")
        self.put(self.one)

    def make(self, name: str, **details: Any) -> Pair:
        """A good pair, unless `details` say otherwise."""
        made = self.ca.cert.parent / self.folder.name
        made.mkdir(exist_ok=True)
        return make_certificate(made, name, ["localhost"], self.ca, **details)

    def put(self, pair: Pair, cert: bool = True, key: bool = True) -> None:
        """Replace the files, or one of them, as a renewal does it."""
        for wanted, source, target in zip((cert, key), pair, self.pair):
            if wanted:
                shutil.copy(str(source), str(self.folder / "new"))
                (self.folder / "new").replace(target)

    @property
    def vhosts(self) -> List[Dict[str, Any]]:
        """The one vhost, as configured."""
        return [{"mounts": [file_mount(self.folder)], **tls_keys(self.pair)}]

    def meet(self, server: Server) -> str:
        """The common name that a new client meets when it gets the page."""
        with Client(connect_tls(server, client_context(self.ca))) as client:
            assert client.get().body == PAGE
            return common_name(client)


def common_name(client: Client) -> str:
    """That of the certificate which `client` has met."""
    assert isinstance(client.sock, ssl.SSLSocket)
    subject: Any = (client.sock.getpeercert() or {})["subject"]
    return str(dict(pair for names in subject for pair in names)["commonName"])


def renew(server: Server) -> None:
    """Tell the server to look at its files."""
    server.process.send_signal(signal.SIGUSR1)


@pytest.fixture
def files(tmp_path: Path, certificates: Certificates) -> Files:
    """Those of the site of a test."""
    return Files(tmp_path / "site", certificates)


class Load:
    """Clients in threads, each of which connects with a full handshake and asks, over and over."""

    def __init__(self, server: Server, ca: Pair) -> None:
        self.met: Counter[str] = Counter()
        self.errors: List[str] = []
        self._server = server
        self._context = client_context(ca)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with Client(connect_tls(self._server, self._context)) as client:
                    answer = client.get()
                    self.met[common_name(client)] += 1
                if (answer.status, answer.body) != (200, PAGE):
                    self.errors.append(f"got {answer}")
            except OSError as error:
                self.errors.append(repr(error))

    def wait_for(self, name: str) -> None:
        """Return when enough clients have met the certificate of this common name, from now on."""
        enough = self.met[name] + MEETINGS
        wait_until(lambda: self.met[name] >= enough or self.errors, f"clients that meet {name}")

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *fault: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_no_request_fails_while_certificates_are_renewed(serve: Serve, files: Files) -> None:
    server = serve(files.vhosts)
    files.put(files.one)
    renew(server)
    server.wait_for(NEW)  # from now on there is a worker
    assert files.meet(server) == "one"
    fds = idle_fds(server.pid, server.port)
    with Client(connect_tls(server, client_context(files.ca))) as old, Load(server, files.ca) as load:
        assert old.get().body == PAGE
        for number in range(SWAPS):
            pair, name = ((files.two, "two"), (files.one, "one"))[number % 2]
            # A signal that comes between the two files finds a pair that does not match.
            files.put(pair, key=False)
            renew(server)
            files.put(pair, cert=False)
            renew(server)
            load.wait_for(name)
        assert (old.get().body, common_name(old)) == (PAGE, "one")  # what is open is not touched
    assert load.errors == []
    assert sum(load.met.values()) >= SWAPS * MEETINGS
    wait_until(lambda: fd_count(server.pid) == fds, "all fds freed")
    assert files.meet(server) == "one"


def lines(server: Server) -> List[str]:
    """What the log says of certificates."""
    return [line for line in server.log().splitlines() if "TLS of localhost" in line]


def has_lines(server: Server, count: int) -> bool:
    """Whether it has said as much."""
    return len(lines(server)) >= count


def test_a_broken_pair_changes_nothing_and_is_worth_one_line(serve: Serve, files: Files) -> None:
    """Each of them; then a good one comes."""
    garbage = files.folder / "garbage"
    garbage.write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    empty = files.folder / "empty"
    empty.write_text("")
    expired = files.make("expired", not_before=1_600_000_000, not_after=1_600_000_000 + 30 * DAY)
    broken = {
        "is damaged": Pair(garbage, files.two.key),
        "is not the key of the certificate": Pair(files.two.cert, files.one.key),
        "there is no certificate in": Pair(empty, files.one.key),
        "there is no private key in": Pair(files.two.cert, empty),
        "has expired on": expired,
    }
    server = serve(files.vhosts)
    for count, (words, pair) in enumerate(broken.items(), 1):
        files.put(pair)
        renew(server)
        wait_until(functools.partial(has_lines, server, count), f"a line for {words}")
        assert files.meet(server) == "one"
        assert len(lines(server)) == count
        assert words in lines(server)[-1] and "; the certificate in use stays" in lines(server)[-1]
    files.put(files.two)
    renew(server)
    wait_until(lambda: files.meet(server) == "two", "the new certificate")
    assert NEW in lines(server)[-1]


def test_files_that_are_gone_change_nothing(serve: Serve, files: Files) -> None:
    server = serve(files.vhosts)
    for path in files.pair:
        path.unlink()
    renew(server)
    wait_until(lambda: has_lines(server, 1), "a line")
    assert files.meet(server) == "one"
    files.put(files.two)
    renew(server)
    wait_until(lambda: files.meet(server) == "two", "the new certificate")


def test_the_first_certificate_comes_while_it_runs(serve: Serve, files: Files) -> None:
    """As with a program that gets certificates, which needs a server for that."""
    for path in files.pair:
        path.unlink()
    (vhost,) = files.vhosts
    server = serve([{**vhost, "ignore-missing-cert": "1"}])
    with pytest.raises(ssl.SSLError, match="INTERNAL_ERROR"):
        files.meet(server)
    files.put(files.two)
    renew(server)
    server.wait_for(NEW)
    assert files.meet(server) == "two"


@pytest.fixture
def open_files(certificates: Certificates) -> Iterator[Files]:
    """Files in a folder that the user nobody may enter, which pytest's own are not."""
    if os.getuid() != 0:
        give_up("only root has privileges to give up")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Files(Path(name), certificates)


def test_a_key_that_only_root_may_read(open_files: Files) -> None:
    """Without a parent that reads it (see test_process_rights.py) it is read at the start; one that comes
    later cannot be, until it is allowed to the server's user."""
    with site_server(open_files.folder / "conf", open_files.vhosts, uid=NOBODY, gid=NOBODY,
                     arguments=["-f"]) as server:
        meet_a_key_of_root(server, open_files)


def meet_a_key_of_root(server: Server, files: Files) -> None:
    """What becomes of it when it is renewed."""
    assert files.pair.key.stat().st_mode & 0o077 == 0
    assert files.meet(server) == "one"
    files.put(files.two)
    renew(server)
    wait_until(lambda: has_lines(server, 1), "a line")
    (line,) = lines(server)
    for words in (str(files.pair.key), "Permission denied", "by a restart", f"user {NOBODY} may read them",
                  f"chgrp {NOBODY} and chmod g+r", "the certificate in use stays"):
        assert words in line
    assert files.meet(server) == "one"
    os.chown(str(files.pair.key), 0, NOBODY)
    files.pair.key.chmod(0o640)
    renew(server)
    wait_until(lambda: files.meet(server) == "two", "the new certificate")
