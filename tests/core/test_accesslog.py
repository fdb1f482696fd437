"""The access log: format, escaping, rotation and a disk that fails."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Iterator, List

import pytest

from lwsws.core import accesslog
from lwsws.core.accesslog import AccessLog, bad_request_tail, escape, line_tail
from lwsws.net.reactor import Reactor
from lwsws.wire.http1_request import Request, RequestReader


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    made = Reactor()
    yield made
    made.close()


def request(raw: str) -> Request:
    reader = RequestReader()
    reader.receive_data(raw.encode("latin-1"))
    event = reader.next_event()
    assert isinstance(event, Request)
    return event


def test_combined_format(tmp_path: Path, reactor: Reactor) -> None:
    log = AccessLog(str(tmp_path / "a.log"), reactor)
    asked = request("GET /a%20b?c=d HTTP/1.1\r\nHost: x\r\nReferer: http://r/\r\nUser-Agent: curl/8\r\n\r\n")
    log.write("192.0.2.1", "joe", line_tail(asked, 200, 163))
    log.close()
    assert re.fullmatch(
        r'192\.0\.2\.1 - joe \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] '
        r'"GET /a%20b\?c=d HTTP/1\.1" 200 163 "http://r/" "curl/8"\n', (tmp_path / "a.log").read_text())


def test_absent_values_are_dashes(tmp_path: Path, reactor: Reactor) -> None:
    log = AccessLog(str(tmp_path / "a.log"), reactor)
    log.write("::1", "", line_tail(request("GET / HTTP/1.0\r\n\r\n"), 404, 0))
    log.write("::1", "", bad_request_tail(400, 12))
    log.close()
    first, second = (tmp_path / "a.log").read_text().splitlines()
    assert first.startswith("::1 - - [") and first.endswith('"GET / HTTP/1.0" 404 0 "-" "-"')
    assert second.endswith('] "-" 400 12 "-" "-"')


@pytest.mark.parametrize("raw, safe", [
    ("plain", "plain"),
    ('a"b', "a\\x22b"),
    ("a\\b", "a\\x5cb"),
    ("a\r\nb\tc\0", "a\\x0d\\x0ab\\x09c\\x00"),
    ("caf\xe9", "caf\\xe9"),
    ("\u2028", "\\xe2\\x80\\xa8"),
    ("\x1b[31m\x7f", "\\x1b[31m\\x7f"),
])
def test_everything_from_the_peer_is_escaped(raw: str, safe: str) -> None:
    """LESSONS 3.36: no way out of the quotes or the line."""
    assert escape(raw) == safe


def test_user_name_stays_one_word(tmp_path: Path, reactor: Reactor) -> None:
    log = AccessLog(str(tmp_path / "a.log"), reactor)
    log.write("::1", 'joe "x" doe', bad_request_tail(200, 0))
    log.close()
    assert " - joe_\\x22x\\x22_doe [" in (tmp_path / "a.log").read_text()


def test_lines_of_one_pass_are_written_at_its_end(tmp_path: Path, reactor: Reactor) -> None:
    path = tmp_path / "a.log"
    log = AccessLog(str(path), reactor)
    for status in (200, 404):
        log.write("::1", "", bad_request_tail(status, 0))
    assert path.read_text() == ""
    reactor.run_once(0)
    reactor.run_once(0)
    assert len(path.read_text().splitlines()) == 2
    log.close()


def test_reopen_after_rename(tmp_path: Path, reactor: Reactor) -> None:
    path, rotated = tmp_path / "a.log", tmp_path / "a.log.1"
    log = AccessLog(str(path), reactor)
    log.write("::1", "", bad_request_tail(201, 0))
    path.rename(rotated)
    log.reopen()
    log.write("::1", "", bad_request_tail(202, 0))
    log.close()
    assert " 201 " in rotated.read_text() and " 202 " in path.read_text()


def test_reopen_that_fails_goes_on_with_the_old_file(tmp_path: Path, reactor: Reactor) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    log = AccessLog(str(directory / "a.log"), reactor)
    directory.rename(tmp_path / "moved")
    log.reopen()
    log.write("::1", "", bad_request_tail(203, 0))
    log.close()
    assert " 203 " in (tmp_path / "moved" / "a.log").read_text()


def test_mode_and_links(tmp_path: Path, reactor: Reactor) -> None:
    AccessLog(str(tmp_path / "a.log"), reactor).close()
    assert (tmp_path / "a.log").stat().st_mode & 0o777 & ~0o640 == 0
    (tmp_path / "link.log").symlink_to(tmp_path / "a.log")
    with pytest.raises(OSError):
        AccessLog(str(tmp_path / "link.log"), reactor)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_never_stops_serving(reactor: Reactor, capfd: pytest.CaptureFixture[str]) -> None:
    log = AccessLog("/dev/full", reactor)
    for _ in range(3):
        log.write("::1", "", bad_request_tail(200, 0))
        log.flush()
    log.close()
    complaints: List[str] = capfd.readouterr().err.splitlines()
    assert len(complaints) == 2 and "No space left" in complaints[0]
    assert complaints[0].endswith("; 1 line lost")
    assert complaints[1].endswith("/dev/full: 2 more lines lost")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_nothing_is_said_at_the_end_where_all_was_said(
    reactor: Reactor, capfd: pytest.CaptureFixture[str]
) -> None:
    log = AccessLog("/dev/full", reactor)
    log.write("::1", "", bad_request_tail(200, 0))
    log.close()
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_waiting_lines_are_bounded(
    tmp_path: Path, reactor: Reactor, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(accesslog, "MAX_PENDING", 5)
    path = tmp_path / "a.log"
    log = AccessLog(str(path), reactor)
    for _ in range(9):
        log.write("::1", "", bad_request_tail(200, 0))
    log.close()
    assert len(path.read_text().splitlines()) == 5
    assert capfd.readouterr().err.endswith(f"E: access log {path}: 4 more lines lost\n")


def test_it_is_opened_by_who_may(tmp_path: Path, reactor: Reactor) -> None:
    asked: List[str] = []

    def open_elsewhere(path: str) -> int:
        asked.append(path)
        return os.open(tmp_path / str(len(asked)), os.O_WRONLY | os.O_CREAT)

    log = AccessLog("/closed/a.log", reactor, opener=open_elsewhere)
    log.write("::1", "", bad_request_tail(201, 0))
    log.reopen()
    log.write("::1", "", bad_request_tail(202, 0))
    log.close()
    assert asked == ["/closed/a.log"] * 2
    assert " 201 " in (tmp_path / "1").read_text() and " 202 " in (tmp_path / "2").read_text()
