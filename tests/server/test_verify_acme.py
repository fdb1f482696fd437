"""What `-t` and the start say of that which `lws-acme-client` needs of the system."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from lwsws.config.loader import parse_text
from lwsws.config.model import Config, Fault
from lwsws.server.acme import openssl_tool
from lwsws.server.verify import verify
from lwsws.server.verify_acme import acme_faults, coming_files
from tests.support.certificates import make_certificate
from tests.support.programs import need

no_root = pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, who may give directories away")

VHOST = """
  {{ "name": "{name}", "port": "443", "host-ssl-cert": "{cert}", "host-ssl-key": "{key}",
     "ignore-missing-cert": "1",
     "ws-protocols": [ {{
       "lws-acme-client": {{
{options}
     }} }} ] }}"""


def vhost(home: Path, number: int = 1, **changes: Any) -> str:
    """A vhost that asks for a certificate and serves with it; `changes` are options with _ for -, or the keys
    `cert` and `key` of the vhost."""
    options: Dict[str, str] = {
        "auth-path": f"{home}/account", "cert-path": f"{home}/c{number}", "key-path": f"{home}/k{number}",
        "directory-url": "https://ca.test/dir", "common-name": f"n{number}.test", "email": "a@w.test"}
    keys = {name: changes.pop(name, f"{home}/{name[0]}{number}") for name in ("cert", "key")}
    options.update({name.replace("_", "-"): value for name, value in changes.items()})
    lines = ",\n".join(f'"{name}": "{value}"' for name, value in options.items())
    return VHOST.format(name=options["common-name"], options=lines, **keys)


def config(*vhosts: str) -> Config:
    loaded = parse_text('{ "vhosts": [' + ",".join(vhosts) + "] }", "conf")
    assert loaded.config is not None, loaded.faults
    return loaded.config


def faults(*vhosts: str, cannot_run: Callable[[str], str] = lambda path: "") -> List[Fault]:
    """What is said of these, none of which keeps the server from its start."""
    found = list(acme_faults(config(*vhosts), cannot_run))
    assert not any(fault.fatal for fault in found)
    return found


def told(fault: Fault, home: Path) -> str:
    """`fault` as it is printed, without the place in the file, which must be that of the entry."""
    position, _, rest = str(fault).partition(": ")
    name, line, column = position.split(":")
    assert (name, int(line) >= 4, int(column) > 0) == ("conf", True, True)
    return rest.replace(str(home), "HOME")


def only(home: Path, *vhosts: str, cannot_run: Callable[[str], str] = lambda path: "") -> str:
    fault, = faults(*vhosts, cannot_run=cannot_run)
    return told(fault, home)


ENTRY = "vhosts[0].ws-protocols.lws-acme-client"
NONE = "There will be no certificate for n1.test"


def test_nothing_is_wrong(home: Path) -> None:
    need("openssl")
    assert faults(vhost(home)) == []
    assert faults(vhost(home), vhost(home, 2)) == []
    assert sorted(os.listdir(home)) == []   # -t makes no files


def test_the_line_of_the_entry(home: Path) -> None:
    first, second = faults(vhost(home, ca_file="/no"), vhost(home, 2, ca_file="/no"))
    assert (first.position.line, second.position.line) == (5, 17)
    assert second.path == "vhosts[1].ws-protocols.lws-acme-client.ca-file"


# The tool.


def test_no_openssl(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("lwsws.net.openssl.DEFAULT_PATH", f"{tmp_path}/bin")
    assert openssl_tool() == ""
    assert only(home, vhost(home), vhost(home, 2)) == (
        f"{ENTRY}: certificates need the program openssl, and there is none: install the package openssl")
    assert faults('{ "name": "x", "port": "1" }') == []
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "openssl").write_text("")
    (tmp_path / "bin" / "openssl").chmod(0o755)
    assert openssl_tool() == f"{tmp_path}/bin/openssl"
    assert faults(vhost(home)) == []


# Directories.


@pytest.mark.parametrize("option, name", [("auth-path", "x"), ("cert-path", "c1"), ("key-path", "k1")])
def test_directories(home: Path, option: str, name: str) -> None:
    place = home / "place"
    path = f"{place}/{name}"
    changes: Dict[str, Any] = {option.replace("-", "_"): path}
    if option != "auth-path":
        changes[option[:-5]] = path
    asking = vhost(home, **changes)
    where = f"{ENTRY}.{option}: "
    assert only(home, asking) == f"{where}there is no directory 'HOME/place': mkdir -m 700 it. {NONE}"
    place.mkdir()
    place.chmod(0o770)
    assert only(home, asking) == f"{where}others may write to the directory HOME/place: chmod go-w it. {NONE}"
    place.chmod(0o700)
    assert faults(asking) == []
    place.rmdir()
    place.write_text("")
    assert only(home, asking) == f"{where}HOME/place is no directory. {NONE}"


@needs_root
def test_a_directory_of_somebody_else(home: Path) -> None:
    (home / "place").mkdir(mode=0o700)
    os.chown(home / "place", 12345, -1)
    assert only(home, vhost(home, auth_path=f"{home}/place/x")) == (
        f"{ENTRY}.auth-path: the directory HOME/place belongs to uid 12345: chown it to root. {NONE}")


@no_root
def test_a_directory_where_we_may_not_write(home: Path) -> None:
    (home / "place").mkdir(mode=0o500)
    assert only(home, vhost(home, auth_path=f"{home}/place/x")) == (
        f"{ENTRY}.auth-path: we may not write to the directory 'HOME/place'. {NONE}")


def test_all_that_is_wrong_is_said(home: Path) -> None:
    """Each thing once: what is wrong with a directory holds for all in it."""
    missing = home / "no"
    asking = vhost(missing, cert=f"{missing}/c1", key=f"{missing}/k1")
    found = faults(asking)
    assert [told(fault, home).partition(": ")[0] for fault in found] == [f"{ENTRY}.auth-path"]
    found = faults(asking.replace(f"{missing}/c1", f"{missing}/x/c1"))
    assert [told(fault, home).partition(": ")[0] for fault in found] == [
        f"{ENTRY}.{option}" for option in ("auth-path", "cert-path")]


def test_a_vhost_that_the_certificate_is_not_for(home: Path) -> None:
    """Misspelled, or forgotten; a subdomain of the vhost's is enough."""
    for name in ("nn1.test", "1.test", "n1.test.org"):
        assert only(home, vhost(home).replace('"name": "n1.test"', f'"name": "{name}"')) == (
            f"{ENTRY}.common-name: is not for '{name}', a vhost that has this certificate: add it to "
            "alt-names, or clients will refuse the certificate there")
    for name in ("n1.test", "test", "default"):
        assert faults(vhost(home).replace('"name": "n1.test"', f'"name": "{name}"')) == []


# Files.


def test_a_ca_file(home: Path) -> None:
    asking = vhost(home, ca_file=f"{home}/ca.pem")
    assert only(home, asking) == f"{ENTRY}.ca-file: there is no file 'HOME/ca.pem'"
    (home / "ca.pem").mkdir()
    assert only(home, asking) == f"{ENTRY}.ca-file: there is no file 'HOME/ca.pem'"
    (home / "ca.pem").rmdir()
    (home / "ca.pem").touch()
    assert faults(asking) == []


def test_a_hook(home: Path) -> None:
    hook = home / "hook"
    asking = vhost(home, challenge="dns-01", dns_hook=f"{hook}")
    asked: List[str] = []

    def cannot_run(path: str) -> str:
        asked.append(path)
        return "user 33 may not enter it"

    where = f"{ENTRY}.dns-hook: "
    assert only(home, asking, cannot_run=cannot_run) == f"{where}there is no file 'HOME/hook'"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o644)
    assert only(home, asking, cannot_run=cannot_run) == f"{where}'HOME/hook' is no program: chmod +x it"
    assert asked == []
    hook.chmod(0o755)
    assert only(home, asking, cannot_run=cannot_run) == f"{where}user 33 may not enter it"
    assert asked == [str(hook)]
    assert faults(asking) == []


# The vhosts.


@pytest.mark.parametrize("changes", [{"cert": "/other"}, {"key": "/other"}])
def test_nobody_serves_with_it(home: Path, changes: Dict[str, Any]) -> None:
    assert only(home, vhost(home, **changes)) == (
        f'{ENTRY}.cert-path: no vhost has this as "host-ssl-cert", and "key-path" as "host-ssl-key": '
        "nothing is served with it")


def test_another_vhost_serves_with_it(home: Path) -> None:
    """Or the same with other words for the paths."""
    other = f"""{{ "name": "n1.test", "port": "444",
                   "host-ssl-cert": "{home}//c1", "host-ssl-key": "{home}/./k1" }}"""
    assert faults(vhost(home, cert="/other"), other) == []


@pytest.mark.parametrize("changes, path", [
    ({"cert_path": "c1"}, "c1"), ({"key_path": "k1"}, "c2"), ({"cert_path": "c1.upd"}, "c1.upd"),
    ({"auth_path": "k1.old"}, "c2"), ({"key_path": "account", "auth_path": "x"}, "c2")])
def test_an_entry_that_is_left_out(home: Path, changes: Dict[str, str], path: str) -> None:
    second = vhost(home, 2, **{name: f"{home}/{value}" for name, value in changes.items()})
    fault, = faults(vhost(home), second)
    assert told(fault, home) == (f"vhosts[1].ws-protocols.lws-acme-client.cert-path: another entry has "
                                 f"'HOME/{path}' or its key as well: this one is left out")


# Port 80.


@pytest.mark.parametrize("there, is_said", [
    ('"port": "8080"', False), ('"port": "80"', False),
    ('"port": "80", "interface": "127.0.0.1"', False),
    ('"port": "80", "host-ssl-cert": "/c", "host-ssl-key": "/k"', True)])
@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_port_80_that_speaks_no_http(home: Path, there: str, is_said: bool, challenge: str) -> None:
    other = f'{{ "name": "o", {there} }}'
    found = [told(fault, home) for fault in faults(vhost(home, challenge=challenge), other)]
    wanted = (f"{ENTRY}.challenge: http-01 comes by plain http on port 80, which the vhost there does not "
              "speak: use another challenge")
    assert found == ([wanted] if is_said and challenge == "http-01" else [])


def test_unsound_options_are_said_elsewhere(home: Path) -> None:
    assert faults(vhost(home, email="nobody", ca_file="/no")) == []


# In all that is checked.


def test_files_that_come(home: Path) -> None:
    asking = config(vhost(home), vhost(home, 2, email=""), vhost(home, 3))
    # Also where what is wrong is said elsewhere.
    assert coming_files(asking) == {f"{home}/{kind}{number}" for kind in "ck" for number in (1, 2, 3)}


def test_they_may_be_missing(home: Path) -> None:
    """With `ignore-missing-cert`, without which there is no start."""
    need("openssl")
    assert [fault for fault in verify(config(vhost(home))) if "acme" in str(fault)] == []
    strict = config(vhost(home).replace('"ignore-missing-cert": "1"', '"ignore-missing-cert": "0"'))
    found = [fault for fault in verify(strict) if fault.fatal]
    assert {fault.path for fault in found} == {"vhosts[0].host-ssl-cert", "vhosts[0].host-ssl-key"}
    for fault in found:
        assert fault.reason.endswith(': for it to come by ACME, the vhost needs "ignore-missing-cert": "1"')


def test_what_is_wrong_is_among_all_that_is(home: Path) -> None:
    found = [str(fault) for fault in verify(config(vhost(home, ca_file="/no/ca")))]
    assert [text for text in found if text.endswith(f"{ENTRY}.ca-file: there is no file '/no/ca'")]


def test_one_that_has_come_for_an_entry_that_is_gone(home: Path) -> None:
    """It needs one more start, or reload, to be in its place."""
    (home / "c1.upd").write_bytes(b"x")
    left = config(f'{{ "name": "n1.test", "port": "443", "host-ssl-cert": "{home}/c1", '
                  f'"host-ssl-key": "{home}/k1" }}')
    hint = f": '{home}/c1.upd' has come by ACME, and takes its place at a start with lws-acme-client"
    assert [fault.reason[-len(hint):] for fault in verify(left)] == [hint, hint]


def test_what_does_not_come_by_acme_is_told(home: Path) -> None:
    """The authorities of clients are of the administrator."""
    need("openssl")
    asking = vhost(home).replace('"ignore', f'"host-ssl-ca": "{home}/ca", "ignore')
    fault, = (fault for fault in verify(config(asking)) if fault.path.startswith("vhosts[0].host-ssl"))
    assert (fault.path, fault.fatal) == ("vhosts[0].host-ssl-ca", False)
    assert fault.reason.endswith(": no TLS here until there is")


def test_an_old_one_whose_successor_has_come(home: Path) -> None:
    """It is not served any more, and will not be at the next start."""
    pair = make_certificate(home, "n1.test", days=3)
    asking = config(vhost(home, cert_path=f"{pair.cert}", key_path=f"{pair.key}",
                          cert=pair.cert, key=pair.key))
    warning = f"the certificate in '{pair.cert}' expires in 2 days, on "
    new = Path(f"{pair.cert}.upd")
    for content, hint in ((None, ""), (b"", ""), (b"x", f"; what has come in '{new}' is to take its place")):
        if content is not None:
            new.write_bytes(content)
        fault, = (fault for fault in verify(asking) if fault.path == "vhosts[0].host-ssl-cert")
        assert fault.reason.startswith(warning) and fault.reason.partition(" GMT")[2] == hint
