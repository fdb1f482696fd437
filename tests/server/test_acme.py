"""What a configuration asks of ACME: its entries, port 80, and files that are opened at the start."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest

from lwsws import log
from lwsws.acme.store import Store
from lwsws.config.loader import parse_text
from lwsws.config.model import Config, VhostConfig
from lwsws.net.keeper import READ, Keeper, OwnKeeper
from lwsws.net.memory_file import has_memory_files
from lwsws.net.openssl import DEFAULT_PATH, find_openssl
from lwsws.server.acme import (
    asked_twice,
    find_certificates,
    has_certificates,
    hidden_tool,
    open_certificates,
    openssl_tool,
    with_challenge_port,
)
from tests.acme.support import NAME, Ages, content, in_place, make_ages, put
from tests.support.certificates import Certificates
from tests.support.docroot import open_fds
from tests.support.programs import need

Lines = Callable[[], List[str]]
needs_root = pytest.mark.skipif(os.getuid() != 0 or not has_memory_files(),
                                reason="needs root, and files in memory")
# Where it stands in its vhost.
ENTRY = "ws-protocols.lws-acme-client"


@pytest.fixture
def lines(capfd: pytest.CaptureFixture[str]) -> Lines:
    """What was logged since the last call, without the time."""
    return lambda: [line.partition("] ")[2] for line in capfd.readouterr().err.splitlines()]


@pytest.fixture(scope="module")
def ages(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Ages:
    """Certificates for w.test."""
    return make_ages(tmp_path_factory.mktemp("ages"), time.time(), certificates.ca)


def entry(home: Path, number: int = 1, **changes: Optional[str]) -> Dict[str, Any]:
    """A vhost that asks for a certificate, with files of its own; `changes` are options, _ for -."""
    options: Dict[str, Optional[str]] = {
        "auth-path": f"{home}/account", "cert-path": f"{home}/c{number}", "key-path": f"{home}/k{number}",
        "directory-url": "https://ca.test/dir", "common-name": f"n{number}.test", "email": "a@w.test"}
    options.update({name.replace("_", "-"): value for name, value in changes.items()})
    sound = {name: value for name, value in options.items() if value is not None}
    return {"name": f"v{number}.test", "port": "443", "ws-protocols": [{"lws-acme-client": sound}]}


def config(*vhosts: Dict[str, Any]) -> Config:
    """A configuration of these."""
    loaded = parse_text(json.dumps({"vhosts": list(vhosts)}), "conf")
    assert loaded.config is not None, loaded.faults
    return loaded.config


# Which ones.


def test_what_is_asked_for(home: Path) -> None:
    found = find_certificates(config(entry(home), {"name": "plain", "port": "80"}, entry(home, 2)))
    assert [each.settings.names for each in found] == [("n1.test",), ("n2.test",)]
    assert [each.vhost.name for each in found] == ["v1.test", "v2.test"]
    assert [each.path for each in found] == [f"vhosts[{number}].{ENTRY}" for number in (0, 2)]
    assert {(each.where.file, each.where.line) for each in found} == {("conf", 1)}


@pytest.mark.parametrize("changes", [{"email": None}, {"cert_path": "x"}, {"directory_url": "http://x"}])
def test_unsound_ones_are_left_out(home: Path, changes: Dict[str, Any]) -> None:
    both = config(entry(home, **changes), entry(home, 2))
    assert [each.settings.name for each in find_certificates(both)] == ["n2.test"]
    assert has_certificates(both)
    assert has_certificates(config(entry(home, **changes)))
    assert asked_twice(both) == []


def test_none(home: Path) -> None:
    none = config({"name": "a", "port": "80", "ws-protocols": [{"lws-echo": {}}]})
    assert not has_certificates(none)
    assert find_certificates(none) == asked_twice(none) == []


def test_the_same_file_twice(home: Path) -> None:
    three = config(entry(home), entry(home, 2, cert_path=f"{home}//x/../c1"), entry(home, 3))
    assert [each.settings.name for each in find_certificates(three)] == ["n1.test", "n3.test"]
    assert [each.settings.name for each in asked_twice(three)] == ["n2.test"]


@pytest.mark.parametrize("changes", [
    {"key_path": "HOME/k1"}, {"key_path": "HOME/c1"}, {"cert_path": "HOME/k1"}, {"auth_path": "HOME/c1"},
    {"cert_path": "HOME/c1.old"}, {"cert_path": "HOME/k1.upd"}, {"key_path": "HOME/c1.acme"},
    {"key_path": "HOME/k1.new"}, {"auth_path": "HOME/k1.upd"}, {"cert_path": "HOME/x/../c1"},
    {"cert_path": "HOME/account", "auth_path": "HOME/a2"},
    {"key_path": "HOME/account", "auth_path": "HOME/a2"}])
def test_another_file_of_an_entry_twice(home: Path, changes: Dict[str, str]) -> None:
    """Each would write what is the other's."""
    mine = {name: path.replace("HOME", str(home)) for name, path in changes.items()}
    both = config(entry(home), entry(home, 2, **mine))
    assert [each.settings.name for each in find_certificates(both)] == ["n1.test"]
    assert [each.settings.name for each in asked_twice(both)] == ["n2.test"]


@pytest.mark.parametrize("changes", [
    {"cert_path": "HOME/c1.x"}, {"key_path": "HOME/k1.acme"}, {"cert_path": "HOME/account.upd"},
    {"auth_path": "HOME/other"}, {"cert_path": "HOME/x/c1"}])
def test_files_that_are_not_the_same(home: Path, changes: Dict[str, str]) -> None:
    mine = {name: path.replace("HOME", str(home)) for name, path in changes.items()}
    assert len(find_certificates(config(entry(home), entry(home, 2, **mine)))) == 2


def test_what_is_left_out_takes_nothing(home: Path) -> None:
    """The third one has a file of the second, which is not served anyway."""
    three = config(entry(home), entry(home, 2, cert_path=f"{home}/c1", auth_path=f"{home}/c3"),
                   entry(home, 3, key_path=f"{home}/k2"))
    assert [each.settings.name for each in find_certificates(three)] == ["n1.test", "n3.test"]
    assert [each.settings.name for each in asked_twice(three)] == ["n2.test"]


def test_one_account_for_several(home: Path) -> None:
    assert len(find_certificates(config(entry(home), entry(home, 2)))) == 2


# Port 80.


def added_to(*vhosts: Dict[str, Any]) -> Tuple[VhostConfig, ...]:
    """The vhosts that are added to these."""
    before = config(*vhosts)
    after, added = with_challenge_port(before, find_certificates(before))
    assert after == before._replace(vhosts=(*before.vhosts, *added))
    return added


TLS = {"host-ssl-cert": "/c", "host-ssl-key": "/k"}


@pytest.mark.parametrize("there", [
    {"name": "x", "port": "80"}, {"name": "x", "port": "80", "interface": "127.0.0.1"},
    {"name": "v1.test", "port": "80", "mounts": []}, {"name": "x", "port": "80", **TLS},
    {"name": "x", "port": "80", "strict-host-check": "0"},
    {"name": "n1.test", "port": "80", "strict-host-check": "1"},
    {"name": "test", "port": "80", "strict-host-check": "1"},
    {"name": "x", "port": "80", "strict-host-check": "1", **TLS}])
def test_none_is_added_where_somebody_has_port_80(home: Path, there: Dict[str, Any]) -> None:
    assert added_to(entry(home), there) == ()
    assert added_to(there, entry(home)) == ()


def test_one_is_added_where_somebody_has_it_at_another_address(home: Path) -> None:
    there = {"name": "x", "port": "80", "interface": "127.0.0.1"}
    added, = added_to({**entry(home), "interface": "127.0.0.2"}, there)
    assert (added.name, added.interface) == ("n1.test", "127.0.0.2")
    assert added_to({**entry(home), "interface": "127.0.0.1"}, there) == ()


def test_one_is_added_for_each_name_that_would_get_no_answer(home: Path) -> None:
    """Beside the vhost that is there, at its addresses."""
    there = {"name": "b.test", "port": "80", "strict-host-check": "1", "interface": "127.0.0.1"}
    added = added_to(entry(home, alt_names="a.b.test,b.test,c.test"), there)
    assert [vhost.name for vhost in added] == ["n1.test", "c.test"]
    assert {(vhost.port, vhost.interface) for vhost in added} == {(80, "127.0.0.1")}
    assert not any(vhost.mounts or vhost.host_ssl_cert for vhost in added)


@pytest.mark.parametrize("keys", [{}, {"interface": "127.0.0.1"}, {"noipv6": "1"}, {"ipv6only": "1"}])
def test_one_is_added_at_the_same_address(home: Path, keys: Dict[str, str]) -> None:
    asking = {**entry(home), **keys}
    vhost = config(asking).vhosts[0]
    added, = added_to(asking)
    assert added == VhostConfig("n1.test", 80, vhost.interface, noipv6=vhost.noipv6, ipv6only=vhost.ipv6only,
                                where=added.where, path=f"vhosts[0].{ENTRY}")
    assert added.where.file == "conf"
    assert not added.mounts and not added.host_ssl_cert


def test_one_is_added_for_each(home: Path) -> None:
    assert [added.name for added in added_to(entry(home), entry(home, 2))] == ["n1.test", "n2.test"]


@pytest.mark.parametrize("changes", [
    {"challenge": "tls-alpn-01"}, {"challenge": "dns-01", "dns_hook": "/bin/hook"}])
def test_other_challenges_need_none(home: Path, changes: Dict[str, Any]) -> None:
    assert added_to(entry(home, **changes)) == ()
    assert [added.name for added in added_to(entry(home, **changes), entry(home, 2))] == ["n2.test"]


def test_where_no_address_is_told_none_is_added(home: Path) -> None:
    asking = {**entry(home), "interface": f"{home}/socket", "unix-socket": "1"}
    assert config(asking).vhosts[0].unix_socket
    assert added_to(asking) == ()


# The openssl program.


def test_the_program_that_is_first_in_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "openssl"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"/nowhere:{tmp_path}:/usr/bin")
    assert openssl_tool() == str(program)
    monkeypatch.delenv("PATH")
    assert openssl_tool() == find_openssl(DEFAULT_PATH)


@needs_root
def test_nobody_is_to_look_into_it(tmp_path: Path) -> None:
    tool = hidden_tool(need("openssl"))
    assert isinstance(tool, int)
    assert os.fstat(tool).st_mode & 0o777 == 0o111
    os.close(tool)


@needs_root
@pytest.mark.parametrize("how", ["no file", "no files in memory"])
def test_where_it_cannot_be_hidden_it_is_run_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                      lines: Lines, how: str) -> None:
    path = str(tmp_path / "openssl")
    if how != "no file":
        (tmp_path / "openssl").write_text("x")
        monkeypatch.delattr(os, "memfd_create")
    before = open_fds()
    log.set_level(log.DEFAULT_MASK | log.INFO)
    try:
        assert hidden_tool(path) == path
    finally:
        log.set_level(log.DEFAULT_MASK)
    assert open_fds() == before
    line, = lines()
    assert line.startswith(f"I: acme: {path} is run as it is (")
    assert line.endswith("): other programs of that user could look into it")


# Files.


@pytest.fixture
def opened() -> Iterator[Callable[..., List[Store]]]:
    """Opens the files of a configuration; afterwards nothing of them is open."""
    before = open_fds()
    stores: List[Store] = []

    def open_all(asking: Config, keeper: Optional[Keeper] = None) -> List[Store]:
        stores.extend(open_certificates(find_certificates(asking), keeper or OwnKeeper(), time.time()))
        return stores

    yield open_all
    for store in stores:
        store.close()
    assert open_fds() == before


class Noting(OwnKeeper):
    """Notes what will be asked for, and refuses it for some."""

    def __init__(self, refuse: str = "") -> None:
        super().__init__()
        self.allowed: List[Tuple[str, str]] = []
        self.refuse = refuse

    def allow(self, what: str, path: str) -> None:
        if path == self.refuse:
            raise PermissionError(1, "it is not trusted", path)
        self.allowed.append((what, path))


def test_files_are_opened_and_allowed(home: Path, opened: Callable[..., List[Store]]) -> None:
    keeper = Noting()
    stores = opened(config(entry(home), entry(home, 2, ca_file=f"{home}/ca")), keeper)
    assert [store.settings.name for store in stores] == ["n1.test", "n2.test"]
    assert keeper.allowed == [(READ, f"{home}/{name}") for name in ("c1", "k1", "c2", "k2", "ca")]
    assert sorted(os.listdir(home)) == ["account", "c1.acme", "c1.upd", "c2.acme", "c2.upd", "k1.upd",
                                        "k2.upd"]


def test_one_that_cannot_be_had_keeps_no_other(home: Path, opened: Callable[..., List[Store]],
                                               lines: Lines) -> None:
    (home / "open").mkdir()
    (home / "open").chmod(0o777)
    asking = config(entry(home, 1, cert_path=f"{home}/open/c1"), entry(home, 2),
                    entry(home, 3, key_path=f"{home}/no/k3"))
    assert [store.settings.name for store in opened(asking)] == ["n2.test"]
    first, second = lines()
    assert first.startswith("E: conf:1:")
    assert first.endswith(f": vhosts[0].{ENTRY}: cannot use '{home}/open/c1.upd': others may write to the "
                          f"directory {home}/open: chmod go-w it: no certificate for n1.test")
    assert second.endswith(f": vhosts[2].{ENTRY}: cannot use '{home}/no/k3.upd': No such file or directory"
                           ": no certificate for n3.test")


def test_one_that_is_refused_later_stays_closed(home: Path, opened: Callable[..., List[Store]],
                                                lines: Lines) -> None:
    asking = config(entry(home), entry(home, 2))
    assert [store.settings.name for store in opened(asking, Noting(f"{home}/k1"))] == ["n2.test"]
    line, = lines()
    assert line.startswith("E: conf:1:")
    assert "it is not trusted" in line and line.endswith(": no certificate for n1.test")
    assert sorted(os.listdir(home)) == ["account", "c2.acme", "c2.upd", "k2.upd"]     # nor are there any


def test_what_waited_is_put_in_place(home: Path, opened: Callable[..., List[Store]], ages: Ages,
                                     lines: Lines) -> None:
    asking = config(entry(home, common_name=NAME), entry(home, 2, common_name=NAME))
    one, two = opened(asking)
    put(one, ages.old)
    put(two, ages.old)
    one.write_pair(content(ages.young))
    again = open_certificates(find_certificates(asking), OwnKeeper(), time.time())
    assert [in_place(store) for store in again] == [content(ages.young), content(ages.old)]
    assert lines() == [f"N: acme: the certificate that came for {NAME} is in its place now: {home}/c1"]
    for store in again:
        store.close()
    # And the account is free for who works now.
    assert one.lock()


def test_what_is_torn_is_said(home: Path, opened: Callable[..., List[Store]], ages: Ages,
                              lines: Lines) -> None:
    store, = opened(config(entry(home)))
    store.write_pair(content(ages.young)._replace(key=b"junk"))
    again, = open_certificates(find_certificates(config(entry(home))), OwnKeeper(), time.time())
    again.close()
    line, = lines()
    assert line == f"N: acme: {home}/c1.upd is of no use, and left alone: there is no whole private key in it"
    assert not (home / "c1").exists()


def test_what_is_for_somebody_else_is_said(home: Path, opened: Callable[..., List[Store]], ages: Ages,
                                           lines: Lines) -> None:
    store, = opened(config(entry(home)))
    store.write_pair(content(ages.young))
    again, = open_certificates(find_certificates(config(entry(home))), OwnKeeper(), time.time())
    again.close()
    assert lines() == [f"N: acme: {home}/c1.upd is of no use, and left alone: it is for {NAME}"]
    assert not (home / "c1").exists()


def test_not_while_an_order_is_under_way(home: Path, opened: Callable[..., List[Store]], ages: Ages,
                                         lines: Lines) -> None:
    store, = opened(config(entry(home)))
    assert store.lock()
    store.write_pair(content(ages.young))
    again, = open_certificates(find_certificates(config(entry(home))), OwnKeeper(), time.time())
    assert not again.lock()
    again.close()
    assert store.read_pair() == content(ages.young)
    assert not (home / "c1").exists()
    assert lines() == []


def test_what_cannot_take_its_place_is_said(home: Path, opened: Callable[..., List[Store]], ages: Ages,
                                            lines: Lines) -> None:
    asking = config(entry(home, common_name=NAME))
    store, = opened(asking)
    store.write_pair(content(ages.young))
    (home / "k1.new").mkdir()
    again, = open_certificates(find_certificates(asking), OwnKeeper(), time.time())
    assert again.lock()
    again.close()
    line, = lines()
    assert line.startswith(f"E: acme: {NAME}: the new certificate cannot take its place: ")
    assert store.read_pair() == content(ages.young)
