"""The server log: one line per event on stderr, with lws's own level letters and bit mask.

Own code instead of the `logging` module on purpose: `-d` takes the bit mask of the original, which
has no order (mask 1023 may be given without bit 2), only the reactor thread logs, and importing
`logging` costs a tenth of the whole start-up.  A line is written with one `os.write`, so lines of
several processes never mix, and a log that cannot be written, or that nobody reads, never stops the
server: its lines are counted and dropped.

    err("conn 17: ...")     what an administrator must act on
    warn(...)  notice(...)  what he should know;  info, debug: what happens inside
"""

from __future__ import annotations

import os
import select
import time

# The bits of the original's -d option.
ERR, WARN, NOTICE, INFO, DEBUG = 1, 2, 4, 8, 16
DEFAULT_MASK = ERR | WARN | NOTICE

LETTERS = {ERR: "E", WARN: "W", NOTICE: "N", INFO: "I", DEBUG: "D"}
NAMES = {"err": ERR, "warn": WARN, "notice": NOTICE, "info": INFO, "debug": DEBUG}

STDERR = 2

# With its line end within PIPE_BUF of Linux.
MAX_LINE = 4095


def goes_to_journal() -> bool:
    """Whether stderr is read by journald, which puts its own time in front of each line.

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
_timestamps = not goes_to_journal()


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


def enabled(level: int) -> bool:
    """Whether lines of `level` are shown; ask before formatting a costly one."""
    return bool(_mask & level)


def write(level: int, message: str) -> None:
    """Write `message` (one line, or several as in a traceback) at `level`."""
    if not _mask & level:
        return
    global _lost
    prefix = time.strftime("[%Y/%m/%d %H:%M:%S] ") if _timestamps else ""
    lines = [f"{prefix}{LETTERS[level]}: {line}" for line in message.splitlines() or [""]]
    if _lost:
        lines.insert(0, f"{prefix}W: {_lost} lines of this log were lost: nobody took them")
    for line in lines:
        if not _write_line(line):
            _lost += 1
        elif _lost and line is lines[0]:
            _lost = 0


def _write_line(line: str) -> bool:
    """Write one line if that can be done at once: a closed, full or stuck stderr must not stop the server."""
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
