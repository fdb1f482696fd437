"""The checks of `-t` and of the start that look at this system."""

from __future__ import annotations

import os
import pwd
import re
import struct
import tempfile
from pathlib import Path
from typing import Iterator, List

import pytest

from lwsws.config.loader import parse_text
from lwsws.config.model import Fault
from lwsws.server import verify as verify_module
from lwsws.server.identity import Identity
from lwsws.server.verify import ENTER, READ, closed_file, missing_passer, obstacle, unreadable, verify

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, who may look with the eyes of another")
no_root = pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")

USER = next(entry for entry in pwd.getpwall() if entry.pw_uid != 0 and entry.pw_gid != 0)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with what a configuration needs."""
    (tmp_path / "www").mkdir()
    (tmp_path / "pw").write_text("joe:secret\n")
    (tmp_path / "pw").chmod(0o600)
    return tmp_path


def faults(home: Path, vhost: str, settings: str = "") -> List[Fault]:
    """The faults of a configuration with this global section and vhost, in which HOME is `home`."""
    text = '{ "global": { %s },\n"vhosts": [ { %s } ] }' % (settings, vhost)
    loaded = parse_text(text.replace("HOME", str(home)), "conf")
    assert loaded.config is not None, loaded.faults
    return verify(loaded.config)


def only_fault(home: Path, vhost: str, settings: str = "") -> Fault:
    fault, = faults(home, vhost, settings)
    return fault


def told(fault: Fault, home: Path) -> str:
    """`fault` as it is printed, without its place in the file, which it must have."""
    position, _, rest = str(fault).partition(": ")
    assert re.fullmatch(r"conf:\d+:\d+", position)
    return rest.replace(str(home), "HOME")


def mount(keys: str) -> str:
    return f'"port": "1", "mounts": [ {{ "mountpoint": "/m", {keys} }} ]'


def test_a_good_configuration_has_no_faults(home: Path) -> None:
    assert faults(home, """"port": "7681", "interface": "lo", "access-log": "HOME/log",
        "error-document-404": "/404.html", "mounts": [
        { "mountpoint": "/", "origin": "file://HOME/www", "basic-auth": "HOME/pw" },
        { "mountpoint": "/c", "origin": "cgi:///bin/sh" },
        { "mountpoint": "/p", "origin": "http://b.test/" } ]""",
        '"username": "root", "groupname": "root", "plugin-dir": "HOME"') == []


def test_a_fault_points_at_the_value(home: Path) -> None:
    fault = only_fault(home, '"port": "1",\n  "access-log": "/no/where/log"')
    assert str(fault).startswith("conf:3:17: vhosts[0].access-log: there is no directory '/no/where' for")


CREATE = "on this system: create it, or name one that exists"
NO_PROGRAM = "cannot be run: it is not executable (chmod a+x)"


@pytest.mark.parametrize("vhost, settings, reason", [
    ('"port": "1"', '"username": "no such"', f"global.username: there is no user 'no such' {CREATE}"),
    ('"port": "1"', '"groupname": "no such"', f"global.groupname: there is no group 'no such' {CREATE}"),
    ('"port": "1"', '"username": "groupie"', f"global.username: there is no user 'groupie' {CREATE}"),
    ('"unix-socket": "1", "interface": "HOME/s", "unix-socket-perms": "nosuch:root"', "",
     f"vhosts[0].unix-socket-perms: there is no user 'nosuch' {CREATE}"),
    ('"unix-socket": "1", "interface": "HOME/no/s"', "",
     "vhosts[0].interface: there is no directory 'HOME/no' for the unix socket: create it"),
    ('"unix-socket": "1", "interface": "HOME/pw"', "",
     ("vhosts[0].interface: 'HOME/pw' exists and is not a socket; it is left alone: choose another "
     "path or remove it")),
    ('"unix-socket": "1", "interface": "/%s"' % ("x" * 107), "",
     "vhosts[0].interface: the path of a unix socket has at most 107 bytes: choose a shorter one"),
    ('"port": "1", "access-log": "HOME/no/log"', "",
     "vhosts[0].access-log: there is no directory 'HOME/no' for the log: create it"),
    ('"port": "1", "access-log": "HOME/www"', "",
     "vhosts[0].access-log: 'HOME/www' is a directory: name a file in it"),
])
def test_what_the_server_cannot_start_with(home: Path, vhost: str, settings: str, reason: str) -> None:
    fault = only_fault(home, vhost, settings)
    assert (told(fault, home), fault.fatal) == (reason, True)


def test_a_socket_that_is_passed_needs_somebody_to_pass_it(
        home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = parse_text('{ "vhosts": [ { "listen-fd": "web" }, { "name": "b", "port": "1" } ] }', "conf")
    assert loaded.config is not None
    assert verify(loaded.config) == []
    monkeypatch.setattr(verify_module, "BOOTED_BY_SYSTEMD", str(home))
    assert missing_passer(loaded.config) == []
    monkeypatch.setattr(verify_module, "BOOTED_BY_SYSTEMD", str(home / "nowhere"))
    fault, = missing_passer(loaded.config)
    assert not fault.fatal
    assert str(fault).startswith("conf:1:30: vhosts[0].listen-fd: is for a socket that systemd passes, and")


@pytest.mark.parametrize("vhost, settings, reason", [
    ('"port": "1"', '"plugin-dir": "HOME/no"',
     "global.plugin-dir: there is no directory 'HOME/no': create it, or leave this out"),
    ('"port": "1", "error-document-404": "http://b.test/404"', "",
     ("vhosts[0].error-document-404: 'http://b.test/404' is not a path of this vhost: write the path alone, "
     'such as "/404.html"')),
    ('"port": "7681", "interface": "nope0"', "",
     ("vhosts[0].interface: there is no network interface 'nope0' now: if it is no misspelling, the vhost "
     "begins to listen as soon as the interface has an address")),
    ('"port": "1", "interface": "localhost"', "",
     ("vhosts[0].interface: there is no network interface 'localhost' now: write the name of an interface "
     'such as "lo" or "eth0", or an address such as "127.0.0.1"')),
    ('"port": "1", "interface": "[::1]"', "",
     ("vhosts[0].interface: there is no network interface '[::1]' now: write the address without brackets, "
     "'::1'")),
    (mount('"origin": "file://HOME/no"'), "",
     "vhosts[0].mounts[0].origin: there is no directory 'HOME/no' now: /m answers 404 until there is"),
    (mount('"origin": "file://HOME/pw"'), "",
     ("vhosts[0].mounts[0].origin: 'HOME/pw' is not a directory, so /m answers 404: give the directory "
     "it is in")),
    (mount('"origin": "cgi://HOME/no"'), "",
     "vhosts[0].mounts[0].origin: there is no program 'HOME/no' now: /m answers 404 until there is"),
    (mount('"origin": "cgi://HOME/pw"'), "",
     f"vhosts[0].mounts[0].origin: 'HOME/pw' {NO_PROGRAM}"),
    (mount('"origin": "file://HOME/www"'), '"sandbox-read": "/nope/a"',
     "global.sandbox-read: there is no '/nope/a': it stays closed until the next start"),
    (mount('"origin": "cgi://HOME/www", "interpret": { ".x": "/nope" }'), "",
     "vhosts[0].mounts[0].interpret: there is no program '/nope', which is to run .x files"),
    (mount('"origin": "cgi://HOME/www", "cgi-chdir": "/nope"'), "",
     "vhosts[0].mounts[0].cgi-chdir: there is no directory '/nope' to start programs in"),
    (mount('"origin": "file://HOME/www", "basic-auth": "HOME/no"'), "",
     "vhosts[0].mounts[0].basic-auth: there is no file 'HOME/no': nobody can log in at /m"),
    ('"port": "1", "ws-protocols": [ { "lws-echo": { "basic-auth": "HOME/no" } } ]', "",
     ("vhosts[0].ws-protocols.lws-echo.basic-auth: there is no file 'HOME/no': nobody can open a WebSocket "
      "of lws-echo")),
    (mount('"origin": "file://HOME/www", "basic-auth": "HOME/www"'), "",
     "vhosts[0].mounts[0].basic-auth: 'HOME/www' is not a file: nobody can log in at /m"),
    (mount('"origin": "file://HOME", "basic-auth": "HOME/pw"'), "",
     "vhosts[0].mounts[0].basic-auth: 'HOME/pw' is inside the directory it protects: move it out"),
])
def test_what_costs_only_a_part(home: Path, vhost: str, settings: str, reason: str) -> None:
    fault = only_fault(home, vhost, settings)
    assert (told(fault, home), fault.fatal) == (reason, False)


def test_a_path_of_a_socket_may_be_as_long_as_the_kernel_takes(home: Path) -> None:
    room = 107 - len(f"{home}/")
    assert faults(home, '"unix-socket": "1", "interface": "HOME/%s"' % ("x" * room)) == []
    assert len(faults(home, '"unix-socket": "1", "interface": "HOME/%s"' % ("x" * (room + 1)))) == 1


def test_a_zip_archive_is_told_apart(home: Path) -> None:
    (home / "a.zip").write_bytes(b"PK")
    fault = only_fault(home, mount('"origin": "file://HOME/a.zip"'))
    assert told(fault, home).endswith("so /m answers 404: zip archives are not served")


def test_a_log_is_not_followed_through_a_link(home: Path) -> None:
    (home / "log").symlink_to("elsewhere")
    fault = only_fault(home, '"port": "1", "access-log": "HOME/log"')
    assert told(fault, home) == ("vhosts[0].access-log: 'HOME/log' is a symbolic link, which logs do not "
                                 "follow: name the file that it leads to")
    assert fault.fatal


@pytest.mark.parametrize("mode, reason", [
    (0o604, "everybody on this system can read the passwords in 'HOME/pw': chmod o-r it"),
    (0o602, "everybody on this system can change the passwords in 'HOME/pw': chmod o-rw it"),
    (0o606, "everybody on this system can change the passwords in 'HOME/pw': chmod o-rw it"),
])
def test_passwords_that_everybody_can_get_at(home: Path, mode: int, reason: str) -> None:
    (home / "pw").chmod(mode)
    fault = only_fault(home, mount('"origin": "file://HOME/www", "basic-auth": "HOME/pw"'))
    assert told(fault, home) == f"vhosts[0].mounts[0].basic-auth: {reason}"


def test_a_link_to_a_password_file_in_the_docroot_does_not_hide_it(home: Path) -> None:
    (home / "www" / "pw").write_text("")
    (home / "www" / "pw").chmod(0o600)
    (home / "link").symlink_to("www/pw")
    fault = only_fault(home, mount('"origin": "file://HOME/www", "basic-auth": "HOME/link"'))
    assert "inside the directory it protects" in fault.reason


def test_all_faults_are_told_together(home: Path) -> None:
    found = faults(home, '"port": "7681", "interface": "nope0", "access-log": "/no/log", "mounts": [ {'
                   '"mountpoint": "/m", "origin": "file:///no/www", "basic-auth": "/no/pw" } ]',
                   '"username": "nosuch", "groupname": "nosuch", "plugin-dir": "/no/plugins"')
    assert [fault.path for fault in found] == [
        "global.username", "global.groupname", "global.plugin-dir", "vhosts[0].interface",
        "vhosts[0].access-log", "vhosts[0].mounts[0].origin", "vhosts[0].mounts[0].basic-auth"]


def test_a_fifo_does_not_hold_up_the_check(home: Path) -> None:
    os.mkfifo(home / "fifo")
    assert unreadable(str(home / "fifo")) == f"'{home}/fifo' is not a file"


# What the server's user may do, seen by root.


@pytest.fixture
def tree() -> Iterator[Path]:
    """A directory that all may enter, which they may not with those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        tree.chmod(0o711)
        (tree / "inner").mkdir(0o755)
        (tree / "inner" / "pw").write_text("")
        (tree / "inner" / "pw").chmod(0o640)
        yield tree


STRANGER = Identity(4711, 4712, [4712, 4713])


@needs_root
@pytest.mark.parametrize("uid, gid, mode, allowed", [
    (0, 0, 0o604, True),
    (0, 0, 0o640, False),
    (0, 4712, 0o640, True),
    (0, 4713, 0o640, True),     # a supplementary group
    (0, 4712, 0o604, False),    # of its group more is asked than of others
    (4711, 0, 0o400, True),
    (4711, 4712, 0o044, False),
])
def test_owner_group_and_others(tree: Path, uid: int, gid: int, mode: int, allowed: bool) -> None:
    path = tree / "inner" / "pw"
    os.chown(path, uid, gid)
    path.chmod(mode)
    reason = f"the server's user 4711 may not read '{path}' (chgrp 4712 and chmod g+r it)"
    assert obstacle(str(path), READ, STRANGER) == ("" if allowed else reason)


@needs_root
def test_a_directory_on_the_way(tree: Path) -> None:
    (tree / "inner" / "www").mkdir(0o755)
    assert obstacle(str(tree / "inner" / "www"), ENTER, STRANGER) == ""
    (tree / "inner").chmod(0o700)
    for name in ("www", "pw", ""):
        reason = f"the server's user 4711 may not enter '{tree}/inner' (chmod o+x it)"
        assert obstacle(str(tree / "inner" / name), ENTER, STRANGER) == reason


@needs_root
def test_the_parent_reads_files_for_who_serves_where_only_root_leads_to_them(tree: Path) -> None:
    path = str(tree / "inner" / "pw")
    assert obstacle(path, READ, STRANGER) != ""
    assert closed_file(path, STRANGER) == ""
    (tree / "inner").chmod(0o700)
    assert closed_file(path, STRANGER) == ""
    for mode, owner in ((0o775, 0), (0o777, 0), (0o1777, 0), (0o755, 4714)):
        (tree / "inner").chmod(mode)
        os.chown(tree / "inner", owner, 0)
        assert closed_file(path, STRANGER) == (
            f"the server's user 4711 may not read '{path}' (chgrp 4712 and chmod g+r it)"), oct(mode)
    os.chown(path, 4711, 0)
    assert closed_file(path, STRANGER) == ""


@needs_root
def test_an_access_list_is_not_second_guessed(tree: Path) -> None:
    """Where there is one, the mode does not say who may read; acl(5)."""
    path = tree / "inner" / "pw"
    path.chmod(0o600)
    owner, named, group, mask, others = (1, 6, -1), (2, 4, 4711), (4, 0, -1), (16, 4, -1), (32, 0, -1)
    entries = [struct.pack("<HHi", *entry) for entry in (owner, named, group, mask, others)]
    try:
        os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + b"".join(entries))
    except OSError as error:
        pytest.skip(f"no access lists on this file system: {error}")
    assert obstacle(str(path), READ, STRANGER) == ""
    os.removexattr(path, "system.posix_acl_access")
    assert obstacle(str(path), READ, STRANGER) != ""


@needs_root
def test_root_itself_may_do_anything(tree: Path) -> None:
    (tree / "inner").chmod(0o700)
    (tree / "inner" / "pw").chmod(0)
    assert obstacle(str(tree / "inner" / "pw"), READ, Identity(0, 0, [0])) == ""
    assert obstacle(str(tree / "inner" / "pw"), READ, None) == ""


@needs_root
def test_faults_for_the_servers_user(tree: Path) -> None:
    (tree / "www").mkdir(0o700)
    (tree / "inner").chmod(0o775)
    keys = '"origin": "file://HOME/www", "basic-auth": "HOME/inner/pw"'
    found = faults(tree, mount(keys), f'"username": "{USER.pw_name}"')
    who = f"the server's user {USER.pw_uid}"
    assert [told(fault, tree).partition(": ")[2] for fault in found] == [
        f"{who} may not enter 'HOME/www' (chmod o+x it): /m answers 403",
        f"{who} may not read 'HOME/inner/pw' (chgrp {USER.pw_gid} and chmod g+r it): nobody can log in at /m"]
    assert not any(fault.fatal for fault in found)
    assert faults(tree, mount(keys)) == []


@no_root
def test_faults_for_us_where_we_are_not_root(tree: Path) -> None:
    (tree / "www").mkdir(0o600)
    (tree / "inner" / "pw").chmod(0o200)
    found = faults(tree, mount('"origin": "file://HOME/www", "basic-auth": "HOME/inner/pw"'))
    assert [told(fault, tree).partition(": ")[2] for fault in found] == [
        f"the server's user {os.getuid()} may not enter 'HOME/www' (chmod o+x it): /m answers 403",
        "cannot read 'HOME/inner/pw': Permission denied: nobody can log in at /m"]
