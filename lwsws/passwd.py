"""`lwsws passwd`: sets, replaces and deletes users in the password files of `basic-auth`.

The password is asked for twice on a terminal; where standard input is no terminal it is its first
line.  It never stands on the command line, where everybody on the machine could read it.

A file is replaced as a whole: the new one is written beside it, synced and renamed over it, so the
server reads the old or the new one and never half of one.  Mode, owner and group stay; a new file is
readable by its owner only.  All other lines stay as they are, plain passwords included.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import sys
from typing import List, NamedTuple, Optional, Sequence

from lwsws.handlers.passwords import MAX_FILE_BYTES, SCHEMES, SchemeMissing, make_hash

USAGE = """\
usage: lwsws passwd [-s SCHEME] FILE USER
       lwsws passwd [-s SCHEME] -n USER
       lwsws passwd -D FILE USER

Sets the password of USER in FILE, a file for the "basic-auth" key of a mount.
The password is asked for, or read as one line from a standard input that is
no terminal. A server that is running sees the change within a second.

  -s SCHEME  how to hash it: scrypt (default), pbkdf2 or sha512
  -n         only print the line that would go into a file; FILE "-" is the same
  -D         delete USER from FILE
  -h         print this
"""

# Exit codes.
DONE, FAILED, MISUSED = 0, 1, 2

# basicauth.MAX_ENCODED, the base64 of both and a colon, leaves this much room.
MAX_USER_BYTES = 255
MAX_PASSWORD_BYTES = 512

# Browsers cannot send these, and the server refuses them (RFC 7617 section 2).
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class _Misuse(Exception):
    """The command line makes no sense."""


class _Refused(Exception):
    """What was asked for cannot be done; says why."""


class _Task(NamedTuple):
    """What the command line asks for; `path` is None where the line is only printed."""

    scheme: str
    delete: bool
    path: Optional[str]
    user: bytes


def main(argv: Sequence[str]) -> int:
    """Do what the arguments after `lwsws passwd` say; returns the exit code (0, 1 or 2)."""
    if any(argument in ("-h", "--help") for argument in argv):
        print(USAGE, end="")
        return DONE
    try:
        _run(_read_arguments(argv))
    except _Misuse as error:
        print(f"lwsws passwd: {error}\n\n{USAGE}", end="", file=sys.stderr)
        return MISUSED
    except (_Refused, SchemeMissing) as error:
        print(f"lwsws passwd: {error}", file=sys.stderr)
        return FAILED
    except OSError as error:
        print(f"lwsws passwd: {error.filename}: {error.strerror}", file=sys.stderr)
        return FAILED
    except (EOFError, KeyboardInterrupt):
        print("\nlwsws passwd: nothing changed", file=sys.stderr)
        return FAILED
    return DONE


def _read_arguments(argv: Sequence[str]) -> _Task:
    scheme, delete, show = SCHEMES[0], False, False
    rest = list(argv)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        option = rest.pop(0)
        if option == "--":
            break
        if option == "-D":
            delete = True
        elif option == "-n":
            show = True
        elif option == "-s" and rest:
            scheme = rest.pop(0)
        else:
            raise _Misuse(f"unknown option {option}" if option != "-s" else "-s needs a scheme")
    if scheme not in SCHEMES:
        raise _Misuse(f"no scheme {scheme}: give one of {', '.join(SCHEMES)}")
    wanted = 1 if show else 2
    if len(rest) != wanted:
        raise _Misuse("give USER" if show else "give FILE and USER")
    path = None if show or rest[0] == "-" else rest[0]
    if delete and path is None:
        raise _Misuse("-D needs a file")
    return _Task(scheme, delete, path, os.fsencode(rest[-1]))


def _run(task: _Task) -> None:
    _check_user(task.user)
    if task.delete and task.path is not None:
        _change_file(task.path, task.user, None)
        return
    password = _ask_password(task.user)
    line = task.user + b":" + make_hash(password, task.scheme).encode("ascii")
    if task.path is None:
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()
    elif _change_file(task.path, task.user, line):
        print(f"{task.path} is new and only its owner can read it: see that lwsws can, after it has dropped\n"
              "its privileges (chown or chgrp)", file=sys.stderr)


def _check_user(user: bytes) -> None:
    if not user or b":" in user or _CONTROL.search(user):
        raise _Refused("a user name is not empty and has no ':' or control characters")
    if len(user) > MAX_USER_BYTES:
        raise _Refused(f"a user name has at most {MAX_USER_BYTES} bytes")


def _ask_password(user: bytes) -> bytes:
    """The new password, from the terminal or from standard input; _Refused if it is no good."""
    if sys.stdin.isatty():
        import getpass
        name = user.decode("utf-8", "backslashreplace")
        text = getpass.getpass(f"New password for {name}: ")
        if getpass.getpass("Once more: ") != text:
            raise _Refused("the two passwords differ: nothing changed")
        password = text.encode("utf-8", "surrogateescape")
    else:
        # One byte more than allowed, and the line end.
        password = sys.stdin.buffer.readline(MAX_PASSWORD_BYTES + 3)
        password = password[:-1] if password.endswith(b"\n") else password
        password = password[:-1] if password.endswith(b"\r") else password
    if not password:
        raise _Refused("an empty password is no protection: nothing changed")
    if _CONTROL.search(password):
        raise _Refused("browsers cannot send control characters in a password: nothing changed")
    if len(password) > MAX_PASSWORD_BYTES:
        raise _Refused(f"a password has at most {MAX_PASSWORD_BYTES} bytes: nothing changed")
    return password


# The file.

def _change_file(path: str, user: bytes, line: Optional[bytes]) -> bool:
    """Put `line` in the place of the lines of `user`, or delete those; True if the file is new."""
    path = os.path.realpath(path)   # a link stays a link to the file that is replaced
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Of two at the same time, the second must see what the first has written.
        fcntl.flock(directory, fcntl.LOCK_EX)
        try:
            status: Optional[os.stat_result] = os.stat(path)
        except FileNotFoundError:
            status = None
        if status is not None and not stat.S_ISREG(status.st_mode):
            raise _Refused(f"{path} is not a regular file")
        old = b""
        if status is not None:
            with open(path, "rb") as file:
                old = file.read(MAX_FILE_BYTES + 1)
        new = _with_line(old, user, line)
        if max(len(old), len(new)) > MAX_FILE_BYTES:
            raise _Refused(f"{path} has more than {MAX_FILE_BYTES} bytes, which the server would not read")
        _replace(path, new, status)
        os.fsync(directory)
    finally:
        os.close(directory)
    return status is None


def _with_line(old: bytes, user: bytes, line: Optional[bytes]) -> bytes:
    """The content `old` with `line` for the first line of `user` and without the others."""
    before = old.split(b"\n")
    if not before[-1]:
        before.pop()    # what follows the last line end is no line
    after: List[bytes] = []
    found = False
    for present in before:
        if not present.startswith(user + b":"):
            after.append(present)
            continue
        if line is not None and not found:
            after.append(line)
        found = True
    if not found:
        if line is None:
            raise _Refused(f"no user {user.decode('utf-8', 'backslashreplace')} in the file")
        after.append(line)
    return b"".join(present + b"\n" for present in after)


def _replace(path: str, content: bytes, status: Optional[os.stat_result]) -> None:
    """Write `content` beside `path` and rename it over it; `status` is that of the old file, if any."""
    if status is not None and os.geteuid() not in (0, status.st_uid):
        raise _Refused(f"{path} belongs to another user: run this as its owner or as root")
    directory, name = os.path.split(path)
    beside = os.path.join(directory, f".{name}.{os.urandom(6).hex()}.new")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    renamed = False
    try:
        with open(fd, "wb") as file:
            if status is not None:
                # The owner first: a change of owner may take mode bits away.
                os.fchown(fd, status.st_uid, status.st_gid)
                os.fchmod(fd, stat.S_IMODE(status.st_mode))
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.rename(beside, path)
        renamed = True
    finally:
        if not renamed:
            os.unlink(beside)
