"""The sandbox: what a configuration lets through, and what the kernel then refuses, in a child process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

import pytest

from lwsws.config.loader import parse_text
from lwsws.config.model import Config
from lwsws.process.landlock import landlock, version
from lwsws.process.sandbox import APPEND, KEEP, OWN, READ, RUN, rules
from tests.support.source import ROOT


def landlock_version() -> int:
    try:
        return version(landlock())
    except (OSError, ImportError):
        return 0


def config(vhost: Dict[str, Any], **settings: object) -> Config:
    """One vhost on port 8080, with these keys as well."""
    text = json.dumps({"global": settings, "vhosts": [{"name": "a", "port": "8080", **vhost}]})
    loaded = parse_text(text)
    assert loaded.config is not None, loaded.faults
    return loaded.config


def allowed(vhost: Dict[str, Any], path: object, has_parent: bool = False) -> int:
    """The rights on just that path."""
    return rules(config(vhost), "", has_parent).paths.get(str(path), 0)


def mount(origin: str, **more: object) -> Dict[str, Any]:
    return {"mounts": [{"mountpoint": "/", "origin": origin, **more}]}


def test_docroots_are_read() -> None:
    assert allowed(mount("file:///srv/www"), "/srv/www") == READ
    for origin in (">https://a.test/srv", "http://127.0.0.1:99/srv"):
        assert allowed(mount(origin), "/srv") == 0


def test_programs_run_only_where_there_are_some() -> None:
    cgi = mount("cgi:///srv/cgi/a.py", **{"cgi-chdir": "/srv/data"})
    for path in ("/srv/cgi/a.py", "/usr", "/lib"):
        assert allowed(cgi, path) == RUN
    assert allowed(cgi, "/srv/data") == READ
    assert not any(access & (RUN & ~READ) for access in rules(config(mount("file:///srv"))).paths.values())


def test_what_programs_and_applications_need_beside_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/var/spool/tmp")
    environment = [{"CONF": "/etc/app/conf", "ROOT": "/"}]
    cgi = mount("cgi:///x", **{"cgi-chroot": "/srv/jail", "cgi-env": environment})
    assert allowed(cgi, "/srv/jail/x") == allowed(cgi, "/srv/jail") == RUN
    assert allowed(cgi, "/etc/app/conf") == READ
    assert allowed(cgi, "/") == 0
    wsgi = mount("callback://wsgi", pmo=[{"app": "a:b", "path": "/srv/app", "chdir": "/srv/data"}])
    assert allowed(wsgi, "/srv/app") == READ
    assert allowed(wsgi, "/srv/data") == OWN
    for vhost in (cgi, wsgi):
        assert allowed(vhost, "/var/spool/tmp") == KEEP


def test_what_is_opened_beside_that() -> None:
    settings = {"sandbox-read": ["/etc/php", "/etc/app"], "sandbox-write": "/srv/git"}
    paths = rules(config({}, **settings)).paths
    assert (paths["/etc/php"], paths["/etc/app"], paths["/srv/git"]) == (READ, READ, OWN)


def test_logs_are_written_by_who_has_no_parent() -> None:
    assert allowed({"access-log": "/var/log/lwsws/a.log"}, "/var/log/lwsws") == APPEND
    assert allowed({"access-log": "/var/log/lwsws/a.log"}, "/var/log/lwsws", has_parent=True) == 0
    assert allowed({"access-log": "/dev/stdout"}, "/dev") == 0


def test_ports_are_bound_by_who_has_no_parent() -> None:
    assert rules(config({})).ports == (8080,)
    assert rules(config({}), "", True).ports == ()
    assert rules(config({"unix-socket": "1", "interface": "/run/a.sock"})).ports == ()


def test_keys_and_passwords_are_read_when_they_are_new(tmp_path: Path) -> None:
    for name in ("live", "archive"):
        (tmp_path / name).mkdir()
    (tmp_path / "archive" / "1.pem").touch()
    (tmp_path / "live" / "a.pem").symlink_to("../archive/1.pem")
    vhost = {"host-ssl-cert": f"{tmp_path}/live/a.pem", "host-ssl-key": "/etc/key.pem",
             **mount("file:///srv", **{"basic-auth": "/etc/lwsws/passwd"})}
    for path in ("live/a.pem", "live", "archive/1.pem", "archive"):
        assert allowed(vhost, tmp_path / path) == READ
    assert allowed(vhost, "/etc/lwsws") == allowed(vhost, "/etc/key.pem") == READ
    assert allowed(vhost, "/etc") == 0      # too much for one file


def test_options_of_protocols(tmp_path: Path) -> None:
    vhost = {"ws-protocols": [{"x": {"upload-dir": "/srv/up", "filespath": "/proc/loadavg", "url": "/srv",
                                     "basic-auth": "/srv/pw/users"}}]}
    assert allowed(vhost, "/srv/up") == KEEP
    assert allowed(vhost, "/proc/loadavg") == READ
    assert allowed(vhost, "/srv/pw") == READ
    assert allowed(vhost, "/srv") == 0


def test_uploads_without_a_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/srv/tmp")
    assert allowed({"ws-protocols": [{"protocol-post-demo": {}}]}, "/srv/tmp") == KEEP
    assert allowed({"ws-protocols": [{"protocol-post-demo": {"upload-dir": "/srv/up"}}]}, "/srv/tmp") == 0
    assert allowed({}, "/srv/tmp") == 0


def test_plugin_directories_and_our_own_library(tmp_path: Path) -> None:
    found = rules(config({}, **{"plugin-dir": ["/srv/plugins"]}), str(tmp_path)).paths
    assert found["/srv/plugins"] == READ
    assert found[str(tmp_path)] == READ
    assert any(str(ROOT).startswith(path) for path in found)
    assert "/" not in found


SCRIPT = f"""
import json, os, socket, sys
sys.path.insert(0, {str(ROOT)!r})
from lwsws import log
from lwsws.config.loader import parse_text
from lwsws.net.memory_file import memory_file, name_of
from lwsws.process.privileges import refuse_new_privileges
from lwsws.process.sandbox import confine

log.set_level(31)
root = sys.argv[1]
refuse_new_privileges()
text = json.dumps({{"vhosts": [{{"name": "a", "port": "1999", "access-log": root + "/log/a.log", "mounts": [
    {{"mountpoint": "/", "origin": "file://" + root + "/www"}}],
    "ws-protocols": [{{"x": {{"upload-dir": root + "/up"}}}}]}}]}})
held = os.open(root + "/secret", os.O_RDONLY)
confine(parse_text(text).config, "", sys.argv[2] == "parent")

def try_(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return error.errno
    return 0

def read(path):
    os.close(os.open(path, os.O_RDONLY))

def write(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))

def bind(port):
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.2", port))

def listing(path):
    os.listdir(path)

from email import message  # the library is still there
print(json.dumps({{
    "docroot": try_(read, root + "/www/a.html"), "listing": try_(listing, root + "/www"),
    "secret": try_(read, root + "/secret"), "above": try_(listing, root), "shadow": try_(read, "/etc/shadow"),
    "beside": try_(write, root + "/www/new"), "log": try_(write, root + "/log/a.log"),
    "upload": try_(write, root + "/up/a"), "gone": try_(os.unlink, root + "/up/a"),
    "ours": try_(bind, 1999), "theirs": try_(bind, 1998), "hosts": try_(read, "/etc/hosts"),
    "run": try_(os.execv, "/bin/true", ["true"]), "null": try_(write, "/dev/null"),
    "self": try_(read, "/proc/self/status"), "held": try_(os.read, held, 1),
    "memory": try_(read, name_of(memory_file("x", b"y"))), "signal": try_(os.kill, os.getppid(), 0),
    "own signal": try_(os.kill, os.getpid(), 0)}}))
"""


def confined(root: Path, parent: str) -> Dict[str, int]:
    for name in ("www", "log", "up"):
        (root / name).mkdir()
    (root / "www" / "a.html").touch()
    (root / "secret").touch()
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(root), parent], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    assert "I: confined to the files of the configuration by Landlock" in done.stderr
    found: Dict[str, int] = json.loads(done.stdout)
    return found


# Some of which the parent does instead.
REFUSED = {"secret", "above", "shadow", "beside", "theirs", "run", "signal"}
FOR_THE_PARENT = {"log", "ours"}


@pytest.mark.skipif(landlock_version() < 6, reason="needs Landlock of version 6 (Linux 6.12)")
@pytest.mark.parametrize("parent", ["alone", "parent"])
def test_the_kernel_refuses_all_else(tmp_path: Path, parent: str) -> None:
    found = confined(tmp_path, parent)
    names = {name: os.strerror(code) for name, code in found.items() if code}
    refused = REFUSED | (FOR_THE_PARENT if parent == "parent" else set())
    assert set(names) == refused, names
    # As for anybody who has no right; so what the parent may open is asked of it.
    assert {names[name] for name in refused - {"signal"}} == {"Permission denied"}


def test_without_landlock_there_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    script = ("import sys\nsys.modules['ctypes'] = None\nfrom lwsws.config.loader import parse_text\n"
              "from lwsws.process.sandbox import confine\n"
              "confine(parse_text('{\"vhosts\": [{\"port\": \"80\"}]}').config)\nopen('/etc/hosts').close()")
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
    line, = capfd.readouterr().err.splitlines()
    assert "W: no sandbox: this system has no Landlock for us" in line
    assert line.endswith("serving without it")
