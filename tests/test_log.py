"""The server log: levels, lines, and a stderr that cannot be written to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

import pytest

from lwsws import log
from tests.support.source import ROOT

LEVELS = [(log.err, "E"), (log.warn, "W"), (log.notice, "N"), (log.info, "I"), (log.debug, "D")]


@pytest.fixture(autouse=True)
def usual_level() -> Iterator[None]:
    """These are the module's own: put them back."""
    yield
    log.set_level(log.DEFAULT_MASK)
    log.set_tag("")
    log.to_syslog(None)


def letters(capfd: pytest.CaptureFixture[str]) -> str:
    """The levels that come through, by their letters."""
    for write, _ in LEVELS:
        write("x")
    return "".join(line.partition("] ")[2][:1] for line in capfd.readouterr().err.splitlines())


# Levels.


@pytest.mark.parametrize("text, mask", [
    ("err", 1), ("warn", 3), ("notice", 7), ("info", 15), ("debug", 31),
    ("0", 0), ("1", 1), ("7", 7), ("15", 15), ("1023", 1023), ("4", 4), ("007", 7),
])
def test_a_level_is_a_name_or_a_mask(text: str, mask: int) -> None:
    assert log.parse_level(text) == mask


@pytest.mark.parametrize("text", ["", "loud", "ERR", "-1", "+1", "1.5", "0x7", " 7", "\u0661", "\u00b2"])
def test_everything_else_is_refused_with_what_there_is(text: str) -> None:
    """LESSONS F6: numbers are plain ASCII digits."""
    with pytest.raises(ValueError, match="give a bit mask or one of err, warn, notice, info, debug"):
        log.parse_level(text)


@pytest.mark.parametrize("text, shown", [
    ("err", "E"), ("warn", "EW"), ("notice", "EWN"), ("info", "EWNI"), ("debug", "EWNID"),
    ("0", ""), ("2", "W"), ("20", "ND"), ("1023", "EWNID"),
])
def test_what_is_shown(capfd: pytest.CaptureFixture[str], text: str, shown: str) -> None:
    log.set_level(log.parse_level(text))
    assert letters(capfd) == shown
    assert log.enabled(log.WARN) is ("W" in shown)


def test_what_is_shown_without_being_asked(capfd: pytest.CaptureFixture[str]) -> None:
    assert letters(capfd) == "EWN"


# Lines.


def test_a_line_has_time_and_level(capfd: pytest.CaptureFixture[str]) -> None:
    log.notice("served")
    assert re.fullmatch(r"\[\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\] N: served\n", capfd.readouterr().err)


@pytest.mark.parametrize("message, lines", [
    ("one\ntwo\n  three", ["E: one", "E: two", "E:   three"]),
    ("one\n", ["E: one"]),
    ("one\n\ntwo", ["E: one", "E: ", "E: two"]),
    ("a\rb", ["E: a", "E: b"]),     # a peer that gets such a thing in cannot forge the beginning of a line
    ("", ["E: "]),
])
def test_each_line_of_a_message_is_marked(
    capfd: pytest.CaptureFixture[str], message: str, lines: List[str]
) -> None:
    log.err(message)
    assert [line.partition("] ")[2] for line in capfd.readouterr().err.splitlines()] == lines


def test_what_is_no_text_is_escaped(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    log.err("caf\u00e9 \udcff")
    assert capfdbinary.readouterr().err.endswith(b"E: caf\xc3\xa9 \\udcff\n")


def test_a_tag_tells_processes_apart(capfd: pytest.CaptureFixture[str]) -> None:
    log.set_tag("4711")
    log.notice("one\ntwo")
    log.set_tag("")
    log.notice("three")
    lines = capfd.readouterr().err.splitlines()
    assert [line.partition("] ")[2] for line in lines] == ["N: 4711: one", "N: 4711: two", "N: three"]


# Where it goes.


def test_what_syslog_takes_does_not_come_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    taken: List[Tuple[int, str]] = []

    def take(level: int, line: str) -> bool:
        taken.append((level, line))
        return line != "two"

    log.to_syslog(take)
    log.set_tag("4711")
    log.warn("one\ntwo")
    log.debug("not asked for")
    assert taken == [(log.WARN, "one"), (log.WARN, "two")]
    assert capfd.readouterr().err.partition("] ")[2] == "W: 4711: two\n"


def test_lost_lines_are_counted() -> None:
    """A full pipe takes nothing; when it is read again, it is told how much it missed."""
    script = """if True:
        import os
        from lwsws import log
        reading, writing = os.pipe()
        os.dup2(writing, 2)
        for end in (reading, writing):
            os.set_blocking(end, False)

        def until_it_would_wait(call):
            try:
                while True:
                    call()
            except BlockingIOError:
                pass

        until_it_would_wait(lambda: os.write(writing, b"." * 4096))
        log.err("one\\ntwo")
        log.err("three")
        until_it_would_wait(lambda: os.read(reading, 4096))
        log.err("four")
        log.err("five")
        os.write(1, os.read(reading, 4096))
    """
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=str(ROOT), check=True)
    lines = [line.partition("] ")[2] for line in done.stdout.decode().splitlines()]
    assert lines == ["W: 3 lines of this log were lost: nobody took them", "E: four", "E: five"]


def child(environment: Dict[str, str], stderr: Optional[int] = subprocess.PIPE,
          work: str = "log.err('x')") -> str:
    """What a process with this environment logs."""
    script = f"from lwsws import log; {work}; print('still there')"
    clean = {key: value for key, value in os.environ.items() if key != "JOURNAL_STREAM"}
    done = subprocess.run([sys.executable, "-c", script], env={**clean, **environment}, stderr=stderr,
                          stdout=subprocess.PIPE, cwd=str(ROOT), check=True)
    assert done.stdout == b"still there\n"
    return (done.stderr or b"").decode()


def in_the_journal(tmp_path: Path, work: str) -> str:
    """What `work` writes to the journal; systemd.exec(5): JOURNAL_STREAM is device and inode of stderr."""
    with open(tmp_path / "journal", "w+b") as journal:
        info = os.fstat(journal.fileno())
        child({"JOURNAL_STREAM": f"{info.st_dev}:{info.st_ino}"}, journal.fileno(), work)
        journal.seek(0)
        return journal.read().decode()


def test_the_journal_has_time_process_and_severity_by_itself(tmp_path: Path) -> None:
    """sd-daemon(3): a severity of syslog in front of each line, of those that go on with a message, too."""
    work = ("log.set_level(31); log.set_tag('4711'); log.err('x\\n <7>y'); "
            "log.warn('x'); log.notice('x'); log.info('x'); log.debug('x')")
    assert in_the_journal(tmp_path, work).splitlines() == [
        "<3>x", "<3> <7>y", "<4>x", "<5>x", "<6>x", "<7>x"]


def test_what_syslog_does_not_take_stands_in_the_journal_likewise(tmp_path: Path) -> None:
    assert in_the_journal(tmp_path, "log.to_syslog(lambda level, line: False); log.warn('x')") == "<4>x\n"


@pytest.mark.parametrize("stream", ["", "1:2", "junk"])
def test_an_inherited_journal_stream_means_nothing(stream: str) -> None:
    """Terminals are started by services, too."""
    assert re.fullmatch(r"\[[^]]+\] E: x\n", child({"JOURNAL_STREAM": stream}))


def test_a_full_disk_stops_nothing() -> None:
    with open("/dev/full", "wb") as full:
        child({}, full.fileno())


def test_a_closed_stderr_stops_nothing() -> None:
    shell = f"{sys.executable} -c \"from lwsws import log; log.err('x'); print('still there')\" 2>&-"
    done = subprocess.run(["sh", "-c", shell], stdout=subprocess.PIPE, cwd=str(ROOT), check=True)
    assert done.stdout == b"still there\n"


def test_a_stderr_that_is_gone_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
    log.err("to a closed file")
    monkeypatch.setattr(sys, "stderr", None)
    log.err("to none at all")
