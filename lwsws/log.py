"""The server log: one line per event on stderr or in syslog, with lws's own level letters and bit mask.

Own code instead of the `logging` module on purpose: `-d` takes the bit mask of the original, which
has no order (mask 1023 may be given without bit 2), only the reactor thread logs, and importing
`logging` costs a tenth of the whole start-up.  A line is written with one `os.write`, so lines of
several processes never mix (a tag tells which one it was), and a log that cannot be written, or that
nobody reads, never stops the server: its lines are counted and dropped.  Where stderr is the journal of
systemd, which has time, level and process by itself, a line is its severity and the text.

    err("conn 17: ...")     what an administrator must act on
    warn(...)  notice(...)  what he should know;  info, debug: what happens inside
"""

from __future__ import annotations

import os
import select
import time
from typing import Callable, Optional

# The bits of the original's -d option.
ERR, WARN, NOTICE, INFO, DEBUG = 1, 2, 4, 8, 16
DEFAULT_MASK = ERR | WARN | NOTICE

# Of syslog, RFC 3164 section 4.1.1; in front of a line of the journal as well, sd-daemon(3).
SEVERITIES = {ERR: 3, WARN: 4, NOTICE: 5, INFO: 6, DEBUG: 7}
LETTERS = {ERR: "E", WARN: "W", NOTICE: "N", INFO: "I", DEBUG: "D"}
NAMES = {"err": ERR, "warn": WARN, "notice": NOTICE, "info": INFO, "debug": DEBUG}

STDERR = 2

# Takes a level and one line; whether it got through.
Writer = Callable[[int, str], bool]

# With its line end within PIPE_BUF of Linux.
MAX_LINE = 4095


def goes_to_journal() -> bool:
    """Whether stderr is read by journald, which keeps time, severity and process beside each line.

    systemd.exec(5): JOURNAL_STREAM is device and inode of that stream.  Its mere presence says little,
    because terminals and shells started from a service inherit it.
    """
    try:
        info = os.fstat(STDERR)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{info.st_dev}:{info.st_ino}"


_mask = DEFAULT_MASK
_lost = 0   # lines since the last one that got through
_is_journal = goes_to_journal()
_tag = ""
_syslog: Optional[Writer] = None


def parse_level(text: str) -> int:
    """The mask for `-d`: a decimal bit mask of the original, or the least important level to show.

    ValueError if it is neither.
    """
    if text.isascii() and text.isdigit():
        return int(text)
    if text not in NAMES:
        raise ValueError(f"no log level {text!r}: give a bit mask or one of {', '.join(NAMES)}")
    return NAMES[text] * 2 - 1


def set_level(mask: int) -> None:
    """Show the levels whose bits are in `mask` from now on."""
    global _mask
    _mask = mask


def mask() -> int:
    """The bits of the levels that are shown."""
    return _mask


def set_tag(text: str) -> None:
    """Put `text` behind the letter of each line on stderr ("N: 4711: ..."), to tell processes apart."""
    global _tag
    _tag = f"{text}: " if text else ""


def to_syslog(writer: Optional[Writer]) -> None:
    """Write to syslog from now on, by net/syslog.py; stderr gets what it does not take.  None: to stderr."""
    global _syslog
    _syslog = writer


def enabled(level: int) -> bool:
    """Whether lines of `level` are shown; ask before formatting a costly one."""
    return bool(_mask & level)


def write(level: int, message: str) -> None:
    """Write `message` (one line, or several as in a traceback) at `level`."""
    if not _mask & level:
        return
    global _lost
    lines = message.splitlines() or [""]
    if _lost and _write_line(WARN, f"{_lost} lines of this log were lost: nobody took them"):
        _lost = 0
    for line in lines:
        if not _write_line(level, line):
            _lost += 1


def _write_line(level: int, text: str) -> bool:
    """Write one line if that can be done at once: a closed, full or stuck stderr must not stop the server."""
    if _syslog is not None and _syslog(level, text):
        return True
    if _is_journal:
        line = f"<{SEVERITIES[level]}>{text}"
    else:
        line = f"{time.strftime('[%Y/%m/%d %H:%M:%S]')} {LETTERS[level]}: {_tag}{text}"
    data = line.encode("utf-8", "backslashreplace")[:MAX_LINE] + b"\n"
    try:
        # A pipe is writable when it has room for PIPE_BUF bytes, so such a write never waits.
        if not select.select([], [STDERR], [], 0)[1]:
            return False
        os.write(STDERR, data)
    except (OSError, ValueError):
        return False
    return True


def err(message: str) -> None:
    """Log what an administrator must act on."""
    write(ERR, message)


def warn(message: str) -> None:
    """Log what is wrong but does not stop anything."""
    write(WARN, message)


def notice(message: str) -> None:
    """Log what is worth knowing in normal operation."""
    write(NOTICE, message)


def info(message: str) -> None:
    """Log what happens to each connection."""
    write(INFO, message)


def debug(message: str) -> None:
    """Log what only a developer wants to see."""
    write(DEBUG, message)
