"""Which program a request to a cgi:// mount is for, and what the other parts of its path are then.

    origin      request path (mount /c)    program            SCRIPT_NAME    PATH_INFO
    a file      /c/a/b                     the file           /c             /a/b
    a directory /c/x/tool.cgi/a/b          x/tool.cgi in it   /c/x/tool.cgi  /a/b

In a directory the path is followed to the first thing that is no directory (LESSONS 3.22).  That is looked
up as files are (handlers/beneath.py): no link leads out of the directory, and names that begin with a dot are
not there.  What lies there is run or refused, and never sent as it is.  A path that ends in a directory is
for the `default` of the mount, if that is in there.

Programs must be executable, or have a suffix for which the mount names an interpreter; then that is run with
the path of the program as its only argument.  Nothing of the request is ever an argument (LESSONS 3.23).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple, Optional, Tuple

from lwsws import log
from lwsws.config.model import MountConfig, printable
from lwsws.core.exchange import Exchange, HttpError
from lwsws.handlers.beneath import Opener, Root
from lwsws.handlers.openat2 import (
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    kernel_openat2,
    make_opener,
)
from lwsws.handlers.openfile import ABSENT, FORBIDDEN, refusal
from lwsws.handlers.redirect import redirect, slash_location

# Each is one look at the file system; links in circles would make a long path of many.
MAX_DEPTH = 64

# As Linux reads of it.
MAX_FIRST_LINE = 256

# Not the program's fault nor the client's: soon there may be enough again.
SHORTAGES = frozenset((errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ETXTBSY))
RETRY_SOON = ("Retry-After", "1")

NOT_EXECUTABLE = "it is not executable (chmod a+x)"


class Script(NamedTuple):
    """A program, as its own side sees it (inside of a chroot), and how the path of the request is divided."""

    path: str
    name: str
    info: str
    argv: Tuple[str, ...]


class Scripts:
    """Finds the programs of one mount."""

    def __init__(self, mount: MountConfig) -> None:
        self._chroot = mount.cgi_chroot.rstrip("/")
        self.origin = mount.origin.target if self._chroot else os.path.abspath(mount.origin.target)
        self._outside = self._chroot + self.origin
        self._prefix = "" if mount.mountpoint == "/" else mount.mountpoint
        self._default = mount.default.strip("/")
        self._dotfiles = mount.dotfiles
        self._root = Root(self._outside, mount.follow_symlinks, opener=opener_for(mount.follow_symlinks))
        # The longest suffix wins; "*" is for all names.
        by_length = sorted(mount.interpret, key=lambda pair: -len(pair[0]))
        self._interpreters = [(suffix.lower().lstrip("*"), path) for suffix, path in by_length]

    def find(self, exchange: Exchange) -> Optional[Script]:
        """The program for `exchange`; None if that was redirected to the same path with a slash.

        HttpError if there is none; why is in the log, for the administrator alone.
        """
        try:
            script = self.locate(exchange.rest)
        except HttpError as error:
            log.info(f"conn {exchange.conn.ident}: cgi: {error.status}: {error.why}")
            raise HttpError(error.status) from error
        if script is None:
            redirect(exchange, slash_location(exchange))
        return script

    def locate(self, rest: str) -> Optional[Script]:
        """The program for what of a path follows the mountpoint; None for a directory without its slash.

        HttpError 404, 403 or 503 with the reason, which tells paths, if there is none.  One that is found may
        be impossible to run: see obstacle().
        """
        try:
            if not stat.S_ISDIR(os.stat(self._outside).st_mode):
                return self._script(self.origin, "", rest)
        except OSError as error:
            # An absolute link looks different from the inside: let the program's start decide.
            if self._chroot:
                return self._script(self.origin, "", rest)
            raise HttpError(refusal(error).status, f"{printable(self.origin)}: {error.strerror}") from error
        relative, info = self._walk(rest)
        if relative or info:
            return self._script(f"{self.origin}/{relative}", "/" + relative, info)
        return None

    def obstacle(self, script: Script) -> str:
        """Why `script` cannot be run, as far as one can see from here; "" if nothing is in the way."""
        outside = self._chroot + script.path
        if not os.path.exists(outside):
            return "it is not there"
        if len(script.argv) > 1:
            can_run = os.access(self._chroot + script.argv[0], os.X_OK)
            return "" if can_run else f"its interpreter {script.argv[0]} cannot be run"
        if not os.access(outside, os.X_OK):
            return NOT_EXECUTABLE
        named = first_interpreter(outside)
        if not named or os.path.exists(self._chroot + named):
            return ""
        why = f"the interpreter {named!a} of its first line is not there"
        return f"{why}: its lines end in CR LF" if named.endswith("\r") else why

    def interpreter(self, path: str) -> str:
        """What runs the program at `path`, "" if it runs by itself."""
        name = path.lower()
        return next((found for suffix, found in self._interpreters if name.endswith(suffix)), "")

    def exists(self, path: str) -> bool:
        """Whether there is something at `path`, as the program's side has it."""
        return os.path.lexists(self._chroot + path)

    def _script(self, path: str, name: str, info: str) -> Script:
        interpreter = self.interpreter(path)
        return Script(path, self._prefix + name, info, (interpreter, path) if interpreter else (path,))

    def _walk(self, rest: str) -> Tuple[str, str]:
        """The relative path of the program that `rest` leads to, and what is left of it; two empty ones for
        a directory that has a default program, but in `rest` no slash at its end."""
        segments = rest.split("/")[1:]
        relative = ""
        for count, segment in enumerate(segments, 1):
            if not segment:
                break       # the slash at the end: normal paths have no other empty segment
            if segment.startswith(".") and not self._dotfiles:
                raise self._nothing(relative, segment, "its name begins with a dot (dotfiles)")
            if count > MAX_DEPTH:
                raise self._nothing(relative, segment, f"it is more than {MAX_DEPTH} directories deep")
            relative = f"{relative}/{segment}" if relative else segment
            if self._is_file(relative):
                return relative, "".join("/" + left for left in segments[count:])
        default = f"{relative}/{self._default}" if relative else self._default
        try:
            if not self._default or not self._is_file(default):
                raise HttpError(404)
        except HttpError as error:
            raise self._nothing(relative, "", f"a directory without {self._default} (default)") from error
        return (default, "") if rest.endswith("/") else ("", "")

    def _is_file(self, relative: str) -> bool:
        """Whether this is a regular file and no directory, in which alone one could go on; HttpError if it
        is not there."""
        try:
            fd = self._root.open(relative)
        except OSError as error:
            why = error.strerror or ""
            if error.errno in (errno.EXDEV, errno.ELOOP):
                why = "a link leads out of the directory, or in circles (follow-symlinks)"
            raise self._nothing(relative, "", why, refusal(error).status) from error
        try:
            return stat.S_ISREG(os.fstat(fd).st_mode)
        finally:
            os.close(fd)

    def _nothing(self, relative: str, segment: str, why: str, status: int = 404) -> HttpError:
        path = "/".join(part for part in (self.origin, relative, segment) if part)
        return HttpError(status, f"{printable(path)}: {why}")


def first_interpreter(path: str) -> str:
    """The interpreter that the first line of a program names, "" if there is none to be seen."""
    try:
        with open(path, "rb") as file:
            line = file.readline(MAX_FIRST_LINE).rstrip(b"\n")
    except OSError:
        return ""
    # execve(2): "#!", perhaps blanks, the path, and perhaps one argument.
    words = line[2:].strip(b" \t").split(b" ", 1) if line.startswith(b"#!") else [b""]
    return os.fsdecode(words[0])


def opener_for(symlinks: str) -> Optional[Opener]:
    """An opener that needs no permission to read, as running a program needs none; None where the kernel
    has no such thing, or links may lead anywhere: then that of files is used."""
    openat2 = kernel_openat2()
    if openat2 is None or symlinks == "yes":
        return None
    resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS
    if symlinks == "no":
        resolve |= RESOLVE_NO_SYMLINKS
    return make_opener(openat2, os.O_PATH | os.O_CLOEXEC, resolve)


def explain(error: OSError, script: Script, scripts: Scripts) -> Tuple[HttpError, str]:
    """Why a program cannot be started: what to answer, which tells the client little, and what to log."""
    code, file = error.errno, error.filename
    reason = printable(error.strerror or str(error))
    failed = HttpError(500, "The program cannot be started.")
    if code in SHORTAGES:
        return HttpError(503, "No program can be started now.", [RETRY_SOON]), reason
    if code == errno.E2BIG:
        return HttpError(431, "The request is too large for a program."), reason
    if file is None or os.fsdecode(file) != script.argv[0]:
        # The chroot, or the directory to start in.
        return failed, reason if file is None else f"{printable(os.fsdecode(file))}: {reason}"
    if len(script.argv) > 1:
        return failed, f"its interpreter {script.argv[0]}: {reason}"
    if code in ABSENT:
        if not scripts.exists(script.path):
            return HttpError(404), reason
        return failed, scripts.obstacle(script) or "its loader, or its interpreter's, is not there"
    if code in FORBIDDEN:
        return HttpError(403, "This cannot be run."), f"{reason} (chmod a+x makes a file executable)"
    if code == errno.ENOEXEC:
        return failed, "it is no program, and has no first line like #!/bin/sh"
    return failed, reason
