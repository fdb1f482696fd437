"""wsgi: what goes wrong in applications, and in what an administrator says of them."""

from __future__ import annotations

import os
import sys
from typing import List, Tuple

import pytest

from lwsws.builtin.wsgi import Wsgi
from lwsws.core.options import OptionError, Options
from tests.builtin import wsgi_apps
from tests.builtin.wsgi_site import MODULE, Applications
from tests.support.waiting import wait_until

# Of applications.


@pytest.mark.parametrize("app, said", [
    ("fault", "ZeroDivisionError: a fault of the application"), ("leaves", "was ended by SystemExit(3)"),
])
def test_a_fault_is_500_and_a_traceback(site: Applications, capfd: pytest.CaptureFixture[str], app: str,
                                        said: str) -> None:
    peer = site.serve(app)
    answer = site.get(peer)
    assert answer.status == 500 and b"Traceback" not in answer.body and said.encode() not in answer.body
    logged = capfd.readouterr().err
    assert "wsgi: Traceback" in logged and said in logged
    assert site.get(peer).status == 500


def test_a_traceback_begins_in_the_application(site: Applications, capfd: pytest.CaptureFixture[str]) -> None:
    """At a level that who asks for warnings gets to see."""
    assert site.get(site.serve("fault")).status == 500
    lines = capfd.readouterr().err.splitlines()
    assert all(" W: conn 1: wsgi: " in line for line in lines)
    first, frame, *_, last = (line.partition("wsgi: ")[2] for line in lines)
    assert (first, last) == ("Traceback (most recent call last):",
                             "ZeroDivisionError: a fault of the application")
    assert frame.startswith(f'  File "{wsgi_apps.__file__}"') and frame.endswith(", in fault")


def test_a_fault_that_lwsws_finds_has_no_traceback(site: Applications,
                                                   capfd: pytest.CaptureFixture[str]) -> None:
    assert site.get(site.serve("text")).status == 500
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith(" W: conn 1: wsgi: TypeError: the body of an answer is of bytes, not of str")


def test_a_fault_in_the_middle_is_no_end(site: Applications, capfd: pytest.CaptureFixture[str]) -> None:
    peer = site.serve("breaks")
    peer.send(b"GET /call HTTP/1.1\r\nHost: localhost\r\n\r\n")
    site.until_over(peer)
    assert peer.receive().endswith(b"4\r\nsome\r\n") and peer.eof
    assert "KeyError: 'in the middle'" in capfd.readouterr().err
    assert wsgi_apps.told == ["closed"]


def test_what_is_written_to_errors_is_in_the_log(site: Applications,
                                                 capfd: pytest.CaptureFixture[str]) -> None:
    peer = site.serve("errors")
    assert site.get(peer).body == b"ok"
    lines: List[str] = []

    def are_there() -> bool:
        site.bench.run()
        lines.extend(line.partition(" W: conn 1: wsgi: ")[2] for line in capfd.readouterr().err.splitlines())
        return len(lines) >= 3      # the last one comes when the application has returned

    wait_until(are_there, "three lines")
    assert lines == ["one", "two", "\\x1b[2Jthree"]


# Of mounts.


@pytest.mark.parametrize("more", [("path", "/srv/staging"), ("path", "relative"), ("timeout", "x")])
@pytest.mark.parametrize("mountpoint", ["/call", "/other"])
def test_a_mount_that_was_refused_is_served_by_no_other(
    site: Applications, capfd: pytest.CaptureFixture[str], more: Tuple[str, str], mountpoint: str
) -> None:
    """Not by one whose application has the same name either, nor by one for its very path alone."""
    peer = site.serve("length")
    site.mount(mountpoint, Options([("app", f"{MODULE}:length"), more]))
    answer = peer.get(mountpoint)
    assert (answer.status, capfd.readouterr().err) == (503, "")


def test_two_mounts_at_one_mountpoint(site: Applications) -> None:
    """One of them is for that path alone (`exact-match`)."""
    given = [Options([("app", f"{MODULE}:{app}")]) for app in ("length", "sized")]
    site.serve("late")
    for options in given:
        site.wsgi.mounted("/call", options)
    for options, body in zip(given, (b"0", b"hello")):
        site.mount("/call", options)
        assert site.get(site.bench.connect()).body == body


@pytest.mark.parametrize("app, path, timeout", [("no_callable", "/", "1"), (f"{MODULE}:length", "here", "1"),
                                                (f"{MODULE}:length", "/", "x")])
def test_what_can_be_told_without_an_import(app: str, path: str, timeout: str) -> None:
    with pytest.raises(OptionError):
        Wsgi().check_mount("/", Options([("app", app), ("path", path), ("timeout", timeout)]))


def test_a_mount_is_looked_at_without_an_import() -> None:
    there_is_none = Options([("app", "lwsws_there_is_none:app"), ("path", "/"), ("chdir", "/")])
    before = os.getcwd(), list(sys.path)
    Wsgi().check_mount("/", there_is_none)
    assert (os.getcwd(), sys.path) == before
